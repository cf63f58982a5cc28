//! What export needs to know, already gathered from file, environment and flags.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::queue::Limits;

/// Transport of OTLP (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`
    Grpc,
    /// `http/protobuf`
    HttpProtobuf,
}

/// Compression of requests (`OTEL_EXPORTER_OTLP_COMPRESSION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// `gzip`
    Gzip,
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
    /// URL. For HTTP the whole one, with `/v1/traces` where the specification appends that.
    pub endpoint: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Further headers of each request.
    pub headers: Vec<(String, String)>,
    /// Longest that one attempt takes (`OTEL_EXPORTER_OTLP_TIMEOUT`).
    pub timeout: Duration,
    /// Longest that a batch takes with all its attempts (`OTEL_BSP_EXPORT_TIMEOUT`); then it is lost.
    pub export_timeout: Duration,
    /// Compression.
    pub compression: Compression,
    /// TLS.
    pub tls: Tls,
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
            timeout: Duration::from_secs(10),
            export_timeout: Duration::from_secs(30),
            compression: Compression::None,
            tls: Tls::default(),
            limits: Limits::default(),
        }
    }
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not a URL that can be connected to.
    #[error("the OTLP endpoint {endpoint:?} is no URL to export to: {reason}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Name or value is not one that HTTP allows. The value may be a secret and is not shown.
    #[error("the OTLP header {name:?} has a name or a value that HTTP does not allow")]
    Header {
        /// Its name.
        name: String,
    },
    /// A PEM file that cannot be read.
    #[error("cannot read {} for OTLP over TLS: {source}", path.display())]
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
    /// Certificate without key or key without certificate.
    #[error("a client certificate and its key are only of use together: set both for OTLP, or neither")]
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
