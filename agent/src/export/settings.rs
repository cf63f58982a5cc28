//! What export needs to know, already gathered from file, environment and flags.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::form::Form;
use super::queue::Limits;
pub use super::spool::{Fsync, Settings as Spool, SpoolError};

mod configured;

pub use configured::{endpoints, metrics, spool};

/// How an endpoint is spoken to: `OTEL_EXPORTER_OTLP_PROTOCOL`, and what is not OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`
    Grpc,
    /// `http/protobuf`
    HttpProtobuf,
    /// `http/json`
    HttpJson,
    /// Zipkin's second API, in JSON over HTTP.
    Zipkin,
    /// OTLP in JSON into a file, a request a line.
    File(Rotation),
}

/// When a file is full, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Most bytes of a file, unless one line is larger.
    pub max_size: u64,
    /// Most files, the one that is written to among them.
    pub max_files: u32,
}

impl Protocol {
    /// What spans are written in.
    pub(super) fn form(self) -> Form {
        match self {
            Self::Grpc | Self::HttpProtobuf => Form::Protobuf,
            Self::HttpJson | Self::File(_) => Form::Json,
            Self::Zipkin => Form::Zipkin,
        }
    }
}

/// Compression of requests (`OTEL_EXPORTER_OTLP_COMPRESSION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// `gzip`
    Gzip,
    /// `zstd`, which the specification does not know, and the collector does.
    Zstd,
}

/// Proxies to go through. Without `Debug`: a URL may hold a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// URL of the one for endpoints without TLS (`HTTP_PROXY`).
    pub http: Option<String>,
    /// URL of the one for endpoints with TLS (`HTTPS_PROXY`).
    pub https: Option<String>,
    /// Hosts, domains and ranges of addresses that are reached without (`NO_PROXY`), with commas between them.
    pub except: String,
}

/// PEM files for TLS; used where the endpoint is `https`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust instead of the system's (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub certificate: Option<PathBuf>,
    /// Own certificate chain (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`); needs the key.
    pub client_certificate: Option<PathBuf>,
    /// Own private key (`OTEL_EXPORTER_OTLP_CLIENT_KEY`); needs the certificate.
    pub client_key: Option<PathBuf>,
}

/// What is sent: which service of OTLP takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    #[default]
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// The method of its service over gRPC.
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// Where spans go, and how. Without `Debug`: the headers hold tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is sent.
    pub signal: Signal,
    /// URL; for HTTP the whole one, with `/v1/traces` where the specification appends that. Or `unix:PATH` of a socket. Of a
    /// file, its path.
    pub endpoint: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Further headers of each request.
    pub headers: Vec<(String, String)>,
    /// A file with more of them, a line each: `Name: value`. They go before `headers`, and are read again when it changes.
    pub headers_file: Option<PathBuf>,
    /// Longest that one attempt takes (`OTEL_EXPORTER_OTLP_TIMEOUT`).
    pub timeout: Duration,
    /// Longest that a batch takes with all its attempts (`OTEL_BSP_EXPORT_TIMEOUT`); then it is lost.
    pub export_timeout: Duration,
    /// Compression.
    pub compression: Compression,
    /// TLS.
    pub tls: Tls,
    /// Proxies.
    pub proxy: Proxy,
    /// Batching.
    pub limits: Limits,
}

impl Settings {
    /// `endpoint` by `protocol`, everything else as the specification's defaults.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, protocol: Protocol) -> Self {
        Self {
            signal: Signal::default(),
            endpoint: endpoint.into(),
            protocol,
            headers: Vec::new(),
            headers_file: None,
            timeout: Duration::from_secs(10),
            export_timeout: Duration::from_secs(30),
            compression: Compression::None,
            tls: Tls::default(),
            proxy: Proxy::default(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// The endpoint as it is named in the log: without a user's part and without the values of a query, which may be secrets.
    #[must_use]
    pub fn shown(&self) -> String {
        if matches!(self.protocol, Protocol::File(_)) {
            return self.endpoint.clone();
        }
        let url = self.endpoint.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = url.split_once("://") else {
            return url.to_owned();
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not a URL that can be connected to.
    #[error("the endpoint {endpoint:?} is no URL to export to: {reason}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a proxy that can be gone through. Its URL may hold a password and is not shown.
    #[error("the proxy for {scheme} endpoints is none to go through: give it as http://HOST:PORT")]
    Proxy {
        /// Scheme of the endpoints that it is for.
        scheme: &'static str,
    },
    /// A line of the file of headers that is none. It may be a secret and is not shown.
    #[error("line {line} of {} is no header: give a header a line, as `Name: value`", path.display())]
    HeaderLine {
        /// Path as it was given.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// Name or value is not one that HTTP allows. The value may be a secret and is not shown.
    #[error("the header {name:?} has a name or a value that HTTP does not allow")]
    Header {
        /// Its name.
        name: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {} for export: {source}", path.display())]
    Read {
        /// Path as it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A PEM file without what it should hold.
    #[error("{} holds no {expected} in PEM form that TLS can use: {reason}", path.display())]
    Pem {
        /// Path as it was given.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// Why.
        reason: String,
    },
    /// A file that cannot be written to.
    #[error("cannot write spans to {}: {source}", path.display())]
    File {
        /// Path as it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A spool that cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Certificate without key or key without certificate.
    #[error("a client certificate and its key are only of use together: set both, or neither")]
    HalfIdentity,
    /// TLS itself refused.
    #[error("cannot set up TLS for {endpoint:?}: {reason}")]
    Tls {
        /// Endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_named_without_credentials() {
        for (endpoint, expect) in [
            (
                "https://me:hunter2@collector:4318/a/v1/traces?key=abc#d",
                "https://collector:4318/a/v1/traces",
            ),
            ("http://collector", "http://collector"),
            ("http://a/b@c", "http://a/b@c"),
            ("unix:/run/otlp.sock", "unix:/run/otlp.sock"),
        ] {
            assert_eq!(Settings::new(endpoint, Protocol::Grpc).shown(), expect);
        }
    }
}
