//! OTLP: one request of encoded spans to the endpoint, over gRPC or HTTP.
//!
//! `opentelemetry-otlp` is not used: it sends one request a resource, keeps the number of spans that a partial
//! success rejected to itself (they would be lost uncounted), encodes again for each attempt, has no TLS for HTTP with
//! the hyper client, and reads the environment behind the configuration's back.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::settings::{Protocol, Settings, SettingsError};

mod grpc;
mod http1;
mod tls;

/// `User-Agent` of the exporter (OTLP exporter specification, "User Agent").
pub(crate) const USER_AGENT: &str = concat!("spanwire/", env!("CARGO_PKG_VERSION"));

/// Longest that an endpoint may ask for between two attempts.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// The endpoint took the request.
#[derive(Debug, PartialEq, Eq)]
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
            retry_after: None,
            message,
        }
    }
}

/// A client of one endpoint, with one connection that all requests share.
pub(super) enum Client {
    Grpc(Box<grpc::Client>),
    Http(Box<http1::Client>),
}

impl Client {
    /// Connects lazily: an endpoint that is away is found out by the first [`send`](Self::send). To be called in a
    /// tokio runtime.
    ///
    /// # Errors
    /// What of the settings cannot work: endpoint, headers, certificates.
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let endpoint = endpoint(&settings.endpoint)?;
        let headers = headers(&settings.headers)?;
        Ok(match settings.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(grpc::Client::new(endpoint, headers, settings)?)),
            Protocol::HttpProtobuf => Self::Http(Box::new(http1::Client::new(endpoint, headers, settings)?)),
        })
    }

    /// Sends one encoded `ExportTraceServiceRequest`. Waits as long as the endpoint does: the caller sets the limit.
    ///
    /// # Errors
    /// What the endpoint said instead of taking it.
    pub(super) async fn send(&self, request: Bytes) -> Result<Accepted, Failure> {
        match self {
            Self::Grpc(client) => client.send(request).await,
            Self::Http(client) => client.send(request).await,
        }
    }
}

fn endpoint(text: &str) -> Result<Uri, SettingsError> {
    let invalid = |reason: String| SettingsError::Endpoint {
        endpoint: text.to_owned(),
        reason,
    };
    let uri: Uri = text
        .parse()
        .map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        _ => Err(invalid(
            "it needs the form http://HOST:PORT or https://HOST:PORT".to_owned(),
        )),
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let invalid = || SettingsError::Header { name: name.clone() };
        let key = HeaderName::try_from(name).map_err(|_| invalid())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| invalid())?;
        // Tokens travel in these: never to be logged, nor kept in a compression table.
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
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
