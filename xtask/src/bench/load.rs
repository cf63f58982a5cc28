//! An open-loop load generator: requests leave by the clock, whether or not the earlier ones were answered, and their
//! latency counts from when they *should* have left. So a stall is seen by all that waited behind it.

use super::spread::quantile;
use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How much, and for how long.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) port: u16,
    /// Requests a second, over all connections.
    pub(super) rate: u32,
    pub(super) connections: u32,
    pub(super) length: Duration,
}

/// Latencies in microseconds, sorted.
pub(super) struct Latencies(Vec<f64>);

impl Latencies {
    pub(super) fn at(&self, share: f64) -> f64 {
        quantile(&self.0, share)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Runs `load` to its end; an answer that is not a 200 is an error.
pub(super) fn run(load: Load) -> Result<Latencies> {
    let begin = Instant::now() + Duration::from_millis(50);
    let threads: Vec<_> = (0..load.connections)
        .map(|place| thread::spawn(move || connection(load, place, begin)))
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().ok().context("a connection of the load died")??);
    }
    ensure!(!all.is_empty(), "the load made no request");
    all.sort_by(f64::total_cmp);
    Ok(Latencies(all))
}

/// One connection's share: every `connections`th request.
fn connection(load: Load, place: u32, begin: Instant) -> Result<Vec<f64>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, load.port)).context("connecting")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let apart = Duration::from_secs(1) / load.rate;
    let mut latencies = Vec::new();
    let mut buffer = [0; 4096];
    for turn in 0.. {
        let due = apart * (turn * load.connections + place);
        if due >= load.length {
            break;
        }
        let due = begin + due;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n")?;
        read_response(&mut stream, &mut buffer)?;
        latencies.push(due.elapsed().as_secs_f64() * 1e6);
    }
    Ok(latencies)
}

fn read_response(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        ensure!(
            read > 0,
            "the server ended the connection, or sent more than {} bytes",
            buffer.len()
        );
        filled += read;
        if let Some(whole) = length(&buffer[..filled])?
            && filled >= whole
        {
            return Ok(());
        }
    }
}

/// Bytes of the response that begins here, once its head is whole.
fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    ensure!(
        head.starts_with("HTTP/1.1 200 "),
        "the server answered {}",
        head.lines().next().unwrap_or_default()
    );
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let body = fields
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let body: usize = body.context("a response without Content-Length")?.1.parse()?;
    Ok(Some(end + 4 + body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_response_ends_with_its_body() -> Result<()> {
        assert_eq!(length(b"HTTP/1.1 200 OK\r\n")?, None);
        assert_eq!(
            length(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na")?,
            Some(41)
        );
        assert!(length(b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\n").is_err());
        Ok(())
    }

    #[test]
    fn every_request_that_was_due_is_made() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for stream in listener.incoming().take(2).flatten() {
                thread::spawn(move || {
                    let (mut reader, mut writer) = (&stream, &stream);
                    let mut buffer = [0; 4096];
                    while reader.read(&mut buffer).is_ok_and(|read| read > 0) {
                        let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
                    }
                });
            }
        });
        let load = Load {
            port,
            rate: 500,
            connections: 2,
            length: Duration::from_millis(100),
        };
        let latencies = run(load)?;
        assert_eq!(latencies.count(), 50);
        assert!(latencies.at(0.5) <= latencies.at(0.99));
        Ok(())
    }
}
