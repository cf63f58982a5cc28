//! One engine: questions by `GET`, and answers of bounded size in bounded time.

use super::inspect::{self, Inspected};
use crate::export::USER_AGENT;
use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, SERVER, USER_AGENT as USER_AGENT_FIELD};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest that a container takes: the way there, the questions and the answers.
const WITHIN: Duration = Duration::from_secs(5);
/// Largest head of an answer, and the fields of one.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;
/// Largest answer. Docker's about a container is 10 kB, beside labels, mounts and the log of health checks.
const BODY_BYTES: usize = 1 << 20;
/// Most characters of what an engine says of an error.
const LONGEST_WORD: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no such socket.
    #[error("there is no socket")]
    Absent,
    /// Nobody is there, or we may not.
    #[error("{0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("no answer within {} s", WITHIN.as_secs())]
    Slow,
    /// What came is not HTTP, or broke off.
    #[error("{0}")]
    Broken(String),
    /// It is longer than what is read.
    #[error("an answer of more than {BODY_BYTES} bytes")]
    Long,
    /// It could not, or did not want to.
    #[error("HTTP {0}{1}")]
    Status(StatusCode, String),
    /// What it says is not what was asked for.
    #[error("an answer that is none: {0}")]
    Strange(String),
}

impl Failure {
    /// Whether another question would be answered the same.
    const fn is_final(&self) -> bool {
        matches!(self, Self::Status(status, _) if status.as_u16() / 100 == 4)
    }
}

/// Tells one socket from another, whatever names they have: device, inode, and when that was changed last, since numbers of inodes
/// are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketId(u64, u64, (i64, i64));

/// An engine.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
}

impl Client {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The socket, if it is there.
    pub(super) fn socket(&self) -> Option<SocketId> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(SocketId(metadata.dev(), metadata.ino(), changed))
    }

    /// The container with an id (64 hexadecimal digits); `None` where the engine has no such container.
    pub(super) async fn container(&self, id: &str) -> Result<Option<Inspected>, Failure> {
        let found = timeout(WITHIN, self.inspect(id)).await;
        found.map_err(|_| Failure::Slow)?
    }

    async fn inspect(&self, id: &str) -> Result<Option<Inspected>, Failure> {
        let answer = self.get(&format!("/containers/{id}/json")).await;
        let answer = match answer {
            Err(Failure::Status(StatusCode::NOT_FOUND, _)) => return Ok(None),
            other => other?,
        };
        let mut inspected = inspect::container(id, &answer.body, answer.server.as_deref())?;
        let Some(image) = inspected.image_to_ask() else {
            return Ok(Some(inspected));
        };
        // The container is known by now: what goes wrong with its image takes nothing from that.
        let image = timeout(WITHIN / 2, self.get(&format!("/images/{image}/json"))).await;
        let image = image
            .map_err(|_| Failure::Slow)
            .flatten()
            .and_then(|answer| inspect::image(&answer.body));
        match image {
            Ok(image) => inspected.add(image),
            // The image of a container may be removed by force, and some let nobody ask for images.
            Err(failure) if failure.is_final() => {}
            Err(failure) => inspected.missing = Some(failure),
        }
        Ok(Some(inspected))
    }

    /// What containers are called now: those of these that the engine has and that run, by id (64
    /// hexadecimal digits), each with its names.
    pub(super) async fn names(&self, ids: &[&str]) -> Result<Vec<(String, Vec<String>)>, Failure> {
        // {"id":["...","..."]}
        let ids = ids.join("%22%2C%22");
        let path = format!("/containers/json?filters=%7B%22id%22%3A%5B%22{ids}%22%5D%7D");
        let answer = timeout(WITHIN, self.get(&path)).await;
        inspect::names(&answer.map_err(|_| Failure::Slow)??.body)
    }

    /// One question, on a connection of its own: what an engine does with those that stay open is not for us to find out.
    async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let stream = UnixStream::connect(&self.path).await;
        let stream = stream.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Absent,
            _ => Failure::Connect(error),
        })?;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEAD_FIELDS)
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // Until it is dropped.
        let mut driver = JoinSet::new();
        driver.spawn(async {
            // Whoever waits for the answer is told.
            let _ = connection.await;
        });
        let response = sender.send_request(request(path)?).await;
        let (head, body) = response.map_err(|error| broken(&error))?.into_parts();
        let body = Limited::new(body, BODY_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Failure::Long,
            None => broken(&*error),
        })?;
        let body = body.to_bytes();
        if head.status != StatusCode::OK {
            let said = inspect::complaint(&body).map(|said| format!(": {}", printable(&said)));
            return Err(Failure::Status(head.status, said.unwrap_or_default()));
        }
        let server = head.headers.get(SERVER).and_then(|it| it.to_str().ok());
        Ok(Answer {
            server: server.map(str::to_owned),
            body,
        })
    }
}

fn request(path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = path.parse().map_err(|_| Failure::Strange(printable(path)))?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // By this, no span is made of it where the engine is watched.
    headers.insert(USER_AGENT_FIELD, HeaderValue::from_static(USER_AGENT));
    Ok(request)
}

struct Answer {
    /// What it says that it is.
    server: Option<String>,
    body: Bytes,
}

fn broken(error: &(dyn Error + 'static)) -> Failure {
    let mut said = error.to_string();
    let mut error = error.source();
    while let Some(source) = error {
        said.push_str(": ");
        said.push_str(&source.to_string());
        error = source.source();
    }
    Failure::Broken(printable(&said))
}

/// The beginning of what was said, as a log can bear it.
pub(super) fn printable(said: &str) -> String {
    let shown = said.chars().filter(|character| !character.is_control());
    shown.take(LONGEST_WORD).collect()
}
