//! Metrics as values: a family has a name and points, a point has attributes and a value. Names and units are
//! OpenTelemetry's; [`super::text`] translates them for Prometheus.

use crate::span::{SpanId, TraceId, UnixNanoseconds};
use smol_str::SmolStr;
use std::borrow::Cow;

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
pub type Label = (Cow<'static, str>, SmolStr);

/// One time series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Attributes, each name once.
    pub labels: Vec<Label>,
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
            .map(|(name, value)| (Cow::Borrowed(name), SmolStr::new(value)))
            .collect();
        self.points.push(Point { labels, value });
    }
}
