//! The only wiring: from the ring buffer to the exporters, in one thread.
//!
//! Event -> connection table (streams, messages, exchanges) -> span -> redacted -> sinks. Nothing here waits for
//! anything but the kernel: sinks take what they have room for, and count the rest.

mod discovery;
mod pods;
mod sampling;

use crate::connection::{Direction, unix};
use crate::exchange::{Finished, Stamp, Table};
use crate::export::USER_AGENT;
use crate::health::{Counter, Health};
use crate::kernel::clock::Clock;
use crate::kernel::events::{Event, Ids, Origin};
use crate::kernel::load::Capture;
use crate::kernel::ring::Ring;
use crate::metrics::report::{Asked, Events, Fill, Held, Program, Question, Report};
use crate::metrics::requests::Requests;
use crate::metrics::vitals::Vitals;
use crate::process::watch::Filter;
use crate::process::{self, Execution, Peers, Policy};
use crate::protocol::{Protocol, Request};
use crate::redact::{Redacted, Redactor};
use crate::reload::{Change, Ordered};
use crate::sample::TailSampler;
use crate::span::exchange::{Builder, Seen};
use crate::span::limits::Limits;
use crate::span::{Attribute, Kind, Span, Value, semconv};
use crate::trace::causality::{Causality, Circumstances, Covered, Dropped, Placed};
use crate::trace::context::Extracted;
use crate::trace::drop::DropRules;
use crate::trace::{self, Signal};
use smol_str::SmolStr;
use spanwire_ebpf::Runtime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::time::Instant;

mod sinks;

use discovery::{Listeners, Pace, Round};
use pods::Moved;

pub use sinks::{Looked, Sinks};

/// How often processes of pods and containers that have changed are looked for at most: each time, all processes are asked.
const PODS: Duration = Duration::from_millis(250);

/// How often slots are looked for that services which are gone had, where none is left.
const SLOTS: Duration = Duration::from_secs(10);

/// How often the ring buffer is looked at while little happens.
const TICK: Duration = Duration::from_millis(20);

/// Most records between two hand-overs to the sinks: so few that what is made of them stays in the processor's caches.
const BATCH: usize = 256;

/// How often what no event tells is looked for, in nanoseconds.
const SWEEP: u64 = 1_000_000_000;

/// How often entries of the kernel half's maps are counted at most, in nanoseconds: it takes a system call each.
const RECOUNT: u64 = 10_000_000_000;

/// Programs that are read as soon as they start, between two sweeps. Where more are started, as in a build, the rest are
/// read when they are first heard of: then the short-lived ones among them are gone.
const READ_EARLY: u32 = 100;

/// Bytes that a socket takes without waiting for its peer, at the least: what `net.ipv4.tcp_wmem` has as its default.
const AT_ONCE: u64 = 16 * 1024;

/// How long room is waited for at the end, for what the sampler has held.
const DRAIN: Duration = Duration::from_secs(2);

/// What of the configuration concerns spans, and who knows what follows from it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Which requests are left out.
    pub drop: DropRules,
    /// Makes the spans.
    pub spans: Builder,
    /// How much a span carries.
    pub limits: Limits,
    /// What is taken out.
    pub redact: Redactor,
    /// Spans of traces that are not kept are shown.
    pub shows_unsampled: bool,
}

/// The stages, and what they share.
pub struct Stages {
    /// The kernel half.
    pub capture: Capture,
    /// Connections.
    pub table: Table,
    /// What caused what.
    pub causality: Causality,
    /// Resources.
    pub processes: process::Table,
    /// Who is at an address of a cluster.
    pub peers: Arc<Peers>,
    /// Why contexts are injected into nothing, or into less than was asked for.
    pub restraint: Option<String>,
    /// Which processes are watched.
    pub filter: Filter,
    /// The kernel half follows the descendants of a command, and nobody else is watched.
    pub descendants_only: bool,
    /// What becomes of exchanges.
    pub rules: Rules,
    /// Streams that are open for so long are shown, each time that passes.
    pub open_after: Option<Duration>,
    /// Which of them.
    pub tail: TailSampler,
    /// Where spans go.
    pub sinks: Sinks,
    /// Counters.
    pub health: Arc<Health>,
    /// Metrics of requests, where they are wanted.
    pub requests: Option<Requests>,
    /// Who wants to know how it goes.
    pub asked: Asked,
    /// Whether it goes at all.
    pub vitals: Arc<Vitals>,
    /// What is to be replaced.
    pub changes: Receiver<Ordered>,
}

impl Stages {
    /// Follows the life of processes. `early` programs may be read as soon as they start.
    fn follow(&mut self, event: &Event<'_>, early: &mut u32) {
        match event {
            Event::Opened {
                origin,
                client: Some(inode),
                enrolled: false,
                ..
            } => {
                self.read(origin.pid);
                if self.processes.propagates(origin.pid) & Policy::late(origin.protocol) != 0 {
                    self.capture
                        .propagation()
                        .enrol(origin.pid, origin.connection, *inode);
                }
            }
            Event::Opened { origin, .. } => self.read(origin.pid),
            Event::Fork { pid, parent, name } => {
                self.processes.on_fork(*parent, *pid);
                self.processes.note_comm(*pid, name);
                self.watch_with(*parent, *pid);
            }
            Event::Exec { pid, name } => {
                // Forks are told of watched processes alone, programs that start of all.
                let was_watched = self.processes.has(*pid);
                self.processes.on_exec(*pid);
                self.processes.note_comm(*pid, name);
                if self.decides() {
                    self.decide(*pid);
                } else if was_watched && *early > 0 {
                    *early -= 1;
                    self.read(*pid);
                }
            }
            Event::Exit { pid, name } => {
                self.processes.note_comm(*pid, name);
                self.processes.on_exit(*pid);
            }
            _ => {}
        }
    }

    /// Replaces what a configuration that was read again says otherwise.
    fn change(&mut self, change: Change) {
        let mut rules = change.rules;
        rules.drop = rules.drop.replacing(&self.rules.drop);
        self.causality.drop_others(rules.drop.clone());
        rules.spans.learn_on(&mut self.rules.spans);
        self.rules = rules;
        self.open_after = change.open_after;
        if let Some(sampling) = change.sampling {
            self.causality.sampler().follow(sampling);
            self.tell_thresholds();
        }
        if let Some(tail) = change.tail {
            self.tail.change(tail);
            self.show_exemplars();
        }
        if let Some(sdk) = change.sdk {
            self.processes.leave(sdk);
        }
        if let Some(filter) = change.filter {
            self.filter = filter;
            self.watch_others();
        }
    }

    /// Where traces may yet be dropped, measurements name those that are kept.
    fn show_exemplars(&mut self) {
        if let Some(requests) = &mut self.requests {
            requests.name_later(self.tail.level().is_some());
        }
    }

    /// Reads a process while it lives, and tells the kernel half what handles requests in it.
    fn read(&mut self, pid: u32) {
        if self.processes.is_read(pid) {
            return;
        }
        let sampling = self.slot(pid);
        if let Some(propagate) = self.processes.propagates_at_first(pid) {
            self.set_runtime(
                pid,
                Runtime {
                    propagate,
                    sampling,
                    ..Runtime::default()
                },
            );
        }
        let Some(Execution { runtime, probed, .. }) = self.processes.read(pid) else {
            return;
        };
        self.set_runtime(pid, Runtime { sampling, ..runtime });
        if let Some(probed) = probed {
            let refused = self.capture.probe(&probed);
            self.health.add(Counter::ProbesRefused, refused);
        }
    }

    fn set_runtime(&mut self, pid: u32, runtime: Runtime) {
        if let Err(error) = self.capture.set_runtime(pid, runtime) {
            tracing::debug!("cannot tell what handles requests in process {pid}: {error}");
        }
    }

    /// Takes in one event; what it finishes is added to `finished`.
    fn accept(&mut self, event: &Event<'_>, finished: &mut Vec<Finished>) {
        let before = finished.len();
        self.table.accept(event, finished);
        for finished in finished.iter().skip(before) {
            if let Some(ids) = finished.exchange.first().ids {
                self.causality.over(ids.span_id, finished.exchange.ended().time);
            }
        }
        if let Event::Bytes {
            origin,
            request: asks,
            starts: Some((_, Some(began))),
            ..
        } = event
        {
            let request = self.table.request(origin.connection, began.ids.span_id);
            if request.is_some_and(|request| is_export(origin.direction, request)) {
                return;
            }
            // Of what is sent, the sender is known.
            let received = request.filter(|_| origin.direction == Direction::Received);
            let length = received.and_then(Request::content_length);
            let is_message = Protocol::numbered(origin.protocol) == Some(Protocol::Amqp);
            let passes = is_message && *asks == (origin.direction == Direction::Received);
            let circumstances = Circumstances {
                client: self.table.client(origin.connection, origin.direction),
                is_message,
                passes,
                is_long: length.is_some_and(|length| length > AT_ONCE),
                covered: self.covered(origin),
                dropping: self.rules.drop.of(|| self.processes.resource(origin.pid)),
            };
            self.causality.began(origin, began, circumstances);
        }
    }

    /// What a process makes spans of itself: all that it is asked, and what it asks with a context of its own. A statement
    /// carries none.
    fn covered(&mut self, origin: &Origin) -> Covered {
        if !self.processes.covers(origin.pid, origin.protocol) {
            return Covered::No;
        }
        let carries_context = Protocol::numbered(origin.protocol) != Some(Protocol::Postgres);
        match origin.direction {
            Direction::Sent if carries_context => Covered::Named,
            Direction::Sent | Direction::Received => Covered::All,
        }
    }

    /// Whether a request carries telemetry; its sender is known by it from then on.
    fn is_telemetry(&mut self, finished: &Finished) -> bool {
        if !self.processes.heeds_exports() {
            return false;
        }
        let Some(signal) = trace::exported(finished.exchange.request()) else {
            return false;
        };
        if signal == Signal::Traces && finished.requests == Direction::Sent {
            self.processes.on_export(finished.exchange.first().pid);
        }
        true
    }
}

/// The stages at work.
pub struct Pipeline {
    stages: Stages,
    ring: Option<Ring>,
    clock: Clock,
    finished: Vec<Finished>,
    /// All that happened before has been told, in nanoseconds of the kernel's clock.
    told: u64,
    /// When what no event tells was last looked for.
    swept: u64,
    /// When open streams were last shown.
    shown: u64,
    /// Programs that may still be read early until the next sweep.
    early: u32,
    events: Events,
    /// Processes to be looked at again.
    reconsidered: Round,
    listeners: Listeners,
    pods: Pace,
    moved: Moved,
    slots: Pace,
    /// How full maps of the kernel half were, and when.
    entries: (u64, Vec<Fill>),
}

impl Pipeline {
    /// Puts the stages together.
    #[must_use]
    pub fn new(mut stages: Stages) -> Self {
        let ring = stages.capture.take_ring();
        stages.show_exemplars();
        stages.heed_listeners();
        Self {
            stages,
            ring,
            clock: Clock::now(),
            finished: Vec::new(),
            told: 0,
            swept: 0,
            shown: 0,
            early: READ_EARLY,
            events: Events::default(),
            reconsidered: Round::default(),
            listeners: Listeners::default(),
            pods: Pace::new(PODS),
            moved: Moved::default(),
            slots: Pace::new(SLOTS),
            entries: (0, Vec::new()),
        }
    }

    /// Tells the kernel half of the processes that run already and are watched.
    pub fn watch_running(&mut self) {
        if self.stages.descendants_only {
            return;
        }
        for pid in self.stages.processes.proc().pids() {
            if self.stages.decides() {
                self.stages.decide(pid);
            } else {
                self.stages.read(pid);
            }
        }
    }

    /// Runs until `stop` is set; then takes the hooks out, and hands on all that was seen. Returns the kernel half's
    /// counters, by name.
    pub fn run(mut self, stop: &AtomicBool) -> Vec<(&'static str, u64)> {
        while !stop.load(Ordering::Acquire) {
            self.wait();
            self.turn();
            if self.pods.is_due() {
                self.stages.follow_places(&mut self.moved, self.told);
            }
            self.answer();
            while let Ok((change, done)) = self.stages.changes.try_recv() {
                self.stages.change(change);
                let _ = done.send(());
            }
        }
        self.stages.capture.detach();
        while self.turn() > 0 {}
        let Stages { table, capture, .. } = &mut self.stages;
        table.stop(
            self.clock.monotonic(),
            |id| capture.responses(id),
            &mut self.finished,
        );
        self.told = u64::MAX;
        self.hand_on();
        self.drain();
        // Who asks now is told of everything.
        self.answer();
        self.counters()
    }

    fn wait(&self) {
        if let Some(ring) = &self.ring {
            ring.wait(TICK);
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        match self.stages.capture.counters() {
            Ok(counters) => counters
                .into_iter()
                .map(|(counter, value)| (counter.name(), value))
                .chain([("kernel.lost.hooks.preempted", self.stages.capture.skipped())])
                .collect(),
            Err(error) => {
                tracing::warn!("cannot read the kernel half's counters: {error}");
                Vec::new()
            }
        }
    }

    /// Takes in what the ring buffer holds. Returns how many records that were.
    fn turn(&mut self) -> usize {
        // Once a turn, so that a clock that was set shows at once.
        self.clock = Clock::now();
        self.stages.vitals.beat(self.clock.monotonic());
        let Some(ring) = &mut self.ring else { return 0 };
        let (stages, finished, early) = (&mut self.stages, &mut self.finished, &mut self.early);
        let (events, listeners) = (&mut self.events, &mut self.listeners);
        let mut last = 0;
        let count = ring.drain(BATCH, |event| {
            events.count(event);
            if let Event::Listens { pid, .. } = event {
                listeners.note(*pid);
            }
            stages.follow(event, early);
            stages.accept(event, finished);
            last = event.time().map_or(last, |time| last.max(time));
        });
        // Where more waits in the ring buffer, nothing is known of what happened since.
        self.told = if count < BATCH {
            self.clock.monotonic()
        } else {
            self.told.max(last)
        };
        let enrolled = stages.capture.propagation().enrol_waiting();
        stages.health.add(Counter::EnrolledLate, enrolled);
        stages.capture.flush_log();
        stages.on_listen(&mut self.listeners);
        if self.clock.monotonic().saturating_sub(self.swept) > SWEEP {
            self.swept = self.clock.monotonic();
            self.early = READ_EARLY;
            self.stages.capture.withdraw();
            self.sweep();
            self.show_open();
            self.hand_on();
            // Behind them: what is finished and not handed on has no connection any more.
            self.stages.causality.sweep(&self.stages.table, self.told);
            self.stages.turn_thresholds(self.clock.monotonic());
            self.stages.give_back_slots(&mut self.slots);
            self.stages.reconsider(&mut self.reconsidered, self.told);
            if let Some(requests) = &mut self.stages.requests {
                requests.sweep(self.clock.monotonic());
            }
        }
        self.hand_on();
        self.stages.causality.forget(self.told);
        count
    }

    fn answer(&mut self) {
        while let Some(question) = self.stages.asked.next() {
            // Whoever asked may have gone.
            match question {
                Question::Report(answer) => drop(answer.send(self.report())),
                Question::Survey(answer) => drop(answer.send(self.stages.survey())),
            }
        }
    }

    /// How it goes.
    fn report(&mut self) -> Report {
        let now = self.clock.monotonic();
        if self.entries.1.is_empty() || now.saturating_sub(self.entries.0) > RECOUNT {
            let fill = |(name, used, capacity)| Fill { name, used, capacity };
            self.entries = (now, self.stages.capture.entries().map(fill).to_vec());
        }
        let Stages {
            table,
            capture,
            requests,
            tail,
            ..
        } = &self.stages;
        let mut tables = self.entries.1.clone();
        tables.push(Fill {
            name: "agent.connections",
            used: table.len() as u64,
            capacity: table.limit() as u64,
        });
        let level = tail.level();
        if let Some(level) = level {
            for (name, (used, capacity)) in [
                ("agent.tail.traces", level.traces),
                ("agent.tail.operations", level.operations),
            ] {
                let (used, capacity) = (used as u64, capacity as u64);
                tables.push(Fill { name, used, capacity });
            }
        }
        let programs = capture.programs().into_iter().map(|runs| Program {
            name: runs.program,
            runs: runs.count,
            time: runs.time,
        });
        Report {
            events: self.events.by_kind(),
            kernel: self.counters(),
            programs: programs.collect(),
            tables,
            ring: self.ring.as_ref().and_then(|ring| {
                Some(Fill {
                    name: "events",
                    used: ring.backlog()?,
                    capacity: capture.ring_buffer().into(),
                })
            }),
            held: level.map(|level| Held {
                spans: level.spans as u64,
                bytes: level.bytes.0 as u64,
                most: level.bytes.1 as u64,
            }),
            processes: self.stages.processes.states(),
            requests: requests.as_ref().map(Requests::families).unwrap_or_default(),
        }
    }

    /// Looks for Unix connections that are gone: no event tells their end.
    fn sweep(&mut self) {
        let now = self.clock.monotonic();
        let suspects: Vec<_> = self.stages.table.suspects(now.saturating_sub(SWEEP)).collect();
        for suspect in unix::gone(&suspects) {
            self.stages.table.gone(suspect, now, &mut self.finished);
        }
    }

    /// Shows the streams that are open for long, if that is wanted.
    fn show_open(&mut self) {
        let now = self.clock.monotonic();
        let Some(after) = self.stages.open_after else {
            return;
        };
        let before = now.saturating_sub(after.as_nanos().try_into().unwrap_or(u64::MAX));
        if self.shown > before {
            return;
        }
        self.shown = now;
        let open: Vec<_> = self.stages.table.open(before, now).collect();
        let is_told = |open: &&Finished| !is_export(open.requests, open.exchange.request());
        let spans = open.iter().filter(is_told).filter_map(|open| {
            let span = self.span(open)?;
            let Placed::Here(mut span) = self.stages.causality.place_open(span, &self.stages.table) else {
                return None;
            };
            // Where limits do not reach it.
            let value = Value::Boolean(true);
            let key = semconv::OPEN.into();
            span.attributes.insert(0, Attribute { key, value });
            Some(self.redacted(span))
        });
        let spans: Vec<_> = spans.collect();
        if !spans.is_empty() {
            self.stages.sinks.show(spans);
        }
    }

    /// Makes spans of what is finished, and hands them to the sinks.
    fn hand_on(&mut self) {
        let finished = std::mem::take(&mut self.finished);
        // All of them before the first is placed: they may be each other's parents.
        for finished in &finished {
            let Extracted { context, malformed } = trace::extract(finished.exchange.request());
            self.stages
                .health
                .add(Counter::ContextsMalformed, malformed.into());
            if let Some(ids) = finished.exchange.first().ids {
                let ended = finished.exchange.ended().time;
                self.stages
                    .causality
                    .judge(ids.span_id, finished.exchange.request());
                self.stages.causality.finished(ids.span_id, ended, context);
            }
        }
        let mut placed = self.stages.causality.placed(&self.stages.table, self.told);
        for finished in finished {
            if is_export(finished.requests, finished.exchange.request()) {
                self.stages.health.add(Counter::OwnExports, 1);
                continue;
            }
            if self.stages.is_telemetry(&finished) {
                self.stages.health.add(Counter::Telemetry, 1);
                continue;
            }
            let ids = finished.exchange.first().ids;
            match ids.and_then(|ids| Some((ids.decision, self.span(&finished)?))) {
                Some((decision, span)) => {
                    let Stages { causality, table, .. } = &mut self.stages;
                    placed.push(causality.place(span, decision, table, self.told));
                }
                None => self.stages.health.add(Counter::Exchanges, 1),
            }
        }
        let mut shown = Vec::new();
        let spans = placed.into_iter().filter_map(|placed| match placed {
            Placed::Here(span) => {
                let span = self.redacted(span);
                if let Some(requests) = &mut self.stages.requests {
                    requests.record(&span, self.clock.monotonic());
                }
                Some(span)
            }
            Placed::Unsampled(span) => {
                shown.extend(self.count_unsampled(span));
                None
            }
            Placed::Waits => None,
            Placed::LeftOut => {
                self.stages.health.add(Counter::LeftOut, 1);
                None
            }
            Placed::Dropped(why) => {
                let counter = match why {
                    Dropped::Rule => Counter::SpansDropped,
                    Dropped::Below => Counter::SpansDroppedBelow,
                };
                self.stages.health.add(counter, 1);
                None
            }
        });
        let spans: Vec<_> = spans.collect();
        if !shown.is_empty() {
            self.stages.sinks.show(shown);
        }
        let missed = self.stages.rules.spans.take_missed_routes();
        self.stages.health.add(Counter::RoutesFull, missed);
        if !spans.is_empty() {
            self.stages.health.add(Counter::Spans, spans.len() as u64);
        }
        let kept = self.stages.tail.turn(spans, self.clock.monotonic());
        self.let_go(kept);
    }

    /// Hands spans to the sinks.
    fn let_go(&mut self, spans: Vec<Redacted>) {
        if spans.is_empty() {
            return;
        }
        if let Some(requests) = &mut self.stages.requests {
            requests.name(&spans);
        }
        self.stages.sinks.push(spans);
    }

    /// Hands on what the sampler still holds, as fast as it is taken.
    fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        while let Some(kept) = self.stages.tail.drain(self.clock.monotonic()) {
            while !self.stages.sinks.has_room(kept.len()) && Instant::now() < deadline {
                std::thread::sleep(TICK / 20);
            }
            self.let_go(kept);
        }
    }

    fn redacted(&mut self, mut span: Span) -> Redacted {
        let rules = &mut self.stages.rules;
        rules.limits.apply(&mut span);
        rules.redact.span(span)
    }

    /// The span of an exchange, as the root of a trace of its own; `None` where the record that held its ids was lost.
    fn span(&mut self, finished: &Finished) -> Option<Span> {
        let Finished {
            exchange,
            endpoints,
            requests,
        } = finished;
        let first = exchange.first();
        let Ids {
            trace_id, span_id, ..
        } = first.ids?;
        let port = match requests {
            Direction::Received => endpoints.local.port(),
            Direction::Sent => endpoints.remote.port(),
        };
        let is_server = *requests == Direction::Received;
        self.stages
            .processes
            .saw(first.pid, exchange.protocol(), is_server, port);
        let (start, _) = self.clock.span(first.time, exchange.ended().time);
        let seen = Seen {
            kind: match requests {
                Direction::Received => Kind::Server,
                Direction::Sent => Kind::Client,
            },
            trace_id,
            span_id,
            parent: None,
            state: SmolStr::default(),
            resource: self.stages.processes.resource(first.pid),
            endpoints,
        };
        let clock = &self.clock;
        let time = |stamp: Stamp| clock.within(start, first.time, stamp.time);
        let mut span = self.stages.rules.spans.span(exchange, seen, time);
        if *requests == Direction::Sent {
            self.stages.name_peer(&mut span, endpoints);
        }
        Some(span)
    }
}

/// Whether a request is the receiving end of an export of spanwire's, this one's or another host's: a span of it would have
/// to be exported, too. (The sending end is left out in the kernel.)
fn is_export(direction: Direction, request: Request<'_>) -> bool {
    // A library of gRPC adds its own name.
    direction == Direction::Received
        && request
            .user_agent()
            .is_some_and(|agent| agent.starts_with(USER_AGENT.as_bytes()))
}
