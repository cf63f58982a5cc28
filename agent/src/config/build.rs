//! The typed configuration out of the layers: rounding, and the rules that span several keys.

use super::delivery;
use super::layer::{self, Layer};
use super::naming::BaggageKey;
use super::print::{Origin, Origins};
use super::selector;
use super::value::{FieldName, HeaderName, Period};
use super::{
    Batch, Capture, Config, Correlation, Error, Http, Injected, Limits, Messaging, OWN_RESOURCE, Output,
    Propagate, Sdk, Warning, Watch,
};
use std::time::Duration;

/// More would be memory that the kernel does not give back before the end.
const MAX_RING_BUFFER: u64 = 1 << 30;
/// A map of this many connections is some gigabytes already.
const MAX_CONNECTIONS: u32 = 1 << 22;

/// Builds from `layer`, which lies over the defaults.
///
/// # Errors
/// Values that do not go together.
pub(super) fn config(layer: &Layer, origins: &Origins, warnings: &mut Vec<Warning>) -> Result<Config, Error> {
    let rules = Rules { origins };
    Ok(Config {
        watch: rules.watch(&layer.watch)?,
        kubernetes: layer
            .kubernetes
            .settle()
            .map_err(|(key, problem)| rules.conflict(key, problem))?,
        containers: layer
            .containers
            .settle()
            .map_err(|(key, problem)| rules.conflict(key, problem))?,
        capture: rules.capture(&layer.capture)?,
        http: http(&layer.http),
        messaging: Messaging {
            broker_spans: settled(layer.messaging.broker_spans),
            captured_headers: captured(layer.messaging.captured_headers.as_deref(), HeaderName::as_str),
        },
        propagate: propagate(layer, warnings),
        sdk: Sdk {
            detect: settled(layer.sdk.detect),
            instrumented: layer.sdk.instrumented.clone().unwrap_or_default(),
            kept: layer.sdk.kept.clone().unwrap_or_default(),
            covers: settled(layer.sdk.covers.clone()),
        },
        baggage: captured(layer.baggage.attributes.as_deref(), BaggageKey::as_str),
        routes: rules.whole(&layer.routes, layer.routes.conflict())?,
        spans: rules.whole(&layer.spans, layer.spans.conflict())?,
        redaction: rules.whole(&layer.redaction, layer.redaction.conflict())?,
        sampling: layer
            .sampling
            .settle()
            .map_err(|(key, problem)| rules.conflict(key, problem))?,
        output: Output {
            format: settled(layer.output.format),
            color: settled(layer.output.color),
            open_after: layer.output.open_after.and_then(limit),
        },
        export: delivery::export(&rules, &layer.export, warnings)?,
        batch: batch(&layer.batch, warnings),
        limits: Limits {
            attribute_value_length: layer.limits.attribute_value_length,
            attribute_count: settled(layer.limits.attribute_count),
            event_count: settled(layer.limits.event_count),
            event_attribute_count: settled(layer.limits.event_attribute_count),
        },
        metrics: super::metrics::metrics(&layer.metrics, &layer.export)
            .map_err(|(key, problem)| rules.conflict(key, problem))?,
        resource: resource(layer, warnings),
    })
}

/// A key that `Layer::defaults` gives a value, so that one is always there.
pub(super) fn settled<T>(value: Option<T>) -> T {
    value.expect("the defaults have this key")
}

/// Timeouts: 0 is no limit.
pub(super) fn limit(period: Period) -> Option<Duration> {
    Some(period.0).filter(|duration| !duration.is_zero())
}

/// Request headers by which people find a request in logs; all others may hold secrets.
const CORRELATION: [&str; 2] = ["x-correlation-id", "x-request-id"];

fn http(section: &layer::Http) -> Http {
    let known_methods = section.known_methods.as_ref();
    Http {
        known_methods: known_methods.map(|methods| methods.iter().map(ToString::to_string).collect()),
        captured_request_headers: section.captured_request_headers.as_deref().map_or_else(
            || CORRELATION.map(str::to_owned).to_vec(),
            |names| captured(Some(names), FieldName::as_str),
        ),
        captured_response_headers: captured(section.captured_response_headers.as_deref(), FieldName::as_str),
    }
}

fn propagate(layer: &Layer, warnings: &mut Vec<Warning>) -> Propagate {
    let section = &layer.propagate;
    let headers = settled(section.headers.clone());
    let (baggage, correlation) = (settled(section.baggage), settled(section.correlation));
    let of_processes = layer
        .watch
        .include
        .iter()
        .flatten()
        .filter_map(|it| it.propagate.as_deref());
    let is_http1 = of_processes
        .chain([&*headers])
        .flatten()
        .any(|into| *into == Injected::Http1);
    for (key, is_on) in [
        ("propagate.baggage", baggage),
        ("propagate.correlation", correlation != Correlation::None),
    ] {
        if is_on && !is_http1 {
            let problem =
                "does nothing: it goes with requests of HTTP/1, and `propagate.headers` has no `http1`";
            warnings.push(Warning::Key {
                key,
                problem: problem.to_owned(),
            });
        }
    }
    Propagate {
        headers,
        refuse_from: section.refuse_from.clone().unwrap_or_default(),
        baggage,
        correlation,
    }
}

/// Names of headers, each once.
fn captured<T>(names: Option<&[T]>, text: impl Fn(&T) -> &str) -> Vec<String> {
    let mut names: Vec<String> = names
        .into_iter()
        .flatten()
        .map(|name| text(name).to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn batch(section: &layer::Batch, warnings: &mut Vec<Warning>) -> Batch {
    let queue = settled(section.max_queue_size).get();
    let mut batch = settled(section.max_export_batch_size).get();
    if batch > queue {
        let problem = format!("{batch} is more than `batch.max_queue_size`; {queue} is taken");
        warnings.push(Warning::Key {
            key: "batch.max_export_batch_size",
            problem,
        });
        batch = queue;
    }
    Batch {
        schedule_delay: settled(section.schedule_delay).0,
        export_timeout: limit(settled(section.export_timeout)),
        max_queue_size: queue,
        max_export_batch_size: batch,
        max_export_batch_bytes: usize::try_from(settled(section.max_export_batch_bytes).0)
            .unwrap_or(usize::MAX),
    }
}

/// The environment's own ones are taken out where it is read; in the file they are a misunderstanding.
fn resource(layer: &Layer, warnings: &mut Vec<Warning>) -> Vec<(String, String)> {
    let (own, shared): (Vec<_>, Vec<_>) = layer
        .resource
        .clone()
        .into_iter()
        .partition(|(key, _)| OWN_RESOURCE.contains(&&**key));
    for (key, _) in own {
        let problem = format!("`{key}` would give all services the same identity; it is ignored");
        warnings.push(Warning::Key {
            key: "resource",
            problem,
        });
    }
    shared
}

pub(super) struct Rules<'a> {
    origins: &'a Origins,
}

impl Rules<'_> {
    pub(super) fn conflict(&self, key: &'static str, problem: impl Into<String>) -> Error {
        let origin = self.origins.get(key).unwrap_or(&Origin::Default).to_string();
        Error::Conflict {
            key,
            origin,
            problem: problem.into(),
        }
    }

    fn watch(&self, section: &layer::Watch) -> Result<Watch, Error> {
        let containers = section.container.clone().unwrap_or_default();
        if containers.iter().any(|name| name.trim().is_empty()) {
            return Err(self.conflict(
                "watch.container",
                "has an empty name; give a container's name or id",
            ));
        }
        if let Some((key, problem)) =
            selector::conflict(section.include.as_deref(), section.exclude.as_deref())
        {
            return Err(self.conflict(key, problem));
        }
        Ok(Watch {
            pids: section.pid.iter().flatten().map(|pid| pid.get()).collect(),
            executables: section.exe.clone().unwrap_or_default(),
            ports: section.port.clone().unwrap_or_default(),
            containers,
            include: section.include.clone().unwrap_or_default(),
            exclude: section.exclude.clone().unwrap_or_default(),
        })
    }

    /// A section as it is, unless something in it does not go together.
    fn whole<T: Clone>(&self, section: &T, conflict: Option<(&'static str, String)>) -> Result<T, Error> {
        match conflict {
            Some((key, problem)) => Err(self.conflict(key, problem)),
            None => Ok(section.clone()),
        }
    }

    fn capture(&self, section: &layer::Capture) -> Result<Capture, Error> {
        let size = settled(section.ring_buffer);
        let rounded = size.0.max(procfs::page_size()).checked_next_power_of_two();
        let rounded = rounded
            .filter(|size| *size <= MAX_RING_BUFFER)
            .and_then(|size| u32::try_from(size).ok());
        let ring_buffer = rounded
            .ok_or_else(|| self.conflict("capture.ring_buffer", format!("is {size}; the most is 1G")))?;
        let max_connections = settled(section.max_connections).get();
        if max_connections > MAX_CONNECTIONS {
            let problem = format!("is {max_connections}; the most is {MAX_CONNECTIONS}");
            return Err(self.conflict("capture.max_connections", problem));
        }
        Ok(Capture {
            hooks: settled(section.hooks),
            ring_buffer,
            max_connections,
            probes: settled(section.probes),
            kernel_log: settled(section.kernel_log),
        })
    }
}
