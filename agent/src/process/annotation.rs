//! What the annotations of a pod and of its namespace ask of spanwire.

use super::Pod;
use super::declared::MAX_ATTRIBUTES;
use crate::config::Injected;
use crate::propagation;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr as _;

/// Whether it is watched: `true` or `false`.
pub const INSTRUMENT: &str = "spanwire.dev/instrument";
/// `service.name` of the pod's processes.
pub const SERVICE_NAME: &str = "spanwire.dev/service-name";
/// Which part of the traces that begin there is kept.
pub const SAMPLE: &str = "spanwire.dev/sample";
/// Into what of its requests contexts are injected.
pub const PROPAGATE: &str = "spanwire.dev/propagate";
/// Annotations that begin so name attributes of the resource.
pub const RESOURCE: &str = "resource.opentelemetry.io/";

/// Longest `service.name` that is taken, in bytes.
const MAX_NAME: usize = 255;

/// What is asked for, each by the nearest that says anything: the pod, else its namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Whether it is watched; `None` where nobody says.
    pub instrument: Option<bool>,
    /// Its name, which only the pod itself can say.
    pub service_name: Option<String>,
    /// Which part of the traces that begin there is kept, from 0 to 1.
    pub sample: Option<f64>,
    /// Into what contexts may be injected at most, as bits of [`spanwire_ebpf::propagate`].
    pub propagate: Option<u32>,
}

/// Whose annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearer {
    /// The pod's.
    Pod,
    /// Its namespace's.
    Namespace,
}

/// A value that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Whose annotation it is.
    pub bearer: Bearer,
    /// The annotation.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What could be taken.
    pub expected: &'static str,
    /// What is done instead.
    pub instead: &'static str,
}

impl Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            value,
            expected,
            instead,
            ..
        } = self;
        let short: String = value.chars().take(64).collect();
        let more = if short.len() < value.len() { "…" } else { "" };
        write!(
            formatter,
            "annotation {key} is {short:?}{more}, expected {expected}: {instead}"
        )
    }
}

impl Wishes {
    /// What is asked of the processes of a pod. Where a value is wrong, nothing is done that nobody has asked for.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self::read(pod, &mut Vec::new())
    }

    /// The same, with what is wrong.
    #[must_use]
    pub fn with_mistakes(pod: &Pod) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let wishes = Self::read(pod, &mut mistakes);
        for (key, value) in &pod.annotations {
            let mistake = |expected, instead| Mistake {
                bearer: Bearer::Pod,
                key: key.clone(),
                value: value.clone(),
                expected,
                instead,
            };
            if key == RESOURCE {
                mistakes.push(mistake(
                    "the name of an attribute behind the slash",
                    "it is left out",
                ));
            } else if key.starts_with(RESOURCE) && value.is_empty() {
                mistakes.push(mistake("a value", "the attribute is left out"));
            }
        }
        let declared = pod.annotations.iter();
        let declared = declared.filter(|(key, value)| {
            key.len() > RESOURCE.len() && key.starts_with(RESOURCE) && !value.is_empty()
        });
        let count = declared.count();
        if count > MAX_ATTRIBUTES {
            mistakes.push(Mistake {
                bearer: Bearer::Pod,
                key: format!("{RESOURCE}*"),
                value: format!("there {count} times"),
                expected: "128 of them at most",
                instead: "the rest, in the order of their names, is left out",
            });
        }
        (wishes, mistakes)
    }

    fn read(pod: &Pod, mistakes: &mut Vec<Mistake>) -> Self {
        let instrument = nearest(pod, INSTRUMENT).map(|found| {
            let expected = "\"true\" or \"false\"";
            let instead = "it is not watched";
            found.value(truth).unwrap_or_else(|| {
                mistakes.push(found.mistake(expected, instead));
                false
            })
        });
        let own = Found::among(&pod.annotations, Bearer::Pod, SERVICE_NAME);
        let service_name = own.and_then(|found| {
            let name = found.value(name);
            if name.is_none() {
                let expected = "1 to 255 bytes without control characters";
                mistakes.push(found.mistake(expected, "its name is found without it"));
            }
            name
        });
        let sample = nearest(pod, SAMPLE).and_then(|found| {
            let ratio = found.value(ratio);
            if ratio.is_none() {
                mistakes.push(found.mistake("a ratio from 0 to 1", "the configuration's ratio counts"));
            }
            ratio
        });
        let propagate = nearest(pod, PROPAGATE).map(|found| {
            found.value(protocols).unwrap_or_else(|| {
                let expected = "\"true\", \"false\" or a list of http1, http2, amqp, sql and tcp";
                mistakes.push(found.mistake(expected, "no context is injected"));
                0
            })
        });
        Self {
            instrument,
            service_name,
            sample,
            propagate,
        }
    }
}

/// An annotation that was found.
struct Found<'a> {
    bearer: Bearer,
    key: &'static str,
    text: &'a str,
}

impl<'a> Found<'a> {
    fn among(annotations: &'a BTreeMap<String, String>, bearer: Bearer, key: &'static str) -> Option<Self> {
        let text = annotations.get(key)?;
        Some(Self { bearer, key, text })
    }

    fn value<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        parse(self.text.trim())
    }

    fn mistake(&self, expected: &'static str, instead: &'static str) -> Mistake {
        Mistake {
            bearer: self.bearer,
            key: self.key.to_owned(),
            value: self.text.to_owned(),
            expected,
            instead,
        }
    }
}

fn nearest<'a>(pod: &'a Pod, key: &'static str) -> Option<Found<'a>> {
    Found::among(&pod.annotations, Bearer::Pod, key)
        .or_else(|| Found::among(&pod.namespace.annotations, Bearer::Namespace, key))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn name(text: &str) -> Option<String> {
    let is_name = !text.is_empty() && text.len() <= MAX_NAME && !text.contains(char::is_control);
    is_name.then(|| text.to_owned())
}

fn ratio(text: &str) -> Option<f64> {
    let ratio: f64 = text.parse().ok()?;
    (0.0..=1.0).contains(&ratio).then_some(ratio)
}

fn protocols(text: &str) -> Option<u32> {
    match truth(text) {
        Some(true) => return Some(u32::MAX),
        Some(false) => return Some(0),
        None => {}
    }
    let names = text.split(',').map(|name| Injected::from_str(name.trim()));
    let headers: Vec<_> = names.collect::<Result<_, _>>().ok()?;
    Some(propagation::bits(&headers))
}

#[cfg(test)]
mod tests {
    use super::super::Namespace;
    use super::*;
    use spanwire_ebpf::propagate;
    use std::sync::Arc;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn pod(own: &[(&str, &str)], of_namespace: &[(&str, &str)]) -> Pod {
        let namespace = Namespace {
            name: "shop".into(),
            annotations: map(of_namespace),
            ..Namespace::default()
        };
        Pod {
            annotations: map(own),
            namespace: Arc::new(namespace),
            ..Pod::default()
        }
    }

    #[test]
    fn the_nearest_annotation_counts() {
        let instrument = |own: &[(&str, &str)], of_namespace: &[(&str, &str)]| {
            Wishes::of(&pod(own, of_namespace)).instrument
        };
        assert_eq!(instrument(&[], &[]), None);
        assert_eq!(instrument(&[], &[(INSTRUMENT, "true")]), Some(true));
        assert_eq!(
            instrument(&[(INSTRUMENT, "false")], &[(INSTRUMENT, "true")]),
            Some(false)
        );
        assert_eq!(
            instrument(&[(INSTRUMENT, "true")], &[(INSTRUMENT, "false")]),
            Some(true)
        );
    }

    #[test]
    fn all_that_can_be_asked_for() {
        let asked = pod(
            &[
                (SERVICE_NAME, "cart"),
                (SAMPLE, "0.25"),
                (PROPAGATE, "http1, amqp"),
            ],
            &[
                (INSTRUMENT, "true"),
                (SERVICE_NAME, "no"),
                (SAMPLE, "1"),
                (PROPAGATE, "true"),
            ],
        );
        let (wishes, mistakes) = Wishes::with_mistakes(&asked);
        assert_eq!(mistakes, []);
        let expect = Wishes {
            instrument: Some(true),
            service_name: Some("cart".into()),
            sample: Some(0.25),
            propagate: Some(propagate::HTTP1 | propagate::AMQP),
        };
        assert_eq!(wishes, expect);
        let of_namespace = pod(&[], &[(SERVICE_NAME, "no"), (SAMPLE, "0"), (PROPAGATE, "false")]);
        let expect = Wishes {
            sample: Some(0.0),
            propagate: Some(0),
            ..Wishes::default()
        };
        assert_eq!(Wishes::of(&of_namespace), expect);
    }

    /// One wrong value: what comes of it, and what is said.
    fn check(own: &[(&str, &str)], of_namespace: &[(&str, &str)], expect: &Wishes, said: &str) {
        let (wishes, mistakes) = Wishes::with_mistakes(&pod(own, of_namespace));
        assert_eq!(&wishes, expect, "{own:?} {of_namespace:?}");
        let texts: Vec<String> = mistakes
            .iter()
            .map(|it| format!("{:?}: {it}", it.bearer))
            .collect();
        assert_eq!(texts, [said], "{own:?} {of_namespace:?}");
    }

    #[test]
    fn a_wrong_value_is_told_and_does_what_nobody_has_to_fear() {
        let nothing = Wishes::default();
        let unwatched = Wishes {
            instrument: Some(false),
            ..Wishes::default()
        };
        // Who mistypes "false" on a pod of a namespace that is watched does not mean "true".
        check(
            &[(INSTRUMENT, "flase")],
            &[(INSTRUMENT, "true")],
            &unwatched,
            "Pod: annotation spanwire.dev/instrument is \"flase\", expected \"true\" or \"false\": it is not watched",
        );
        check(
            &[],
            &[(INSTRUMENT, "")],
            &unwatched,
            "Namespace: annotation spanwire.dev/instrument is \"\", expected \"true\" or \"false\": it is not watched",
        );
        for value in ["2", "-0.1", "nan", "half", ""] {
            check(
                &[(SAMPLE, value)],
                &[],
                &nothing,
                &format!(
                    "Pod: annotation spanwire.dev/sample is {value:?}, expected a ratio from 0 to 1: the configuration's \
                     ratio counts"
                ),
            );
        }
        check(
            &[(PROPAGATE, "http3")],
            &[],
            &Wishes {
                propagate: Some(0),
                ..Wishes::default()
            },
            "Pod: annotation spanwire.dev/propagate is \"http3\", expected \"true\", \"false\" or a list of http1, http2, \
             amqp, sql and tcp: no context is injected",
        );
        check(
            &[(SERVICE_NAME, "a\nb")],
            &[],
            &nothing,
            "Pod: annotation spanwire.dev/service-name is \"a\\nb\", expected 1 to 255 bytes without control characters: \
             its name is found without it",
        );
        check(
            &[("resource.opentelemetry.io/service.version", "")],
            &[],
            &nothing,
            "Pod: annotation resource.opentelemetry.io/service.version is \"\", expected a value: the attribute is left out",
        );
        let many = |count| {
            let keys: Vec<_> = (0..count)
                .map(|number| format!("resource.opentelemetry.io/{number}"))
                .collect();
            let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), "1")).collect();
            Wishes::with_mistakes(&pod(&pairs, &[])).1
        };
        assert_eq!(many(MAX_ATTRIBUTES), []);
        let [too_many] = &many(MAX_ATTRIBUTES + 2)[..] else {
            panic!("one mistake");
        };
        assert_eq!(
            too_many.to_string(),
            "annotation resource.opentelemetry.io/* is \"there 130 times\", expected 128 of them at most: the rest, in the \
             order of their names, is left out"
        );
        let long = "x".repeat(300);
        let (_, mistakes) = Wishes::with_mistakes(&pod(&[(INSTRUMENT, &long)], &[]));
        let text = mistakes[0].to_string();
        assert!(text.contains(&format!("{}\"…,", "x".repeat(64))), "{text}");
    }
}
