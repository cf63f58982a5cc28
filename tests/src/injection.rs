//! Clients that make the requests of a plan, and servers that keep what they were sent, byte by byte.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;

use crate::agent::{Hooks, Options};
use crate::child::{self, Child};
use crate::http::{Connection, Server};
use crate::seen::Seen;
use crate::service::Service;
use crate::span::{Kind, Span};
use crate::{port, wait, workload};

/// A request that a client is to make.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Planned {
    /// Its place in the plan.
    pub index: usize,
    /// Path, which no other request has.
    pub path: String,
    /// Bytes of its body: [`counting`] from `index` on. None for GET.
    pub size: Option<usize>,
    /// The body's length is not said before.
    pub chunked: bool,
}

/// `size` bytes that count up modulo 251: no two bodies of neighbours are alike, and no power of two is a period.
#[must_use]
pub fn counting(index: usize, size: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..251).collect();
    let start = index % period.len();
    let mut bytes = period.repeat((start + size).div_ceil(period.len()));
    bytes.truncate(start + size);
    bytes.split_off(start)
}

/// `count` requests to paths under `/PREFIX/`, of which every other one has a body. Their sizes are around whatever a page, a
/// frame or a buffer may end at; `large` of them have 10 MiB.
#[must_use]
pub fn plan(prefix: &str, count: usize, large: usize) -> Vec<Planned> {
    let around = [4096, 16_384, 65_536]
        .into_iter()
        .flat_map(|size| [size - 1, size, size + 1]);
    let sizes: Vec<usize> = [0, 1, 16].into_iter().chain(4071..=4097).chain(around).collect();
    let planned = |index: usize| {
        let place = index / 4;
        let size = match index % 4 {
            _ if index < 2 * large => Some(10 << 20),
            // Of long trials, some more up to 10 MiB.
            1 if place % 250 == 3 => Some((1 << 20) + place / 250 * 90_000),
            1 | 3 => Some(sizes[place % sizes.len()]),
            _ => None,
        };
        Planned {
            index,
            path: format!("/{prefix}/{index}"),
            size,
            chunked: size.is_some() && index % 4 == 3,
        }
    };
    (0..count).map(planned).collect()
}

/// A library that sends requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// http.client of Python, with a time limit.
    HttpClient,
    /// The same without one, so that its reads wait in the kernel; on one connection, and signals come to it.
    Waiting,
    /// requests, which is urllib3.
    Requests,
    /// httpx.
    Httpx,
    /// aiohttp.
    Aiohttp,
    /// http of Node.
    NodeHttp,
    /// fetch of Node, which is undici.
    Fetch,
    /// http2 of Node.
    NodeHttp2,
    /// net/http of Go.
    GoHttp,
    /// The same over HTTP/2.
    GoHttp2,
    /// Frames of h2 of Python, cut by sends in each way.
    CutHttp2,
    /// curl.
    Curl,
    /// `java.net.http.HttpClient`.
    JavaHttpClient,
    /// `HttpURLConnection` of Java.
    UrlConnection,
}

impl Client {
    /// All that speak HTTP/1.1.
    pub const HTTP1: [Self; 8] = [
        Self::HttpClient,
        Self::Requests,
        Self::Httpx,
        Self::Aiohttp,
        Self::NodeHttp,
        Self::Fetch,
        Self::GoHttp,
        Self::Curl,
    ];

    /// All that speak HTTP/2.
    pub const HTTP2: [Self; 2] = [Self::NodeHttp2, Self::GoHttp2];

    /// All of Java, which asks how many bytes wait on a socket.
    pub const JAVA: [Self; 2] = [Self::JavaHttpClient, Self::UrlConnection];

    /// What its paths begin with.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The command that makes the requests of a plan, `concurrency` at a time, and ends well where all were answered. What it
    /// reads is put into `folder`.
    ///
    /// # Errors
    /// It is not installed, or cannot be built.
    pub fn ask(
        self,
        address: SocketAddr,
        plan: &[Planned],
        concurrency: usize,
        folder: &Path,
    ) -> Result<Command> {
        if self == Self::Curl {
            return curl(address, plan, folder);
        }
        let file = folder.join(self.prefix());
        std::fs::write(&file, serde_json::to_vec(plan)?)?;
        let with = |program: &str, source: &str| -> Result<Command> {
            let mut command = child::command(program);
            command.arg(workload::file(source)?);
            Ok(command)
        };
        let python = || {
            with(
                &workload::environment("python")?.to_string_lossy(),
                "propagation/ask.py",
            )
        };
        if self == Self::CutHttp2 {
            let environment = workload::environment("python")?;
            let mut command = with(&environment.to_string_lossy(), "propagation/ask_cut.py")?;
            command.arg(address.to_string()).arg(file);
            command.arg(concurrency.to_string());
            return Ok(command);
        }
        let node = || with("node", "propagation/ask.js");
        let go = || -> Result<_> { Ok(child::command(&workload::go_program("ask")?.to_string_lossy())) };
        let (mut command, library) = match self {
            Self::HttpClient => (python()?, "http.client"),
            Self::Waiting => (python()?, "waiting"),
            Self::Requests => (python()?, "requests"),
            Self::Httpx => (python()?, "httpx"),
            Self::Aiohttp => (python()?, "aiohttp"),
            Self::NodeHttp => (node()?, "http"),
            Self::Fetch => (node()?, "fetch"),
            Self::NodeHttp2 => (node()?, "http2"),
            Self::GoHttp => (go()?, "http"),
            Self::GoHttp2 => (go()?, "http2"),
            Self::JavaHttpClient => (workload::java("Ask")?, "HttpClient"),
            Self::UrlConnection => (workload::java("Ask")?, "HttpURLConnection"),
            Self::Curl | Self::CutHttp2 => bail!("takes its plan otherwise"),
        };
        command
            .args([library, &address.to_string()])
            .arg(file)
            .arg(concurrency.to_string());
        Ok(command)
    }
}

/// One curl for all of a plan, on one connection.
fn curl(address: SocketAddr, plan: &[Planned], folder: &Path) -> Result<Command> {
    let mut settings = String::new();
    for (number, planned) in plan.iter().enumerate() {
        if number > 0 {
            settings.push_str("next\n");
        }
        let index = planned.index;
        write!(
            settings,
            "url = \"http://{address}{}\"\nsilent\nshow-error\nfail\noutput = /dev/null\nheader = \"X-Index: {index}\"\n",
            planned.path
        )?;
        if let Some(size) = planned.size {
            let body = folder.join(format!("curl-{index}"));
            std::fs::write(&body, counting(index, size))?;
            writeln!(settings, "request = POST\ndata-binary = \"@{}\"", body.display())?;
        }
        if planned.chunked {
            writeln!(settings, "header = \"Transfer-Encoding: chunked\"")?;
        }
    }
    let file = folder.join("curl");
    std::fs::write(&file, settings)?;
    let mut command = child::command("curl");
    command.arg("-K").arg(file);
    Ok(command)
}

/// A request as a server got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Lines of its head, each as it was sent, or fields of a header block as `NAME: VALUE`; then trailers as `trailer LINE`.
    pub head: Vec<String>,
    /// Its body.
    pub body: Body,
}

/// A body without its transfer coding.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// As many bytes, which are those that were planned.
    Planned(usize),
    /// Other bytes.
    Other(Vec<u8>),
    /// More of them than are kept: how many, and their checksum.
    Long(usize, u64),
}

impl Debug for Body {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Planned(size) => write!(to, "{size} bytes as planned"),
            Self::Other(bytes) => {
                let shown = &bytes[..bytes.len().min(200)];
                write!(to, "{} bytes: {}", bytes.len(), shown.escape_ascii())
            }
            Self::Long(size, sum) => write!(to, "{size} bytes of checksum {sum:x}"),
        }
    }
}

impl Body {
    /// What is kept of other bytes than were planned.
    const KEPT: usize = 4096;

    /// Of the request to `path`, whose last part is its index, where it has one.
    #[must_use]
    pub fn of(path: &str, bytes: Vec<u8>) -> Self {
        let index = path.rsplit('/').next().and_then(|last| last.parse().ok());
        match index {
            Some(index) if counting(index, bytes.len()) == bytes => Self::Planned(bytes.len()),
            _ if bytes.len() > Self::KEPT => {
                let mut sum = DefaultHasher::new();
                bytes.hash(&mut sum);
                Self::Long(bytes.len(), sum.finish())
            }
            _ => Self::Other(bytes),
        }
    }
}

impl Got {
    /// Values of the fields of this name, in any case.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.iter().filter_map(|line| line.split_once(':'));
        let fields = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.trim()).collect()
    }
}

/// Requests by their paths.
pub type Requests = BTreeMap<String, Vec<Got>>;

/// What came so far; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<Everything>>);

#[derive(Debug, Default)]
struct Everything {
    requests: Requests,
    /// Paths in the order in which their requests came.
    paths: Vec<String>,
    complaints: Vec<String>,
    pace: Pace,
}

/// How requests came.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    count: usize,
    first_and_last: Option<[Instant; 2]>,
    /// Longest time between two.
    longest: Duration,
}

impl Pace {
    fn one_more(&mut self) {
        let now = Instant::now();
        let [first, last] = self.first_and_last.unwrap_or([now; 2]);
        self.longest = self.longest.max(now - last);
        self.first_and_last = Some([first, now]);
        self.count += 1;
    }
}

impl Kept {
    /// Adds a request.
    pub fn add(&self, path: String, got: Got) {
        let mut kept = self.0.lock().expect("no holder panics");
        kept.pace.one_more();
        kept.paths.push(path.clone());
        kept.requests.entry(path).or_default().push(got);
    }

    /// Adds something that is no request.
    pub fn complain(&self, what: String) {
        self.0.lock().expect("no holder panics").complaints.push(what);
    }

    /// Says how many requests came since it last said so, in what time, and the longest time between two of them: a long trial
    /// without spanwire and one with it are compared by that.
    pub fn say_pace(&self, of_whom: impl Debug) {
        let mut kept = self.0.lock().expect("no holder panics");
        let pace = std::mem::take(&mut kept.pace);
        if let Some([first, last]) = pace.first_and_last {
            eprintln!(
                "{of_whom:?}: {} requests in {:.1?}, at most {:.1?} from one to the next",
                pace.count,
                last - first,
                pace.longest
            );
        }
    }

    /// How many requests there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().expect("no holder panics").paths.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last `count` of them, or fewer.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Got> {
        let kept = self.0.lock().expect("no holder panics");
        let paths = kept.paths.iter().rev().take(count);
        paths
            .filter_map(|path| kept.requests[path].last().cloned())
            .collect()
    }

    /// Waits for `count` more.
    ///
    /// # Errors
    /// They do not come in time.
    pub fn more(&self, count: usize) -> Result<()> {
        let due = self.len() + count;
        wait::until(&format!("{count} more requests"), || {
            Ok((self.len() >= due).then_some(()))
        })
    }

    /// All of them, which are not kept any more.
    ///
    /// # Errors
    /// Something came that was no request.
    pub fn take(&self) -> Result<Requests> {
        let Everything {
            requests, complaints, ..
        } = std::mem::take(&mut *self.0.lock().expect("no holder panics"));
        ensure!(complaints.is_empty(), "no requests: {complaints:#?}");
        Ok(requests)
    }
}

/// What each request is answered with.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server of HTTP/1.1 in the test's own process, which keeps each request.
#[derive(Debug)]
pub struct Keeper {
    /// Where it listens.
    pub address: SocketAddr,
    /// What came.
    pub kept: Kept,
    _server: Server,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// No port is free.
    pub fn start() -> Result<Self> {
        let (listener, address) = port::listener()?;
        let kept = Kept::default();
        let keep = kept.clone();
        let server = Server::tcp(listener, move |connection: Connection<TcpStream>| {
            if let Err(error) = serve(connection.socket(), &keep) {
                keep.complain(format!("{error:#}"));
            }
        })?;
        Ok(Self {
            address,
            kept,
            _server: server,
        })
    }
}

fn serve(socket: &TcpStream, keep: &Kept) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 16, socket);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = match reader.read_until(b'\n', &mut line) {
                // HAProxy leaves so, where it has nothing more to ask.
                Err(error) if error.kind() == ErrorKind::ConnectionReset && line.is_empty() => 0,
                read => read?,
            };
            if read == 0 {
                ensure!(head.is_empty(), "a head breaks off: {head:?}");
                return Ok(());
            }
            if line == b"\r\n" || line == b"\n" {
                break;
            }
            head.push(line.escape_ascii().to_string());
        }
        let path = head.first().and_then(|line| line.split(' ').nth(1));
        let path = path
            .with_context(|| format!("no request line: {head:?}"))?
            .to_owned();
        let mut got = Got {
            head,
            body: Body::Planned(0),
        };
        for line in &mut got.head {
            // The rest of what is escaped is for comparisons.
            if let Some(text) = line.strip_suffix("\\r\\n") {
                *line = text.to_owned();
            }
        }
        if !got.values("expect").is_empty() {
            let mut socket = socket;
            socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Vec::new();
        if let Some(length) = got.values("content-length").first() {
            body = vec![0; length.parse()?];
            reader
                .read_exact(&mut body)
                .with_context(|| format!("body of {path}"))?;
        } else if got.values("transfer-encoding") == ["chunked"] {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim_end(), 16)
                    .with_context(|| format!("{path}: chunk {line:?}"))?;
                let start = body.len();
                body.resize(start + size, 0);
                reader.read_exact(&mut body[start..])?;
                line.clear();
                reader.read_line(&mut line)?;
                while size == 0 && line != "\r\n" {
                    got.head.push(format!("trailer {}", line.trim_end()));
                    line.clear();
                    ensure!(reader.read_line(&mut line)? > 0, "{path}: trailers break off");
                }
                ensure!(line == "\r\n", "{path}: end of a chunk {line:?}");
                if size == 0 {
                    break;
                }
            }
        }
        got.body = Body::of(&path, body);
        keep.add(path, got);
        let mut socket = socket;
        socket.write_all(ANSWER)?;
    }
}

/// A server of HTTP/2 without TLS in the test's own process, which keeps each request. Calls of gRPC get one message back.
#[derive(Debug)]
pub struct Keeper2 {
    /// Where it listens.
    pub address: SocketAddr,
    /// What came.
    pub kept: Kept,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Keeper2 {
    /// Starts it.
    ///
    /// # Errors
    /// No port is free, or no thread can be started.
    pub fn start() -> Result<Self> {
        let (listener, address) = port::listener()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let kept = Kept::default();
        let keep = kept.clone();
        let inside = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        drop(inside);
        runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve2(connection, keep.clone()));
            }
        });
        Ok(Self {
            address,
            kept,
            runtime: Some(runtime),
        })
    }
}

impl Drop for Keeper2 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve2(connection: tokio::net::TcpStream, keep: Kept) {
    let kept = keep.clone();
    let service = hyper::service::service_fn(move |request| answer2(request, kept.clone()));
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(connection), service).await;
    if let Err(error) = served {
        // How a client leaves is its own matter.
        let left = error.is_closed() || error.is_canceled() || error.to_string().contains("io");
        if !left {
            keep.complain(format!("{error:?}"));
        }
    }
}

type Answer = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

async fn answer2(
    request: hyper::Request<hyper::body::Incoming>,
    keep: Kept,
) -> Result<hyper::Response<Answer>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .map_or("", |path| path.as_str())
        .to_owned();
    let mut head = vec![format!("{} {path}", parts.method)];
    for (name, value) in &parts.headers {
        head.push(format!("{name}: {}", value.as_bytes().escape_ascii()));
    }
    let body = body.collect().await?.to_bytes();
    let body = Body::of(&path, body.to_vec());
    let is_call = parts
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    keep.add(path, Got { head, body });
    let mut response = hyper::Response::new(Full::new(Bytes::from_static(b"ok")).boxed());
    if is_call {
        let fields = response.headers_mut();
        fields.insert(
            "content-type",
            hyper::header::HeaderValue::from_static("application/grpc"),
        );
        let mut trailers = hyper::HeaderMap::new();
        trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
        let message = Full::new(Bytes::from_static(b"\0\0\0\0\x02ok"));
        *response.body_mut() = message.with_trailers(async move { Some(Ok(trailers)) }).boxed();
    }
    Ok(response)
}

/// How many requests of each client there are: `SPANWIRE_REQUESTS`, which a longer trial sets, else a share of `count`.
///
/// # Errors
/// That is no number.
pub fn requests(hooks: Hooks, count: usize) -> Result<usize> {
    match std::env::var("SPANWIRE_REQUESTS") {
        Ok(count) => Ok(count.parse()?),
        Err(_) => Ok(hooks.share(count)),
    }
}

/// Those of `all` whose requests there are: the ones that `SPANWIRE_CLIENTS` names with commas between, for a longer trial, else all.
#[must_use]
pub fn wanted<T: Copy + Debug>(all: &[T]) -> Vec<T> {
    let named = std::env::var("SPANWIRE_CLIENTS").ok();
    let is_wanted = |client: &T| {
        let name = format!("{client:?}");
        named
            .as_ref()
            .is_none_or(|named| named.split(',').any(|wanted| wanted == name))
    };
    all.iter().copied().filter(is_wanted).collect()
}

/// How many of `count` requests have 10 MiB.
#[must_use]
pub fn large(count: usize) -> usize {
    (count / 1000).max(1)
}

/// How long `count` requests may take before they count as stalled.
#[must_use]
pub fn patience(count: usize) -> Duration {
    wait::LIMIT.max(Duration::from_millis(20) * count.try_into().unwrap_or(u32::MAX))
}

/// A service that asks `target` for what it is asked, with no header of who asked.
///
/// # Errors
/// It does not start.
pub fn pass_on(target: SocketAddr) -> Result<Service> {
    let port = port::free()?;
    let mut command = child::command(workload::PYTHON);
    command.arg(workload::file("propagation/pass_on.py")?);
    command.args([port.to_string(), target.to_string()]);
    Service::listening(Child::spawn(command)?, port)
}

/// `spanwire run` that injects.
#[must_use]
pub fn propagating(hooks: Hooks) -> Options {
    Options::run(hooks).flag("--propagate").flag("http1,http2,amqp")
}

/// How many contexts were injected, or not, for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Injected.
    pub injected: u64,
    /// The application had one of its own.
    pub own: u64,
    /// Neither.
    pub skipped: u64,
}

impl Outcome {
    /// As the summary says.
    #[must_use]
    pub fn of(seen: &Seen) -> Self {
        let value = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
        Self {
            injected: value("injected"),
            own: value("own"),
            skipped: ["cut", "full", "unseen", "refused", "untold"]
                .map(|reason| value(&format!("skipped.{reason}")))
                .iter()
                .sum(),
        }
    }
}

/// Requests by their paths, each of which came once.
///
/// # Errors
/// One came again.
pub fn once(requests: Requests) -> Result<BTreeMap<String, Got>> {
    let one = |(path, mut got): (String, Vec<Got>)| {
        let first = got.pop().filter(|_| got.is_empty());
        Ok((path.clone(), first.with_context(|| format!("{path} came again"))?))
    };
    requests.into_iter().map(one).collect()
}

/// The clients' spans by their paths.
#[must_use]
pub fn clients(seen: &Seen) -> HashMap<&str, &Span> {
    let spans = seen.spans.iter().filter(|span| span.kind == Kind::Client);
    spans.map(|span| (span.path(), span)).collect()
}

/// The header that names a span.
#[must_use]
pub fn header_of(span: &Span) -> String {
    format!("traceparent: 00-{}-{}-01", span.trace_id, span.span_id)
}
