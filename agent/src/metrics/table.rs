//! Series by service and attributes: found without an allocation, bounded in number, and what is above the bound folded into
//! one series a service (`otel.metric.overflow`, as the [metrics SDK] has it).
//!
//! [metrics SDK]: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#cardinality-limits

use super::family::{Label, Service};
use crate::span::Value;
use hashbrown::{DefaultHashBuilder, HashTable};
use smol_str::SmolStr;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;

/// Attribute of what is folded.
pub(super) const OVERFLOW: &str = "otel.metric.overflow";

/// Series of overflow, one a service; of further services it is one together.
const OVERFLOWS: usize = 256;

/// Longest text of an attribute, in bytes: what is on the wire may be as long as its sender likes.
const LONGEST: usize = 256;

/// A series that nothing was added to for so long, in nanoseconds, makes room for another.
const IDLE: u64 = 3_600_000_000_000;

/// How often room is looked for, in nanoseconds.
const LOOK: u64 = 60_000_000_000;

/// An attribute's value, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Seen<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
}

impl<'a> Seen<'a> {
    /// Of an attribute; arrays are none that a series has.
    #[must_use]
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Self::text(text)),
            Value::Integer(value) => Some(Self::Integer(*value)),
            Value::Boolean(value) => Some(Self::Boolean(*value)),
            Value::Texts(_) => None,
        }
    }

    /// Of a text, cut where it is too long.
    #[must_use]
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(&text[..text.floor_char_boundary(LONGEST)])
    }

    fn value(self) -> Value {
        match self {
            Self::Text(text) => Value::Text(SmolStr::new(text)),
            Self::Integer(value) => Value::Integer(value),
            Self::Boolean(value) => Value::Boolean(value),
        }
    }
}

/// A series.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    hash: u64,
    /// Whose it is.
    pub(super) service: Option<Arc<Service>>,
    /// Its attributes.
    pub(super) labels: Box<[Label]>,
    /// When it began, in nanoseconds since the Unix epoch.
    pub(super) start: u64,
    last: u64,
    /// What is known.
    pub(super) state: T,
}

/// All series of one metric.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    limit: usize,
    entries: HashTable<Entry<T>>,
    overflows: HashTable<Entry<T>>,
    hasher: DefaultHashBuilder,
    looked: u64,
    /// Observations that were folded.
    pub(super) overflowed: u64,
}

impl<T> Table<T> {
    /// With room for so many series.
    #[must_use]
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: HashTable::new(),
            overflows: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            looked: 0,
            overflowed: 0,
        }
    }

    /// The series of these attributes, or that of what is above the bound. `now` is in nanoseconds of the kernel's clock, and
    /// a series that is new has begun at `start`, in nanoseconds since the Unix epoch.
    pub(super) fn at(
        &mut self,
        service: Option<&Arc<Service>>,
        labels: &[(&'static str, Seen<'_>)],
        (now, start): (u64, u64),
        make: impl FnOnce() -> T,
    ) -> &mut T {
        let hash = self.hash(service, labels);
        let is_there = self
            .entries
            .find(hash, |entry| entry.is(service, labels))
            .is_some();
        if !is_there && !self.has_room(now) {
            self.overflowed += 1;
            return self.overflow(service, start, make);
        }
        let found = self
            .entries
            .entry(hash, |entry| entry.is(service, labels), |entry| entry.hash);
        let entry = found
            .or_insert_with(|| Entry::new(hash, service, labels, start, make()))
            .into_mut();
        entry.last = now;
        &mut entry.state
    }

    /// The series of these attributes, if there is one of its own.
    pub(super) fn find(
        &mut self,
        service: Option<&Arc<Service>>,
        labels: &[(&'static str, Seen<'_>)],
    ) -> Option<&mut T> {
        let hash = self.hash(service, labels);
        let found = self.entries.find_mut(hash, |entry| entry.is(service, labels));
        found.map(|entry| &mut entry.state)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter().chain(&self.overflows)
    }

    fn has_room(&mut self, now: u64) -> bool {
        if self.entries.len() < self.limit {
            return true;
        }
        if now.saturating_sub(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        self.entries.retain(|entry| now.saturating_sub(entry.last) < IDLE);
        self.entries.len() < self.limit
    }

    fn overflow(&mut self, service: Option<&Arc<Service>>, start: u64, make: impl FnOnce() -> T) -> &mut T {
        const LABELS: &[(&str, Seen<'_>)] = &[(OVERFLOW, Seen::Boolean(true))];
        let mut service = service;
        let mut hash = self.hash(service, LABELS);
        let is_there =
            |entries: &HashTable<Entry<T>>| entries.find(hash, |entry| entry.is(service, LABELS)).is_some();
        if self.overflows.len() >= OVERFLOWS && !is_there(&self.overflows) {
            service = None;
            hash = self.hash(None, LABELS);
        }
        let found = self
            .overflows
            .entry(hash, |entry| entry.is(service, LABELS), |entry| entry.hash);
        &mut found
            .or_insert_with(|| Entry::new(hash, service, LABELS, start, make()))
            .into_mut()
            .state
    }

    fn hash(&self, service: Option<&Arc<Service>>, labels: &[(&'static str, Seen<'_>)]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        if let Some(service) = service {
            service.name.hash(&mut hasher);
        }
        for (key, value) in labels {
            // Names are constants, and one place is enough to tell them apart most of the time.
            key.len().hash(&mut hasher);
            value.hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl<T> Entry<T> {
    fn new(
        hash: u64,
        service: Option<&Arc<Service>>,
        labels: &[(&'static str, Seen<'_>)],
        start: u64,
        state: T,
    ) -> Self {
        Self {
            hash,
            service: service.cloned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).into(), value.value()))
                .collect(),
            start,
            last: 0,
            state,
        }
    }

    fn is(&self, service: Option<&Arc<Service>>, labels: &[(&'static str, Seen<'_>)]) -> bool {
        let same_service = match (&self.service, service) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.is(other),
            (None, None) => true,
            _ => false,
        };
        let same = |((key, value), (other, seen)): (&Label, &(&'static str, Seen<'_>))| {
            key == other && Seen::of(value) == Some(*seen)
        };
        same_service && self.labels.len() == labels.len() && self.labels.iter().zip(labels).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Arc<Service> {
        Arc::new(Service {
            name: name.into(),
            namespace: None,
            attributes: Vec::new(),
        })
    }

    fn add(table: &mut Table<u64>, service: Option<&Arc<Service>>, number: i64, now: u64) {
        *table.at(service, &[("n", Seen::Integer(number))], (now, 0), || 0) += 1;
    }

    #[test]
    fn what_is_above_the_bound_is_one_series_a_service_and_counted() {
        let mut table = Table::new(10);
        let services = ["a", "b"].map(service);
        for number in 0..100 {
            for service in &services {
                add(&mut table, Some(service), number, 1);
            }
        }
        // What was there goes on.
        add(&mut table, Some(&services[0]), 3, 1);
        assert_eq!(table.iter().count(), 12);
        assert_eq!(table.overflowed, 190);
        let total: u64 = table.iter().map(|entry| entry.state).sum();
        assert_eq!(total, 201);
        let folded: Vec<_> = table.overflows.iter().map(|entry| entry.state).collect();
        assert_eq!(folded, [95, 95]);
        for entry in &table.overflows {
            assert_eq!(*entry.labels, [(OVERFLOW.into(), Value::Boolean(true))]);
        }
        // However many services there are.
        for number in 0..10_000 {
            add(&mut table, Some(&service(&format!("s{number}"))), 0, 1);
        }
        assert!(
            table.iter().count() <= 10 + OVERFLOWS + 1,
            "{}",
            table.iter().count()
        );
        assert_eq!(table.iter().map(|entry| entry.state).sum::<u64>(), 10_201);
    }

    #[test]
    fn each_series_is_one_while_others_come() {
        let mut table = Table::new(1_000);
        for number in 0..500 {
            for known in 0..=number {
                add(&mut table, None, known, 1);
            }
        }
        assert_eq!(table.iter().count(), 500);
        assert_eq!(table.find(None, &[("n", Seen::Integer(0))]), Some(&mut 500));
    }

    #[test]
    fn series_that_nobody_uses_make_room() {
        let mut table = Table::new(2);
        for number in 0..3 {
            add(&mut table, None, number, LOOK);
        }
        assert_eq!(table.overflowed, 1);
        add(&mut table, None, 0, LOOK + IDLE);
        add(&mut table, None, 9, LOOK + IDLE);
        assert_eq!(table.overflowed, 1);
        let mut kept: Vec<_> = table
            .entries
            .iter()
            .map(|entry| entry.labels[0].1.clone())
            .collect();
        kept.sort_by_key(|value| format!("{value:?}"));
        assert_eq!(kept, [Value::Integer(0), Value::Integer(9)]);
    }

    #[test]
    fn equal_names_are_one_service_and_long_texts_are_cut() {
        let mut table = Table::new(10);
        let long = "é".repeat(LONGEST);
        for tail in ["x", "y"] {
            let text = format!("{long}{tail}");
            *table.at(Some(&service("a")), &[("t", Seen::text(&text))], (1, 0), || 0) += 1;
        }
        let all: Vec<u64> = table.iter().map(|entry| entry.state).collect();
        assert_eq!(all, [2]);
    }
}
