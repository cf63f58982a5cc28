//! What is kept, as configuration says it, compiled.

use crate::config::globs::{self, TooMany};
use crate::config::{self, sampling::tail};
use crate::span::{Attribute, Kind, Resource, Span, Status, Value};
use crate::trace::sampling::threshold::Threshold;
use globset::GlobSet;
use std::borrow::Cow;

/// Which traces are kept, and how much memory it takes to tell.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long spans are held, in nanoseconds.
    pub(super) wait: u64,
    /// Most bytes that are held.
    pub(super) max_bytes: usize,
    /// Most traces that are held.
    pub(super) max_traces: usize,
    /// Decisions that are remembered.
    pub(super) decisions: usize,
    /// Most operations that are told apart.
    pub(super) operations: usize,
    /// Percentiles that policies ask for, as shares, ascending.
    pub(super) percentiles: Box<[f64]>,
    /// Traces a minute of each operation that are kept.
    pub(super) floor: u32,
    /// Spans a second that are kept of what no policy keeps.
    pub(super) budget: Option<u32>,
    policies: Box<[Policy]>,
    ratio: Threshold,
    rates: Box<[Rate]>,
}

/// What a span has to be for its trace to be kept: all that is said.
#[derive(Clone, Debug)]
struct Policy {
    services: GlobSet,
    namespaces: GlobSet,
    operations: GlobSet,
    errors: Option<bool>,
    /// Nanoseconds.
    latency: Option<u64>,
    /// A place among the percentiles.
    percentile: Option<usize>,
    attributes: Box<[Condition]>,
    min_spans: usize,
}

/// An attribute that a span or its resource has to have.
#[derive(Clone, Debug)]
struct Condition {
    name: String,
    values: GlobSet,
    min: Option<f64>,
    max: Option<f64>,
}

/// A share of the traces of some operations.
#[derive(Clone, Debug)]
struct Rate {
    services: GlobSet,
    operations: GlobSet,
    threshold: Threshold,
}

/// Policies, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fits(pub(super) u64);

impl Rules {
    /// Those of the configuration.
    ///
    /// # Errors
    /// There are too many patterns.
    pub fn new(section: &config::Tail) -> Result<Self, TooMany> {
        let mut percentiles: Vec<f64> = section
            .keep
            .iter()
            .filter_map(|rule| Some(rule.percentile?.share()))
            .collect();
        percentiles.sort_unstable_by(f64::total_cmp);
        percentiles.dedup();
        let policies = section.keep.iter().map(|rule| Policy::new(rule, &percentiles));
        let rates = section.rates.iter().map(|rate| {
            Ok(Rate {
                services: globs::compiled(
                    "sampling.tail.rates",
                    rate.services.iter().map(config::value::ServicePattern::glob),
                )?,
                operations: globs::compiled(
                    "sampling.tail.rates",
                    rate.operations.iter().map(config::naming::TextPattern::glob),
                )?,
                threshold: Threshold::of_ratio(rate.ratio.number()),
            })
        });
        Ok(Self {
            wait: u64::try_from(section.decision_wait.as_nanos()).unwrap_or(u64::MAX),
            max_bytes: section.max_bytes,
            max_traces: section.max_traces,
            decisions: section.decision_cache,
            operations: section.max_operations,
            floor: section.min_traces_per_minute,
            budget: section.spans_per_second,
            policies: policies.collect::<Result<_, TooMany>>()?,
            ratio: Threshold::of_ratio(section.ratio.number()),
            rates: rates.collect::<Result<_, TooMany>>()?,
            percentiles: percentiles.into(),
        })
    }

    /// Policies that are for spans of a process.
    pub(super) fn applicable(&self, resource: &Resource) -> Fits {
        let (service, namespace) = (Some(resource.service_name()), resource.namespace());
        self.those(|policy| {
            globs::fits(&policy.services, service) && globs::fits(&policy.namespaces, namespace)
        })
    }

    /// Policies among `applicable` that `span` fits; `is_slow` says whether it is above the percentile of a place.
    pub(super) fn fits(&self, span: &Span, applicable: Fits, is_slow: impl Fn(usize) -> bool) -> Fits {
        if applicable.0 == 0 {
            return Fits(0);
        }
        let is_error = matches!(span.status, Status::Error(_));
        let duration = span.end.0.saturating_sub(span.start.0);
        let fitting = self.those(|policy| {
            policy.errors.is_none_or(|errors| errors == is_error)
                && policy.latency.is_none_or(|latency| duration >= latency)
                && policy.percentile.is_none_or(&is_slow)
                && globs::fits(&policy.operations, Some(&span.name))
                && policy.attributes.iter().all(|condition| condition.holds(span))
        });
        Fits(fitting.0 & applicable.0)
    }

    /// Whether one of the policies keeps a trace of so many spans, some of which fit.
    pub(super) fn keeps(&self, fits: Fits, spans: usize) -> bool {
        fits.0 & self.those(|policy| spans >= policy.min_spans).0 != 0
    }

    /// The share of an operation's traces that is kept where no policy keeps them.
    pub(super) fn rate(&self, service: &str, operation: &str) -> Threshold {
        let is_for = |rate: &&Rate| {
            globs::fits(&rate.services, Some(service)) && globs::fits(&rate.operations, Some(operation))
        };
        self.rates
            .iter()
            .find(is_for)
            .map_or(self.ratio, |rate| rate.threshold)
    }

    fn those(&self, is: impl Fn(&Policy) -> bool) -> Fits {
        let numbered = self.policies.iter().enumerate();
        Fits(numbered.fold(0, |all, (number, policy)| all | u64::from(is(policy)) << number))
    }
}

impl Policy {
    fn new(rule: &tail::KeepRule, percentiles: &[f64]) -> Result<Self, TooMany> {
        let attributes = rule.attributes.iter().map(|attribute| {
            Ok(Condition {
                name: attribute.name.clone(),
                values: globs::compiled(
                    "sampling.tail.keep",
                    attribute.values.iter().map(config::naming::TextPattern::glob),
                )?,
                min: attribute.min,
                max: attribute.max,
            })
        });
        let place = |share: f64| {
            percentiles
                .iter()
                .position(|known| known.total_cmp(&share).is_eq())
        };
        Ok(Self {
            services: globs::compiled(
                "sampling.tail.keep",
                rule.services.iter().map(config::value::ServicePattern::glob),
            )?,
            namespaces: globs::compiled(
                "sampling.tail.keep",
                rule.namespaces.iter().map(config::value::ServicePattern::glob),
            )?,
            operations: globs::compiled(
                "sampling.tail.keep",
                rule.operations.iter().map(config::naming::TextPattern::glob),
            )?,
            errors: rule.errors,
            latency: rule
                .latency
                .map(|latency| u64::try_from(latency.0.as_nanos()).unwrap_or(u64::MAX)),
            percentile: rule.percentile.and_then(|percentile| place(percentile.share())),
            attributes: attributes.collect::<Result<_, TooMany>>()?,
            min_spans: rule.min_spans.map_or(0, std::num::NonZero::get),
        })
    }
}

impl Condition {
    fn holds(&self, span: &Span) -> bool {
        let value = find(&span.attributes, &self.name);
        let Some(value) = value.or_else(|| find(&span.resource.attributes, &self.name)) else {
            return false;
        };
        self.values.is_empty() && self.min.is_none() && self.max.is_none()
            || self.is_listed(value)
            || self.is_within(value)
    }

    fn is_listed(&self, value: &Value) -> bool {
        let text = match value {
            Value::Text(text) => Cow::Borrowed(text.as_str()),
            Value::Integer(number) => Cow::Owned(number.to_string()),
            Value::Boolean(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Value::Texts(texts) => return texts.iter().any(|text| self.values.is_match(text)),
        };
        self.values.is_match(&*text)
    }

    #[expect(clippy::cast_precision_loss, reason = "what is compared is a count or a size")]
    fn is_within(&self, value: &Value) -> bool {
        let Value::Integer(number) = value else {
            return false;
        };
        let number = *number as f64;
        (self.min.is_some() || self.max.is_some())
            && self.min.is_none_or(|min| number >= min)
            && self.max.is_none_or(|max| number <= max)
    }
}

/// Whether a span is what its service was asked, or begins a trace.
pub(super) fn is_entry(span: &Span) -> bool {
    matches!(span.kind, Kind::Server | Kind::Consumer) || span.parent.is_none()
}

fn find<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    found.map(|attribute| &attribute.value)
}
