//! Services that make spans of their own: an OpenTelemetry SDK in them, found by how it is loaded, or by what they export.
//! spanwire leaves to them what they cover, so that nothing is told twice.

use super::Identity;
use crate::config::value::ServicePattern;
use crate::config::{Covered, Sdk};
use globset::GlobSet;
use spanwire_ebpf::protocol;

/// How an SDK is put into a program from outside: environment variables, and what in their values means it.
const LOADERS: [(&str, &str); 8] = [
    ("NODE_OPTIONS", "@opentelemetry/auto-instrumentations-node"),
    ("PYTHONPATH", "opentelemetry/instrumentation/auto_instrumentation"),
    ("JAVA_TOOL_OPTIONS", AGENT),
    ("JDK_JAVA_OPTIONS", AGENT),
    ("_JAVA_OPTIONS", AGENT),
    ("CORECLR_PROFILER", "{918728DD-259F-4A6A-AC2B-B85E1B658318}"),
    ("RUBYOPT", "opentelemetry-auto-instrumentation"),
    ("OTEL_PHP_AUTOLOAD_ENABLED", "true"),
];

/// The same, in arguments.
const ARGUMENTS: [&str; 2] = ["@opentelemetry/auto-instrumentations-node", AGENT];

const AGENT: &str = "opentelemetry-javaagent";

/// Values of variables with which an SDK that is loaded exports nothing.
const SILENCED: [(&str, &[&str]); 2] = [
    ("OTEL_SDK_DISABLED", &["true"]),
    ("OTEL_TRACES_EXPORTER", &["none", "console", "logging"]),
];

/// What a process's start says of an SDK in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    is_loaded: bool,
    is_silenced: bool,
}

impl Loaded {
    /// Takes up an environment variable.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        self.is_loaded |= LOADERS
            .iter()
            .any(|(loader, means)| *loader == name && value.contains(means));
        self.is_silenced |= SILENCED
            .iter()
            .any(|(variable, values)| *variable == name && values.contains(&value.trim()));
    }

    /// Takes up an argument of the command line.
    pub(super) fn note_argument(&mut self, argument: &str) {
        self.is_loaded |= ARGUMENTS.iter().any(|means| argument.contains(means));
    }

    /// Whether spans are to be expected from it.
    #[must_use]
    pub const fn exports(self) -> bool {
        self.is_loaded && !self.is_silenced
    }
}

/// Which services are left to an SDK of theirs, and what of them.
#[derive(Clone, Debug)]
pub struct Rules {
    detects: bool,
    instrumented: GlobSet,
    kept: GlobSet,
    covers: Vec<Covered>,
}

fn set(patterns: &[ServicePattern]) -> GlobSet {
    let mut set = GlobSet::builder();
    for pattern in patterns {
        set.add(pattern.glob());
    }
    // Each was compiled when it was parsed; together they can only be too many.
    set.build().unwrap_or_else(|error| {
        tracing::warn!("names of services are not heeded: {error}");
        GlobSet::empty()
    })
}

impl Default for Rules {
    /// Nothing is left to anybody.
    fn default() -> Self {
        Self {
            detects: false,
            instrumented: GlobSet::empty(),
            kept: GlobSet::empty(),
            covers: Vec::new(),
        }
    }
}

/// How a process comes to make spans itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The configuration says it.
    Configured,
    /// It was started with an SDK.
    Loaded,
    /// It exports them.
    Exports,
}

impl Rules {
    /// The rules of the configuration.
    #[must_use]
    pub fn new(sdk: &Sdk) -> Self {
        Self {
            detects: sdk.detect,
            instrumented: set(&sdk.instrumented),
            kept: set(&sdk.kept),
            covers: sdk.covers.clone(),
        }
    }

    /// Whether exports of telemetry mean anything.
    #[must_use]
    pub const fn detects(&self) -> bool {
        self.detects
    }

    /// Why the process of `service` is taken for one that makes spans itself, if it is.
    pub(super) fn evidence(
        &self,
        service: &str,
        identity: Option<&Identity>,
        exports: bool,
    ) -> Option<Evidence> {
        if self.instrumented.is_match(service) {
            return Some(Evidence::Configured);
        }
        if !self.detects || self.kept.is_match(service) {
            return None;
        }
        if exports {
            return Some(Evidence::Exports);
        }
        let is_loaded = identity.is_some_and(|identity| identity.sdk.exports());
        is_loaded.then_some(Evidence::Loaded)
    }

    /// Whether SDKs make spans of what a protocol carries, by its number in records.
    pub(super) fn cover(&self, number: u8) -> bool {
        let covered = match number {
            protocol::HTTP1 | protocol::HTTP2 => Covered::Http,
            protocol::POSTGRES => Covered::Database,
            protocol::AMQP => Covered::Messaging,
            _ => return false,
        };
        self.covers.contains(&covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(variables: &[(&str, &str)], arguments: &[&str]) -> bool {
        let mut loaded = Loaded::default();
        for (name, value) in variables {
            loaded.note(name, value);
        }
        arguments
            .iter()
            .for_each(|argument| loaded.note_argument(argument));
        loaded.exports()
    }

    #[test]
    fn how_an_sdk_is_loaded() {
        let node = (
            "NODE_OPTIONS",
            "--max-old-space-size=512 --require @opentelemetry/auto-instrumentations-node/register",
        );
        let python = (
            "PYTHONPATH",
            "/usr/lib/python3/dist-packages/opentelemetry/instrumentation/auto_instrumentation:/app",
        );
        assert!(loaded(&[node], &[]));
        assert!(loaded(&[python], &[]));
        assert!(loaded(
            &[("JAVA_TOOL_OPTIONS", "-javaagent:/opt/opentelemetry-javaagent.jar")],
            &[]
        ));
        assert!(loaded(
            &[],
            &[
                "java",
                "-javaagent:/opt/opentelemetry-javaagent.jar",
                "-jar",
                "a.jar"
            ]
        ));
        assert!(loaded(
            &[],
            &[
                "node",
                "--import",
                "@opentelemetry/auto-instrumentations-node/register",
                "a.js"
            ]
        ));
        assert!(!loaded(
            &[
                ("NODE_OPTIONS", "--inspect"),
                ("PYTHONPATH", "/app/opentelemetry")
            ],
            &["node"]
        ));
    }

    #[test]
    fn one_that_exports_nothing() {
        let python = (
            "PYTHONPATH",
            "/x/opentelemetry/instrumentation/auto_instrumentation",
        );
        assert!(!loaded(&[("OTEL_SDK_DISABLED", "true"), python], &[]));
        assert!(!loaded(&[python, ("OTEL_TRACES_EXPORTER", "none")], &[]));
        assert!(loaded(
            &[
                python,
                ("OTEL_TRACES_EXPORTER", "otlp"),
                ("OTEL_SDK_DISABLED", "false")
            ],
            &[]
        ));
    }

    fn rules(instrumented: &[&str], kept: &[&str]) -> Rules {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Rules::new(&Sdk {
            detect: true,
            instrumented: patterns(instrumented),
            kept: patterns(kept),
            covers: vec![Covered::Http],
        })
    }

    #[test]
    fn what_the_configuration_says_comes_first() {
        let rules = rules(&["cart", "shop-*"], &["legacy", "shop-kept"]);
        assert_eq!(rules.evidence("cart", None, false), Some(Evidence::Configured));
        assert_eq!(
            rules.evidence("shop-kept", None, false),
            Some(Evidence::Configured)
        );
        assert_eq!(rules.evidence("legacy", None, true), None);
        assert_eq!(rules.evidence("other", None, true), Some(Evidence::Exports));
        assert_eq!(rules.evidence("other", None, false), None);
        assert!(rules.cover(protocol::HTTP1) && rules.cover(protocol::HTTP2));
        assert!(!rules.cover(protocol::POSTGRES) && !rules.cover(protocol::AMQP));
    }
}
