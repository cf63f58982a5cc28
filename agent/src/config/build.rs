//! The typed configuration out of the layers: rounding, and the rules that span several keys.

use super::choice::Protocol;
use super::endpoint::Endpoint;
use super::layer::{self, Layer};
use super::print::{Origin, Origins};
use super::value::Period;
use super::{
    Batch, Capture, ClientIdentity, Config, Error, Http, Limits, Messaging, OWN_RESOURCE, Otlp, Output,
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
        capture: rules.capture(&layer.capture)?,
        http: http(&layer.http),
        messaging: Messaging {
            broker_spans: settled(layer.messaging.broker_spans),
        },
        propagate: Propagate {
            headers: settled(layer.propagate.headers.clone()),
            refuse_from: layer.propagate.refuse_from.clone().unwrap_or_default(),
        },
        sdk: Sdk {
            detect: settled(layer.sdk.detect),
            instrumented: layer.sdk.instrumented.clone().unwrap_or_default(),
            kept: layer.sdk.kept.clone().unwrap_or_default(),
            covers: settled(layer.sdk.covers.clone()),
        },
        output: Output {
            format: settled(layer.output.format),
            color: settled(layer.output.color),
            open_after: layer.output.open_after.and_then(limit),
        },
        export: rules.export(&layer.export, warnings)?,
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
fn settled<T>(value: Option<T>) -> T {
    value.expect("the defaults have this key")
}

/// Timeouts: 0 is no limit.
fn limit(period: Period) -> Option<Duration> {
    Some(period.0).filter(|duration| !duration.is_zero())
}

/// Request headers by which people find a request in logs; all others may hold secrets.
const CORRELATION: [&str; 2] = ["x-correlation-id", "x-request-id"];

fn http(section: &layer::Http) -> Http {
    let names = |names: &[super::value::FieldName]| {
        let mut names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let known_methods = section.known_methods.as_ref();
    Http {
        known_methods: known_methods.map(|methods| methods.iter().map(ToString::to_string).collect()),
        captured_request_headers: section
            .captured_request_headers
            .as_deref()
            .map_or_else(|| CORRELATION.map(str::to_owned).to_vec(), names),
        captured_response_headers: names(section.captured_response_headers.as_deref().unwrap_or_default()),
    }
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

struct Rules<'a> {
    origins: &'a Origins,
}

impl Rules<'_> {
    fn conflict(&self, key: &'static str, problem: impl Into<String>) -> Error {
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
        Ok(Watch {
            pids: section.pid.iter().flatten().map(|pid| pid.get()).collect(),
            executables: section.exe.clone().unwrap_or_default(),
            ports: section.port.clone().unwrap_or_default(),
            containers,
        })
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

    /// Exports where an endpoint is set, or where it is asked for: then to the specification's default endpoint.
    fn export(&self, section: &layer::Export, warnings: &mut Vec<Warning>) -> Result<Option<Otlp>, Error> {
        let otlp = &section.otlp;
        let protocol = settled(otlp.protocol);
        let (key, endpoint, base) = match (&otlp.traces_endpoint, &otlp.endpoint) {
            (Some(endpoint), _) => ("export.otlp.traces_endpoint", Some(endpoint.clone()), false),
            (None, Some(endpoint)) => ("export.otlp.endpoint", Some(endpoint.clone()), true),
            (None, None) => ("export.otlp.endpoint", None, true),
        };
        let endpoint = match (section.enabled, endpoint) {
            (Some(false), _) | (None, None) => return Ok(None),
            (_, Some(endpoint)) => endpoint,
            (Some(true), None) => Endpoint::standard(protocol),
        };
        let insecure = otlp.insecure.unwrap_or(false);
        let url = endpoint.url(protocol, base, insecure).map_err(|problem| {
            self.conflict(
                key,
                format!("is not complete: {problem}, or set `export.otlp.protocol` to `grpc`"),
            )
        })?;
        let (usual, other) = match protocol {
            Protocol::HttpProtobuf => (4317, "grpc"),
            Protocol::Grpc => (4318, "http/protobuf"),
        };
        if endpoint.port() == Some(usual) {
            let problem =
                format!("port {usual} is usually {other}'s; if nothing arrives, set `export.otlp.protocol`");
            warnings.push(Warning::Key { key, problem });
        }
        let client = match (&otlp.client_certificate, &otlp.client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientIdentity {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            (Some(_), None) => {
                return Err(self.conflict(
                    "export.otlp.client_certificate",
                    "needs `export.otlp.client_key` as well",
                ));
            }
            (None, Some(_)) => {
                return Err(self.conflict(
                    "export.otlp.client_key",
                    "needs `export.otlp.client_certificate` as well",
                ));
            }
        };
        let headers = otlp.headers.iter().flatten();
        Ok(Some(Otlp {
            url,
            protocol,
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), value.clone()))
                .collect(),
            timeout: limit(settled(otlp.timeout)),
            compression: settled(otlp.compression),
            certificate: otlp.certificate.clone(),
            client,
        }))
    }
}
