//! Tail sampling: which traces are kept is decided once their spans are there.
//!
//! Spans come here redacted, and are held by trace, in bounded memory, until their trace has been held for `decision_wait`;
//! where a policy keeps it before, it goes at once. What comes later follows its trace. Of traces that no policy keeps, a
//! share is kept by the threshold that all samplers go by ([`Threshold`]); where that share is less than all, spans say so in
//! their `tracestate`, so that a back end can count right.
//!
//! It is the part of a trace on this host that is decided here. What other hosts saw of it nobody here knows.

mod budget;
mod decisions;
mod latency;
mod operation;
mod resources;
pub mod rules;
mod size;
#[cfg(test)]
mod tests;

use crate::health::{Counter, Health};
use crate::redact::Redacted;
use crate::span::{Span, TraceId};
use crate::trace::sampling::threshold::{Randomness, Said, Threshold, with_threshold};
use budget::{Budget, Share};
use decisions::{Decision, Decisions};
use hashbrown::HashMap;
use latency::Latency;
use operation::Operations;
use resources::Resources;
use rules::{Fits, Rules};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a trace takes beside its spans: its places in the table and in the order.
const TRACE: usize = 2 * size_of::<(TraceId, Trace)>() + 2 * size_of::<Place>();

/// Spans that go on at a time: what waits for it elsewhere is bounded, too.
const PACE: usize = 512;

/// Places in the order that may be those of traces which are gone, beside as many as there are traces.
const GONE: usize = 1024;

/// A trace that is held.
#[derive(Debug)]
struct Trace {
    spans: Vec<Redacted>,
    bytes: usize,
    /// That of its place in the order.
    number: u64,
    /// Policies that one of its spans fits.
    fits: Fits,
}

/// When a trace began to be held.
#[derive(Debug)]
struct Place {
    since: u64,
    number: u64,
    trace: TraceId,
}

/// What becomes of a trace, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Policy,
    Floor,
    Ratio(Threshold),
    Unchosen,
    OverBudget,
}

/// How much is held at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Spans.
    pub spans: usize,
    /// Their bytes, and most bytes.
    pub bytes: (usize, usize),
    /// Traces, and most traces.
    pub traces: (usize, usize),
    /// Operations that are told apart, and most of them.
    pub operations: (usize, usize),
}

/// The tail sampler. Without rules it lets all through. All times are in nanoseconds of the kernel's clock.
#[derive(Debug)]
pub struct TailSampler {
    rules: Option<Rules>,
    health: Arc<Health>,
    traces: HashMap<TraceId, Trace>,
    /// In the order in which they came; of traces that went before their time, places may be left.
    order: VecDeque<Place>,
    number: u64,
    spans: usize,
    bytes: usize,
    resources: Resources,
    decisions: Decisions,
    latencies: Operations<Latency>,
    shares: Operations<Share>,
    /// That of operations there is no room for.
    others: Share,
    budget: Option<Budget>,
    /// How long spans are held, or were while there were rules.
    wait: u64,
}

impl TailSampler {
    /// Follows `rules`.
    #[must_use]
    pub fn new(rules: Option<Rules>, health: Arc<Health>) -> Self {
        let mut sampler = Self {
            rules: None,
            health,
            traces: HashMap::new(),
            order: VecDeque::new(),
            number: 0,
            spans: 0,
            bytes: 0,
            resources: Resources::default(),
            decisions: Decisions::default(),
            latencies: Operations::default(),
            shares: Operations::default(),
            others: Share::default(),
            budget: None,
            wait: 0,
        };
        sampler.change(rules);
        sampler
    }

    /// Takes a span in. What is to go on is added to `out`.
    pub fn push(&mut self, span: Redacted, now: u64, out: &mut Vec<Redacted>) {
        let Some(rules) = &self.rules else {
            return out.push(span);
        };
        let fits = {
            let span = span.span();
            let applicable = self.resources.applicable(&span.resource, rules);
            let is_measured = !rules.percentiles.is_empty() && rules::is_entry(span);
            let latency = match is_measured {
                true => {
                    let service = span.resource.service_name();
                    self.latencies.at(service, &span.name, now, Latency::default)
                }
                false => None,
            };
            if is_measured && latency.is_none() {
                self.health.add(Counter::TailPercentilesFull, 1);
            }
            match latency {
                Some(latency) => {
                    let seconds = seconds(span);
                    let fits = rules.fits(span, applicable, |place| latency.is_slow(place, seconds));
                    latency.add(seconds, now, &rules.percentiles);
                    fits
                }
                None => rules.fits(span, applicable, |_| false),
            }
        };
        let id = span.span().trace_id;
        if let Some(decision) = self.decisions.of(id) {
            return self.follow(span, decision, out);
        }
        let size = size::of_span(&span);
        let mut bytes = size + self.resources.enter(&span.span().resource, rules);
        let trace = self.traces.entry(id).or_insert_with(|| {
            self.number += 1;
            bytes += TRACE;
            let (since, number) = (now, self.number);
            self.order.push_back(Place {
                since,
                number,
                trace: id,
            });
            Trace {
                spans: Vec::new(),
                bytes: TRACE,
                number,
                fits: Fits::default(),
            }
        });
        self.spans += 1;
        trace.bytes += size;
        let room = trace.spans.capacity();
        trace.spans.push(span);
        // Room for spans to come; the span itself is in its own size.
        let room = (trace.spans.capacity() - room).saturating_sub(1) * size_of::<Redacted>();
        trace.bytes += room;
        self.bytes += bytes + room;
        trace.fits.0 |= fits.0;
        if rules.keeps(trace.fits, trace.spans.len()) {
            self.take(id, Some(Verdict::Policy), now, out);
        }
        self.make_room(now, out);
    }

    /// Takes in what there is, and decides traces that have been held for long enough. To be called often: not much goes on
    /// at a time.
    pub fn turn(&mut self, spans: Vec<Redacted>, now: u64) -> Vec<Redacted> {
        if self.rules.is_none() && self.order.is_empty() {
            return spans;
        }
        let mut out = Vec::new();
        for span in spans {
            self.push(span, now, &mut out);
        }
        // Where the bounds are others now.
        self.make_room(now, &mut out);
        self.roll(now);
        while out.len() < PACE
            && let Some(place) = self.order.front()
        {
            let is_there = self.is_held(place);
            if is_there && now.saturating_sub(place.since) < self.wait {
                break;
            }
            let trace = place.trace;
            self.order.pop_front();
            if is_there {
                self.take(trace, None, now, &mut out);
            }
        }
        out
    }

    /// Decides some of what is held, by what is known: all of it, if this is called until there is nothing.
    pub fn drain(&mut self, now: u64) -> Option<Vec<Redacted>> {
        let mut out = Vec::new();
        let mut some = false;
        while out.len() < PACE && self.take_oldest(now, &mut out) {
            some = true;
        }
        some.then_some(out)
    }

    /// Follows other rules from now on, with what is held as well, which stays until its time has come. Decisions that were
    /// made stand. Without rules, what is held is kept.
    pub fn change(&mut self, rules: Option<Rules>) {
        let Some(rules) = rules else {
            self.rules = None;
            self.budget = None;
            return self.decisions.set_limit(0);
        };
        let before = self.rules.as_ref();
        if before.is_none_or(|before| before.percentiles != rules.percentiles) {
            self.latencies.clear();
        }
        if before.is_none_or(|before| before.budget != rules.budget) {
            self.budget = rules.budget.map(Budget::new);
        }
        self.latencies.set_limit(rules.operations);
        self.shares.set_limit(rules.operations);
        self.decisions.set_limit(rules.decisions);
        self.resources.follow(&rules);
        for share in self.shares.states() {
            share.rate = None;
        }
        for trace in self.traces.values_mut() {
            trace.fits = Fits::default();
            for span in &trace.spans {
                let span = span.span();
                let applicable = self.resources.applicable(&span.resource, &rules);
                trace.fits.0 |= rules.fits(span, applicable, |_| false).0;
            }
        }
        self.wait = rules.wait;
        self.rules = Some(rules);
    }

    /// How much is held.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        let rules = self.rules.as_ref()?;
        Some(Level {
            spans: self.spans,
            bytes: (self.bytes, rules.max_bytes),
            traces: (self.traces.len(), rules.max_traces),
            operations: (self.shares.len().max(self.latencies.len()), rules.operations),
        })
    }

    /// Whether the place is that of a trace which is there.
    fn is_held(&self, place: &Place) -> bool {
        let held = self.traces.get(&place.trace);
        held.is_some_and(|trace| trace.number == place.number)
    }

    /// Keeps to the bounds.
    fn make_room(&mut self, now: u64, out: &mut Vec<Redacted>) {
        let Some(rules) = &self.rules else { return };
        let (max_bytes, max_traces) = (rules.max_bytes, rules.max_traces);
        loop {
            let counter = match (self.bytes > max_bytes, self.traces.len() > max_traces) {
                (true, _) => Counter::TailEarlyBytes,
                (false, true) => Counter::TailEarlyTraces,
                (false, false) => break,
            };
            if !self.take_oldest(now, out) {
                break;
            }
            self.health.add(counter, 1);
        }
        if self.order.len() > 2 * self.traces.len() + GONE {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|place| self.is_held(place));
            self.order = order;
        }
    }

    /// Decides the trace that has been held for longest. `false` where there is none.
    fn take_oldest(&mut self, now: u64, out: &mut Vec<Redacted>) -> bool {
        while let Some(place) = self.order.pop_front() {
            if self.is_held(&place) {
                self.take(place.trace, None, now, out);
                return true;
            }
        }
        false
    }

    /// Takes a trace out, and lets its spans on where it is kept.
    fn take(&mut self, id: TraceId, verdict: Option<Verdict>, now: u64, out: &mut Vec<Redacted>) {
        let Some(trace) = self.traces.remove(&id) else {
            return;
        };
        self.free(&trace);
        let said = trace.spans.iter().map(|span| &span.span().state);
        let said = said.filter(|state| !state.is_empty());
        let randomness = said.filter_map(|state| Said::of(state).randomness).next();
        let randomness = randomness.unwrap_or(Randomness::of_trace(id.0));
        let verdict = verdict.unwrap_or_else(|| self.judge(&trace, randomness, now));
        let counter = match verdict {
            Verdict::Policy => Counter::SpansKeptByPolicy,
            Verdict::Floor => Counter::SpansKeptByFloor,
            Verdict::Ratio(_) => Counter::SpansKeptByRatio,
            Verdict::Unchosen => Counter::SpansDroppedByRatio,
            Verdict::OverBudget => Counter::SpansDroppedByBudget,
        };
        self.health.add(counter, trace.spans.len() as u64);
        let threshold = match verdict {
            Verdict::Policy | Verdict::Floor => None,
            Verdict::Ratio(threshold) => Some(threshold),
            Verdict::Unchosen | Verdict::OverBudget => return self.decisions.add(id, Decision::Dropped),
        };
        let decision = Decision::Kept {
            threshold,
            randomness,
            is_paid: verdict != Verdict::Policy,
        };
        self.decisions.add(id, decision);
        out.extend(
            trace
                .spans
                .into_iter()
                .map(|span| stamped(span, threshold, randomness)),
        );
    }

    /// Gives back what a trace has taken.
    fn free(&mut self, trace: &Trace) {
        let resources = trace
            .spans
            .iter()
            .map(|span| self.resources.leave(&span.span().resource));
        let bytes = trace.bytes + resources.sum::<usize>();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.spans = self.spans.saturating_sub(trace.spans.len());
    }

    /// Decides a trace whose time has come.
    fn judge(&mut self, trace: &Trace, randomness: Randomness, now: u64) -> Verdict {
        self.roll(now);
        let spans = &trace.spans;
        let (Some(rules), Some(root)) = (&self.rules, root(spans)) else {
            return Verdict::Ratio(Threshold::ALWAYS);
        };
        // By rules that are others than when it came.
        if rules.keeps(trace.fits, spans.len()) {
            return Verdict::Policy;
        }
        let service = root.resource.service_name();
        let known = self.shares.at(service, &root.name, now, Share::default);
        let is_known = known.is_some();
        let share = known.unwrap_or(&mut self.others);
        if !is_known {
            self.health.add(Counter::TailOperationsFull, 1);
        }
        if rules.floor > 0 && share.is_first(rules.floor, now) {
            if let Some(budget) = &mut self.budget {
                budget.owe(spans.len() as u64);
            }
            return Verdict::Floor;
        }
        let rate = match share.rate.filter(|_| is_known) {
            Some(rate) => rate,
            None => *share.rate.insert(rules.rate(service, &root.name)),
        };
        if !rate.keeps(randomness) {
            return Verdict::Unchosen;
        }
        let Some(budget) = &mut self.budget else {
            return Verdict::Ratio(rate);
        };
        let threshold = share.ask(spans.len() as u64, rate);
        match threshold.keeps(randomness) && budget.take(share, spans.len() as u64) {
            true => Verdict::Ratio(threshold),
            false => Verdict::OverBudget,
        }
    }

    /// What comes after its trace was decided.
    fn follow(&mut self, span: Redacted, decision: Decision, out: &mut Vec<Redacted>) {
        match decision {
            Decision::Kept {
                threshold,
                randomness,
                is_paid,
            } => {
                self.health.add(Counter::SpansKeptLate, 1);
                if let Some(budget) = self.budget.as_mut().filter(|_| is_paid) {
                    budget.owe(1);
                }
                out.push(stamped(span, threshold, randomness));
            }
            Decision::Dropped => self.health.add(Counter::SpansDroppedLate, 1),
        }
    }

    fn roll(&mut self, now: u64) {
        if let Some(budget) = &mut self.budget {
            budget.roll(now, self.shares.states().chain([&mut self.others]));
        }
    }
}

/// The span that the others of a trace hang below, as far as it is here: what began first.
fn root(spans: &[Redacted]) -> Option<&Span> {
    spans
        .iter()
        .map(Redacted::span)
        .min_by_key(|span| (span.parent.is_some(), span.start, Reverse(span.end)))
}

/// A span that says by what threshold its trace was kept: the greater one of this and of what it said before. What it said
/// and cannot be, it says no more.
fn stamped(mut span: Redacted, threshold: Option<Threshold>, trace: Randomness) -> Redacted {
    let state = &span.span().state;
    let said = match state.is_empty() {
        true => None,
        false => Said::of(state).threshold,
    };
    let before = said.filter(|threshold| threshold.keeps(trace));
    // That all are kept here says nothing of who was before.
    let threshold = threshold
        .filter(|threshold| *threshold != Threshold::ALWAYS)
        .max(before);
    if threshold != said {
        let state = with_threshold(state, threshold);
        span.set_state(state);
    }
    span
}

/// How long a span took.
#[expect(clippy::cast_precision_loss, reason = "a request is shorter than 104 days")]
fn seconds(span: &Span) -> f64 {
    span.end.0.saturating_sub(span.start.0) as f64 / 1e9
}
