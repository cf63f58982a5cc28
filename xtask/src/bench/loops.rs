//! Tight loops around one kind of call, in this thread, measured by this thread's CPU time.

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// What is measured, in the order of the table.
pub(super) const NAMES: [&str; 5] = [
    "getppid",
    "write to /dev/null",
    "pipe, write and read",
    "TCP 200 B, a send or receive",
    "Unix 200 B, a send or receive",
];

/// Calls a round: a fifth of a second at most for each loop.
const CHEAP: u32 = 200_000;
const EXCHANGES: u32 = 20_000;

/// The open files of all loops.
pub(super) struct Loops {
    null: File,
    pipe: (std::io::PipeReader, std::io::PipeWriter),
    tcp: (TcpStream, TcpStream),
    unix: (UnixStream, UnixStream),
    request: Vec<u8>,
    response: Vec<u8>,
    /// Looking up a descriptor costs some 15 ns more in a process that has threads, and under spanwire there are
    /// some that read its output. So there is one without it too: it ends with this value.
    _company: Sender<()>,
}

impl Loops {
    pub(super) fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (company, alone) = channel();
        thread::spawn(move || alone.recv().is_ok());
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok(Self {
            null: File::options().write(true).open("/dev/null")?,
            pipe: std::io::pipe()?,
            tcp: (client, server),
            unix: UnixStream::pair()?,
            request: padded("GET /bench HTTP/1.1\r\nHost: bench.test\r\nX-Padding: "),
            response: padded("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Padding: "),
            _company: company,
        })
    }

    /// Nanoseconds of thread CPU a call, for each of [`NAMES`].
    pub(super) fn measure(&mut self) -> Result<Vec<f64>> {
        let mut byte = [0];
        let mut buffer = [0; 200];
        let (null, pipe) = (&mut self.null, &mut self.pipe);
        Ok(vec![
            timed(CHEAP, 1, || {
                std::hint::black_box(rustix::process::getppid());
                Ok(())
            })?,
            timed(CHEAP, 1, || null.write_all(&[0]))?,
            timed(CHEAP / 2, 1, || {
                pipe.1.write_all(&[0])?;
                pipe.0.read_exact(&mut byte)
            })?,
            timed(EXCHANGES, 4, || {
                exchange(
                    &self.request,
                    &self.response,
                    &mut self.tcp.0,
                    &mut self.tcp.1,
                    &mut buffer,
                )
            })?,
            timed(EXCHANGES, 4, || {
                exchange(
                    &self.request,
                    &self.response,
                    &mut self.unix.0,
                    &mut self.unix.1,
                    &mut buffer,
                )
            })?,
        ])
    }
}

/// A request and its response: two sends and two receives, of 200 bytes each.
fn exchange<S: Read + Write>(
    request: &[u8],
    response: &[u8],
    client: &mut S,
    server: &mut S,
    buffer: &mut [u8; 200],
) -> std::io::Result<()> {
    client.write_all(request)?;
    server.read_exact(buffer)?;
    server.write_all(response)?;
    client.read_exact(buffer)
}

/// `head`, filled up to 200 bytes and ended.
fn padded(head: &str) -> Vec<u8> {
    let mut message = head.as_bytes().to_vec();
    message.resize(196, b'x');
    message.extend_from_slice(b"\r\n\r\n");
    message
}

fn timed(rounds: u32, calls_a_round: u32, mut call: impl FnMut() -> std::io::Result<()>) -> Result<f64> {
    for _ in 0..rounds / 10 {
        call()?;
    }
    let before = thread_cpu();
    for _ in 0..rounds {
        call()?;
    }
    Ok((thread_cpu() - before) / (f64::from(rounds) * f64::from(calls_a_round)))
}

/// Nanoseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a thread's CPU time is far below 2^52 ns, which is 52 days"
)]
fn thread_cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_200_bytes_and_whole() {
        let message = padded("GET / HTTP/1.1\r\nX: ");
        assert!(message.len() == 200 && message.ends_with(b"x\r\n\r\n"));
    }

    #[test]
    fn every_loop_has_a_name_and_a_time() -> Result<()> {
        let times = Loops::new()?.measure()?;
        assert_eq!(times.len(), NAMES.len());
        assert!(times.iter().all(|time| *time > 0.0), "{times:?}");
        Ok(())
    }
}
