//! `sampling`: which traces are kept.

pub mod tail;

use super::layer::optional;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tail::Tail;

/// Which traces are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// What is decided once spans are there; `None` where nothing is.
    pub tail: Option<Tail>,
}

/// Which traces are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of keys to values")]
pub struct Section {
    /// Tail sampling: what of a trace was seen on this host decides whether that is kept.
    #[serde(deserialize_with = "optional")]
    pub tail: tail::Section,
}

impl Section {
    pub(super) fn over(self, lower: Self) -> Self {
        Self {
            tail: self.tail.over(lower.tail),
        }
    }

    /// What holds where nobody says anything.
    pub(super) fn defaults() -> Self {
        Self {
            tail: tail::Section::defaults(),
        }
    }

    /// The typed section.
    ///
    /// # Errors
    /// The key whose value cannot be followed, and why.
    pub(super) fn settle(&self) -> Result<Sampling, (&'static str, String)> {
        Ok(Sampling {
            tail: self.tail.settle()?,
        })
    }
}
