//! `sampling`: which traces are kept.

pub mod tail;

use super::choice::Sampler;
use super::layer::optional;
use super::value::{Invalid, ServicePattern, parsed};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::str::FromStr;
use tail::Tail;

/// Which traces are kept: decided where a trace begins, for all of it, and once its spans are there, by `T`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of keys to values")]
#[serde(bound(deserialize = "T: Deserialize<'de> + Default"))]
#[schemars(bound = "T: JsonSchema + Default + Serialize")]
#[schemars(rename = "Sampling", description = "Which traces are kept.")]
pub struct Sampling<T = Option<Tail>> {
    /// The sampler, as OTEL_TRACES_SAMPLER names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Sampler>,
    /// Which part of traces is kept by `traceidratio` and `parentbased_traceidratio`, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// Services of whose traces another part is kept, whatever the sampler. The first rule that fits is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<SamplingRule>>,
    /// Traces a second that begin on this host and are kept, at most. Services share it: those with few keep theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_traces_per_second: Option<NonZeroU32>,
    /// Spans a second in these, at most, shared in the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spans_per_second: Option<NonZeroU32>,
    /// Whether the tree on standard output shows traces that are not kept, too. No unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_unsampled: Option<bool>,
    /// Tail sampling: what of a trace was seen on this host decides whether that is kept.
    #[serde(deserialize_with = "optional")]
    pub tail: T,
}

/// As a layer says it.
pub type Section = Sampling<tail::Section>;

/// Traces that begin in some services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys to values")]
pub struct SamplingRule {
    /// The services; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePattern>,
    /// Their namespaces (`k8s.namespace.name`, else `service.namespace`); all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<ServicePattern>,
    /// Which part of the traces is kept, from 0 to 1.
    pub ratio: Ratio,
}

impl Section {
    pub(super) fn over(self, lower: Self) -> Self {
        Self {
            sampler: self.sampler.or(lower.sampler),
            ratio: self.ratio.or(lower.ratio),
            rules: self.rules.or(lower.rules),
            max_traces_per_second: self.max_traces_per_second.or(lower.max_traces_per_second),
            spans_per_second: self.spans_per_second.or(lower.spans_per_second),
            show_unsampled: self.show_unsampled.or(lower.show_unsampled),
            tail: self.tail.over(lower.tail),
        }
    }

    /// What holds where nobody says anything.
    pub(super) fn defaults() -> Self {
        Self {
            sampler: Some(Sampler::ParentBasedAlwaysOn),
            ratio: Some(Ratio::ALL),
            tail: tail::Section::defaults(),
            ..Self::default()
        }
    }

    /// What does not go together: the key, and the problem.
    fn conflict(&self) -> Option<(&'static str, String)> {
        let is_for_all = |rule: &SamplingRule| rule.services.is_empty() && rule.namespaces.is_empty();
        let index = self.rules.iter().flatten().position(is_for_all)?;
        let problem = "is for all services: give `services` or `namespaces`, or set `sampling.ratio`";
        let problem = format!("has a rule (the one at place {}) that {problem}", index + 1);
        Some(("sampling.rules", problem))
    }

    /// The typed section.
    ///
    /// # Errors
    /// The key whose value cannot be followed, and why.
    pub(super) fn settle(&self) -> Result<Sampling, (&'static str, String)> {
        if let Some(conflict) = self.conflict() {
            return Err(conflict);
        }
        Ok(Sampling {
            sampler: self.sampler,
            ratio: self.ratio,
            rules: self.rules.clone(),
            max_traces_per_second: self.max_traces_per_second,
            spans_per_second: self.spans_per_second,
            show_unsampled: self.show_unsampled,
            tail: self.tail.settle()?,
        })
    }
}

/// A part of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    /// The whole.
    pub const ALL: Self = Self(1.0);

    /// From 0 to 1.
    #[must_use]
    pub const fn number(self) -> f64 {
        self.0
    }
}

impl FromStr for Ratio {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        let problem = || Invalid::new(format!("`{text}` is not a number from 0 to 1, such as 0.25"));
        ratio.map(Self).ok_or_else(problem)
    }
}

impl Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1, "description": "A part, from 0 to 1." })
    }
}
