//! The span model: what is known of one operation, before anything of OTLP.

use crate::config::RuleSet;
use smol_str::SmolStr;
use std::borrow::Cow;
use std::sync::Arc;

mod address;
mod baggage;
pub mod build;
pub mod correlation;
pub mod database;
#[cfg(test)]
pub mod example;
pub mod exchange;
pub mod forwarded;
mod grpc;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod messaging;
pub mod postgres;
pub mod rename;
pub mod route;
pub mod semconv;
pub mod sql;
pub mod target;

/// W3C trace id: 16 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// W3C span id (`parent-id`): 8 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanoseconds(pub u64);

/// `SpanKind` of the OpenTelemetry trace specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Outgoing request.
    Client,
    /// Incoming request.
    Server,
    /// A message that is sent, and not answered.
    Producer,
    /// A message that is received.
    Consumer,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    Text(SmolStr),
    /// 64-bit integer.
    Integer(i64),
    /// Truth value.
    Boolean(bool),
    /// Array of texts.
    Texts(Box<[String]>),
}

/// An attribute: a name of the semantic conventions and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Name, such as `http.request.method`.
    pub key: Cow<'static, str>,
    /// Value.
    pub value: Value,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Name of the event.
    pub name: SmolStr,
    /// When.
    pub time: UnixNanoseconds,
    /// What else is known.
    pub attributes: Vec<Attribute>,
    /// Attributes over the limit.
    pub dropped_attributes: u32,
}

/// Status of a span. `Ok` is left to applications, as the specification asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The default.
    Unset,
    /// The operation failed; the text says how where no attribute does.
    Error(SmolStr),
}

/// Who emitted a span: the attributes of one process, shared by all its spans.
#[derive(Debug, PartialEq)]
pub struct Resource {
    /// Process id on the host.
    pub pid: u32,
    /// `service.name` and the rest of the resource attributes.
    pub attributes: Vec<Attribute>,
    /// What holds for its spans alone.
    pub own: OwnRules,
}

/// Rules for the spans of one process, in place of those for all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnRules {
    /// Which part of the traces that begin there is kept, from 0 to 1.
    pub sample: Option<f64>,
    /// The set of rules for what is taken out.
    pub redaction: Option<RuleSet>,
}

impl Resource {
    /// `service.name`, which each has.
    #[must_use]
    pub fn service_name(&self) -> &str {
        self.text("service.name").unwrap_or_default()
    }

    /// The service's namespace: that of Kubernetes, else the one that it was given.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.text("k8s.namespace.name")
            .or_else(|| self.text("service.namespace"))
    }

    /// The attribute that is called `key`, if it is a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        let attribute = self.attributes.iter().find(|attribute| attribute.key == key)?;
        match &attribute.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

// As many attributes as a span has are one allocation that malloc has at hand, which are those of up to 1,032 bytes.
const _: () = assert!(size_of::<Attribute>() == 48);

/// A span that another has to do with and that did not cause it (OTLP's `Span.Link`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Trace of it.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// W3C `tracestate`, empty where there is none.
    pub state: SmolStr,
}

/// One operation of one service.
#[derive(Clone, Debug)]
pub struct Span {
    /// Trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Id of the span that caused it, `None` at the root.
    pub parent: Option<SpanId>,
    /// W3C `tracestate`, empty where there is none.
    pub state: SmolStr,
    /// Kind.
    pub kind: Kind,
    /// Low-cardinality name.
    pub name: SmolStr,
    /// First moment.
    pub start: UnixNanoseconds,
    /// Last moment, not before `start`.
    pub end: UnixNanoseconds,
    /// Attributes, each key once.
    pub attributes: Vec<Attribute>,
    /// Attributes over the limit.
    pub dropped_attributes: u32,
    /// Events in order of time.
    pub events: Vec<Event>,
    /// Events over the limit.
    pub dropped_events: u32,
    /// What it is linked to.
    pub link: Option<Box<Link>>,
    /// Status.
    pub status: Status,
    /// The process it was seen in.
    pub resource: Arc<Resource>,
}
