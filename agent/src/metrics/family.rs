//! Metrics as values: a family has a name and points, a point has attributes and a value. Names and units are
//! OpenTelemetry's; [`super::text`] translates them for Prometheus.

use super::exponential::Exponential;
use crate::span::{self, Attribute, Resource, SpanId, TraceId, UnixNanoseconds};
use smol_str::SmolStr;
use std::borrow::Cow;
use std::sync::Arc;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// How observations are distributed.
    Histogram,
}

/// All points of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name, with dots.
    pub name: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// Unit in UCUM: `s`, `By`, `{span}`, or empty.
    pub unit: &'static str,
    /// What the values are.
    pub kind: Kind,
    /// One for each set of attributes.
    pub points: Vec<Point>,
}

/// A name of an attribute and its value.
pub type Label = (Cow<'static, str>, span::Value);

/// Who is measured: all processes of one name on this host, since what each of them does is no series of its own.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// `service.name`.
    pub name: SmolStr,
    /// `service.namespace`.
    pub namespace: Option<SmolStr>,
    /// All that its processes have in common: these two, and what is said of the host and its environment.
    pub attributes: Vec<Attribute>,
}

impl Service {
    /// That of a process.
    #[must_use]
    pub fn of(resource: &Resource) -> Self {
        let is_one_process = |key: &str| {
            [
                "process.",
                "container.",
                "service.instance.",
                "spanwire.",
                "telemetry.",
                "thread.",
            ]
            .iter()
            .any(|prefix| key.starts_with(prefix))
        };
        let shared = |attribute: &&Attribute| !is_one_process(&attribute.key);
        Self {
            name: SmolStr::new(resource.service_name()),
            namespace: resource.text("service.namespace").map(SmolStr::new),
            attributes: resource.attributes.iter().filter(shared).cloned().collect(),
        }
    }

    /// Whether both are one.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.namespace == other.namespace
    }
}

/// One time series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Whose it is; `None` where it is spanwire's own.
    pub service: Option<Arc<Service>>,
    /// Attributes, each name once.
    pub labels: Vec<Label>,
    /// When it began, in nanoseconds since the Unix epoch; 0 where it did with spanwire itself.
    pub start: u64,
    /// Value.
    pub value: Value,
}

/// What a point says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// Any other.
    Number(f64),
    /// A distribution.
    Histogram(Box<Distribution>),
}

/// Observations in buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Upper bounds of all buckets but the last, which has none; ascending, and part of their bucket.
    pub bounds: &'static [f64],
    /// Observations by bucket, one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all observations.
    pub sum: f64,
    /// The last observation of each bucket that belongs to a span.
    pub exemplars: Vec<Option<Exemplar>>,
    /// The same observations in finer buckets, where those are wanted.
    pub exponential: Option<Exponential>,
}

/// An observation, and the span that it was made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Observed.
    pub value: f64,
    /// When.
    pub time: UnixNanoseconds,
    /// Trace of it.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

impl Family {
    /// A family without points.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            unit,
            kind,
            points: Vec::new(),
        }
    }

    /// With one more point.
    #[must_use]
    pub fn with<const N: usize>(mut self, labels: [(&'static str, &str); N], value: Value) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a point.
    pub fn push<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: Value) {
        let labels = labels
            .into_iter()
            .map(|(name, value)| (Cow::Borrowed(name), span::Value::Text(SmolStr::new(value))))
            .collect();
        self.points.push(Point {
            service: None,
            labels,
            start: 0,
            value,
        });
    }
}
