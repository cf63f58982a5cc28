//! Metrics of requests, made of their spans: how many, how long, how many failed, and who asks whom.
//!
//! Spans come here redacted, all of them, whatever becomes of them afterwards. Those that are not kept are no exemplars.

use super::exponential::Exponential;
use super::family::{Distribution, Exemplar, Family, Kind, Label, Point, Service, Value};
use super::graph::Graph;
use super::instrument::{self, Attributes, INSTRUMENTS, Which};
use super::table::{Entry, Seen, Table};
use crate::redact::Redacted;
use crate::span::{Resource, Span, Status};
use hashbrown::HashMap;
use smol_str::SmolStr;
use std::sync::Arc;

/// Processes whose service is remembered.
const REMEMBERED: usize = 1024;

/// Most attributes of a series.
const LABELS: usize = 12;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most series of a metric.
    pub cardinality: usize,
    /// Whether observations are kept with their spans.
    pub exemplars: bool,
    /// Whether they are counted in exponential buckets, too.
    pub exponential: bool,
}

impl Default for Limits {
    /// The SDK's.
    fn default() -> Self {
        Self {
            cardinality: 2000,
            exemplars: true,
            exponential: false,
        }
    }
}

/// Observations in buckets, as they are counted.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    counts: Box<[u64]>,
    sum: f64,
    exemplars: Box<[Option<Exemplar>]>,
    exponential: Option<Box<Exponential>>,
}

impl Buckets {
    pub(super) fn new(bounds: &[f64], limits: Limits) -> Self {
        let exemplars = limits.exemplars;
        Self {
            counts: vec![0; bounds.len() + 1].into(),
            sum: 0.0,
            exemplars: vec![None; if exemplars { bounds.len() + 1 } else { 0 }].into(),
            exponential: limits.exponential.then(Box::default),
        }
    }

    /// Adds what was observed of a span, by which it can be shown where it is kept.
    pub(super) fn add(&mut self, bounds: &[f64], value: f64, kept: Option<&Span>) {
        self.count(bounds, value);
        if let Some(span) = kept {
            self.name(bounds, value, span);
        }
    }

    /// Names the span of what was added.
    pub(super) fn name(&mut self, bounds: &[f64], value: f64, span: &Span) {
        if let Some(exemplar) = self.exemplars.get_mut(bucket(bounds, value)) {
            *exemplar = Some(Exemplar {
                value,
                time: span.end,
                trace_id: span.trace_id,
                span_id: span.span_id,
            });
        }
    }

    fn count(&mut self, bounds: &[f64], value: f64) {
        self.sum += value;
        if let Some(exponential) = &mut self.exponential {
            exponential.add(value);
        }
        if let Some(count) = self.counts.get_mut(bucket(bounds, value)) {
            *count += 1;
        }
    }

    pub(super) fn value(&self, bounds: &'static [f64]) -> Value {
        Value::Histogram(Box::new(Distribution {
            bounds,
            counts: self.counts.to_vec(),
            sum: self.sum,
            exemplars: self.exemplars.to_vec(),
            exponential: self.exponential.as_deref().cloned(),
        }))
    }
}

#[derive(Clone, Debug)]
enum State {
    Histogram(Buckets),
    Count(u64),
}

/// All metrics of requests.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    tables: Vec<Table<State>>,
    graph: Graph,
    services: Services,
    /// Exemplars come behind what they are of.
    names_later: bool,
}

impl Requests {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tables: INSTRUMENTS
                .iter()
                .map(|_| Table::new(limits.cardinality))
                .collect(),
            graph: Graph::new(limits),
            services: Services::default(),
            names_later: false,
        }
    }

    /// Whether exemplars are only what [`Self::name`] is told of, since traces may yet be dropped. Then the service graph has none.
    pub fn name_later(&mut self, later: bool) {
        self.names_later = later;
    }

    /// Counts a span. `now` in nanoseconds of the kernel's clock.
    pub fn record(&mut self, span: &Redacted, now: u64) {
        self.count(span, true, now);
    }

    /// Counts a span that nobody will see, and of which [`strip`] has left what is needed.
    pub fn record_unsampled(&mut self, span: &Redacted, now: u64) {
        self.count(span, false, now);
    }

    fn count(&mut self, span: &Redacted, is_kept: bool, now: u64) {
        let span = span.span();
        let kept = (is_kept && !self.names_later).then_some(span);
        let attributes = Attributes::of(span);
        let service = self.services.of(&span.resource);
        let seconds = seconds(span);
        for which in attributes.instruments(span.kind).into_iter().flatten() {
            let (labels, count) = labels(&attributes, which);
            self.add(which, &service, &labels[..count], seconds, (span, kept), now);
        }
        self.graph
            .record((span, kept), &service, &attributes, seconds, now);
    }

    /// Names spans that were counted before and are kept, as exemplars.
    pub fn name(&mut self, spans: &[Redacted]) {
        if !self.names_later || !self.limits.exemplars {
            return;
        }
        for span in spans.iter().map(Redacted::span) {
            let attributes = Attributes::of(span);
            let service = self.services.of(&span.resource);
            for which in attributes.instruments(span.kind).into_iter().flatten() {
                let (labels, count) = labels(&attributes, which);
                let series = self.tables[which as usize].find(Some(&service), &labels[..count]);
                if let Some(State::Histogram(buckets)) = series {
                    buckets.name(INSTRUMENTS[which as usize].bounds, seconds(span), span);
                }
            }
        }
    }

    fn add(
        &mut self,
        which: Which,
        service: &Arc<Service>,
        labels: &[(&'static str, Seen<'_>)],
        seconds: f64,
        (span, kept): (&Span, Option<&Span>),
        now: u64,
    ) {
        let bounds = INSTRUMENTS[which as usize].bounds;
        let limits = self.limits;
        let make = || match bounds.is_empty() {
            true => State::Count(0),
            false => State::Histogram(Buckets::new(bounds, limits)),
        };
        match self.tables[which as usize].at(Some(service), labels, (now, span.start.0), make) {
            State::Histogram(buckets) => buckets.add(bounds, seconds, kept),
            State::Count(count) => *count += 1,
        }
    }

    /// Gives up waiting for the other ends of requests. `now` in nanoseconds of the kernel's clock.
    pub fn sweep(&mut self, now: u64) {
        self.graph.expire(now);
    }

    /// All of it, as it is now.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families = Vec::with_capacity(INSTRUMENTS.len() + 8);
        let mut overflowed = Family::new(
            "spanwire.metrics.overflowed",
            Kind::Counter,
            "{measurement}",
            "Measurements that count in the series of overflow, a metric having too many series.",
        );
        for (instrument, table) in INSTRUMENTS.iter().zip(&self.tables) {
            let kind = match instrument.bounds.is_empty() {
                true => Kind::Counter,
                false => Kind::Histogram,
            };
            let mut family = Family::new(instrument.name, kind, instrument.unit, instrument.help);
            family.points = table
                .iter()
                .map(|entry| {
                    let value = match &entry.state {
                        State::Histogram(buckets) => buckets.value(instrument.bounds),
                        State::Count(count) => Value::Count(*count),
                    };
                    point(entry, value)
                })
                .collect();
            families.push(family);
            overflowed.push([("metric", instrument.name)], Value::Count(table.overflowed));
        }
        overflowed.push(
            [("metric", "traces_service_graph")],
            Value::Count(self.graph.overflowed()),
        );
        families.extend(self.graph.families());
        families.push(overflowed);
        families
    }
}

pub(super) fn point<T>(entry: &Entry<T>, value: Value) -> Point {
    let labels: Vec<Label> = entry.labels.to_vec();
    Point {
        service: entry.service.clone(),
        labels,
        start: entry.start,
        value,
    }
}

/// Takes out of a span all that does not count here: names, events, and attributes that are no labels.
pub fn strip(span: &mut Span) {
    span.name = SmolStr::default();
    span.state = SmolStr::default();
    span.link = None;
    span.events = Vec::new();
    if let Status::Error(message) = &mut span.status {
        *message = SmolStr::default();
    }
    span.attributes
        .retain(|attribute| instrument::counts(&attribute.key));
}

/// The bucket of a value. A bound is part of its bucket.
fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

/// The attributes of a series, and how many they are.
fn labels<'a>(attributes: &Attributes<'a>, which: Which) -> ([(&'static str, Seen<'a>); LABELS], usize) {
    let mut labels = [("", Seen::Boolean(false)); LABELS];
    let mut count = 0;
    for (key, value) in attributes.labels(which).take(LABELS) {
        if let Some(value) = Seen::of(value) {
            labels[count] = (key, value);
            count += 1;
        }
    }
    (labels, count)
}

/// How long it took.
#[expect(clippy::cast_precision_loss, reason = "a request is shorter than 104 days")]
fn seconds(span: &Span) -> f64 {
    span.end.0.saturating_sub(span.start.0) as f64 / 1e9
}

/// Services by the processes that are them.
#[derive(Debug, Default)]
struct Services(HashMap<usize, (Arc<Resource>, Arc<Service>)>);

impl Services {
    fn of(&mut self, resource: &Arc<Resource>) -> Arc<Service> {
        // The address stays its own for as long as the resource is kept here.
        let address = Arc::as_ptr(resource) as usize;
        if let Some((_, service)) = self.0.get(&address) {
            return Arc::clone(service);
        }
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        let service = Service::of(resource);
        let known = self.0.values().find(|(_, known)| known.is(&service));
        let service = known.map_or_else(|| Arc::new(service), |(_, known)| Arc::clone(known));
        self.0
            .insert(address, (Arc::clone(resource), Arc::clone(&service)));
        service
    }
}

#[cfg(test)]
mod tests;
