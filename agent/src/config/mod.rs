//! Configuration: defaults < file < environment < flags, as one typed and validated value.
//!
//! Each source is read into a [`layer::Layer`], the layers are laid over one another, and [`Config`] is made of the
//! result. Nothing here has a side effect but [`read`], which reads the file.

mod build;
pub mod choice;
mod command;
pub mod containers;
pub mod delivery;
mod endpoint;
pub mod environment;
pub mod expression;
mod file;
pub mod globs;
pub mod kubernetes;
pub mod layer;
pub mod metrics;
pub mod naming;
pub mod pairs;
mod print;
pub mod redaction;
pub mod sampling;
pub mod selector;
pub mod value;

pub use choice::{
    Action, Color, Compression, Correlation, Covered, Format, Fsync, Histograms, Hooks, Injected, KernelLog,
    Protocol, RuleSet, Sampler, Shape, Temporality, Traffic,
};
pub use command::run;
pub use containers::Containers;
pub use delivery::{Export, ExportFile, Proxy, Spool, Zipkin};
use environment::Environment;
pub use file::{File, FileError, Problem};
pub use kubernetes::Kubernetes;
use layer::Layer;
pub use metrics::{Listen, Metrics, MetricsExport};
pub use naming::{DropRule, RenameRule, RouteTemplates, Routes, Spans};
use print::{Origin, Origins};
pub use redaction::{AttributeRule, Redaction};
pub use sampling::{Sampling, SamplingRule, tail::Tail};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::time::Duration;
use value::{AddressRange, Pattern, PortRange, Secret, ServicePattern};

/// Resource attributes that name one service, and so can never be given to all.
const OWN_RESOURCE: &[&str] = &["service.name", "service.instance.id"];

/// Everything spanwire can be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What is watched.
    pub watch: Watch,
    /// Pods of Kubernetes.
    pub kubernetes: Kubernetes,
    /// Containers.
    pub containers: Containers,
    /// How the kernel captures.
    pub capture: Capture,
    /// What is kept of HTTP messages.
    pub http: Http,
    /// What becomes a span of what goes through a message broker.
    pub messaging: Messaging,
    /// How trace context gets on.
    pub propagate: Propagate,
    /// Services that make spans themselves.
    pub sdk: Sdk,
    /// Entries of baggage that become attributes.
    pub baggage: Vec<String>,
    /// Routes.
    pub routes: Routes,
    /// Which spans are left out, and what others are called.
    pub spans: Spans,
    /// What is taken out of spans: every key that follows from the set is there.
    pub redaction: Redaction,
    /// Which traces are kept: sampler and ratio are there.
    pub sampling: Sampling,
    /// What is written to standard output.
    pub output: Output,
    /// Where spans are sent, if anywhere.
    pub export: Export,
    /// Batches on their way there.
    pub batch: Batch,
    /// Limits of what a span carries.
    pub limits: Limits,
    /// What is told about spanwire itself.
    pub metrics: Metrics,
    /// Attributes added to every service's resource; never `service.name` or `service.instance.id`.
    pub resource: Vec<(String, String)>,
}

/// What is watched: what `pids`, `executables` and `containers` select together or one of `include` does, but for `exclude`.
/// Where nothing selects, all is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// Process ids on the host.
    pub pids: Vec<u32>,
    /// Patterns of executables.
    pub executables: Vec<Pattern>,
    /// Ports of either end of a connection.
    pub ports: Vec<PortRange>,
    /// Names, ids or beginnings of ids of containers.
    pub containers: Vec<String>,
    /// Selectors of what is watched, too.
    pub include: Vec<selector::Include>,
    /// Selectors of what is not, whatever the others say.
    pub exclude: Vec<selector::Exclude>,
}

/// How the kernel captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The set of hooks.
    pub hooks: Hooks,
    /// Bytes of the ring buffer: a power of two of at least a page.
    pub ring_buffer: u32,
    /// Connections that are followed at a time.
    pub max_connections: u32,
    /// Whether functions of runtimes are probed.
    pub probes: bool,
    /// Level of diagnostics from the kernel's side.
    pub kernel_log: KernelLog,
}

/// What is kept of HTTP messages: names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Methods that spans may be named after; `None` for those of the semantic conventions.
    pub known_methods: Option<Vec<String>>,
    /// Request headers that become attributes; those that correlate requests unless it is said.
    pub captured_request_headers: Vec<String>,
    /// Response headers that become attributes.
    pub captured_response_headers: Vec<String>,
}

/// What becomes a span of what goes through a message broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messaging {
    /// Whether the broker's end of a connection makes spans, too.
    pub broker_spans: bool,
    /// Headers of messages that become attributes, as they are written.
    pub captured_headers: Vec<String>,
}

/// How trace context gets to other hosts, and to services that make spans themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagate {
    /// Into which requests it is put.
    pub headers: Vec<Injected>,
    /// Addresses whose contexts are not taken over.
    pub refuse_from: Vec<AddressRange>,
    /// Whether baggage is carried on.
    pub baggage: bool,
    /// Whether ids are, and as what they are made.
    pub correlation: Correlation,
}

/// Services that make spans themselves, by an OpenTelemetry SDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdk {
    /// Whether they are found.
    pub detect: bool,
    /// Services that do, found or not.
    pub instrumented: Vec<ServicePattern>,
    /// Services that are traced all the same.
    pub kept: Vec<ServicePattern>,
    /// What is left to them.
    pub covers: Vec<Covered>,
}

/// What is written to standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The form of finished traces.
    pub format: Format,
    /// When the tree has colours.
    pub color: Color,
    /// How long a stream is open before it is shown, and from one time to the next; `None` for never.
    pub open_after: Option<Duration>,
}

/// An OTLP endpoint and how to speak to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// URL that traces are sent to, complete.
    pub url: String,
    /// Transport.
    pub protocol: Protocol,
    /// Headers of each request, names in lower case.
    pub headers: Vec<(String, Secret)>,
    /// A file with more of them.
    pub headers_file: Option<PathBuf>,
    /// Longest wait for an answer; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Compression of requests.
    pub compression: Compression,
    /// PEM file of the certificates to trust instead of the host's.
    pub certificate: Option<PathBuf>,
    /// PEM files of our certificate and its key, for mutual TLS.
    pub client: Option<ClientIdentity>,
}

/// What we show to a server that asks who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file of the certificate chain.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// The batch processor's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Time between two exports.
    pub schedule_delay: Duration,
    /// Longest time for one export with its retries; `None` is no limit.
    pub export_timeout: Option<Duration>,
    /// Spans that wait at most.
    pub max_queue_size: usize,
    /// Spans in one request at most; not above `max_queue_size`.
    pub max_export_batch_size: usize,
    /// Bytes of one request at most, before compression.
    pub max_export_batch_bytes: usize,
}

/// Limits of what a span carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest text of an attribute in characters, `None` without a limit.
    pub attribute_value_length: Option<usize>,
    /// Most attributes of a span.
    pub attribute_count: usize,
    /// Most events of a span.
    pub event_count: usize,
    /// Most attributes of an event.
    pub event_attribute_count: usize,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// A SPANWIRE_* variable is wrong.
    #[error("wrong value of the environment variable {name}: {problem}")]
    Variable {
        /// Its name.
        name: String,
        /// Why it cannot be taken, and what is allowed.
        problem: String,
    },
    /// A value that is right by itself does not go with another.
    #[error("`{key}` ({origin}) {problem}")]
    Conflict {
        /// The key.
        key: &'static str,
        /// Where its value came from.
        origin: String,
        /// What does not go together, and what to do.
        problem: String,
    },
}

/// Something that was set and will not be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// An environment variable that cannot be taken as it is.
    Variable {
        /// Its name.
        name: String,
        /// Why not, and what is done instead.
        problem: String,
    },
    /// A key whose value was changed, or probably does not do what was meant.
    Key {
        /// Its name.
        key: &'static str,
        /// Why, and what is done instead.
        problem: String,
    },
}

impl Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, problem } => write!(formatter, "environment variable {name}: {problem}"),
            Self::Key { key, problem } => write!(formatter, "`{key}`: {problem}"),
        }
    }
}

/// A configuration, and how it came about.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// What will not be followed; to be logged.
    pub warnings: Vec<Warning>,
    layer: Layer,
    origins: Origins,
}

impl Resolved {
    /// All values as YAML with their origins, secrets masked; a valid configuration file but for the masks.
    #[must_use]
    pub fn yaml(&self) -> String {
        print::yaml(&self.layer, &self.origins)
    }
}

impl Resolved {
    /// Keys whose values are others in `other`, such as `capture.hooks`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        print::differences(&self.layer, &other.layer)
    }
}

/// Reads the file that `path`, or else SPANWIRE_CONFIG, names (if any), and resolves the configuration.
///
/// # Errors
/// The file cannot be read, or a value cannot be taken.
pub fn read(path: Option<&Path>, environment: &Environment, flags: Layer) -> Result<Resolved, Error> {
    let named = environment
        .get(environment::CONFIG)
        .filter(|path| !path.is_empty())
        .map(Path::new);
    let file = match path.or(named) {
        Some(path) => Some(File::read(path)?),
        None => None,
    };
    resolve(file.as_ref(), environment, flags)
}

impl File {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It is not there, or not readable, or not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            name: path.display().to_string(),
            text,
        })
    }
}

/// The configuration that these sources make together.
///
/// # Errors
/// A key or value of the file, or a value of a SPANWIRE_* variable, cannot be taken; or values do not go together.
pub fn resolve(file: Option<&File>, environment: &Environment, flags: Layer) -> Result<Resolved, Error> {
    let mut origins = Origins::new();
    let mut layer = Layer::defaults();
    if let Some(file) = file {
        let said = file.layer()?;
        origins.extend(
            print::keys_of(&said)
                .into_iter()
                .map(|key| (key, Origin::File(file.name.clone()))),
        );
        layer = said.over(layer);
    }
    let spoken = environment::read(environment)?;
    origins.extend(spoken.origins);
    layer = spoken.layer.over(layer);
    origins.extend(print::keys_of(&flags).into_iter().map(|key| (key, Origin::Flag)));
    layer = flags.over(layer);
    let filled = layer.redaction.fill();
    origins.extend(filled.into_iter().map(|key| (key.to_owned(), Origin::RuleSet)));
    let mut warnings = spoken.warnings;
    let config = build::config(&layer, &origins, &mut warnings)?;
    Ok(Resolved {
        config,
        warnings,
        layer,
        origins,
    })
}

#[cfg(test)]
mod tests;
