//! An OTLP/HTTP endpoint that takes everything and keeps nothing.

use anyhow::Result;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// It listens until this program ends.
pub(super) struct Sink {
    endpoint: String,
    requests: Arc<AtomicU64>,
}

impl Sink {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                // A client that breaks off is the client's affair.
                thread::spawn(move || answer(&stream, &counted).is_ok());
            }
        });
        Ok(Self {
            endpoint: format!("http://{address}"),
            requests,
        })
    }

    /// What has an agent export to it.
    pub(super) fn environment(&self) -> [(&'static str, &str); 2] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ]
    }

    /// Requests taken so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn answer(stream: &TcpStream, counted: &AtomicU64) -> io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let Some(length) = body_length(&mut reader)? else {
            return Ok(());
        };
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        counted.fetch_add(1, Ordering::Relaxed);
        // An empty body is an empty ExportTraceServiceResponse: all taken.
        writer.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )?;
    }
}

/// Reads the head of a request; how long its body is, `None` at the end of the stream.
pub(super) fn body_length(reader: &mut impl BufRead) -> io::Result<Option<u64>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(Some(length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_and_counted() -> Result<()> {
        let sink = Sink::start()?;
        let mut stream = TcpStream::connect(sink.endpoint.trim_start_matches("http://"))?;
        for _ in 0..2 {
            stream.write_all(b"POST /v1/traces HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")?;
            let mut line = String::new();
            let mut reader = BufReader::new(&stream);
            reader.read_line(&mut line)?;
            assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        }
        assert_eq!(sink.requests(), 2);
        Ok(())
    }
}
