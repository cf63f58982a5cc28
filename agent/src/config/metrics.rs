//! Where metrics are told, and which.

use super::choice::{Histograms, Protocol, Temporality};
use super::endpoint::Endpoint;
use super::layer;
use super::value::{FieldName, Invalid, Period, Secret, parsed};
use super::{ClientIdentity, Otlp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// What is told about what spanwire does and sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Where `/metrics`, `/livez` and `/readyz` are; nowhere where it is empty.
    pub listen: Vec<Listen>,
    /// Whether the kernel measures what the programs in it cost.
    pub kernel_cost: bool,
    /// Whether requests are measured.
    pub requests: bool,
    /// Most series of a metric of requests.
    pub cardinality_limit: usize,
    /// Whether measurements are kept with their spans.
    pub exemplars: bool,
    /// Where metrics are sent over OTLP, if anywhere.
    pub export: Option<MetricsExport>,
}

/// Metrics over OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsExport {
    /// The endpoint, and how to speak to it.
    pub otlp: Otlp,
    /// From one export to the next.
    pub interval: Duration,
    /// Longest that an export takes.
    pub timeout: Duration,
    /// Since when values are.
    pub temporality: Temporality,
    /// The buckets.
    pub histograms: Histograms,
}

super::layer::section! {
    /// What is told about what spanwire does and sees: at `/metrics`, beside `/livez` and `/readyz`.
    pub struct Section {
        /// Where requests for it are taken. Whoever can connect may read it; there are no passwords and there is no TLS.
        pub listen: Option<Vec<Listen>>,
        /// Whether the kernel measures how often the programs in it run, and how long: about 20 ns a run, of every BPF
        /// program of the host. Where the host measures it anyway (`kernel.bpf_stats_enabled`), it is told without this.
        pub kernel_cost: Option<bool>,
        /// Whether requests are measured: how many, how long they take, how many fail, and who asks whom.
        pub requests: Option<bool>,
        /// Most series of a metric of requests; what is above counts in one a service with `otel.metric.overflow`.
        pub cardinality_limit: Option<NonZeroUsize>,
        /// Whether the last measurement of each bucket is kept with its trace.
        pub exemplars: Option<bool>,
        /// Whether metrics are sent over OTLP, too. Unless set: when there is `endpoint`. Compression, TLS and the rest are
        /// those of `export.otlp`.
        pub export: Option<bool>,
        /// URL for metrics, taken as it is. Unless set, it is made of `export.otlp.endpoint` (`/v1/metrics` appended over HTTP).
        pub endpoint: Option<Endpoint>,
        /// Transport. Unless set, that of `export.otlp`.
        pub protocol: Option<Protocol>,
        /// Headers of each request, such as credentials. Unless set, those of `export.otlp`, where its endpoint is used.
        pub headers: Option<BTreeMap<FieldName, Secret>>,
        /// From one export to the next.
        pub interval: Option<Period>,
        /// Longest that an export takes.
        pub timeout: Option<Period>,
        /// Since when values are.
        pub temporality: Option<Temporality>,
        /// Into which buckets durations are counted for OTLP. Prometheus gets those of the semantic conventions.
        pub histograms: Option<Histograms>,
    }
}

impl Section {
    /// What holds where nobody says anything: a socket that root alone can connect to takes no port from anybody.
    pub(super) fn defaults() -> Self {
        Self {
            listen: Some(vec![Listen::Default]),
            kernel_cost: Some(false),
            requests: Some(true),
            cardinality_limit: NonZeroUsize::new(2000),
            exemplars: Some(true),
            interval: Some(Period(Duration::from_secs(60))),
            timeout: Some(Period(Duration::from_secs(30))),
            temporality: Some(Temporality::Cumulative),
            histograms: Some(Histograms::Explicit),
            ..Self::default()
        }
    }
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// None, for sources that have no empty lists.
    Nowhere,
    /// The Unix socket that `spanwire status` asks.
    Default,
    /// Another Unix socket, by its whole path.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl FromStr for Listen {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| {
            Invalid::new(format!(
                "`{text}` {why}; give `unix`, `unix:/PATH`, `none`, or an address with a port such as 127.0.0.1:9464"
            ))
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::Nowhere),
            None if text == "unix" => Ok(Self::Default),
            Some(("unix", path)) if Path::new(path).is_absolute() => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err(wrong("has no path that begins with `/`")),
            Some(("localhost", port)) => match port.parse() {
                Ok(port) if port > 0 => Ok(Self::Tcp((IpAddr::from(Ipv4Addr::LOCALHOST), port).into())),
                _ => Err(wrong("has no port from 1 to 65535")),
            },
            _ => match text.parse::<SocketAddr>() {
                Ok(address) if address.port() > 0 => Ok(Self::Tcp(address)),
                Ok(_) => Err(wrong("has no port from 1 to 65535")),
                Err(_) => Err(wrong("is no address to listen at")),
            },
        }
    }
}

impl Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => formatter.write_str("none"),
            Self::Default => formatter.write_str("unix"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`unix` (the socket that `spanwire status` asks), `unix:/PATH`, `none`, or an address with a \
                            port such as 127.0.0.1:9464.",
        })
    }
}

/// The typed section; `export` is that of spans.
///
/// # Errors
/// The key that does not go with others, and why.
pub(super) fn metrics(section: &Section, export: &layer::Export) -> Result<Metrics, (&'static str, String)> {
    let settled = Section::defaults();
    let mut listen = section.listen.clone().or(settled.listen).unwrap_or_default();
    listen.retain(|address| *address != Listen::Nowhere);
    let mut once = Vec::with_capacity(listen.len());
    for address in listen {
        if !once.contains(&address) {
            once.push(address);
        }
    }
    Ok(Metrics {
        export: otlp(section, &export.otlp)?,
        listen: once,
        kernel_cost: section.kernel_cost.or(settled.kernel_cost).unwrap_or_default(),
        requests: section.requests.or(settled.requests).unwrap_or_default(),
        cardinality_limit: section
            .cardinality_limit
            .or(settled.cardinality_limit)
            .map_or(1, NonZeroUsize::get),
        exemplars: section.exemplars.or(settled.exemplars).unwrap_or_default(),
    })
}

fn otlp(section: &Section, spans: &layer::Otlp) -> Result<Option<MetricsExport>, (&'static str, String)> {
    if !section.export.unwrap_or(section.endpoint.is_some()) {
        return Ok(None);
    }
    let protocol = section
        .protocol
        .or(spans.protocol)
        .unwrap_or(Protocol::HttpProtobuf);
    let insecure = spans.insecure.unwrap_or(false);
    let (key, url, headers) = match (&section.endpoint, &spans.endpoint) {
        (Some(endpoint), _) => {
            let url = endpoint.url(protocol, false, insecure);
            // What is for one endpoint is no other's business.
            ("metrics.endpoint", url, section.headers.as_ref())
        }
        (None, Some(endpoint)) => {
            let url = endpoint.url(protocol, true, insecure).map(|url| of_metrics(&url));
            let headers = section.headers.as_ref().or(spans.headers.as_ref());
            ("export.otlp.endpoint", url, headers)
        }
        (None, None) => {
            let url = Endpoint::standard(protocol).url(protocol, true, insecure);
            (
                "metrics.endpoint",
                url.map(|url| of_metrics(&url)),
                section.headers.as_ref(),
            )
        }
    };
    let url = url.map_err(|problem| {
        let problem = format!("is not complete: {problem}, or set `metrics.protocol` to `grpc`");
        (key, problem)
    })?;
    let settled = Section::defaults();
    let period =
        |one: Option<Period>, other: Option<Period>| one.or(other).map(|period| period.0).unwrap_or_default();
    let interval = period(section.interval, settled.interval);
    if interval.is_zero() {
        return Err(("metrics.interval", "is 0; give a time, such as 60s".to_owned()));
    }
    let timeout = period(section.timeout, settled.timeout);
    Ok(Some(MetricsExport {
        otlp: Otlp {
            url,
            protocol,
            headers: headers
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.as_str().to_owned(), value.clone()))
                .collect(),
            headers_file: spans.headers_file.clone(),
            timeout: Some(timeout),
            compression: spans.compression.unwrap_or(super::Compression::None),
            certificate: spans.certificate.clone(),
            client: spans
                .client_certificate
                .clone()
                .zip(spans.client_key.clone())
                .map(|(certificate, key)| ClientIdentity { certificate, key }),
        },
        interval,
        // As everywhere: 0 is no limit, but for the next export.
        timeout: if timeout.is_zero() { interval } else { timeout },
        temporality: section
            .temporality
            .or(settled.temporality)
            .unwrap_or(Temporality::Cumulative),
        histograms: section
            .histograms
            .or(settled.histograms)
            .unwrap_or(Histograms::Explicit),
    }))
}

/// The URL for metrics, where that for spans was made of the same base.
fn of_metrics(url: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (url, String::new()),
    };
    match path.strip_suffix("/v1/traces") {
        Some(base) => format!("{base}/v1/metrics{query}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_shown() {
        for text in [
            "none",
            "unix",
            "unix:/run/a b.sock",
            "127.0.0.1:9464",
            "[::1]:9464",
            "0.0.0.0:1",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!(
            "localhost:80".parse::<Listen>().unwrap().to_string(),
            "127.0.0.1:80"
        );
    }

    #[test]
    fn wrong_addresses_say_what_is_right() {
        let rest = "; give `unix`, `unix:/PATH`, `none`, or an address with a port such as 127.0.0.1:9464";
        for (text, why) in [
            ("9464", "is no address to listen at"),
            ("", "is no address to listen at"),
            ("http://h:1", "is no address to listen at"),
            ("unix:relative", "has no path that begins with `/`"),
            ("localhost:0", "has no port from 1 to 65535"),
            ("127.0.0.1:0", "has no port from 1 to 65535"),
            ("localhost:70000", "has no port from 1 to 65535"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` {why}{rest}"));
        }
    }

    #[test]
    fn none_is_nowhere_and_twice_is_once() {
        let listen = |text: &str| {
            let addresses = text.split(' ').map(|one| one.parse().unwrap()).collect();
            let section = Section {
                listen: Some(addresses),
                ..Section::default()
            };
            let listen = metrics(&section, &layer::Export::default()).unwrap().listen;
            listen
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(listen("none"), "");
        assert_eq!(listen("unix localhost:80 127.0.0.1:80 unix"), "unix 127.0.0.1:80");
    }

    fn exported(text: &str) -> Option<MetricsExport> {
        let file = crate::config::File {
            name: "f".into(),
            text: text.into(),
        };
        let resolved = crate::config::resolve(Some(&file), &BTreeMap::new(), layer::Layer::default());
        resolved.unwrap().config.metrics.export
    }

    #[test]
    fn the_endpoint_of_spans_is_that_of_metrics_unless_there_is_another() {
        let url = |text: &str| exported(text).map(|export| (export.otlp.url, export.otlp.headers.len()));
        let spans = "export: {otlp: {endpoint: 'http://c:1/x?k=v', headers: {a: b}}}\n";
        assert_eq!(url(spans), None);
        let both = format!("{spans}metrics: {{export: true}}\n");
        assert_eq!(url(&both), Some(("http://c:1/x/v1/metrics?k=v".to_owned(), 1)));
        // Its credentials stay with it.
        let other = format!("{spans}metrics: {{endpoint: 'http://m:2/y'}}\n");
        assert_eq!(url(&other), Some(("http://m:2/y".to_owned(), 0)));
        assert_eq!(
            url("metrics: {export: true}\n"),
            Some(("http://localhost:4318/v1/metrics".to_owned(), 0))
        );
        assert_eq!(
            url("metrics: {export: true, protocol: grpc}\n"),
            Some(("http://localhost:4317/".to_owned(), 0))
        );
    }
}
