//! A fake collector for OTLP in JSON that remembers which spans it took, and can be taken away and given back.

use super::sink;
use anyhow::Result;
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(2);

/// Spans that came.
#[derive(Default)]
struct Received {
    ids: HashSet<String>,
    /// Spans that came once more.
    again: usize,
}

/// It listens until this program ends, but for the times at which it is away.
pub(super) struct Collector {
    pub(super) port: u16,
    is_away: Arc<AtomicBool>,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let collector = Self {
            port: address.port(),
            is_away: Arc::default(),
            received: Arc::default(),
        };
        let (is_away, received) = (Arc::clone(&collector.is_away), Arc::clone(&collector.received));
        thread::spawn(move || listen(listener, address, &is_away, &received));
        Ok(collector)
    }

    /// As if it were killed: connections end, and new ones are refused.
    pub(super) fn leave(&self) {
        self.is_away.store(true, Ordering::SeqCst);
    }

    pub(super) fn come_back(&self) {
        self.is_away.store(false, Ordering::SeqCst);
    }

    /// Different spans that came, and how many came once more.
    pub(super) fn received(&self) -> (usize, usize) {
        let received = lock(&self.received);
        (received.ids.len(), received.again)
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(
    listener: TcpListener,
    address: SocketAddr,
    is_away: &Arc<AtomicBool>,
    received: &Arc<Mutex<Received>>,
) -> Result<()> {
    let mut listener = Some(listener);
    let mut open: Vec<TcpStream> = Vec::new();
    loop {
        if is_away.load(Ordering::SeqCst) {
            listener = None;
            for stream in open.drain(..) {
                // It may have been ended by the other side.
                let _ = stream.shutdown(Shutdown::Both);
            }
            thread::sleep(TICK);
            continue;
        }
        let listening = match listener.take() {
            Some(listening) => listening,
            None => TcpListener::bind(address)?,
        };
        listening.set_nonblocking(true)?;
        match listening.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                open.push(stream.try_clone()?);
                let (is_away, received) = (Arc::clone(is_away), Arc::clone(received));
                // A client that breaks off is the client's affair.
                thread::spawn(move || answer(&stream, &is_away, &received).is_ok());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
            Err(error) => return Err(error.into()),
        }
        listener = Some(listening);
    }
}

fn answer(stream: &TcpStream, is_away: &AtomicBool, received: &Mutex<Received>) -> Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let Some(length) = sink::body_length(&mut reader)? else {
            return Ok(());
        };
        let mut body = vec![0; usize::try_from(length)?];
        reader.read_exact(&mut body)?;
        let ids = ids(&serde_json::from_slice(&body)?);
        {
            let mut received = lock(received);
            if is_away.load(Ordering::SeqCst) {
                return Ok(());
            }
            for id in ids {
                if !received.ids.insert(id) {
                    received.again += 1;
                }
            }
        }
        writer
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")?;
    }
}

/// Ids of all spans of a request.
fn ids(request: &Value) -> Vec<String> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let groups = list(request, "resourceSpans").into_iter();
    let scopes = groups.flat_map(|group| list(&group, "scopeSpans"));
    let spans = scopes.flat_map(|scope| list(&scope, "spans"));
    spans
        .filter_map(|span| Some(span["spanId"].as_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead as _;

    #[test]
    fn it_counts_spans_once_and_takes_none_while_it_is_away() -> Result<()> {
        let collector = Collector::start()?;
        let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"a"},{"spanId":"b","links":[{"spanId":"c"}]}]}]}]}"#;
        let send = || -> Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, collector.port))?;
            stream.write_all(
                format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes(),
            )?;
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line)?;
            Ok(line)
        };
        assert_eq!(send()?, "HTTP/1.1 200 OK\r\n");
        collector.leave();
        while send().is_ok_and(|line| !line.is_empty()) {
            thread::sleep(TICK);
        }
        let taken = collector.received();
        assert_eq!((taken.0, taken.1 % 2), (2, 0));
        collector.come_back();
        while send().map_or(true, |line| line.is_empty()) {
            thread::sleep(TICK);
        }
        assert_eq!(collector.received(), (2, taken.1 + 2));
        Ok(())
    }
}
