//! Clients: one request in an endpoint's form, over gRPC or HTTP, or into a file.
//!
//! `opentelemetry-otlp` is not used: it sends one request a resource, keeps the number of spans that a partial
//! success rejected to itself (they would be lost uncounted), encodes again for each attempt, has no TLS for HTTP with
//! the hyper client, and reads the environment behind the configuration's back.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;
use tracing::{info, warn};

use super::form::Request;
use super::settings::{Protocol, Settings, SettingsError};
use stamp::Stamp;

mod connect;
mod file;
mod grpc;
mod headers;
mod http1;
mod stamp;
mod tls;

/// `User-Agent` of the exporter (OTLP exporter specification, "User Agent").
pub(crate) const USER_AGENT: &str = concat!("spanwire/", env!("CARGO_PKG_VERSION"));

/// Longest that an endpoint may ask for between two attempts.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// Most that is read of a response: it holds a number and a message.
const RESPONSE_BYTES: usize = 64 * 1024;

/// The endpoint took the request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Spans of the request that it did not keep (partial success).
    pub(super) rejected: u64,
    /// What it said of that, or a warning where nothing was rejected.
    pub(super) message: String,
}

/// The endpoint did not take the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether the same request may succeed later (OTLP specification, "Failures").
    pub(super) retryable: bool,
    /// Whether less of it may be taken.
    pub(super) too_large: bool,
    /// How long the endpoint wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// What went wrong, for people.
    pub(super) message: String,
}

impl Failure {
    /// The endpoint could not be reached, or the connection broke.
    pub(super) fn unreachable(message: String) -> Self {
        Self {
            retryable: true,
            too_large: false,
            retry_after: None,
            message,
        }
    }

    /// It did not answer while it was waited for.
    fn unanswered() -> Self {
        Self::unreachable("no answer in time".to_owned())
    }
}

/// A client of one endpoint, with one connection that all requests share. Its files are read again when they change.
pub(super) struct Client {
    settings: Settings,
    held: Mutex<Held>,
}

struct Held {
    transport: Arc<Transport>,
    /// Of the files as they were when they were last read.
    stamps: Vec<Option<Stamp>>,
}

enum Transport {
    Grpc(Box<grpc::Client>),
    Http(Box<http1::Client>),
    File(file::Client),
}

impl Transport {
    fn new(settings: &Settings) -> Result<Self, SettingsError> {
        if let Protocol::File(rotation) = settings.protocol {
            let client = file::Client::new(Path::new(&settings.endpoint), rotation)?;
            return Ok(Self::File(client));
        }
        let address = Address::new(settings)?;
        let headers = headers::headers(settings)?;
        Ok(match settings.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(grpc::Client::new(&address, headers, settings)?)),
            _ => Self::Http(Box::new(http1::Client::new(&address, headers, settings)?)),
        })
    }
}

impl Client {
    /// Connects lazily: an endpoint that is away is found out by the first [`send`](Self::send). To be called in a
    /// tokio runtime.
    ///
    /// # Errors
    /// What of the settings cannot work: endpoint, headers, certificates.
    pub(super) fn new(settings: Settings) -> Result<Self, SettingsError> {
        // Before they are read, so that what changes meanwhile is read again.
        let stamps = stamp::all(&settings);
        let transport = Arc::new(Transport::new(&settings)?);
        Ok(Self {
            settings,
            held: Mutex::new(Held { transport, stamps }),
        })
    }

    /// Sends one request. An answer that has begun in time is taken also when its end comes late.
    ///
    /// # Errors
    /// What the endpoint said instead of taking it, or that there was no answer until `ends`.
    pub(super) async fn send(&self, request: &Request, ends: Instant) -> Result<Accepted, Failure> {
        match &*self.transport() {
            Transport::Grpc(client) => client.send(request, ends).await,
            Transport::Http(client) => client.send(request, ends).await,
            Transport::File(client) => client.send(request).await,
        }
    }

    /// What the files say now. While they are not what they should be, as half way through a rotation, what they said
    /// before stays in force.
    fn transport(&self) -> Arc<Transport> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamp::all(&self.settings);
        if stamps != held.stamps {
            held.stamps = stamps;
            match Transport::new(&self.settings) {
                Ok(transport) => {
                    info!(
                        "certificates or headers for {} were read again",
                        self.settings.shown()
                    );
                    held.transport = Arc::new(transport);
                }
                Err(error) => warn!(
                    "certificates or headers for {} have changed and cannot be used, so those from before are: {error}",
                    self.settings.shown()
                ),
            }
        }
        Arc::clone(&held.transport)
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    /// What is asked for; of a socket, by the name `localhost`.
    uri: Uri,
    /// The socket in the file system to connect to instead.
    socket: Option<PathBuf>,
}

impl Address {
    fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let text = &settings.endpoint;
        let invalid = |reason: String| SettingsError::Endpoint {
            endpoint: settings.shown(),
            reason,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(invalid(
                    "a socket needs its whole path, as in unix:/run/otlp.sock".to_owned(),
                ));
            }
            let uri = match settings.protocol {
                Protocol::Grpc => "http://localhost",
                Protocol::HttpProtobuf | Protocol::HttpJson | Protocol::File(_) => {
                    "http://localhost/v1/traces"
                }
                Protocol::Zipkin => "http://localhost/api/v2/spans",
            };
            return Ok(Self {
                uri: Uri::from_static(uri),
                socket: Some(Path::new(path).to_owned()),
            });
        }
        let uri: Uri = text
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
        match uri.scheme_str() {
            Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => {
                Ok(Self { uri, socket: None })
            }
            _ => Err(invalid(
                "it needs the form http://HOST:PORT, https://HOST:PORT or unix:PATH".to_owned(),
            )),
        }
    }

    fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many errors repeat their cause.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
