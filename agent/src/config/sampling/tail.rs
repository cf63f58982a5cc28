//! `sampling.tail`: which traces are kept is decided once their spans are there.

use super::Ratio;
use crate::config::build::settled;
use crate::config::layer::section;
use crate::config::naming::TextPattern;
use crate::config::value::{Invalid, Period, ServicePattern, Size, parsed, scalar};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

/// As many rules as there are bits.
const MOST_RULES: usize = 64;

/// Longest that spans may be held.
const LONGEST: Duration = Duration::from_hours(1);

/// Below, a trace or two would fill it.
const LEAST_BYTES: u64 = 1 << 20;

/// Most traces, decisions and operations: more would be gigabytes of tables.
const MOST: usize = 10_000_000;

section! {
    /// Tail sampling: which traces are kept is decided once their spans are there. By what this host saw of a trace.
    pub struct Section {
        /// Whether it is done. Unless set: where `keep`, `ratio`, `rates`, `min_traces_per_minute` or `spans_per_second` is.
        pub enabled: Option<bool>,
        /// How long the spans of a trace are held from the first of them on, unless a rule of `keep` has kept it before.
        pub decision_wait: Option<Period>,
        /// Most bytes of spans that are held; where there are more, the oldest traces are decided early, and counted.
        pub max_bytes: Option<Size>,
        /// Most traces that are held.
        pub max_traces: Option<NonZeroUsize>,
        /// Decisions that are remembered for spans that come later.
        pub decision_cache: Option<NonZeroUsize>,
        /// Traces that are kept: those of which one span fits all that a rule says.
        pub keep: Option<Vec<KeepRule>>,
        /// Share of all other traces that is kept, from 0 to 1, by the threshold rule of OpenTelemetry.
        pub ratio: Option<Ratio>,
        /// Shares of operations in place of `ratio`. The first rule that fits is followed.
        pub rates: Option<Vec<OperationRate>>,
        /// Traces of each operation that are kept each minute, if there are so many: the first ones.
        pub min_traces_per_minute: Option<u32>,
        /// Most spans a second, over 10 s, of traces that `keep` and `min_traces_per_minute` do not keep. Operations share it so
        /// that rare ones stay visible.
        pub spans_per_second: Option<NonZeroU32>,
        /// Operations that are told apart: what is above shares one budget and one floor, and has no percentiles.
        pub max_operations: Option<NonZeroUsize>,
    }
}

/// What keeps a trace: one span that fits one value of each key that is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of keys to values")]
pub struct KeepRule {
    /// Services whose span it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePattern>,
    /// Namespaces (`k8s.namespace.name`, else `service.namespace`) whose span it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<ServicePattern>,
    /// Names of the span: `*` and `?` as in file names, `*` for `/` as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<TextPattern>,
    /// Whether it has an error (responses of HTTP with 5xx have, at the client's side those with 4xx as well).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<bool>,
    /// Least duration of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Period>,
    /// It took longer than so many of 100 spans of its operation did lately. Of what a service is asked, and of what begins
    /// traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<Percentile>,
    /// Attributes that it, or its resource, has: all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<AttributeCondition>,
    /// Spans that its trace has at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_spans: Option<NonZeroUsize>,
}

/// An attribute with any value, one of some values, or a number within bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys to values")]
pub struct AttributeCondition {
    /// Its name.
    pub name: String,
    /// Values, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<TextPattern>,
    /// Least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Greatest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// The share that is kept of some operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys to values")]
pub struct OperationRate {
    /// Services in which the traces begin on this host; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePattern>,
    /// Names of the spans that the traces begin with on this host; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<TextPattern>,
    /// Share of their traces that is kept, from 0 to 1.
    pub ratio: Ratio,
}

/// Tail sampling, with what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// How long spans are held.
    pub decision_wait: Duration,
    /// Most bytes of spans that are held.
    pub max_bytes: usize,
    /// Most traces that are held.
    pub max_traces: usize,
    /// Decisions that are remembered.
    pub decision_cache: usize,
    /// What is kept in any case.
    pub keep: Vec<KeepRule>,
    /// Share of the rest.
    pub ratio: Ratio,
    /// Shares of operations.
    pub rates: Vec<OperationRate>,
    /// Traces a minute of each operation.
    pub min_traces_per_minute: u32,
    /// Most spans a second of the rest.
    pub spans_per_second: Option<u32>,
    /// Most operations.
    pub max_operations: usize,
}

impl Section {
    /// What holds where nobody says anything.
    pub(in crate::config) fn defaults() -> Self {
        Self {
            decision_wait: Some(Period(Duration::from_secs(10))),
            max_bytes: Some(Size(64 << 20)),
            max_traces: NonZeroUsize::new(50_000),
            decision_cache: NonZeroUsize::new(100_000),
            max_operations: NonZeroUsize::new(1_000),
            ..Self::default()
        }
    }

    /// The typed section, of one that lies over the defaults.
    ///
    /// # Errors
    /// The key whose value cannot be followed, and why.
    pub(super) fn settle(&self) -> Result<Option<Tail>, (&'static str, String)> {
        let says = self.keep.is_some()
            || self.ratio.is_some()
            || self.rates.is_some()
            || self.min_traces_per_minute.is_some()
            || self.spans_per_second.is_some();
        self.check()?;
        if !self.enabled.unwrap_or(says) {
            return Ok(None);
        }
        let tail = Tail {
            decision_wait: settled(self.decision_wait).0,
            max_bytes: usize::try_from(settled(self.max_bytes).0).unwrap_or(usize::MAX),
            max_traces: settled(self.max_traces).get(),
            decision_cache: settled(self.decision_cache).get(),
            keep: self.keep.clone().unwrap_or_default(),
            ratio: self.ratio.unwrap_or(Ratio::ALL),
            rates: self.rates.clone().unwrap_or_default(),
            min_traces_per_minute: self.min_traces_per_minute.unwrap_or_default(),
            spans_per_second: self.spans_per_second.map(NonZeroU32::get),
            max_operations: settled(self.max_operations).get(),
        };
        let is_all = |ratio: Ratio| ratio == Ratio::ALL;
        if is_all(tail.ratio)
            && tail.rates.iter().all(|rate| is_all(rate.ratio))
            && tail.spans_per_second.is_none()
        {
            let problem = "is 1, so that every trace is kept whatever else is said; give a share such as 0.1, 0 for none of \
                           the rest, or `sampling.tail.spans_per_second`";
            return Err(("sampling.tail.ratio", problem.to_owned()));
        }
        Ok(Some(tail))
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let wait = settled(self.decision_wait);
        if wait.0.is_zero() || wait.0 > LONGEST {
            let problem = format!("is {wait}; give a time from 1ms to 1h");
            return Err(("sampling.tail.decision_wait", problem));
        }
        let bytes = settled(self.max_bytes);
        if bytes.0 < LEAST_BYTES {
            return Err(("sampling.tail.max_bytes", format!("is {bytes}; the least is 1M")));
        }
        for (key, number) in [
            ("sampling.tail.max_traces", settled(self.max_traces)),
            ("sampling.tail.decision_cache", settled(self.decision_cache)),
            ("sampling.tail.max_operations", settled(self.max_operations)),
        ] {
            if number.get() > MOST {
                return Err((key, format!("is {number}; the most is {MOST}")));
            }
        }
        let keep = self.keep.as_deref().unwrap_or_default();
        if keep.len() > MOST_RULES {
            let problem = format!("has {} rules; the most is {MOST_RULES}", keep.len());
            return Err(("sampling.tail.keep", problem));
        }
        for (index, rule) in keep.iter().enumerate() {
            if let Some(problem) = rule.problem() {
                let problem = format!("has a rule (the one at place {}) that {problem}", index + 1);
                return Err(("sampling.tail.keep", problem));
            }
        }
        Ok(())
    }
}

impl KeepRule {
    fn problem(&self) -> Option<String> {
        if *self == Self::default() {
            return Some("keeps all: say what a span has to be, such as `errors: true`".to_owned());
        }
        self.attributes.iter().find_map(|condition| {
            let AttributeCondition {
                name,
                values,
                min,
                max,
                ..
            } = condition;
            let is_range = min.is_some() || max.is_some();
            if name.is_empty() {
                Some("has an attribute without a name".to_owned())
            } else if !values.is_empty() && is_range {
                Some(format!(
                    "has both `values` and a range for `{name}`; make two rules of it"
                ))
            } else if min.is_some_and(f64::is_nan) || max.is_some_and(f64::is_nan) {
                Some(format!("has a bound for `{name}` that is no number"))
            } else if min.zip(*max).is_some_and(|(min, max)| min > max) {
                Some(format!("has a `min` for `{name}` above its `max`"))
            } else {
                None
            }
        })
    }
}

/// A percentile, above 0 and below 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile(f64);

impl Percentile {
    /// As a share, between 0 and 1.
    #[must_use]
    pub const fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percentile {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse::<f64>() {
            Ok(percentile) if percentile > 0.0 && percentile < 100.0 => Ok(Self(percentile)),
            _ => Err(Invalid::new(format!(
                "`{text}` is not a percentile above 0 and below 100, such as 99 or 99.9"
            ))),
        }
    }
}

impl Display for Percentile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

scalar!(
    Percentile,
    ["number", "string"],
    "^[0-9.eE-]+$",
    "A percentile, such as 99 or 99.9."
);
