//! What one source says: the same shape for the file, the environment and the flags, with every key optional.
//!
//! The file's grammar *is* this shape (serde refuses other keys), and so is its JSON schema. Doc comments here are what
//! editors show.

use super::choice::{
    Color, Compression, Correlation, Covered, Format, Hooks, Injected, KernelLog, Protocol, RuleSet,
};
pub use super::delivery::layer::{ExportFile, Proxy, Spool, Zipkin};
use super::endpoint::Endpoint;
use super::naming::{Baggage, Routes, Spans};
use super::redaction::Redaction;
use super::sampling;
use super::selector::{Exclude, Include};
use super::value::{
    AddressRange, FieldName, HeaderName, Method, Pattern, Period, PortRange, Secret, ServicePattern, Size,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

/// A section, all of whose keys may be left out. `over` puts one source's section over another's.
macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $name:ident { $($(#[$doc:meta])* pub $key:ident: Option<$type:ty>,)* }
    ) => {
        $(#[$about])*
        #[derive(
            Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(deny_unknown_fields, default, expecting = "a mapping of keys to values")]
        pub struct $name {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
        }

        impl $name {
            pub(in crate::config) fn over(self, lower: Self) -> Self {
                Self { $($key: self.$key.or(lower.$key),)* }
            }
        }
    };
}
pub(super) use section;

section! {
    /// What is watched: everything, unless something here selects. A process is selected by `pid`, `exe` and `container`
    /// together, where one value of each that is given fits, or by one of `include`; and by nothing that one of `exclude` fits.
    pub struct Watch {
        /// Process ids on the host.
        pub pid: Option<Vec<NonZeroU32>>,
        /// Executables: file names, or whole paths, with `*` and `**`.
        pub exe: Option<Vec<Pattern>>,
        /// TCP ports, or ranges of ports, of either end of a connection: of what is watched, just these connections.
        pub port: Option<Vec<PortRange>>,
        /// Containers: names, or ids (at least the first 4 characters).
        pub container: Option<Vec<String>>,
        /// Selectors of processes, with own rules for each.
        pub include: Option<Vec<Include>>,
        /// Selectors of processes that are not watched.
        pub exclude: Option<Vec<Exclude>>,
    }
}

section! {
    /// How the kernel captures.
    pub struct Capture {
        /// The set of hooks to use.
        pub hooks: Option<Hooks>,
        /// Size of the ring buffer between kernel and agent; rounded up to a power of two of at least one page.
        pub ring_buffer: Option<Size>,
        /// Connections that are followed at a time.
        pub max_connections: Option<NonZeroU32>,
        /// Whether functions of Go, Python, Node.js and HAProxy are probed, which tell what is sent for which request. A probe
        /// costs every process that runs the same file about 1 us each time.
        pub probes: Option<bool>,
        /// Diagnostics of the programs in the kernel.
        pub kernel_log: Option<KernelLog>,
    }
}

section! {
    /// What is kept of HTTP messages beside method, path, status and sizes.
    pub struct Http {
        /// Methods that spans may be named after, in place of the conventions' own; others are `_OTHER`.
        pub known_methods: Option<Vec<Method>>,
        /// Request headers that become attributes (`http.request.header.NAME`). None unless listed.
        pub captured_request_headers: Option<Vec<FieldName>>,
        /// Response headers that become attributes (`http.response.header.NAME`). None unless listed.
        pub captured_response_headers: Option<Vec<FieldName>>,
    }
}

section! {
    /// What becomes a span of what goes through a message broker.
    pub struct Messaging {
        /// Whether the broker's end of a connection makes spans, too. Unless set, its clients' end alone does: of what
        /// clients on other hosts send and get, a host that runs the broker alone shows nothing.
        pub broker_spans: Option<bool>,
        /// Headers of messages that become attributes (`messaging.header.NAME`), names in any case. None unless listed.
        pub captured_headers: Option<Vec<HeaderName>>,
    }
}

section! {
    /// How trace context gets to other hosts, and to services that make spans themselves.
    pub struct Propagate {
        /// Into which requests of watched clients a `traceparent` is put that have none.
        pub headers: Option<Vec<Injected>>,
        /// Addresses whose contexts are not taken over: what comes from there begins a trace of its own, linked to theirs.
        /// None unless set.
        pub refuse_from: Option<Vec<AddressRange>>,
        /// Whether the `baggage` of a request of HTTP/1 goes on with the requests of HTTP/1 that are sent for it, where a
        /// `traceparent` is put in: all of it, to whomever they go but addresses of `refuse_from`. Not unless set.
        pub baggage: Option<bool>,
        /// Whether the `x-request-id` or `x-correlation-id` of such a request does, too; and as which of both one is made, from
        /// the trace's id, where neither came.
        pub correlation: Option<Correlation>,
    }
}

section! {
    /// Services that make spans themselves, by an OpenTelemetry SDK. What they cover is left to them.
    pub struct Sdk {
        /// Whether they are found: by an SDK that their start loads, and by exports of traces.
        pub detect: Option<bool>,
        /// Services that make spans themselves, found or not.
        pub instrumented: Option<Vec<ServicePattern>>,
        /// Services that are traced all the same.
        pub kept: Option<Vec<ServicePattern>>,
        /// What such a service makes spans of. Requests that it sends are left to it where they carry a context of its own.
        pub covers: Option<Vec<Covered>>,
    }
}

section! {
    /// What is written to standard output.
    pub struct Output {
        /// The form of finished traces.
        pub format: Option<Format>,
        /// When the tree has colours.
        pub color: Option<Color>,
        /// Streams of HTTP/2 and gRPC that are open for so long are shown with `spanwire.open`, again each time that
        /// passes, though never exported: they are once they are over. Never unless set; 0 is never.
        pub open_after: Option<Period>,
    }
}

section! {
    /// An OTLP endpoint, and how to speak to it.
    pub struct Otlp {
        /// Whether to export there. Unless set: when there is an endpoint.
        pub enabled: Option<bool>,
        /// Base URL of the collector, such as http://localhost:4318; over HTTP, `/v1/traces` is appended to its path. Or
        /// unix:PATH of a socket.
        pub endpoint: Option<Endpoint>,
        /// URL for traces, taken as it is; goes before `endpoint`.
        pub traces_endpoint: Option<Endpoint>,
        /// Transport.
        pub protocol: Option<Protocol>,
        /// Headers of each request, such as credentials.
        pub headers: Option<BTreeMap<FieldName, Secret>>,
        /// File with headers of each request, one a line as `Name: value`, which go before `headers`. It is read again when it
        /// changes.
        pub headers_file: Option<PathBuf>,
        /// Longest wait for an answer; 0 is no limit.
        pub timeout: Option<Period>,
        /// Compression of requests.
        pub compression: Option<Compression>,
        /// PEM file with the certificates that the server's is verified against, instead of the host's.
        pub certificate: Option<PathBuf>,
        /// PEM file with the certificate to show to the server (mutual TLS).
        pub client_certificate: Option<PathBuf>,
        /// PEM file with the private key of `client_certificate`.
        pub client_key: Option<PathBuf>,
        /// With gRPC and an endpoint without `http://` or `https://`: no TLS.
        pub insecure: Option<bool>,
    }
}

section! {
    /// Batches of spans on their way to the endpoint.
    pub struct Batch {
        /// Time between two exports.
        pub schedule_delay: Option<Period>,
        /// Longest time for one export with its retries; 0 is no limit.
        pub export_timeout: Option<Period>,
        /// Spans that wait at most; more are dropped, and counted.
        pub max_queue_size: Option<NonZeroUsize>,
        /// Spans in one request at most.
        pub max_export_batch_size: Option<NonZeroUsize>,
        /// Bytes of one request at most, before compression, unless one span has more.
        pub max_export_batch_bytes: Option<Size>,
    }
}

section! {
    /// Limits of what a span carries.
    pub struct Limits {
        /// Longest text of an attribute, in characters. No limit unless set.
        pub attribute_value_length: Option<usize>,
        /// Most attributes of a span.
        pub attribute_count: Option<usize>,
        /// Most events of a span.
        pub event_count: Option<usize>,
        /// Most attributes of an event.
        pub event_attribute_count: Option<usize>,
    }
}

/// Where spans go beside standard output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of keys to values")]
pub struct Export {
    /// Whether to export at all. Unless set: when there is an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The OTLP endpoint.
    #[serde(deserialize_with = "optional")]
    pub otlp: Otlp,
    /// More OTLP endpoints, which get all spans as well. Each has a queue of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fan_out: Option<Vec<Otlp>>,
    /// A Zipkin endpoint, which gets all spans as well.
    #[serde(deserialize_with = "optional")]
    pub zipkin: Zipkin,
    /// A file, which gets all spans as well.
    #[serde(deserialize_with = "optional")]
    pub file: ExportFile,
    /// Proxies to reach endpoints by.
    #[serde(deserialize_with = "optional")]
    pub proxy: Proxy,
    /// What becomes of spans while an endpoint is away.
    #[serde(deserialize_with = "optional")]
    pub spool: Spool,
}

/// spanwire's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of sections")]
#[schemars(title = "spanwire")]
pub struct Layer {
    /// What is watched.
    #[serde(deserialize_with = "optional")]
    pub watch: Watch,
    /// Pods of Kubernetes.
    #[serde(deserialize_with = "optional")]
    pub kubernetes: super::kubernetes::Section,
    /// Containers of Docker and Podman.
    #[serde(deserialize_with = "optional")]
    pub containers: super::containers::Section,
    /// How the kernel captures.
    #[serde(deserialize_with = "optional")]
    pub capture: Capture,
    /// What is kept of HTTP messages.
    #[serde(deserialize_with = "optional")]
    pub http: Http,
    /// What becomes a span of what goes through a message broker.
    #[serde(deserialize_with = "optional")]
    pub messaging: Messaging,
    /// How trace context gets to other hosts, and to services that make spans themselves.
    #[serde(deserialize_with = "optional")]
    pub propagate: Propagate,
    /// Services that make spans themselves, by an OpenTelemetry SDK.
    #[serde(deserialize_with = "optional")]
    pub sdk: Sdk,
    /// What is taken of the `baggage` that comes with a request.
    #[serde(deserialize_with = "optional")]
    pub baggage: Baggage,
    /// `http.route` of requests that a service is asked, after which their spans are named.
    #[serde(deserialize_with = "optional")]
    pub routes: Routes,
    /// Which spans are left out, and what others are called.
    #[serde(deserialize_with = "optional")]
    pub spans: Spans,
    /// What is taken out of spans before they are shown, kept or sent.
    #[serde(deserialize_with = "optional")]
    pub redaction: Redaction,
    /// Which traces are kept.
    #[serde(deserialize_with = "optional")]
    pub sampling: sampling::Section,
    /// What is written to standard output.
    #[serde(deserialize_with = "optional")]
    pub output: Output,
    /// Where spans go beside standard output.
    #[serde(deserialize_with = "optional")]
    pub export: Export,
    /// Batches of spans on their way to the endpoint.
    #[serde(deserialize_with = "optional")]
    pub batch: Batch,
    /// Limits of what a span carries.
    #[serde(deserialize_with = "optional")]
    pub limits: Limits,
    /// What is told about what spanwire does and sees.
    #[serde(deserialize_with = "optional")]
    pub metrics: super::metrics::Section,
    /// Resource attributes added to every service, such as `deployment.environment.name: staging`.
    #[serde(deserialize_with = "optional")]
    pub resource: BTreeMap<String, String>,
}

impl Layer {
    /// This source's keys, and `lower`'s where this one is silent. Lists are replaced, not joined; resource attributes
    /// are joined key by key.
    pub(super) fn over(self, lower: Self) -> Self {
        let mut resource = lower.resource;
        resource.extend(self.resource);
        Self {
            watch: self.watch.over(lower.watch),
            kubernetes: self.kubernetes.over(lower.kubernetes),
            containers: self.containers.over(lower.containers),
            capture: self.capture.over(lower.capture),
            http: self.http.over(lower.http),
            messaging: self.messaging.over(lower.messaging),
            propagate: self.propagate.over(lower.propagate),
            sdk: self.sdk.over(lower.sdk),
            baggage: self.baggage.over(lower.baggage),
            routes: self.routes.over(lower.routes),
            spans: self.spans.over(lower.spans),
            redaction: self.redaction.over(lower.redaction),
            sampling: self.sampling.over(lower.sampling),
            output: self.output.over(lower.output),
            export: Export {
                enabled: self.export.enabled.or(lower.export.enabled),
                otlp: self.export.otlp.over(lower.export.otlp),
                fan_out: self.export.fan_out.or(lower.export.fan_out),
                zipkin: self.export.zipkin.over(lower.export.zipkin),
                file: self.export.file.over(lower.export.file),
                proxy: self.export.proxy.over(lower.export.proxy),
                spool: self.export.spool.over(lower.export.spool),
            },
            batch: self.batch.over(lower.batch),
            limits: self.limits.over(lower.limits),
            metrics: self.metrics.over(lower.metrics),
            resource,
        }
    }

    /// What holds where nobody says anything. Keys that are absent here are off.
    pub(super) fn defaults() -> Self {
        let number = |number| NonZeroUsize::new(number);
        let milliseconds = |number| Some(Period(std::time::Duration::from_millis(number)));
        Self {
            kubernetes: super::kubernetes::Section::defaults(),
            capture: Capture {
                hooks: Some(Hooks::Auto),
                ring_buffer: Some(Size(8 << 20)),
                max_connections: NonZeroU32::new(65_536),
                probes: Some(true),
                kernel_log: Some(KernelLog::Off),
            },
            messaging: Messaging {
                broker_spans: Some(false),
                captured_headers: None,
            },
            propagate: Propagate {
                headers: Some(vec![Injected::None]),
                refuse_from: None,
                baggage: Some(false),
                correlation: Some(Correlation::None),
            },
            sdk: Sdk {
                detect: Some(true),
                covers: Some(vec![Covered::Http, Covered::Database, Covered::Messaging]),
                ..Sdk::default()
            },
            routes: Routes {
                learn: Some(true),
                max_per_service: NonZeroU32::new(200),
                templates: None,
            },
            spans: Spans::defaults(),
            redaction: Redaction {
                set: Some(RuleSet::Standard),
                ..Redaction::default()
            },
            sampling: sampling::Section::defaults(),
            output: Output {
                format: Some(Format::Tree),
                color: Some(Color::Auto),
                open_after: None,
            },
            export: Export {
                enabled: None,
                otlp: Otlp {
                    protocol: Some(Protocol::HttpProtobuf),
                    timeout: milliseconds(10_000),
                    compression: Some(Compression::None),
                    ..Otlp::default()
                },
                zipkin: Zipkin {
                    timeout: milliseconds(10_000),
                    ..Zipkin::default()
                },
                file: ExportFile::defaults(),
                spool: Spool::defaults(),
                ..Export::default()
            },
            batch: Batch {
                schedule_delay: milliseconds(5_000),
                export_timeout: milliseconds(30_000),
                max_queue_size: number(2_048),
                max_export_batch_size: number(512),
                max_export_batch_bytes: Some(Size(3 << 20)),
            },
            limits: Limits {
                attribute_value_length: None,
                attribute_count: Some(128),
                event_count: Some(128),
                event_attribute_count: Some(128),
            },
            metrics: super::metrics::Section::defaults(),
            ..Self::default()
        }
    }
}

/// A section that is there but empty (`watch:` and nothing below) is one with all keys left out.
pub(super) fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
