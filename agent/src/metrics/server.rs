//! `/livez`, `/readyz` and `/metrics`: HTTP/1.1 on a Unix socket or a TCP port, one request a connection.
//!
//! Whoever can connect may be slow, wrong or many. So heads are small and come in time, a connection lives for seconds, few
//! are served at once and even fewer scrapes, and the rest is turned away and counted.

use super::family::{Family, Kind, Value};
use super::own;
use super::report::{Questions, Waiting};
use super::results::Results;
use super::text::{self, Format};
use super::vitals::{Ailment, Vitals};
use crate::health::Health;
use crate::kernel::clock::Clock;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fs, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Connections at a time, of all addresses together.
const CONNECTIONS: usize = 32;
/// Scrapes at a time: each holds all series as text.
const SCRAPES: usize = 2;
/// Lists of services at a time: each reads files of all processes, and takes no place of a scrape.
const SURVEYS: usize = 1;
/// Longest until a request's head is here.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Longest that a connection lives.
const LIFETIME: Duration = Duration::from_secs(30);
/// Largest head, and the fields of one.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;
/// Rest after the system had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// The socket's owner alone may connect: metrics name services and hosts.
const MODE: u32 = 0o600;

/// Where requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket at this path.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "http://{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Who can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Whoever comes to the port.
    Any,
    /// Who owns the socket.
    Owner,
}

/// An address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics at {address}: {source}; name another one with --listen or `metrics.listen`")]
pub struct ListenError {
    address: Address,
    source: io::Error,
}

/// What the answers are made of.
pub struct Sources {
    /// The agent's counters.
    pub health: Arc<Health>,
    /// Whether it lives.
    pub vitals: Arc<Vitals>,
    /// The way to the pipeline.
    pub questions: Questions,
    /// What waits to be sent now.
    pub waiting: Box<dyn Fn() -> Waiting + Send + Sync>,
    /// How exports of metrics go.
    pub exports: Arc<Results>,
}

impl Sources {
    /// All there is, gathered now.
    pub async fn families(&self) -> Vec<Family> {
        let report = self.questions.ask().await;
        let mut families = own::families(&self.health, report.as_ref(), &(self.waiting)());
        families.push(self.exports.family());
        families
    }
}

/// Listens; dropped, it takes its sockets' files away.
#[derive(Debug, Default)]
pub struct Server {
    files: Vec<PathBuf>,
}

struct Shared {
    sources: Arc<Sources>,
    connections: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
    surveys: Arc<Semaphore>,
    refused: AtomicU64,
}

impl Server {
    /// Listens at each of `addresses`, and serves in tasks of this runtime. To be called by the only spanwire of the host: a
    /// socket that is there already is that of one that was killed.
    ///
    /// # Errors
    /// An address cannot be had.
    pub fn start(addresses: &[Address], sources: Arc<Sources>) -> Result<Self, ListenError> {
        let shared = Arc::new(Shared {
            sources,
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            scrapes: Arc::new(Semaphore::new(SCRAPES)),
            surveys: Arc::new(Semaphore::new(SURVEYS)),
            refused: AtomicU64::new(0),
        });
        let mut server = Self::default();
        for address in addresses {
            let failed = |source| ListenError {
                address: address.clone(),
                source,
            };
            match address {
                Address::Tcp(at) => {
                    let listener = std::net::TcpListener::bind(at).map_err(failed)?;
                    listener.set_nonblocking(true).map_err(failed)?;
                    let listener = TcpListener::from_std(listener).map_err(failed)?;
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        loop {
                            let accepted = listener.accept().await;
                            shared
                                .accepted(accepted.map(|(stream, _)| stream), Reach::Any)
                                .await;
                        }
                    });
                }
                Address::Unix(path) => {
                    let listener = unix(path).map_err(failed)?;
                    server.files.push(path.clone());
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        loop {
                            let accepted = listener.accept().await;
                            shared
                                .accepted(accepted.map(|(stream, _)| stream), Reach::Owner)
                                .await;
                        }
                    });
                }
            }
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for file in &self.files {
            // The next one does it where we cannot.
            let _ = fs::remove_file(file);
        }
    }
}

/// A socket that nobody else can connect to, not even for a moment: it gets its name when it has its mode.
fn unix(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("the file is there, and is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(format!(".{}", std::process::id()));
    let unnamed = PathBuf::from(unnamed);
    let _ = fs::remove_file(&unnamed);
    let listener = UnixListener::bind(&unnamed)?;
    let named = fs::set_permissions(&unnamed, fs::Permissions::from_mode(MODE))
        .and_then(|()| fs::rename(&unnamed, path));
    if named.is_err() {
        let _ = fs::remove_file(&unnamed);
    }
    named.map(|()| listener)
}

impl Shared {
    async fn accepted<S>(self: &Arc<Self>, stream: io::Result<S>, reach: Reach)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!("cannot take a connection for metrics: {error}");
                return tokio::time::sleep(PAUSE).await;
            }
        };
        match Arc::clone(&self.connections).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(Arc::clone(self).serve(stream, reach, permit));
            }
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn serve<S>(self: Arc<Self>, stream: S, reach: Reach, _permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // A place, kept until the answer is written.
        let scrape = Arc::new(OnceLock::new());
        let service = service_fn(|request| {
            let (shared, scrape) = (Arc::clone(&self), Arc::clone(&scrape));
            async move { Ok::<_, Infallible>(shared.answer(&request, reach, &scrape).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEAD_FIELDS)
            .serve_connection(TokioIo::new(stream), service);
        match timeout(LIFETIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("a connection for metrics: {error}"),
            Err(_) => tracing::debug!("a connection for metrics took longer than {LIFETIME:?}"),
        }
    }

    async fn answer<B>(
        &self,
        request: &Request<B>,
        reach: Reach,
        scrape: &OnceLock<OwnedSemaphorePermit>,
    ) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            let methods = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, methods);
            return response;
        }
        let vitals = &self.sources.vitals;
        match request.uri().path() {
            "/livez" => health(vitals.live(Clock::now().monotonic())),
            "/readyz" => health(vitals.ready(Clock::now().monotonic())),
            "/metrics" => {
                if let Ok(permit) = Arc::clone(&self.scrapes).acquire_owned().await {
                    // One request a connection: it is never set twice.
                    let _ = scrape.set(permit);
                }
                let accept = request.headers().get(ACCEPT);
                let format = Format::accepted(accept.and_then(|accept| accept.to_str().ok()));
                self.metrics(format).await
            }
            // Who runs what on a host is for its owner.
            "/services" if reach == Reach::Owner => {
                if let Ok(permit) = Arc::clone(&self.surveys).acquire_owned().await {
                    let _ = scrape.set(permit);
                }
                self.services(request.uri().query() == Some("all")).await
            }
            "/services" => said(StatusCode::FORBIDDEN, "services are told at a Unix socket alone"),
            _ => said(
                StatusCode::NOT_FOUND,
                "there are /metrics, /livez and /readyz, and at a Unix socket /services",
            ),
        }
    }

    async fn services(&self, all: bool) -> Response<Full<Bytes>> {
        let Some(survey) = self.sources.questions.survey().await else {
            return said(StatusCode::SERVICE_UNAVAILABLE, "the pipeline does not answer");
        };
        // It reads files of every process.
        let text = tokio::task::spawn_blocking(move || serde_json::to_string(&survey.services(all)));
        match text.await {
            Ok(Ok(text)) => answer(StatusCode::OK, "application/json", text),
            Ok(Err(_)) | Err(_) => said(
                StatusCode::INTERNAL_SERVER_ERROR,
                "a bug of spanwire: no services",
            ),
        }
    }

    async fn metrics(&self, format: Format) -> Response<Full<Bytes>> {
        let mut families = self.sources.families().await;
        let refused = Family::new(
            "spanwire.metrics.connections.refused",
            Kind::Counter,
            "{connection}",
            "Connections to this endpoint that were turned away, too many being open.",
        );
        let refused = refused.with([], Value::Count(self.refused.load(Ordering::Relaxed)));
        // It may be some megabytes, and this thread exports as well.
        let text = tokio::task::spawn_blocking(move || {
            families.push(refused);
            text::write(&families, format)
        });
        match text.await {
            Ok(text) => answer(StatusCode::OK, format.content_type(), text),
            Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "a bug of spanwire: no metrics"),
        }
    }
}

fn health(ailment: Result<(), Ailment>) -> Response<Full<Bytes>> {
    match ailment {
        Ok(()) => said(StatusCode::OK, "ok"),
        Err(ailment) => said(StatusCode::SERVICE_UNAVAILABLE, &ailment.to_string()),
    }
}

fn said(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
