//! What is said of delivery: endpoints, proxies, and what becomes of spans while an endpoint is away.

pub mod layer;

use super::build::{Rules, limit, settled};
use super::endpoint::Endpoint;
use super::layer as whole;
use super::value::Invalid;
use super::{ClientIdentity, Error, Fsync, Otlp, Protocol, Warning};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where spans are sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// OTLP endpoints, each of which gets all spans.
    pub otlp: Vec<Otlp>,
    /// A Zipkin endpoint.
    pub zipkin: Option<Zipkin>,
    /// A file of OTLP in JSON.
    pub file: Option<ExportFile>,
    /// Proxies.
    pub proxy: Proxy,
    /// Where spans wait while an endpoint is away.
    pub spool: Option<Spool>,
}

impl Export {
    /// Whether nothing is sent anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.otlp.is_empty() && self.zipkin.is_none() && self.file.is_none()
    }
}

/// A Zipkin endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Zipkin {
    /// URL that spans are sent to, complete.
    pub url: String,
    /// Longest wait for an answer; `None` is no limit.
    pub timeout: Option<Duration>,
}

/// A file of OTLP in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// Its path, absolute.
    pub path: String,
    /// Most bytes.
    pub max_size: u64,
    /// Most files in all, from 1.
    pub max_files: u32,
}

/// Where spans wait while an endpoint is away; bounds are for each endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The directory.
    pub directory: PathBuf,
    /// Most bytes on disk.
    pub max_size: u64,
    /// Longest wait there.
    pub max_age: Duration,
    /// When what is written is safe against a power failure.
    pub fsync: Fsync,
    /// Most bytes a second that are sent of it; 0 is no limit.
    pub rate: u64,
}

/// Proxies to reach endpoints by.
#[derive(Clone, Default, PartialEq)]
pub struct Proxy {
    /// URL of the one for `http` endpoints.
    pub http: Option<String>,
    /// URL of the one for `https` endpoints.
    pub https: Option<String>,
    /// Hosts, domains and ranges of addresses that are reached without, with commas between them.
    pub except: String,
}

/// A proxy's URL may hold a password.
impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_set = |url: &Option<String>| url.as_ref().map(|_| "********");
        formatter
            .debug_struct("Proxy")
            .field("http", &is_set(&self.http))
            .field("https", &is_set(&self.https))
            .field("except", &self.except)
            .finish()
    }
}

/// Of Zipkin, by the specification.
const ZIPKIN: &str = "http://localhost:9411/api/v2/spans";

/// Everything about delivery in `section`, which lies over the defaults.
///
/// # Errors
/// Values that do not go together.
pub(super) fn export(
    rules: &Rules<'_>,
    section: &whole::Export,
    warnings: &mut Vec<Warning>,
) -> Result<Export, Error> {
    if section.enabled == Some(false) {
        return Ok(Export::default());
    }
    let mut export = Export {
        otlp: Vec::new(),
        zipkin: zipkin(rules, &section.zipkin)?,
        file: file(rules, &section.file)?,
        proxy: proxy(rules, &section.proxy)?,
        spool: spool(rules, &section.spool)?,
    };
    for (index, further) in section.fan_out.iter().flatten().enumerate() {
        let defaults = whole::Layer::defaults().export.otlp;
        let further = further.clone().over(defaults);
        let place = Place::FanOut(index);
        let wanted = Some(further.enabled.unwrap_or(true));
        match otlp(rules, &further, wanted, place, warnings)? {
            Some(_) if further.endpoint.is_none() && further.traces_endpoint.is_none() => {
                return Err(rules.conflict(
                    "export.fan_out",
                    format!("[{index}] has no endpoint; give it one"),
                ));
            }
            Some(otlp) => export.otlp.push(otlp),
            None => {}
        }
    }
    // `enabled` alone asks for the specification's default endpoint.
    let wanted = section
        .otlp
        .enabled
        .or(section.enabled.filter(|_| export.is_empty()));
    if let Some(first) = otlp(rules, &section.otlp, wanted, Place::First, warnings)? {
        export.otlp.insert(0, first);
    }
    if export.is_empty() {
        return Ok(Export::default());
    }
    Ok(export)
}

/// Which endpoint it is.
#[derive(Clone, Copy)]
enum Place {
    First,
    FanOut(usize),
}

impl Place {
    /// The key to blame, and what to say before the problem.
    fn blame(self, key: &'static str) -> (&'static str, String) {
        match self {
            Self::First => (key, String::new()),
            Self::FanOut(index) => {
                let last = key.rsplit('.').next().unwrap_or(key);
                ("export.fan_out", format!("[{index}].{last} "))
            }
        }
    }
}

/// Exports where an endpoint is set, or where it is asked for: then to the specification's default endpoint.
fn otlp(
    rules: &Rules<'_>,
    otlp: &whole::Otlp,
    wanted: Option<bool>,
    place: Place,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Otlp>, Error> {
    let conflict = |key, problem: String| {
        let (key, before) = place.blame(key);
        rules.conflict(key, before + &problem)
    };
    let protocol = settled(otlp.protocol);
    let (key, endpoint, base) = match (&otlp.traces_endpoint, &otlp.endpoint) {
        (Some(endpoint), _) => ("export.otlp.traces_endpoint", Some(endpoint.clone()), false),
        (None, Some(endpoint)) => ("export.otlp.endpoint", Some(endpoint.clone()), true),
        (None, None) => ("export.otlp.endpoint", None, true),
    };
    let endpoint = match (wanted, endpoint) {
        (Some(false), _) | (None, None) => return Ok(None),
        (_, Some(endpoint)) => endpoint,
        (Some(true), None) => Endpoint::standard(protocol),
    };
    let insecure = otlp.insecure.unwrap_or(false);
    let url = endpoint.url(protocol, base, insecure).map_err(|problem| {
        conflict(
            key,
            format!("is not complete: {problem}, or set `export.otlp.protocol` to `grpc`"),
        )
    })?;
    let (usual, other) = match protocol {
        Protocol::HttpProtobuf | Protocol::HttpJson => (4317, "grpc"),
        Protocol::Grpc => (4318, "http/protobuf"),
    };
    if endpoint.port() == Some(usual) {
        let problem =
            format!("port {usual} is usually {other}'s; if nothing arrives, set `export.otlp.protocol`");
        let (key, before) = place.blame(key);
        let problem = before + &problem;
        warnings.push(Warning::Key { key, problem });
    }
    let client = match (&otlp.client_certificate, &otlp.client_key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(ClientIdentity {
            certificate: certificate.clone(),
            key: key.clone(),
        }),
        (Some(_), None) => {
            let problem = "needs `export.otlp.client_key` as well".to_owned();
            return Err(conflict("export.otlp.client_certificate", problem));
        }
        (None, Some(_)) => {
            let problem = "needs `export.otlp.client_certificate` as well".to_owned();
            return Err(conflict("export.otlp.client_key", problem));
        }
    };
    let headers = otlp.headers.iter().flatten();
    Ok(Some(Otlp {
        url,
        protocol,
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), value.clone()))
            .collect(),
        headers_file: otlp.headers_file.clone(),
        timeout: limit(settled(otlp.timeout)),
        compression: settled(otlp.compression),
        certificate: otlp.certificate.clone(),
        client,
    }))
}

fn zipkin(rules: &Rules<'_>, section: &layer::Zipkin) -> Result<Option<Zipkin>, Error> {
    let url = match (section.enabled, &section.endpoint) {
        (Some(false), _) | (None, None) => return Ok(None),
        (_, Some(endpoint)) => endpoint
            .complete()
            .map_err(|problem| incomplete(rules, "export.zipkin.endpoint", &problem))?,
        (Some(true), None) => ZIPKIN.to_owned(),
    };
    Ok(Some(Zipkin {
        url,
        timeout: limit(settled(section.timeout)),
    }))
}

fn file(rules: &Rules<'_>, section: &layer::ExportFile) -> Result<Option<ExportFile>, Error> {
    let Some(path) = &section.path else {
        return Ok(None);
    };
    if !path.starts_with('/') {
        let problem = format!("is {path}; give a whole path, such as /var/log/spanwire/traces.jsonl");
        return Err(rules.conflict("export.file.path", problem));
    }
    Ok(Some(ExportFile {
        path: path.clone(),
        max_size: settled(section.max_size).0,
        max_files: settled(section.max_files).get(),
    }))
}

fn proxy(rules: &Rules<'_>, section: &layer::Proxy) -> Result<Proxy, Error> {
    let url = |key, url: &Option<layer::ProxyUrl>| match url.as_ref().map(layer::ProxyUrl::url) {
        None => Ok(None),
        Some(Ok(url)) => Ok(Some(url)),
        Some(Err(problem)) => Err(incomplete(rules, key, &problem)),
    };
    Ok(Proxy {
        http: url("export.proxy.http", &section.http)?,
        https: url("export.proxy.https", &section.https)?,
        except: section.except.clone().unwrap_or_default().join(","),
    })
}

/// Below, a batch or two would fill it.
const LEAST_SPOOL: u64 = 16 << 20;

fn spool(rules: &Rules<'_>, section: &layer::Spool) -> Result<Option<Spool>, Error> {
    let Some(directory) = &section.directory else {
        return Ok(None);
    };
    if !directory.is_absolute() {
        let problem = format!(
            "is {}; give a whole path, such as /var/lib/spanwire/spool",
            directory.display()
        );
        return Err(rules.conflict("export.spool.directory", problem));
    }
    let max_size = settled(section.max_size);
    if max_size.0 < LEAST_SPOOL {
        return Err(rules.conflict(
            "export.spool.max_size",
            format!("is {max_size}; the least is 16M"),
        ));
    }
    Ok(Some(Spool {
        directory: directory.clone(),
        max_size: max_size.0,
        max_age: limit(settled(section.max_age)).unwrap_or(Duration::MAX),
        fsync: settled(section.fsync),
        rate: settled(section.rate).0,
    }))
}

fn incomplete(rules: &Rules<'_>, key: &'static str, problem: &Invalid) -> Error {
    rules.conflict(key, format!("is not complete: {problem}"))
}
