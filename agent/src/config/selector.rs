//! `watch.include` and `watch.exclude`: selectors of processes, and own rules for those that one of them selects.

use super::choice::{Injected, RuleSet};
use super::layer::optional;
use super::naming::TextPattern;
use super::sampling::Ratio;
use super::value::{Invalid, Pattern, PortRange, parsed, scalar};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

/// Most selectors of one list: each is asked of each process that starts.
const MOST: usize = 256;

/// A selector, with what follows for the processes that it selects.
macro_rules! selector {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $key:ident: Option<$type:ty>,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default, expecting = "a mapping of keys to values")]
        pub struct $name {
            /// Executables: file names, or whole paths, with `*` and `**`.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub executables: Vec<Pattern>,
            /// Command lines, arguments joined by spaces; `*` for any text. They are read for this alone, and never shown.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub command_lines: Vec<TextPattern>,
            /// TCP ports on which the process listens itself, or ranges of ports.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub ports: Vec<PortRange>,
            /// Units of systemd that it is in: `nginx`, `nginx.service`, `system-shop.slice`; `*` for any text.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub units: Vec<TextPattern>,
            /// Containers: names with `*` for any text, or ids (at least the first 4 characters).
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub containers: Vec<TextPattern>,
            /// Images of containers, with or without their tag: whole names, or the last part alone; `*` for any text.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub images: Vec<TextPattern>,
            /// Labels of containers, and what each has to be; `*` for any text. All of them have to fit.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub container_labels: BTreeMap<String, TextPattern>,
            /// What Kubernetes says of the process's pod.
            #[serde(deserialize_with = "optional", skip_serializing_if = "Kubernetes::is_empty")]
            pub kubernetes: Kubernetes,
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
        }

        impl $name {
            /// The selector alone.
            #[must_use]
            pub fn selector(&self) -> Selector {
                Selector {
                    executables: self.executables.clone(),
                    command_lines: self.command_lines.clone(),
                    ports: self.ports.clone(),
                    units: self.units.clone(),
                    containers: self.containers.clone(),
                    images: self.images.clone(),
                    container_labels: self.container_labels.clone(),
                    kubernetes: self.kubernetes.clone(),
                }
            }
        }
    };
}

selector! {
    /// Processes that are watched: those that fit one value of each key that is given. What is set beside that holds for them
    /// alone, and goes before what holds for all; where several selectors fit, the first one's is taken.
    pub struct Include {
        /// `service.name` of the processes, whatever they or others say.
        pub service_name: Option<ServiceName>,
        /// Which part of the traces is kept that begin in them, from 0 to 1. It goes before `sampling.ratio` and `sampling.rules`.
        pub sample: Option<Ratio>,
        /// Into which of their requests trace context is put, in place of `propagate.headers`.
        pub propagate: Option<Vec<Injected>>,
        /// What is taken out of their spans, in place of `redaction.set` and of keys that differ from it. `redaction.extra_keys` and
        /// `redaction.rules` hold all the same.
        pub redaction: Option<RuleSet>,
    }
}

selector! {
    /// Processes that are not watched: those that fit one value of each key that is given.
    pub struct Exclude {}
}

/// What a process has to fit: one value of each list that is not empty, and all labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    /// Patterns of executables.
    pub executables: Vec<Pattern>,
    /// Patterns of joined arguments.
    pub command_lines: Vec<TextPattern>,
    /// Ports on which it listens.
    pub ports: Vec<PortRange>,
    /// Patterns of units.
    pub units: Vec<TextPattern>,
    /// Patterns of names of containers, or beginnings of ids.
    pub containers: Vec<TextPattern>,
    /// Patterns of images.
    pub images: Vec<TextPattern>,
    /// Labels of containers, by name.
    pub container_labels: BTreeMap<String, TextPattern>,
    /// What its pod has to fit.
    pub kubernetes: Kubernetes,
}

/// What Kubernetes says of a process's pod: one value of each key that is given has to fit, and all labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of keys to values")]
pub struct Kubernetes {
    /// Names of namespaces; `*` for any text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<TextPattern>,
    /// Labels of the pod, and what each has to be; `*` for any text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, TextPattern>,
    /// Annotations of the pod, and what each has to be; `*` for any text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, TextPattern>,
    /// Who made the pod, directly or not: `checkout`, or with its kind `Deployment/checkout`; `*` for any text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<TextPattern>,
    /// Names of pods; `*` for any text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<TextPattern>,
    /// Names of containers in the pod's specification; `*` for any text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<TextPattern>,
}

impl Kubernetes {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What does not go together in the lists: the key, and the problem.
pub(super) fn conflict(
    include: Option<&[Include]>,
    exclude: Option<&[Exclude]>,
) -> Option<(&'static str, String)> {
    let lists = [
        (
            "watch.include",
            include.map(|all| all.iter().map(Include::selector).collect::<Vec<_>>()),
        ),
        (
            "watch.exclude",
            exclude.map(|all| all.iter().map(Exclude::selector).collect()),
        ),
    ];
    lists.into_iter().find_map(|(key, selectors)| {
        let selectors = selectors?;
        if selectors.len() > MOST {
            return Some((
                key,
                format!("has {} selectors; the most is {MOST}", selectors.len()),
            ));
        }
        let index = selectors
            .iter()
            .position(|selector| *selector == Selector::default())?;
        let problem = "fits every process: say what it selects, as in `executables: [nginx]`";
        Some((
            key,
            format!("has a selector (the one at place {}) that {problem}", index + 1),
        ))
    })
}

/// The name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName(String);

impl ServiceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.trim().is_empty() {
            true => Err(Invalid::new(
                "a service's name is not empty; give one such as `checkout`",
            )),
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl Display for ServiceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

scalar!(ServiceName, "string", "[^ ]", "The name of a service.");
