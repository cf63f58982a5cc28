//! `spanwire run`: puts everything together, waits for the end, and sees that nothing is lost on the way out.

use crate::cli::{Exit, Run};
use crate::command::{self, Running};
use crate::config::globs::TooMany;
use crate::config::{self, Config, KernelLog, Resolved};
use crate::engine::Engines;
use crate::exchange::Table;
use crate::export::Exporter;
use crate::export::console::{Look, Width};
use crate::export::metrics::{self as export_metrics, Cadence, Temporality};
use crate::export::settings::{Settings, SettingsError, endpoints, metrics, spool};
use crate::export::stdout::{Format, Stdout};
use crate::health::Health;
use crate::instance::{self, Instance, InstanceError};
use crate::kernel::clock::Clock;
use crate::kernel::inspect;
use crate::kernel::load::{self, HookSet, LoadError, Options, Watch};
use crate::kubernetes::{self, Kubernetes, StartError};
use crate::metrics::report;
use crate::metrics::requests::{self, Requests};
use crate::metrics::server::{self, ListenError, Server, Sources};
use crate::metrics::vitals::Vitals;
use crate::naming;
use crate::pipeline::{Pipeline, Rules, Sinks, Stages};
use crate::process::watch::Filter;
use crate::process::{self, Containers, Peers, Pods, Proc, Runtimes};
use crate::propagation;
use crate::redact::{self, Redactor, RuleError};
use crate::reload::{self, Origin, Reload};
use crate::sample::{self, TailSampler};
use crate::signals::{Received, Signals};
use crate::span::build::HttpRules;
use crate::span::exchange::Builder;
use crate::span::limits::Limits;
use crate::summary;
use crate::trace::causality::Causality;
use crate::trace::sampling::Sampler;
use crate::watchdog::Watchdog;
use globset::GlobMatcher;
use ipnet::IpNet;
use log::LevelFilter;
use rustix::process::Signal;
use sd_notify::NotifyState;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Longest that the way out takes.
const FLUSH: Duration = Duration::from_secs(5);
/// Least length that texts keep with `--no-redact`.
const UNSHORTENED: usize = 1024;

/// Why it did not come to running, or how it went wrong.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another one runs.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A filter that can never fit.
    #[error("there is no process {0} to watch")]
    NoProcess(u32),
    /// Filters beside a command.
    #[error(
        "{0} cannot be given with `-- COMMAND`: only the command and what it starts are watched; leave it out of flags, \
         environment and file (--port can be given)"
    )]
    Filters(String),
    /// The kernel would refuse.
    #[error(
        "{0}: run as root (sudo spanwire run …), or give it CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and a \
         /run/spanwire.lock that it may write"
    )]
    Privileges(String),
    /// The kernel half cannot be loaded.
    #[error("{0}\n`spanwire check` says what is missing, and what to do about it")]
    Load(#[from] LoadError),
    /// Export cannot work as configured.
    #[error(transparent)]
    Export(#[from] SettingsError),
    /// Rules for what is taken out of spans cannot be followed.
    #[error(transparent)]
    Rules(#[from] RuleError),
    /// Rules for which traces are kept have too many patterns.
    #[error(transparent)]
    Patterns(#[from] TooMany),
    /// Metrics cannot be told where they should be.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The cluster cannot be asked as configured.
    #[error(transparent)]
    Kubernetes(#[from] StartError),
    /// The command after `--` does not start.
    #[error(transparent)]
    Command(#[from] command::StartError),
    /// The operating system refuses something that it always has.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl RunError {
    /// What a script is told.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Instance(InstanceError::Running(_)) => Exit::AlreadyRunning,
            Self::Instance(InstanceError::Lock { .. }) | Self::Privileges(_) | Self::Load(_) => {
                Exit::CannotCapture
            }
            Self::Export(_)
            | Self::Rules(_)
            | Self::Patterns(_)
            | Self::Listen(_)
            | Self::Kubernetes(_)
            | Self::NoProcess(_)
            | Self::Filters(_) => Exit::Usage,
            Self::Command(error) => error.exit(),
            Self::System { .. } => Exit::Failed,
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

/// Captures until a signal, the end of `command`, or that of whoever reads standard output. The configuration is what `origin`
/// was read as.
///
/// # Errors
/// Why it cannot.
pub async fn run(resolved: Resolved, origin: Origin, run: &Run, quiet: bool) -> Result<Exit, RunError> {
    let config = &resolved.config.clone();
    let command: &[OsString] = &run.command;
    if !command.is_empty()
        && let Some(filters) = filters_of_processes(&config.watch)
    {
        return Err(RunError::Filters(filters));
    }
    if let Some(missing) = inspect::missing_privileges() {
        return Err(RunError::Privileges(missing));
    }
    if let Some(pid) = config.watch.pids.iter().find(|pid| !Proc::host().has(**pid)) {
        return Err(RunError::NoProcess(*pid));
    }
    let _instance = Instance::claim()?;
    let health = Arc::new(Health::default());
    let (pods, peers) = (Arc::<Pods>::default(), Arc::<Peers>::default());
    let (mut proc, mut kubernetes) = (Proc::host(), None);
    if kubernetes::is_wanted(&config.kubernetes) {
        kubernetes = Some(Kubernetes::start(&config.kubernetes, &pods, &peers, &health).await?);
        proc = proc.knowing(pods);
    }
    let containers = Arc::<Containers>::default();
    let engines = Engines::start(&config.containers, &containers, &health);
    if engines.is_some() {
        proc = proc.asking(containers);
    }
    // Before the hooks, so that an endpoint that cannot work is said before anything is seen.
    let rules = rules(config, run.no_redact, quiet)?;
    let tail = TailSampler::new(tail(config)?, Arc::clone(&health));
    let sinks = sinks(config, &health)?;
    let vitals = Arc::new(Vitals::default());
    let (questions, asked) = report::channel();
    let sources = Arc::new(Sources {
        health: Arc::clone(&health),
        vitals: Arc::clone(&vitals),
        questions,
        waiting: waiting(&sinks),
        exports: Arc::default(),
    });
    let server = serve(&config.metrics.listen, &sources)?;
    let exported = export_of_metrics(config, &sources)?;
    let mut signals = Signals::listen().map_err(system("listen to SIGINT and SIGTERM"))?;
    let settled = propagation::settle(
        &config.propagate.headers,
        config
            .watch
            .include
            .iter()
            .filter_map(|it| it.propagate.as_deref()),
    );
    let mut options = options(config, command, kubernetes.is_some());
    options.propagate = settled.loaded;
    let sampler = Sampler::new(naming::sampling(config)?);
    options.sampling = sampler.common_word();
    let mut capture = propagation::load(&mut options)?;
    let _measured = measure_programs(config.metrics.kernel_cost);
    let refusal = capture.propagation().refusal().map(ToOwned::to_owned);
    let refused_options = capture.propagation().refused_options().map(ToOwned::to_owned);
    let hooks = capture.hook_set();
    let filter = filter(config, kubernetes.is_some());
    let (orders, changes) = reload::channel();
    let mut pipeline = Pipeline::new(Stages {
        capture,
        table: Table::new(config.capture.max_connections as usize, Arc::clone(&health)),
        causality: Causality::new(Arc::clone(&health))
            .refusing(refused(config))
            .dropping(rules.drop.clone())
            .sampling(sampler),
        processes: process::Table::new(proc.clone(), config.resource.clone())
            .looking(Runtimes::start(proc, &health).map_err(system("start a thread"))?)
            .labelling(labels(config))
            .probing(config.capture.probes)
            .propagating(settled.policy, settled.loaded)
            .leaving(process::SdkRules::new(&config.sdk)),
        peers,
        restraint: settled.restraint.clone(),
        filter,
        descendants_only: !command.is_empty(),
        rules,
        open_after: config.output.open_after,
        tail,
        sinks: sinks.clone(),
        health: Arc::clone(&health),
        requests: requests(&config.metrics),
        asked,
        vitals: Arc::clone(&vitals),
        changes,
    });
    pipeline.watch_running();
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, mut end_of_thread) = oneshot::channel::<()>();
    let flag = Arc::clone(&stop);
    let pipeline = thread::Builder::new()
        .name("spanwire-capture".to_owned())
        .spawn(move || {
            let _ended = ended;
            pipeline.run(&flag)
        })
        .map_err(system("start a thread"))?;
    if let Some(restraint) = settled.restraint {
        tracing::warn!("{restraint}");
    }
    if let Some(refusal) = refusal {
        tracing::warn!("no context is injected: {refusal}");
    }
    if let Some(refusal) = refused_options {
        tracing::warn!("no context is put into options of TCP: {refusal}");
    }
    if hooks == HookSet::Syscall {
        tracing::warn!(
            "hooks on system calls: every call of every process on this host is looked at, at about 0.15 us each"
        );
    }
    let ending = if signals.pending().is_some() {
        Ending::Signal
    } else {
        let running = Running::start(command)?;
        vitals.set_ready(true);
        announce(config, hooks, quiet);
        let _watchdog = Watchdog::start(Arc::clone(&vitals));
        let reload = Reload::new(origin, resolved, orders, run.no_redact, !command.is_empty());
        end(running, &mut signals, &sinks, &mut end_of_thread, reload, quiet).await
    };
    let deadline = Instant::now() + FLUSH;
    vitals.set_ready(false);
    stopping();
    stop.store(true, Ordering::Release);
    // Of everything, now that nothing more comes.
    let last = async {
        match &exported {
            Some(_) => sources.families().await,
            None => Vec::new(),
        }
    };
    let (kernel, last) = tokio::join!(join(pipeline), last);
    drop((kubernetes, engines));
    drop(server);
    let metrics = async {
        if let Some(exported) = exported {
            exported
                .finish(last, deadline.saturating_duration_since(Instant::now()))
                .await;
        }
    };
    tokio::join!(sinks.finish(deadline), metrics);
    if !quiet {
        summary::write(&health, &kernel, &mut io::stderr().lock());
    }
    Ok(match ending {
        Ending::Signal | Ending::Reader => Exit::Success,
        Ending::Abandoned(signal) => Exit::of_signal(signal.as_raw()),
        Ending::Command(Ok(status)) => Exit::of(status),
        Ending::Command(Err(error)) => return Err(system("wait for the command")(error)),
        Ending::Broken => Exit::Failed,
    })
}

/// Serves metrics. Where the default socket cannot be had, it goes without: nobody asked for it.
fn serve(listen: &[config::Listen], sources: &Arc<Sources>) -> Result<Server, RunError> {
    let addresses: Vec<_> = listen
        .iter()
        .filter_map(|address| match address {
            config::Listen::Nowhere => None,
            config::Listen::Default => Some(server::Address::Unix(instance::socket())),
            config::Listen::Unix(path) => Some(server::Address::Unix(path.clone())),
            config::Listen::Tcp(address) => Some(server::Address::Tcp(*address)),
        })
        .collect();
    match Server::start(&addresses, Arc::clone(sources)) {
        Err(error) if listen == [config::Listen::Default] => {
            tracing::warn!("{error}");
            Ok(Server::default())
        }
        started => Ok(started?),
    }
}

/// Metrics of requests, where they are wanted.
fn requests(metrics: &config::Metrics) -> Option<Requests> {
    let limits = requests::Limits {
        cardinality: metrics.cardinality_limit,
        exemplars: metrics.exemplars,
        exponential: metrics
            .export
            .as_ref()
            .is_some_and(|export| export.histograms == config::Histograms::Exponential),
    };
    metrics.requests.then(|| Requests::new(limits))
}

/// Sends metrics over OTLP where that is wanted.
fn export_of_metrics(
    config: &Config,
    sources: &Arc<Sources>,
) -> Result<Option<export_metrics::Handle>, RunError> {
    let (Some(export), Some(settings)) = (&config.metrics.export, metrics(config)) else {
        return Ok(None);
    };
    let cadence = Cadence {
        interval: export.interval,
        timeout: export.timeout,
        temporality: match export.temporality {
            config::Temporality::Cumulative => Temporality::Cumulative,
            config::Temporality::Delta => Temporality::Delta,
            config::Temporality::LowMemory => Temporality::LowMemory,
        },
    };
    let own = process::Table::new(Proc::host(), config.resource.clone()).resource(std::process::id());
    let results = Arc::clone(&sources.exports);
    let sources = Arc::clone(sources);
    let gather = move || {
        let sources = Arc::clone(&sources);
        async move { sources.families().await }
    };
    let started = export_metrics::Handle::start(&settings, cadence, own, results, gather);
    Ok(Some(started?))
}

/// What waits to be sent, for as long as there is where to.
fn waiting(sinks: &Sinks) -> Box<dyn Fn() -> report::Waiting + Send + Sync> {
    let sinks = sinks.downgrade();
    Box::new(move || sinks.upgrade().waiting())
}

/// Has the kernel measure its programs where that is wanted, until it is dropped.
fn measure_programs(wanted: bool) -> Option<OwnedFd> {
    let measured = wanted.then(load::measure_programs)?;
    measured
        .inspect_err(|error| tracing::warn!("the kernel does not measure what its programs cost: {error}"))
        .ok()
}

/// The flags by whose values processes are chosen; `None` where there is no such value.
pub(crate) fn filters_of_processes(watch: &config::Watch) -> Option<String> {
    let given = [
        ("--pid", !watch.pids.is_empty()),
        ("--exe", !watch.executables.is_empty()),
        ("--container", !watch.containers.is_empty()),
        ("watch.include", !watch.include.is_empty()),
        ("watch.exclude", !watch.exclude.is_empty()),
    ];
    let names: Vec<&str> = given
        .iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(name, _)| *name)
        .collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// Reads the configuration again, and says what came of it: to people, and to systemd (systemd.service(5), `notify-reload`).
async fn read_again(reload: &mut Reload, quiet: bool) {
    let notify = |states: &[NotifyState<'_>]| {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!("cannot tell systemd of a reload: {error}");
        }
    };
    let now = i128::from(Clock::now().monotonic() / 1000);
    notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now)]);
    match reload.run().await {
        Ok(outcome) => {
            for warning in outcome.warnings {
                tracing::warn!("{warning}");
            }
            if !outcome.left.is_empty() {
                tracing::warn!(
                    "changed, but not before the next start: {}",
                    outcome.left.join(", ")
                );
            }
            if !quiet {
                let changed = match outcome.changed.is_empty() {
                    true => "nothing".to_owned(),
                    false => outcome.changed.join(", "),
                };
                eprintln!("spanwire configuration read again; changed: {changed}");
            }
        }
        Err(error) => tracing::error!("the configuration stays as it was: {error}"),
    }
    notify(&[NotifyState::Ready]);
}

/// What made it end.
enum Ending {
    Signal,
    Command(io::Result<ExitStatus>),
    /// A second signal, while the command still ran.
    Abandoned(Signal),
    /// Whoever read standard output is gone.
    Reader,
    /// The pipeline's thread ended by itself.
    Broken,
}

/// Waits for the end. With a command, like strace: its end is what counts, and the first signal is the command's.
async fn end(
    mut running: Running,
    signals: &mut Signals,
    sinks: &Sinks,
    end_of_thread: &mut oneshot::Receiver<()>,
    mut reload: Reload,
    quiet: bool,
) -> Ending {
    let mut signalled = false;
    loop {
        tokio::select! {
            received = signals.next() => match received {
                _ if received.is_reload() => read_again(&mut reload, quiet).await,
                _ if !running.is_there() => return Ending::Signal,
                Received { signal, .. } if signalled => return Ending::Abandoned(signal),
                // What is typed has reached the command already, which is of the same process group.
                Received { signal, typed } => signalled = typed || running.signal(signal),
            },
            status = running.wait() => return Ending::Command(status),
            () = sinks.closed() => return Ending::Reader,
            _ = &mut *end_of_thread => return Ending::Broken,
        }
    }
}

/// What is written to standard output, if anything is.
#[must_use]
pub fn format(config: &Config) -> Option<Format> {
    let look = Look {
        color: match config.output.color {
            config::Color::Always => true,
            config::Color::Never => false,
            // https://no-color.org
            config::Color::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
            }
        },
        width: Width::Terminal,
    };
    match config.output.format {
        config::Format::Tree => Some(Format::Tree(look)),
        config::Format::OtlpJson => Some(Format::OtlpJson),
        config::Format::None => None,
    }
}

fn sinks(config: &Config, health: &Arc<Health>) -> Result<Sinks, RunError> {
    let stdout = format(config)
        .map(|format| Stdout::start(format, io::stdout(), Arc::clone(health)))
        .transpose()
        .map_err(system("start a thread"))?;
    let endpoints = endpoints(config);
    let exporter = (!endpoints.is_empty())
        .then(|| Exporter::start(endpoints, spool(config).as_ref(), health))
        .transpose()?;
    Ok(Sinks::new(stdout, exporter))
}

const fn log_level(choice: KernelLog) -> LevelFilter {
    match choice {
        KernelLog::Off => LevelFilter::Off,
        KernelLog::Error => LevelFilter::Error,
        KernelLog::Warn => LevelFilter::Warn,
        KernelLog::Info => LevelFilter::Info,
        KernelLog::Debug => LevelFilter::Debug,
        KernelLog::Trace => LevelFilter::Trace,
    }
}

/// Which processes are watched, in a cluster or not.
pub(crate) fn filter(config: &Config, in_cluster: bool) -> Filter {
    let filter = Filter::new(&config.watch, std::process::id());
    match in_cluster {
        true => filter.in_cluster(config.kubernetes.watch_by_default),
        false => filter,
    }
}

fn options(config: &Config, command: &[OsString], in_cluster: bool) -> Options {
    let selective = filter(config, in_cluster).is_selective();
    Options {
        hooks: hook_sets(config.capture.hooks),
        log: log_level(config.capture.kernel_log),
        ring_buffer: config.capture.ring_buffer,
        max_connections: config.capture.max_connections,
        broker_spans: config.messaging.broker_spans,
        propagate: 0,
        carried: propagation::carried(&config.propagate),
        sampling: 0,
        refused: refused(config),
        ports: config
            .watch
            .ports
            .iter()
            .map(|range| range.first..=range.last)
            .collect(),
        watch: match (command.is_empty(), selective) {
            (false, _) => Watch::Children,
            (true, true) => Watch::Nothing,
            (true, false) => Watch::Everything,
        },
    }
}

/// Whose contexts are not taken over.
fn refused(config: &Config) -> Vec<IpNet> {
    config.propagate.refuse_from.iter().map(|range| range.0).collect()
}

/// Labels of containers that become attributes.
fn labels(config: &Config) -> Arc<[GlobMatcher]> {
    let labels = config.containers.labels.iter();
    labels.map(|pattern| pattern.glob().compile_matcher()).collect()
}

/// The sets that `--hooks` names.
#[must_use]
pub fn hook_sets(hooks: config::Hooks) -> Vec<HookSet> {
    match hooks {
        config::Hooks::Auto => HookSet::ALL.to_vec(),
        config::Hooks::Socket => vec![HookSet::Socket],
        config::Hooks::Trampoline => vec![HookSet::Trampoline],
        config::Hooks::Syscall => vec![HookSet::Syscall],
    }
}

/// What becomes of spans: what of the configuration concerns them; with `no_redact` they are as they were on the wire, which
/// is said once unless we are to be `quiet`.
///
/// # Errors
/// The key for hashes cannot be read.
pub fn rules(config: &Config, no_redact: bool, quiet: bool) -> Result<Rules, RuleError> {
    if no_redact && !quiet {
        eprintln!("spanwire: --no-redact: spans show credentials and whatever else was on the wire");
    }
    let length = config.limits.attribute_value_length;
    let http = config.http.clone();
    let mut redact = match no_redact {
        true => redact::Rules::none(),
        false => {
            let own: Vec<_> = config
                .watch
                .include
                .iter()
                .filter_map(|it| it.redaction)
                .collect();
            redact::Rules::new(&config.redaction)?.with_sets(&config.redaction, &own)?
        }
    };
    redact.value_length = length.map(|length| {
        if no_redact {
            length.max(UNSHORTENED)
        } else {
            length
        }
    });
    Ok(Rules {
        spans: Builder::new(HttpRules {
            known_methods: http.known_methods.unwrap_or(HttpRules::default().known_methods),
            request_headers: http.captured_request_headers,
            response_headers: http.captured_response_headers,
        })
        .capturing(config.messaging.captured_headers.clone())
        .with_baggage(config.baggage.clone())
        .making_ids(propagation::made_id(&config.propagate))
        .naming(naming::routes(config)?, naming::renames(config)?),
        drop: naming::drops(config)?,
        limits: Limits {
            attributes: config.limits.attribute_count,
            events: config.limits.event_count,
            event_attributes: config.limits.event_attribute_count,
        },
        redact: Redactor::new(redact),
        // OTLP has a flag that says of each span that it is kept.
        shows_unsampled: config.sampling.show_unsampled == Some(true)
            && config.output.format == config::Format::Tree,
    })
}

/// Which traces are kept, if there are rules for that.
///
/// # Errors
/// There are too many patterns.
pub(crate) fn tail(config: &Config) -> Result<Option<sample::rules::Rules>, TooMany> {
    let tail = config.sampling.tail.as_ref();
    tail.map(sample::rules::Rules::new).transpose()
}

/// Says that everything is in place: to people, and to systemd.
fn announce(config: &Config, hooks: HookSet, quiet: bool) {
    if !quiet {
        let names: Vec<String> = endpoints(config).iter().map(Settings::shown).collect();
        let export = match &*names {
            [] => String::new(),
            names => format!(", exporting to {}", names.join(" and ")),
        };
        if let Some(what) = process::unfollowed().filter(|_| config.capture.probes) {
            eprintln!("spanwire: {what}");
        }
        eprintln!("spanwire ready: {hooks} hooks{export}");
    }
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!("cannot tell systemd that spanwire is ready: {error}");
    }
}

/// Tells systemd that the end has begun, so that it waits for it as for one that it has asked for.
fn stopping() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Stopping]) {
        tracing::debug!("cannot tell systemd that spanwire ends: {error}");
    }
}

/// The kernel half's counters, from the end of the pipeline's thread.
async fn join(pipeline: JoinHandle<Vec<(&'static str, u64)>>) -> Vec<(&'static str, u64)> {
    let joined = tokio::task::spawn_blocking(move || pipeline.join()).await;
    match joined {
        Ok(Ok(counters)) => counters,
        Ok(Err(_)) | Err(_) => {
            tracing::error!("the capture thread ended by a panic, which is a bug of spanwire");
            Vec::new()
        }
    }
}
