//! `spanwire replay`: the same spans out of a capture file, without root and without processes.
//!
//! ```text
//!   capture -> link -> ip -> tcp (streams) -> talk (protocols) -> span -> redact -> outlet
//! ```
//!
//! Nothing here knows a clock, or anything else but the file: the same capture gives the same bytes every time. Memory
//! is bounded whatever its size: one record, the connections of the table, what each holds of its streams.

pub mod capture;
pub mod connections;
pub mod ip;
pub mod link;
mod outlet;
pub mod stats;
pub mod talk;
pub mod tcp;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::cli::{Exit, Replay};
use crate::config::Config;
use crate::connection::Address;
use crate::export::Exporter;
use crate::export::settings::{SettingsError, endpoints, spool};
use crate::health::{Counter, Health};
use crate::pipeline::Rules;
use crate::redact::RuleError;
use crate::span::exchange::Seen;
use crate::span::{Kind, Resource, Span, SpanId, TraceId, UnixNanoseconds};
use crate::trace::context::Extracted;
use crate::{process, run, summary, trace};
use capture::{Capture, CaptureError, Next, Packet};
use connections::{Connections, Finished};
use ip::Fragments;
use link::Link;
use outlet::Outlet;
use smol_str::SmolStr;
use stats::Stats;
use talk::Time;

/// Namespace of the ids that are made of what was captured.
const IDS: Uuid = Uuid::from_u128(0x0f8b_6d9c_51f4_4f0e_9a57_3d1c_77e2_a6b4);

/// Longest that the end waits for an endpoint.
const FLUSH: Duration = Duration::from_secs(30);

/// Why a capture could not be replayed, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such file.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file.
    #[error("cannot replay {}: {source}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CaptureError,
    },
    /// A link layer that is not read.
    #[error(
        "cannot replay {}: link type {link} is not known (Ethernet, Linux cooked, loopback and raw IP are)",
        path.display()
    )]
    Link {
        /// The file.
        path: PathBuf,
        /// `LINKTYPE_` number.
        link: u16,
    },
    /// Standard output.
    #[error("cannot write: {0}")]
    Output(io::Error),
    /// Export cannot work as configured.
    #[error(transparent)]
    Export(#[from] SettingsError),
    /// Rules for what is taken out of spans cannot be followed.
    #[error(transparent)]
    Rules(#[from] RuleError),
    /// The operating system refuses something that it always has.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
}

impl ReplayError {
    /// What a script is told.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Open { .. } | Self::Capture { .. } | Self::Link { .. } => Exit::CannotReplay,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
            Self::Output(_) | Self::Threads(_) => Exit::Failed,
            Self::Export(_) | Self::Rules(_) => Exit::Usage,
        }
    }
}

/// Replays a capture, and says on standard error how it went. Spans before an error have come out.
///
/// # Errors
/// Why not, or not to its end.
pub fn run(command: &Replay, config: &Config, quiet: bool) -> Result<Exit, ReplayError> {
    let path = &command.file;
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let open = |source| ReplayError::Open {
            path: path.clone(),
            source,
        };
        Box::new(File::open(path).map_err(open)?)
    };
    let health = Arc::new(Health::default());
    let endpoints = endpoints(config);
    let runtime = match &*endpoints {
        [] => None,
        _ => Some(exporting().map_err(ReplayError::Threads)?),
    };
    let _entered = runtime.as_ref().map(Runtime::enter);
    let exporter = (!endpoints.is_empty())
        .then(|| Exporter::start(endpoints, spool(config).as_ref(), &health))
        .transpose()?;
    let mut replayer = Replayer {
        rules: run::rules(config, command.no_redact, quiet)?,
        resource: Arc::new(process::of_capture(&config.resource)),
        outlet: Outlet::new(run::format(config), BufWriter::new(io::stdout()), exporter),
        fragments: Fragments::default(),
        stats: Stats::default(),
        health: &health,
    };
    let end = replayer.read(path, input, config.capture.max_connections as usize);
    let Replayer { outlet, stats, .. } = replayer;
    let exporter = outlet.finish().map_err(ReplayError::Output)?;
    if let (Some(runtime), Some(exporter)) = (&runtime, exporter) {
        runtime.block_on(exporter.shutdown(FLUSH));
    }
    if command.stats {
        summary::write(&health, &stats.rows(), &mut io::stderr().lock());
    }
    if let Some(offset) = end?
        && !quiet
    {
        eprintln!(
            "spanwire: {} is cut short: it ends within the record at byte {offset}, after {} packets",
            path.display(),
            stats.packets
        );
    }
    Ok(Exit::Success)
}

/// A runtime in a thread of its own: the exporter works while the file is read.
fn exporting() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// The stages behind the packets.
struct Replayer<'h, W: Write> {
    rules: Rules,
    resource: Arc<Resource>,
    outlet: Outlet<W>,
    fragments: Fragments,
    stats: Stats,
    health: &'h Health,
}

impl<W: Write> Replayer<'_, W> {
    /// Reads `input`, which is `path`, to its end; `Some` where it ends within the record at that byte.
    fn read(&mut self, path: &Path, input: impl Read, limit: usize) -> Result<Option<u64>, ReplayError> {
        let mut connections = Connections::new(limit, self.health);
        let mut finished = Vec::new();
        let (end, time) = self.packets(path, input, &mut connections, &mut finished);
        self.stats.fragments = self.fragments.lost();
        connections.finish(&mut self.stats, &mut finished);
        self.hand_on(&mut finished, time)?;
        end
    }

    /// Reads all packets; how that ended, and the time of the last one.
    fn packets(
        &mut self,
        path: &Path,
        input: impl Read,
        connections: &mut Connections<'_>,
        finished: &mut Vec<Finished>,
    ) -> (Result<Option<u64>, ReplayError>, Time) {
        let failed = |source| ReplayError::Capture {
            path: path.to_owned(),
            source,
        };
        let mut last = 0;
        let mut capture = match Capture::open(input) {
            Ok(capture) => capture,
            Err(error) => return (Err(failed(error)), last),
        };
        loop {
            let packet = match capture.advance() {
                Ok(Next::Packet(packet)) => packet,
                Ok(Next::End) => return (Ok(None), last),
                Ok(Next::Cut(offset)) => return (Ok(Some(offset)), last),
                Err(error) => return (Err(failed(error)), last),
            };
            let Some(link) = Link::of(packet.link) else {
                let path = path.to_owned();
                let link = packet.link;
                return (Err(ReplayError::Link { path, link }), last);
            };
            last = packet.time;
            self.packet(link, &packet, connections, finished);
            if !finished.is_empty()
                && let Err(error) = self.hand_on(finished, last)
            {
                return (Err(error), last);
            }
        }
    }

    fn packet(
        &mut self,
        link: Link,
        packet: &Packet<'_>,
        connections: &mut Connections<'_>,
        finished: &mut Vec<Finished>,
    ) {
        self.stats.packets += 1;
        self.stats.bytes += packet.data.len() as u64;
        let Some(ip) = link.ip(packet.data) else {
            self.stats.not_ip += 1;
            return;
        };
        let stats = &mut self.stats;
        let found = ip::segment(ip, packet.cut, &mut self.fragments, &mut |segment| {
            connections.take(&segment, packet.time, stats, finished);
        });
        if let Err(why) = found {
            self.stats.pass(why);
        }
    }

    /// Makes spans of exchanges, and hands them to the outlet.
    fn hand_on(&mut self, finished: &mut Vec<Finished>, time: Time) -> Result<(), ReplayError> {
        for one in finished.drain(..) {
            let rules = self.rules.drop.of(|| Arc::clone(&self.resource));
            if self.rules.drop.take(rules, one.exchange.request()) {
                self.health.add(Counter::SpansDropped, 1);
                continue;
            }
            let mut span = self.span(&one);
            self.rules.limits.apply(&mut span);
            let span = self.rules.redact.span(span);
            self.health.add(Counter::Spans, 1);
            self.outlet.push(span, time).map_err(ReplayError::Output)?;
        }
        Ok(())
    }

    fn span(&mut self, finished: &Finished) -> Span {
        let (trace_id, span_id) = ids(finished);
        let Extracted { context, malformed } = trace::extract(finished.exchange.request());
        self.health.add(Counter::ContextsMalformed, malformed.into());
        let mut seen = Seen {
            // On the wire there is no process yet, but there is a client that asked.
            kind: Kind::Client,
            trace_id,
            span_id,
            parent: None,
            state: SmolStr::default(),
            resource: Arc::clone(&self.resource),
            endpoints: &finished.endpoints,
        };
        trace::place(&mut seen, context);
        self.rules.spans.span(&finished.exchange, seen, UnixNanoseconds)
    }
}

/// Ids made of what was captured: who asked whom, when, and which of their exchanges this is.
fn ids(finished: &Finished) -> (TraceId, SpanId) {
    let Finished {
        exchange,
        endpoints,
        connection,
    } = finished;
    let mut seed = Vec::with_capacity(64);
    for end in [&endpoints.local, &endpoints.remote] {
        if let Address::Ip(address) = end {
            match address.ip() {
                IpAddr::V4(ip) => seed.extend(ip.octets()),
                IpAddr::V6(ip) => seed.extend(ip.octets()),
            }
            seed.extend(address.port().to_be_bytes());
        }
    }
    for number in [exchange.first(), *connection, exchange.number()] {
        seed.extend(number.to_be_bytes());
    }
    // Version and variant are fixed bits of a UUID, so that neither half is ever all zero.
    let trace = Uuid::new_v5(&IDS, &seed);
    let (_, low) = trace.as_u64_pair();
    // Times an odd number, each id makes another one.
    let span = low.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (TraceId(trace.into_bytes()), SpanId(span.to_be_bytes()))
}
