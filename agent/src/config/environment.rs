//! The environment as a layer: OTEL_* as the [specification] says, and SPANWIRE_* for what is spanwire's own.
//!
//! An OTEL_* variable is often set for other programs too, so a value that cannot be taken is a warning, and the
//! variable counts as not set. SPANWIRE_* are for us alone: there a wrong value is an error. An empty value is as good
//! as none.
//!
//! [specification]: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

use super::choice::{Format, Sampler};
use super::layer::Layer;
use super::metrics::Listen;
use super::print::{Origin, Origins};
use super::sampling::Ratio;
use super::value::{FieldName, Invalid, Method, Period, Secret, nearest};
use super::{Error, Warning, pairs};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

/// The variable that names the configuration file.
pub const CONFIG: &str = "SPANWIRE_CONFIG";

/// spanwire's own variables, with the key each sets. Lists are separated by commas. The filters are called
/// SPANWIRE_WATCH_*, because Kubernetes sets SPANWIRE_PORT for a service called `spanwire`.
pub const VARIABLES: &[(&str, &str)] = &[
    (CONFIG, "the configuration file"),
    ("SPANWIRE_WATCH_PID", "watch.pid"),
    ("SPANWIRE_WATCH_EXE", "watch.exe"),
    ("SPANWIRE_WATCH_PORT", "watch.port"),
    ("SPANWIRE_WATCH_CONTAINER", "watch.container"),
    ("SPANWIRE_KUBERNETES", "kubernetes.enabled"),
    ("SPANWIRE_KUBECONFIG", "kubernetes.kubeconfig"),
    ("SPANWIRE_NODE_NAME", "kubernetes.node_name"),
    ("SPANWIRE_WATCH_BY_DEFAULT", "kubernetes.watch_by_default"),
    ("SPANWIRE_WELL_KNOWN_LABELS", "kubernetes.well_known_labels"),
    ("SPANWIRE_PEERS", "kubernetes.peers"),
    ("SPANWIRE_CONTAINER_SOCKETS", "containers.sockets"),
    ("SPANWIRE_CONTAINER_LABELS", "containers.labels"),
    ("SPANWIRE_HOOKS", "capture.hooks"),
    ("SPANWIRE_RING_BUFFER", "capture.ring_buffer"),
    ("SPANWIRE_MAX_CONNECTIONS", "capture.max_connections"),
    ("SPANWIRE_PROBES", "capture.probes"),
    ("SPANWIRE_KERNEL_LOG", "capture.kernel_log"),
    (
        "SPANWIRE_CAPTURED_REQUEST_HEADERS",
        "http.captured_request_headers",
    ),
    (
        "SPANWIRE_CAPTURED_RESPONSE_HEADERS",
        "http.captured_response_headers",
    ),
    ("SPANWIRE_BROKER_SPANS", "messaging.broker_spans"),
    ("SPANWIRE_PROPAGATE", "propagate.headers"),
    ("SPANWIRE_REFUSE_FROM", "propagate.refuse_from"),
    ("SPANWIRE_PROPAGATE_BAGGAGE", "propagate.baggage"),
    ("SPANWIRE_CORRELATION", "propagate.correlation"),
    ("SPANWIRE_SDK_DETECT", "sdk.detect"),
    ("SPANWIRE_SDK_INSTRUMENTED", "sdk.instrumented"),
    ("SPANWIRE_SDK_KEPT", "sdk.kept"),
    ("SPANWIRE_CAPTURED_MESSAGE_HEADERS", "messaging.captured_headers"),
    ("SPANWIRE_BAGGAGE", "baggage.attributes"),
    ("SPANWIRE_LEARN_ROUTES", "routes.learn"),
    ("SPANWIRE_REDACTION", "redaction.set"),
    ("SPANWIRE_HASH_KEY", "redaction.hash_key"),
    ("SPANWIRE_HASH_KEY_FILE", "redaction.hash_key_file"),
    ("SPANWIRE_OUTPUT", "output.format"),
    ("SPANWIRE_COLOR", "output.color"),
    ("SPANWIRE_OPEN_AFTER", "output.open_after"),
    ("SPANWIRE_OTLP_HEADERS_FILE", "export.otlp.headers_file"),
    ("SPANWIRE_EXPORT_FILE", "export.file.path"),
    ("SPANWIRE_SPOOL", "export.spool.directory"),
    ("SPANWIRE_SPOOL_SIZE", "export.spool.max_size"),
    ("SPANWIRE_METRICS_LISTEN", "metrics.listen"),
    ("SPANWIRE_METRICS_KERNEL_COST", "metrics.kernel_cost"),
    ("SPANWIRE_METRICS_REQUESTS", "metrics.requests"),
    ("SPANWIRE_METRICS_CARDINALITY_LIMIT", "metrics.cardinality_limit"),
];

/// The environment of this process. Variables that are not UTF-8 mean nothing to us.
#[must_use]
pub fn current() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    pub(super) layer: Layer,
    pub(super) origins: Origins,
    pub(super) warnings: Vec<Warning>,
}

/// Reads all variables that mean something to spanwire.
///
/// # Errors
/// The first SPANWIRE_* variable with a value that cannot be taken.
pub(super) fn read(environment: &Environment) -> Result<Spoken, Error> {
    let mut reader = Reader {
        environment,
        spoken: Spoken::default(),
    };
    let mut layer = reader.own()?;
    reader.standard(&mut layer);
    reader.unknown();
    Ok(Spoken {
        layer,
        ..reader.spoken
    })
}

struct Reader<'a> {
    environment: &'a Environment,
    spoken: Spoken,
}

impl<'a> Reader<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        self.environment
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    fn origin(&mut self, key: &str, name: &str) {
        self.spoken
            .origins
            .insert(key.to_owned(), Origin::Variable(name.to_owned()));
    }

    fn warn(&mut self, name: &str, problem: impl Into<String>) {
        let problem = problem.into();
        let warning = Warning::Variable {
            name: name.to_owned(),
            problem,
        };
        // A variable that sets two keys is still wrong only once.
        if !self.spoken.warnings.contains(&warning) {
            self.spoken.warnings.push(warning);
        }
    }

    /// spanwire's own variable for `key`.
    fn one<T: FromStr<Err: ToString>>(&mut self, key: &str) -> Result<Option<T>, Error> {
        Ok(self.list(key, None)?.and_then(|values| values.into_iter().next()))
    }

    fn many<T: FromStr<Err: ToString>>(&mut self, key: &str) -> Result<Option<Vec<T>>, Error> {
        self.list(key, Some(','))
    }

    fn list<T: FromStr<Err: ToString>>(
        &mut self,
        key: &str,
        split: Option<char>,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some((name, _)) = VARIABLES.iter().find(|(_, sets)| *sets == key) else {
            return Ok(None);
        };
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let wrong = |error: T::Err| Error::Variable {
            name: (*name).to_owned(),
            problem: error.to_string(),
        };
        let values = match split {
            None => vec![value.parse().map_err(wrong)?],
            Some(split) => {
                let parts = value.split(split).map(str::trim).filter(|part| !part.is_empty());
                parts.map(str::parse).collect::<Result<_, _>>().map_err(wrong)?
            }
        };
        self.origin(key, name);
        Ok(Some(values))
    }

    fn own(&mut self) -> Result<Layer, Error> {
        let mut layer = Layer::default();
        layer.watch.pid = self.many("watch.pid")?;
        layer.watch.exe = self.many("watch.exe")?;
        layer.watch.port = self.many("watch.port")?;
        layer.watch.container = self.many("watch.container")?;
        layer.kubernetes.enabled = self.one("kubernetes.enabled")?;
        layer.kubernetes.kubeconfig = self.one("kubernetes.kubeconfig")?;
        layer.kubernetes.node_name = self.one("kubernetes.node_name")?;
        layer.kubernetes.watch_by_default = self.one("kubernetes.watch_by_default")?;
        layer.kubernetes.well_known_labels = self.one("kubernetes.well_known_labels")?;
        layer.kubernetes.peers = self.one("kubernetes.peers")?;
        layer.containers.sockets = self.many("containers.sockets")?;
        layer.containers.labels = self.many("containers.labels")?;
        layer.capture.hooks = self.one("capture.hooks")?;
        layer.capture.ring_buffer = self.one("capture.ring_buffer")?;
        layer.capture.max_connections = self.one("capture.max_connections")?;
        layer.capture.probes = self.one("capture.probes")?;
        layer.capture.kernel_log = self.one("capture.kernel_log")?;
        layer.http.captured_request_headers = self.many("http.captured_request_headers")?;
        layer.http.captured_response_headers = self.many("http.captured_response_headers")?;
        layer.messaging.broker_spans = self.one("messaging.broker_spans")?;
        layer.propagate.headers = self.many("propagate.headers")?;
        layer.propagate.refuse_from = self.many("propagate.refuse_from")?;
        layer.propagate.baggage = self.one("propagate.baggage")?;
        layer.propagate.correlation = self.one("propagate.correlation")?;
        layer.sdk.detect = self.one("sdk.detect")?;
        layer.sdk.instrumented = self.many("sdk.instrumented")?;
        layer.sdk.kept = self.many("sdk.kept")?;
        layer.messaging.captured_headers = self.many("messaging.captured_headers")?;
        layer.baggage.attributes = self.many("baggage.attributes")?;
        layer.routes.learn = self.one("routes.learn")?;
        layer.redaction.set = self.one("redaction.set")?;
        layer.redaction.hash_key = self.one("redaction.hash_key")?;
        layer.redaction.hash_key_file = self.one("redaction.hash_key_file")?;
        layer.output.format = self.one("output.format")?;
        layer.output.color = self.one("output.color")?;
        layer.output.open_after = self.one("output.open_after")?;
        layer.export.otlp.headers_file = self.one("export.otlp.headers_file")?;
        layer.export.file.path = self.one("export.file.path")?;
        layer.export.spool.directory = self.one("export.spool.directory")?;
        layer.export.spool.max_size = self.one("export.spool.max_size")?;
        layer.metrics.listen = self.many("metrics.listen")?;
        layer.metrics.kernel_cost = self.one("metrics.kernel_cost")?;
        layer.metrics.requests = self.one("metrics.requests")?;
        layer.metrics.cardinality_limit = self.one("metrics.cardinality_limit")?;
        Ok(layer)
    }

    /// The first of `names` that is set to something `parse` takes; warns of one that it does not take.
    fn otel<T>(
        &mut self,
        key: &str,
        names: &[&str],
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        for name in names {
            let Some(value) = self.value(name) else { continue };
            match parse(value) {
                Ok(parsed) => {
                    self.origin(key, name);
                    return Some(parsed);
                }
                Err(problem) => self.warn(name, problem.to_string()),
            }
        }
        None
    }

    fn standard(&mut self, layer: &mut Layer) {
        self.exporter(layer);
        let otlp = &mut layer.export.otlp;
        otlp.traces_endpoint = self.otel(
            "export.otlp.traces_endpoint",
            &["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"],
            text,
        );
        otlp.endpoint = self.otel("export.otlp.endpoint", &["OTEL_EXPORTER_OTLP_ENDPOINT"], text);
        otlp.protocol = self.otlp("protocol", word);
        otlp.headers = self.otlp("headers", headers);
        otlp.timeout = self.otlp("timeout", milliseconds);
        otlp.compression = self.otlp("compression", word);
        otlp.certificate = self.otlp("certificate", path);
        otlp.client_certificate = self.otlp("client_certificate", path);
        otlp.client_key = self.otlp("client_key", path);
        otlp.insecure = self.otlp("insecure", boolean);

        let zipkin = &mut layer.export.zipkin;
        zipkin.endpoint = self.otel("export.zipkin.endpoint", &["OTEL_EXPORTER_ZIPKIN_ENDPOINT"], text);
        let name = "OTEL_EXPORTER_ZIPKIN_TIMEOUT";
        zipkin.timeout = self.otel("export.zipkin.timeout", &[name], milliseconds);
        // As curl has it: in small letters first, and HTTP_PROXY in small letters only, since servers set the other for
        // programs that they start, to what a request says (httpoxy.org).
        let proxy = &mut layer.export.proxy;
        proxy.http = self.otel("export.proxy.http", &["http_proxy"], text);
        proxy.https = self.otel("export.proxy.https", &["https_proxy", "HTTPS_PROXY"], text);
        proxy.except = self.otel("export.proxy.except", &["no_proxy", "NO_PROXY"], hosts);

        self.sampler(layer);

        let batch = &mut layer.batch;
        batch.schedule_delay = self.otel("batch.schedule_delay", &["OTEL_BSP_SCHEDULE_DELAY"], milliseconds);
        batch.export_timeout = self.otel("batch.export_timeout", &["OTEL_BSP_EXPORT_TIMEOUT"], milliseconds);
        batch.max_queue_size = self.otel("batch.max_queue_size", &["OTEL_BSP_MAX_QUEUE_SIZE"], positive);
        let names = ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"];
        batch.max_export_batch_size = self.otel("batch.max_export_batch_size", &names, positive);

        let limits = &mut layer.limits;
        let names = [
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ];
        limits.attribute_value_length = self.otel("limits.attribute_value_length", &names, integer);
        let names = ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"];
        limits.attribute_count = self.otel("limits.attribute_count", &names, integer);
        limits.event_count = self.otel("limits.event_count", &["OTEL_SPAN_EVENT_COUNT_LIMIT"], integer);
        let names = ["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"];
        limits.event_attribute_count = self.otel("limits.event_attribute_count", &names, integer);

        self.metrics(layer);

        let name = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";
        layer.http.known_methods = self.otel("http.known_methods", &[name], methods);

        self.resource(layer);
    }

    /// OTEL_EXPORTER_OTLP_TRACES_*, else OTEL_EXPORTER_OTLP_*.
    fn otlp<T>(&mut self, option: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Option<T> {
        let upper = option.to_uppercase();
        let names = [
            format!("OTEL_EXPORTER_OTLP_TRACES_{upper}"),
            format!("OTEL_EXPORTER_OTLP_{upper}"),
        ];
        self.otel(&format!("export.otlp.{option}"), &[&names[0], &names[1]], parse)
    }

    /// OTEL_TRACES_EXPORTER and OTEL_SDK_DISABLED. The specification's default exporter is `otlp`; ours is `otlp` where
    /// an endpoint is set, so that a first run needs no collector.
    fn exporter(&mut self, layer: &mut Layer) {
        let name = "OTEL_TRACES_EXPORTER";
        let mut known = Vec::new();
        for exporter in self
            .value(name)
            .unwrap_or_default()
            .split(',')
            .map(|exporter| exporter.trim().to_lowercase())
        {
            match exporter.as_str() {
                "" => {}
                "otlp" | "zipkin" | "console" | "otlp/stdout" | "none" => known.push(exporter),
                _ => self.warn(
                    name,
                    Invalid::choice(&exporter, &["otlp", "zipkin", "console", "otlp/stdout", "none"])
                        .to_string(),
                ),
            }
        }
        if !known.is_empty() {
            let has = |wanted: &str| known.iter().any(|exporter| exporter == wanted);
            layer.export.otlp.enabled = Some(has("otlp"));
            layer.export.zipkin.enabled = Some(has("zipkin"));
            layer.export.enabled = Some(has("otlp") || has("zipkin"));
            for key in ["export.enabled", "export.otlp.enabled", "export.zipkin.enabled"] {
                self.origin(key, name);
            }
        }
        // The specification leaves the form of `console` open. SPANWIRE_OUTPUT is nearer to us and goes before.
        let format = known.iter().find_map(|exporter| match exporter.as_str() {
            "console" => Some(Format::Tree),
            "otlp/stdout" => Some(Format::OtlpJson),
            _ => None,
        });
        if let (Some(format), None) = (format, layer.output.format) {
            layer.output.format = Some(format);
            self.origin("output.format", name);
        }
        // "A no-op SDK is used for all signals": nothing leaves this process. What the terminal shows stays, as it is
        // the command's own output and not telemetry of an SDK.
        let name = "OTEL_SDK_DISABLED";
        match self.value(name).map(boolean) {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => {
                layer.export.enabled = Some(false);
                self.origin("export.enabled", name);
                layer.metrics.export = Some(false);
                self.origin("metrics.export", name);
            }
            Some(Err(problem)) => self.warn(name, problem.to_string()),
        }
    }

    /// OTEL_TRACES_SAMPLER, and OTEL_TRACES_SAMPLER_ARG for those that take one: 1 unless it is given.
    fn sampler(&mut self, layer: &mut Layer) {
        let name = "OTEL_TRACES_SAMPLER";
        layer.sampling.sampler = self.otel("sampling.sampler", &[name], word);
        let takes_ratio = matches!(
            layer.sampling.sampler,
            Some(Sampler::TraceIdRatio | Sampler::ParentBasedTraceIdRatio)
        );
        if !takes_ratio {
            return;
        }
        let ratio = |value: &str| {
            let ratio = value.parse::<Ratio>();
            ratio.map_err(|problem| Invalid::new(format!("{problem}; it is ignored")))
        };
        layer.sampling.ratio = self.otel("sampling.ratio", &["OTEL_TRACES_SAMPLER_ARG"], ratio);
        if layer.sampling.ratio.is_none() {
            layer.sampling.ratio = super::sampling::Section::defaults().ratio;
            self.origin("sampling.ratio", name);
        }
    }

    /// OTEL_METRICS_EXPORTER and what goes with it. The specification's default exporter is `otlp`; ours is none, since many an
    /// endpoint for traces takes no metrics.
    fn metrics(&mut self, layer: &mut Layer) {
        let known = |reader: &mut Self, name, words: &[&str]| -> Vec<String> {
            let all = reader.value(name).unwrap_or_default().to_lowercase();
            let (known, unknown): (Vec<_>, Vec<_>) = all
                .split(',')
                .map(|word| word.trim().to_owned())
                .filter(|word| !word.is_empty())
                .partition(|word| words.contains(&&**word));
            for word in unknown {
                reader.warn(name, Invalid::choice(&word, words).to_string());
            }
            known
        };
        let name = "OTEL_METRICS_EXPORTER";
        let exporters = known(self, name, &["otlp", "prometheus", "none"]);
        if !exporters.is_empty() && layer.metrics.export.is_none() {
            layer.metrics.export = Some(exporters.iter().any(|exporter| exporter == "otlp"));
            self.origin("metrics.export", name);
        }
        if exporters.iter().any(|exporter| exporter == "prometheus") && layer.metrics.listen.is_none() {
            let host = self.value("OTEL_EXPORTER_PROMETHEUS_HOST").unwrap_or("localhost");
            let port = self.value("OTEL_EXPORTER_PROMETHEUS_PORT").unwrap_or("9464");
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            match format!("{host}:{port}").parse() {
                Ok(address) => {
                    layer.metrics.listen = Some(vec![Listen::Default, address]);
                    self.origin("metrics.listen", name);
                }
                Err(problem) => self.warn("OTEL_EXPORTER_PROMETHEUS_HOST", Invalid::to_string(&problem)),
            }
        }
        let metrics = &mut layer.metrics;
        metrics.endpoint = self.otel("metrics.endpoint", &["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"], text);
        let names = [
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        metrics.protocol = self.otel("metrics.protocol", &names, word);
        let names = ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        metrics.headers = self.otel("metrics.headers", &names, headers);
        metrics.interval = self.otel("metrics.interval", &["OTEL_METRIC_EXPORT_INTERVAL"], milliseconds);
        metrics.timeout = self.otel("metrics.timeout", &["OTEL_METRIC_EXPORT_TIMEOUT"], milliseconds);
        let name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        metrics.temporality = self.otel("metrics.temporality", &[name], word);
        let name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        metrics.histograms = self.otel("metrics.histograms", &[name], word);
        let filter = |value: &str| match value.to_lowercase().as_str() {
            // Who is not kept is none in either case: nobody could look it up.
            "always_on" | "trace_based" => Ok(true),
            "always_off" => Ok(false),
            other => Err(Invalid::choice(
                other,
                &["always_on", "always_off", "trace_based"],
            )),
        };
        metrics.exemplars = self.otel("metrics.exemplars", &["OTEL_METRICS_EXEMPLAR_FILTER"], filter);
    }

    /// OTEL_RESOURCE_ATTRIBUTES of spanwire itself holds for the host and its environment, so all services get them. Its
    /// name and instance are spanwire's own: given to the services, they would all be called the same. OTEL_SERVICE_NAME
    /// is left alone for the same reason.
    fn resource(&mut self, layer: &mut Layer) {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        match self.value(name).map(pairs::parse) {
            None => {}
            Some(Err(problem)) => self.warn(name, format!("{problem}; all of it is ignored")),
            Some(Ok(found)) => {
                layer.resource = found
                    .into_iter()
                    .filter(|(key, _)| !super::OWN_RESOURCE.contains(&&**key))
                    .collect();
                for key in layer.resource.keys() {
                    self.spoken
                        .origins
                        .insert(format!("resource.{key}"), Origin::Variable(name.to_owned()));
                }
            }
        }
    }

    /// A SPANWIRE_* variable that nobody reads is probably a slip.
    fn unknown(&mut self) {
        for name in self.environment.keys() {
            let Some(rest) = name.strip_prefix("SPANWIRE_") else {
                continue;
            };
            // What Kubernetes sets for a service called `spanwire`, and our own build script's switches.
            let foreign = rest == "PORT"
                || ["SERVICE_", "PORT_", "BPF_"]
                    .iter()
                    .any(|start| rest.starts_with(start));
            if foreign || VARIABLES.iter().any(|(known, _)| known == name) {
                continue;
            }
            let near = nearest(name, VARIABLES.iter().map(|(known, _)| *known));
            let near = near
                .map(|near| format!(", did you mean {near}?"))
                .unwrap_or_default();
            self.warn(name, format!("no such variable{near}"));
        }
    }
}

fn text<T: FromStr<Err = Invalid>>(value: &str) -> Result<T, Invalid> {
    value.parse()
}

/// Enum values are taken in any case.
fn word<T: FromStr<Err = Invalid>>(value: &str) -> Result<T, Invalid> {
    value.to_lowercase().parse()
}

fn path(value: &str) -> Result<std::path::PathBuf, Invalid> {
    Ok(value.into())
}

/// Only "true", in any case, is true.
fn boolean(value: &str) -> Result<bool, Invalid> {
    match value.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Invalid::new(format!(
            "`{value}` is not true or false; false is taken"
        ))),
    }
}

fn integer(value: &str) -> Result<usize, Invalid> {
    value
        .parse()
        .map_err(|_| Invalid::new(format!("`{value}` is not a number from 0; it is ignored")))
}

fn positive(value: &str) -> Result<NonZeroUsize, Invalid> {
    value
        .parse()
        .map_err(|_| Invalid::new(format!("`{value}` is not a number from 1; it is ignored")))
}

/// A duration or timeout is an integer number of milliseconds.
fn milliseconds(value: &str) -> Result<Period, Invalid> {
    let number = value.parse::<u32>();
    let number = number.map_err(|_| {
        Invalid::new(format!(
            "`{value}` is not a number of milliseconds; it is ignored"
        ))
    })?;
    Ok(Period(Duration::from_millis(number.into())))
}

fn methods(value: &str) -> Result<Vec<Method>, Invalid> {
    value
        .split(',')
        .map(str::trim)
        .filter(|method| !method.is_empty())
        .map(str::parse)
        .collect::<Result<_, Invalid>>()
        .map_err(|problem| Invalid::new(format!("{problem}; all of it is ignored")))
}

fn hosts(value: &str) -> Result<Vec<String>, Invalid> {
    let hosts = value.split(',').map(str::trim).filter(|host| !host.is_empty());
    Ok(hosts.map(str::to_owned).collect())
}

fn headers(value: &str) -> Result<BTreeMap<FieldName, Secret>, Invalid> {
    let found =
        pairs::parse(value).map_err(|problem| Invalid::new(format!("{problem}; all of it is ignored")))?;
    found
        .into_iter()
        .map(|(name, value)| Ok((name.parse()?, value.parse()?)))
        .collect()
}
