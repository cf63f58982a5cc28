//! Clients and servers, each a process of its own: this program's, `peer.c`'s, and busybox's httpd and wget.

use crate::http::{Request, Writes, read_request, read_response, write};
use crate::syscalls;
use anyhow::{Context as _, Result, bail, ensure};
use spanwire_tests::injection::Body;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Longest wait for a server to listen, or for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests on one connection.
pub(crate) const EACH: usize = 5;

/// A request that was made and answered with 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) method: &'static str,
    /// Unique in this guest.
    pub(crate) path: String,
    pub(crate) over: Over,
    /// Bytes of the request's body, where it has one.
    pub(crate) request: Option<u64>,
    /// Bytes of the response's body.
    pub(crate) response: u64,
    pub(crate) due: Due,
}

/// The spans that a request must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// One at each end.
    Both,
    /// As many, or fewer as long as a gap is counted.
    BothOrCounted,
    /// The client's; the server's may be missing.
    AtClient,
}

impl Made {
    fn get(path: String, over: Over, response: usize) -> Self {
        Self {
            method: "GET",
            path,
            over,
            request: None,
            response: response as u64,
            due: Due::Both,
        }
    }
}

/// What carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp { port: u16 },
    Unix,
}

/// Runs every case under paths that begin with `/NAME/`, and gives the requests made.
pub(crate) fn run(name: &str) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for (case, address, port) in [
        ("tcp4", SocketAddr::from((Ipv4Addr::LOCALHOST, 8001)), 8001),
        ("tcp6", SocketAddr::from((Ipv6Addr::LOCALHOST, 8002)), 8002),
    ] {
        let server = Server::own(&address.to_string(), "-")?;
        let over = Over::Tcp { port };
        let made_here = connections(&format!("/{name}/{case}"), over, || connect(address));
        made.extend(made_here.with_context(|| case.to_owned())?);
        server.stop()?;
    }
    let path = socket(name)?;
    let server = Server::own("unix", &path)?;
    let open = || {
        let stream = patiently(|| UnixStream::connect(&path))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    made.extend(connections(&format!("/{name}/unix"), Over::Unix, open).context("unix")?);
    server.stop()?;
    made.extend(busybox(name).context("busybox")?);
    made.extend(syscalls::run(name).context("system calls")?);
    Ok(made)
}

/// The same requests in three ways: one after the other, all at once, and a byte at a time.
fn connections<S: Read + Write>(prefix: &str, over: Over, open: impl Fn() -> Result<S>) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for (way, writes, pipelined) in [
        ("kept", Writes::Whole, false),
        ("pipelined", Writes::Whole, true),
        ("bytewise", Writes::Bytewise, false),
    ] {
        let paths: Vec<_> = (0..EACH).map(|index| format!("{prefix}/{way}/{index}")).collect();
        let mut stream = BufReader::new(open()?);
        if pipelined {
            let all: String = paths.iter().map(|path| request(path)).collect();
            write(stream.get_mut(), all.as_bytes(), writes)?;
        }
        for path in paths {
            if !pipelined {
                write(stream.get_mut(), request(&path).as_bytes(), writes)?;
            }
            made.push(answered(&mut stream, path, over)?);
        }
    }
    Ok(made)
}

/// Where a Unix socket can be bound. An attempt before may have left one there.
pub(crate) fn socket(name: &str) -> Result<String> {
    let path = format!("/tmp/{name}.sock");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context(path),
        _ => Ok(path),
    }
}

pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = patiently(|| TcpStream::connect(address))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: guest.test\r\nUser-Agent: guest\r\n\r\n")
}

/// Reads the response to [`request`], which is its own path.
fn answered(stream: &mut impl BufRead, path: String, over: Over) -> Result<Made> {
    let (status, body) = read_response(stream).with_context(|| path.clone())?;
    ensure!(
        status == 200 && body == path.as_bytes(),
        "{path}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(Made::get(path, over, body.len()))
}

/// How a server waits for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// In the call that takes it, as a thread for each connection does.
    InRead,
    /// In one that takes nothing, as an event loop does.
    InPeek,
}

/// A connection that carried a request before spanwire's start, and its server.
pub(crate) struct Before {
    server: Server,
    stream: BufReader<TcpStream>,
    port: u16,
    waits: Waits,
}

impl Before {
    pub(crate) fn open(waits: Waits) -> Result<Self> {
        let (port, how) = match waits {
            Waits::InRead => (8004, "-"),
            Waits::InPeek => (8007, PEEK),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Server::own(&address.to_string(), how)?;
        let stream = BufReader::new(connect(address)?);
        let mut before = Self {
            server,
            stream,
            port,
            waits,
        };
        before.exchange("/unseen".to_owned())?;
        Ok(before)
    }

    /// Its next requests under hook set `set`, with paths that begin with `/SET/`.
    pub(crate) fn run(mut self, set: &str) -> Result<Vec<Made>> {
        let case = match self.waits {
            Waits::InRead => "before",
            Waits::InPeek => "before-peeked",
        };
        let made = (0..EACH).map(|index| self.exchange(format!("/{set}/tcp4/{case}/{index}")));
        let mut made = made.collect::<Result<Vec<_>>>()?;
        // A trampoline is entered where its function is: of a call that was under way already it sees no end.
        if set == "trampoline" && self.waits == Waits::InRead {
            made[0].due = Due::AtClient;
        }
        self.server.stop()?;
        Ok(made)
    }

    fn exchange(&mut self, path: String) -> Result<Made> {
        self.stream.get_mut().write_all(request(&path).as_bytes())?;
        answered(&mut self.stream, path, Over::Tcp { port: self.port })
    }
}

/// httpd answers from a folder, wget asks: neither was written by us.
fn busybox(name: &str) -> Result<Vec<Made>> {
    const PORT: u16 = 8003;
    let folder = format!("/tmp/www/{name}");
    fs::create_dir_all(&folder)?;
    let server = Server::spawn(Command::new("/bin/busybox").args([
        "httpd",
        "-f",
        "-p",
        "127.0.0.1:8003",
        "-h",
        "/tmp/www",
    ]))?;
    drop(patiently(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)))?);
    let mut made = Vec::new();
    for index in 0..EACH {
        let body = "x".repeat(1000 * (index + 1));
        fs::write(format!("{folder}/{index}.txt"), &body)?;
        let path = format!("/{name}/{index}.txt");
        let mut wget = Command::new("/bin/busybox");
        wget.args(["wget", "-O", "-", &format!("http://127.0.0.1:{PORT}{path}")]);
        let answer = wget.output().context("starting wget")?;
        ensure!(
            answer.status.success() && answer.stdout == body.as_bytes(),
            "{path}: wget {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.stderr)
        );
        made.push(Made::get(path, Over::Tcp { port: PORT }, body.len()));
    }
    server.stop()?;
    Ok(made)
}

/// A server in a process of its own, ended with this value.
pub(crate) struct Server(Child);

impl Server {
    /// This program as `guest serve ADDRESS PATH`.
    pub(crate) fn own(address: &str, path: &str) -> Result<Self> {
        Self::spawn(Command::new(env::current_exe()?).args(["serve", address, path]))
    }

    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self(child))
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.0.try_wait()? {
            bail!("a server ended by itself with {status}");
        }
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Instead of a path: see [`Waits::InPeek`].
const PEEK: &str = "peek";

/// Instead of a path: the answer is the contexts of the request.
pub(crate) const CONTEXTS: &str = "contexts";

/// Instead of a path: the answer is the contexts of the request as a line, and its body, which has to be as it was planned.
pub(crate) const BODIES: &str = "bodies";

/// What a server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Path,
    Contexts,
    Bodies,
}

impl Answers {
    fn to(self, request: Request) -> Vec<u8> {
        let contexts = request.contexts.join(",").into_bytes();
        match self {
            Self::Path => request.path.into_bytes(),
            Self::Contexts => contexts,
            Self::Bodies => match Body::of(&request.path, request.body.clone()) {
                Body::Planned(_) => [contexts, b"\n".to_vec(), request.body].concat(),
                other => format!("{}: {other:?}", request.path).into_bytes(),
            },
        }
    }
}

/// `guest serve ADDRESS PATH`: answers each request with its own path, on TCP, or on a Unix socket at PATH.
pub(crate) fn serve(address: &str, path: &str) -> Result<()> {
    if address == "unix" {
        for stream in UnixListener::bind(path)
            .with_context(|| path.to_owned())?
            .incoming()
        {
            let stream = stream?;
            thread::spawn(move || answer(&stream, &stream, Answers::Path, || Ok(())));
        }
        return Ok(());
    }
    let peeks = path == PEEK;
    let answers = match path {
        CONTEXTS => Answers::Contexts,
        BODIES => Answers::Bodies,
        _ => Answers::Path,
    };
    for stream in TcpListener::bind(address)
        .with_context(|| address.to_owned())?
        .incoming()
    {
        let stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            let wait = || {
                if peeks {
                    stream.peek(&mut [0]).map(drop)
                } else {
                    Ok(())
                }
            };
            answer(&stream, &stream, answers, wait)
        });
    }
    Ok(())
}

fn answer(
    from: impl Read,
    mut to: impl Write,
    answers: Answers,
    wait: impl Fn() -> std::io::Result<()>,
) -> Result<()> {
    let mut from = BufReader::new(from);
    loop {
        if from.buffer().is_empty() {
            wait()?;
        }
        let Some(request) = read_request(&mut from)? else {
            return Ok(());
        };
        let writes = if request.path.contains("/bytewise/") {
            Writes::Bytewise
        } else {
            Writes::Whole
        };
        let body = answers.to(request);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        write(&mut to, &[head.into_bytes(), body].concat(), writes)?;
    }
}

/// Repeats `attempt` until the other side listens.
fn patiently<T>(attempt: impl Fn() -> std::io::Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if started.elapsed() > PATIENCE => return Err(error).context("nobody listens"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
