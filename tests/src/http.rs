//! HTTP/1.1 by hand: a client and a server that send exactly the bytes a test wants on the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};

use crate::wait;

/// A stream socket of either family.
pub trait Stream: Read + Write + Send + Sized + 'static {
    /// A second handle of the same socket.
    ///
    /// # Errors
    /// No descriptor is left.
    fn duplicate(&self) -> std::io::Result<Self>;

    /// Ends one or both directions.
    ///
    /// # Errors
    /// The socket is not connected.
    fn close(&self, how: Shutdown) -> std::io::Result<()>;
}

impl Stream for TcpStream {
    fn duplicate(&self) -> std::io::Result<Self> {
        self.try_clone()
    }

    fn close(&self, how: Shutdown) -> std::io::Result<()> {
        self.shutdown(how)
    }
}

impl Stream for UnixStream {
    fn duplicate(&self) -> std::io::Result<Self> {
        self.try_clone()
    }

    fn close(&self, how: Shutdown) -> std::io::Result<()> {
        self.shutdown(how)
    }
}

/// A message as it was read.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Request line or status line.
    pub first_line: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Content, without its transfer coding.
    pub body: Vec<u8>,
}

impl Message {
    /// Value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn word(&self, index: usize) -> &str {
        self.first_line.split(' ').nth(index).unwrap_or_default()
    }

    /// Method of a request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// Target of a request.
    #[must_use]
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// Status of a response; 0 where there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// The content as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection<S> {
    stream: BufReader<S>,
}

/// Connects over TCP. Whatever does not answer within [`wait::LIMIT`] is an error and no hang.
///
/// # Errors
/// Nobody listens there.
pub fn connect(address: SocketAddr) -> Result<Connection<TcpStream>> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    stream.set_write_timeout(Some(wait::LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(Connection::new(stream))
}

/// The same over a Unix socket.
///
/// # Errors
/// Nobody listens there.
pub fn connect_unix(path: &Path) -> Result<Connection<UnixStream>> {
    let stream = UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
    stream.set_read_timeout(Some(wait::LIMIT))?;
    stream.set_write_timeout(Some(wait::LIMIT))?;
    Ok(Connection::new(stream))
}

impl<S: Stream> Connection<S> {
    /// A connection over `stream`.
    pub fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        self.stream.get_ref()
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// The connection is gone, or nobody reads.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes.as_ref())?)
    }

    /// Sends a request with `Host: HOST`, and `Content-Length` where there is content.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn request(&mut self, method: &str, target: &str, host: &str, body: &[u8]) -> Result<()> {
        let mut message = request(method, target, host, body.len()).into_bytes();
        message.extend_from_slice(body);
        self.send(message)
    }

    /// Reads a response to a request of `method`: the final one, past any 1xx but 101.
    ///
    /// # Errors
    /// The connection ended, or what came is no response.
    pub fn response(&mut self, method: &str) -> Result<Message> {
        loop {
            let head = self.head()?.context("no response")?;
            let status = head.status();
            ensure!(status >= 100, "status line {:?}", head.first_line);
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            if method == "HEAD" || status == 101 || status == 204 || status == 304 {
                return Ok(head);
            }
            return self.body(head, true);
        }
    }

    /// Reads a request with its content; `None` where the peer sends no more.
    ///
    /// # Errors
    /// The connection broke in the middle of one.
    pub fn read_request(&mut self) -> Result<Option<Message>> {
        match self.head()? {
            Some(head) => Ok(Some(self.body(head, false)?)),
            None => Ok(None),
        }
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// As [`Connection::request`] and [`Connection::response`].
    pub fn call(&mut self, method: &str, target: &str, host: &str, body: &[u8]) -> Result<Message> {
        self.request(method, target, host, body)?;
        self.response(method)
    }

    /// Reads a head alone; `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream ended in the middle of a head.
    pub fn head(&mut self) -> Result<Option<Message>> {
        let mut message = Message::default();
        if self.stream.read_line(&mut message.first_line)? == 0 {
            return Ok(None);
        }
        message.first_line.truncate(message.first_line.trim_end().len());
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "head cut off");
            let folded = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() {
                return Ok(Some(message));
            }
            if let Some((_, value)) = message.headers.last_mut().filter(|_| folded) {
                *value = format!("{value} {line}");
                continue;
            }
            let (name, value) = line.split_once(':').context("header field")?;
            message
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, mut message: Message, until_close: bool) -> Result<Message> {
        if message.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                let size = line.trim_end().split(';').next().unwrap_or_default();
                let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk {line:?}"))?;
                if size == 0 {
                    break;
                }
                self.exactly(size, &mut message.body)?;
                self.stream.read_line(&mut String::new())?;
            }
            while {
                let mut trailer = String::new();
                self.stream.read_line(&mut trailer)?;
                !trailer.trim_end().is_empty()
            } {}
        } else if let Some(length) = message.header("content-length") {
            let length = length.parse()?;
            self.exactly(length, &mut message.body)?;
        } else if until_close {
            self.stream.read_to_end(&mut message.body)?;
        }
        Ok(message)
    }

    /// Appends exactly `count` more bytes of the stream.
    ///
    /// # Errors
    /// The stream ends before.
    pub fn exactly(&mut self, count: usize, to: &mut Vec<u8>) -> Result<()> {
        let start = to.len();
        to.resize(start + count, 0);
        Ok(self.stream.read_exact(&mut to[start..])?)
    }

    /// Reads to the end of the stream; a reset is an end too.
    pub fn drain(&mut self) {
        let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
    }
}

/// A request's head, with `Content-Length` where `length` is not 0.
#[must_use]
pub fn request(method: &str, target: &str, host: &str, length: usize) -> String {
    let length = match length {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n")
}

/// A response with `Content-Length`.
#[must_use]
pub fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let mut message = format!(
        "HTTP/1.1 {status} Some Words\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(body);
    message
}

/// A server in a thread of the test, a further thread for each connection; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    wake: Wake,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Wake {
    Tcp(SocketAddr),
    Unix(std::path::PathBuf),
}

impl Server {
    /// Hands each connection of `listener` to `serve`, in a thread of its own.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn tcp(
        listener: TcpListener,
        serve: impl Fn(Connection<TcpStream>) + Send + Sync + 'static,
    ) -> Result<Self> {
        let wake = Wake::Tcp(listener.local_addr()?);
        Ok(Self::run(
            wake,
            move || listener.accept().map(|(stream, _)| stream),
            serve,
        ))
    }

    /// The same for a Unix socket that is to be made at `path`.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub fn unix(path: &Path, serve: impl Fn(Connection<UnixStream>) + Send + Sync + 'static) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        let accept = move || listener.accept().map(|(stream, _)| stream);
        Ok(Self::run(Wake::Unix(path.to_owned()), accept, serve))
    }

    fn run<S: Stream>(
        wake: Wake,
        accept: impl Fn() -> std::io::Result<S> + Send + 'static,
        serve: impl Fn(Connection<S>) + Send + Sync + 'static,
    ) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = stopping.clone();
        let serve = Arc::new(serve);
        let accepting = std::thread::spawn(move || {
            while let Ok(stream) = accept() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                let serve = serve.clone();
                std::thread::spawn(move || serve(Connection::new(stream)));
            }
        });
        Self {
            wake,
            stopping,
            accepting: Some(accepting),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let woken = match &self.wake {
            Wake::Tcp(address) => TcpStream::connect(address).is_ok(),
            Wake::Unix(path) => UnixStream::connect(path).is_ok(),
        };
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
    }
}

/// Serves a connection to its end: `answer` gives the bytes of each response, none to close instead.
pub fn serve<S: Stream>(mut connection: Connection<S>, answer: impl Fn(&Message) -> Option<Vec<u8>>) {
    while let Ok(Some(request)) = connection.read_request() {
        match answer(&request) {
            Some(bytes) if connection.send(&bytes).is_ok() => {}
            _ => return,
        }
    }
}
