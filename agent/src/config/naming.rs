//! `routes`, `spans` and `baggage`: what spans are called, which are left out, and what comes along with a request.

use super::expression::Expression;
use super::layer::section;
use super::value::{Invalid, ServicePattern, parsed, scalar};
use crate::span::route::Template;
use globset::Glob;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::str::FromStr;

/// Most routes that may be learnt of one service.
pub const MAX_ROUTES: u32 = 4096;

section! {
    /// `http.route` of requests that a service is asked, after which their spans are named.
    pub struct Routes {
        /// Whether routes are learnt from the paths that a service answers, where no template fits.
        pub learn: Option<bool>,
        /// Routes that are learnt of one service at most; other paths have none.
        pub max_per_service: Option<NonZeroU32>,
        /// Routes that are known. The first that fits is taken.
        pub templates: Option<Vec<RouteTemplates>>,
    }
}

/// Routes of services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys to values")]
pub struct RouteTemplates {
    /// Services whose routes they are; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePattern>,
    /// The routes: `{id}` and `*` stand for one segment, `**` at the end for all that follow.
    pub paths: Vec<RouteTemplate>,
}

section! {
    /// Which spans are left out, and what others are called.
    pub struct Spans {
        /// Requests that are left out, with all that is done for them on this host. Probes of kubelet and Prometheus unless set.
        pub drop: Option<Vec<DropRule>>,
        /// Names that are replaced. The first rule that fits is followed.
        pub rename: Option<Vec<RenameRule>>,
    }
}

/// Requests of HTTP that are left out: what fits one value of each key that is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys to values")]
pub struct DropRule {
    /// Services that ask or are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePattern>,
    /// Paths, without query: `*` and `?` as in file names, `*` for `/` as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<TextPattern>,
    /// User agents, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_agents: Vec<TextPattern>,
}

/// A name for spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys to values")]
pub struct RenameRule {
    /// Services whose spans they are; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePattern>,
    /// What is looked for in the name that a span has.
    pub pattern: Expression,
    /// The name, with `$1` or `${name}` for groups of the pattern.
    pub name: String,
}

section! {
    /// What is taken of the `baggage` that comes with a request.
    pub struct Baggage {
        /// Entries that become attributes, under their own names. None unless set.
        pub attributes: Option<Vec<BaggageKey>>,
    }
}

impl Spans {
    /// What holds where nobody says anything.
    pub(super) fn defaults() -> Self {
        let pattern = |text: &str| text.parse().expect("a pattern");
        Self {
            drop: Some(vec![DropRule {
                services: Vec::new(),
                paths: Vec::new(),
                user_agents: ["kube-probe/*", "Prometheus/*"].map(pattern).to_vec(),
            }]),
            rename: None,
        }
    }

    /// What does not go together: the key, and the problem.
    pub(super) fn conflict(&self) -> Option<(&'static str, String)> {
        /// As many as there are bits.
        const MOST: usize = 64;
        let drop = self.drop.as_deref().unwrap_or_default();
        let is_empty = |rule: &DropRule| rule.paths.is_empty() && rule.user_agents.is_empty();
        if let Some(index) = drop.iter().position(is_empty) {
            let problem = "drops all that a service does: give `paths` or `user_agents`, or use `watch`";
            let problem = format!("has a rule (the one at place {}) that {problem}", index + 1);
            return Some(("spans.drop", problem));
        }
        if drop.len() > MOST {
            return Some((
                "spans.drop",
                format!("has {} rules; the most is {MOST}", drop.len()),
            ));
        }
        let nameless = |rule: &RenameRule| rule.name.trim().is_empty();
        let index = self.rename.iter().flatten().position(nameless)?;
        let problem = format!(
            "has a rule (the one at place {}) whose `name` is empty",
            index + 1
        );
        Some(("spans.rename", problem))
    }
}

impl Routes {
    /// What does not go together: the key, and the problem.
    pub(super) fn conflict(&self) -> Option<(&'static str, String)> {
        let most = self.max_per_service?.get();
        (most > MAX_ROUTES).then(|| {
            (
                "routes.max_per_service",
                format!("is {most}; the most is {MAX_ROUTES}"),
            )
        })
    }
}

/// A template of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTemplate(pub Template);

impl FromStr for RouteTemplate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let template = text.parse().map(Self);
        template.map_err(|error| Invalid::new(format!("`{text}` is not a route: {error}")))
    }
}

impl Display for RouteTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.text())
    }
}

scalar!(
    RouteTemplate,
    "string",
    "^/",
    "A route, such as `/orders/{id}` or `/files/**`."
);

/// A shell-like pattern for a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPattern(Glob);

impl TextPattern {
    /// The pattern, to be compiled.
    #[must_use]
    pub fn glob(&self) -> Glob {
        self.0.clone()
    }
}

impl FromStr for TextPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new(
                "an empty pattern matches nothing; give one such as `/health*`",
            ));
        }
        let glob = Glob::new(text).map(Self);
        glob.map_err(|error| Invalid::new(format!("`{text}` is not a pattern: {}", error.kind())))
    }
}

impl Display for TextPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.glob())
    }
}

scalar!(TextPattern, "string", ".", "A text; `*`, `?`, `[...]`, `{a,b}`.");

/// The name of an entry of baggage, case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaggageKey(String);

impl BaggageKey {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaggageKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A token, which is what the name of a method is.
        match http::Method::from_bytes(text.as_bytes()) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Invalid::new(format!(
                "`{text}` is not the name of an entry of baggage"
            ))),
        }
    }
}

impl Display for BaggageKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

scalar!(
    BaggageKey,
    "string",
    "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    "The name of an entry of baggage, case-sensitive."
);
