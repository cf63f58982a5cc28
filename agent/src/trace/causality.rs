//! Which span a request was sent for, and so which trace it belongs to.
//!
//! The kernel half links each request that is sent to the one that was being handled (`agent-ebpf/src/context.rs`). What
//! links the two ends of one exchange is the place of its first byte in the stream, which both ends number alike. Both are
//! links from span to span; here they are followed up to where the trace begins, and a trace that a request's own fields
//! name takes the place of the one that was minted.
//!
//! A parent is looked for in this order:
//! - of a request that was received: who sent it, where that was seen on this host; what its own fields say; what another host
//!   has told beside it.
//! - of a request that is sent: its own fields, unless they were only passed on from the request that is being handled;
//!   that request; the only one that the process has in flight, which is marked as inferred.
//!
//! What a service makes spans of itself (an SDK in it) is left to it: what hangs below such a span here hangs below the SDK's
//! instead, where a request named that, or else below what it would hang below.
//!
//! What a request is dropped with (`drop.rs`) is all that was done for it on this host: what hangs below would else have a
//! parent that nobody is ever told of.
//!
//! The record of the sender may come behind that of the receiver, so a received request without a sender waits a moment.

use super::context::Context;
use super::drop::{Applicable, DropRules};
use super::sampling::{Sampler, Verdict};
use crate::connection::{Client, Direction};
use crate::exchange::Table;
use crate::health::{Counter, Health};
use crate::kernel::events::{Began, Cause, ConnectionId, Decision, Origin};
use crate::protocol::Request;
use crate::span::{Attribute, Link, Span, SpanId, TraceId, Value, correlation, semconv};
use crate::trace::extract;
use hashbrown::HashMap;
use ipnet::IpNet;
use nodes::Nodes;
use smol_str::SmolStr;
use std::collections::VecDeque;
use std::sync::Arc;

mod nodes;

/// How long the record of a request's sender may come behind that of its receiver, in nanoseconds. Both are written at the
/// end of their system calls, so it takes a thread that loses its processor right there, or content that is sent in the same
/// call and waits for who receives it.
const PATIENCE: u64 = 200_000_000;

/// How long such content is taken to be on its way at most, in nanoseconds: where it comes from elsewhere, no sender is told of, and
/// what hangs below waits in vain.
const LONGEST_SEND: u64 = 30_000_000_000;

/// How much later than its receiver's end a sender's beginning may be stamped, in nanoseconds: on Unix sockets that is the
/// return of the send. Places on Unix sockets come again, and what is further apart was on two connections.
const INVERSION: u64 = 5_000_000;

/// How long an exchange that is over is remembered for those that it caused, in nanoseconds.
const REMEMBERED: u64 = 2_000_000_000;

/// Exchanges that are remembered.
const LIMIT: usize = 256 * 1024;

/// Spans that wait for their sender.
const WAITING: usize = 16 * 1024;

/// Links from a span up to its root that are followed.
const DEPTH: u32 = 64;

/// The place of an exchange's first byte: who sent it, and where in the stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    client: Client,
    at: u32,
}

/// Where a span belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    trace_id: TraceId,
    parent: Option<SpanId>,
    state: SmolStr,
    /// The parent was concluded, and not seen.
    is_inferred: bool,
    /// What it was sent for was over before it began. Of what is received nothing is said: a message always is.
    is_late: bool,
    /// It is told by an SDK.
    is_left_out: bool,
    /// It is not worth a trace.
    dropped: Option<Dropped>,
    /// Whether its trace is kept.
    verdict: Verdict,
    /// What its own fields name, whose word is not taken.
    link: Option<Box<Link>>,
}

/// What is known of an exchange that begins, beside what the kernel half says.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The end that asks, where both ends number their bytes alike.
    pub client: Option<Client>,
    /// It is a message, and so has one end only: its broker is another's.
    pub is_message: bool,
    /// It passes a broker, and has nothing to do with what else does.
    pub passes: bool,
    /// It was received, with content so long that its sender may still be at it while it is handled.
    pub is_long: bool,
    /// Whether its service makes spans of such itself.
    pub covered: Covered,
    /// Rules by which it may be dropped.
    pub dropping: Applicable,
}

/// Why a span is not worth a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A rule says so of its request.
    Rule,
    /// It is part of what was done for such a request.
    Below,
}

/// What became of placing a span.
#[derive(Debug)]
pub enum Placed {
    /// It is where it belongs.
    Here(Span),
    /// The same, in a trace that is not kept.
    Unsampled(Span),
    /// Where it belongs is not known yet; the causality has it.
    Waits,
    /// Its service tells it.
    LeftOut,
    /// It is not worth a trace.
    Dropped(Dropped),
}

/// Whether a span can be placed.
enum Settled {
    /// Nothing is known of it.
    Unknown,
    Waits,
    Here,
    Unsampled,
    LeftOut,
    Dropped(Dropped),
}

/// An exchange that began not long ago, or has not ended.
#[derive(Debug)]
struct Node {
    connection: ConnectionId,
    pid: u32,
    direction: Direction,
    /// Its service makes spans of such exchanges itself.
    covered: Covered,
    /// Rules by which it may be dropped.
    dropping: Applicable,
    /// Whether it is, once its head has been read.
    is_dropped: Option<bool>,
    /// What it says of its context is not taken over.
    is_refused: bool,
    /// It is among what its process has in flight.
    is_handled: bool,
    is_long: bool,
    start: u64,
    ended: Option<u64>,
    place: Option<Place>,
    /// Of what was received, who sent it.
    sender: Option<SpanId>,
    /// The trace that the kernel half has it in.
    minted: TraceId,
    /// Whether that is kept.
    decision: Decision,
    /// What it was sent for; of what was received, the span that another host has told.
    parent: Option<SpanId>,
    /// That was concluded, and not seen.
    is_inferred: bool,
    /// It was concluded here: it was the only one in flight.
    is_only_one: bool,
    /// What its own fields say, once they have been read.
    context: Option<Option<Box<Context>>>,
    position: Option<Position>,
}

impl Node {
    /// When the send that it began with is over at the latest, as far as is known.
    fn sent_by(&self) -> u64 {
        match (self.is_long, self.ended) {
            (false, _) => self.start,
            (true, Some(ended)) => ended,
            (true, None) => self.start.saturating_add(LONGEST_SEND),
        }
    }
}

/// Which exchanges of a kind a service makes spans of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// None.
    No,
    /// Those that name a span of its own.
    Named,
    /// All.
    All,
}

/// The requests that a process has in flight: how many, and their ids added up, which is the id of the only one.
#[derive(Debug, Default)]
struct Handled {
    count: u32,
    sum: u64,
}

/// What is in flight on this host, and what caused what.
#[derive(Debug)]
pub struct Causality {
    nodes: Nodes,
    /// Of each place, the end that was told of first, until the other is.
    alone: HashMap<Place, SpanId>,
    handled: HashMap<u32, Handled>,
    waiting: VecDeque<Span>,
    /// What is over and remembered, in the order in which that was told.
    over: VecDeque<SpanId>,
    /// Addresses whose contexts are not taken over.
    refused: Vec<IpNet>,
    /// Which requests are not worth a trace.
    drop: DropRules,
    sampler: Sampler,
    health: Arc<Health>,
}

impl Causality {
    /// Nothing is in flight.
    #[must_use]
    pub fn new(health: Arc<Health>) -> Self {
        Self {
            nodes: Nodes::default(),
            alone: HashMap::new(),
            handled: HashMap::new(),
            waiting: VecDeque::new(),
            over: VecDeque::new(),
            refused: Vec::new(),
            drop: DropRules::default(),
            sampler: Sampler::default(),
            health,
        }
    }

    /// Keeps the traces that `sampler` says.
    #[must_use]
    pub fn sampling(self, sampler: Sampler) -> Self {
        Self { sampler, ..self }
    }

    /// What says which traces are kept.
    pub const fn sampler(&mut self) -> &mut Sampler {
        &mut self.sampler
    }

    /// Takes over no context from these addresses.
    #[must_use]
    pub fn refusing(self, refused: Vec<IpNet>) -> Self {
        Self { refused, ..self }
    }

    /// Drops what these rules say, and all that is below it.
    #[must_use]
    pub fn dropping(self, drop: DropRules) -> Self {
        Self { drop, ..self }
    }

    /// The same for requests that begin from now on; what has begun is kept, unless it was dropped already.
    pub fn drop_others(&mut self, drop: DropRules) {
        self.drop = drop;
    }

    /// An exchange begins.
    pub fn began(&mut self, origin: &Origin, began: &Began, circumstances: Circumstances) {
        let Circumstances {
            client,
            is_message,
            passes,
            is_long,
            covered,
            dropping,
        } = circumstances;
        if self.nodes.len() >= LIMIT {
            self.health.add(Counter::ParentsFull, 1);
            return;
        }
        let id = began.ids.span_id;
        let place = client.filter(|_| !is_message);
        let place = place.map(|client| Place { client, at: began.at });
        let is_refused = match client {
            Some(Client::Ip(address)) => {
                origin.direction == Direction::Received && self.refuses(address.ip())
            }
            Some(Client::Unix(_)) | None => false,
        };
        let mut parent = began.parent;
        let mut is_inferred = began.cause == Cause::Event;
        let mut is_only_one = false;
        match origin.direction {
            _ if passes => {}
            Direction::Received => {
                let handled = self.handled.entry(origin.pid).or_default();
                handled.count += 1;
                handled.sum = handled.sum.wrapping_add(number(id));
            }
            Direction::Sent => {
                // What was concluded now could be in another trace than the one that the receiver was told.
                if parent.is_none() && !began.is_told {
                    parent = self.only_one(origin.pid, began.cause);
                    is_inferred = true;
                    is_only_one = parent.is_some();
                }
            }
        }
        let node = Node {
            connection: origin.connection,
            pid: origin.pid,
            direction: origin.direction,
            covered,
            dropping,
            is_dropped: None,
            is_refused,
            is_handled: origin.direction == Direction::Received && !passes,
            is_long,
            start: origin.time,
            ended: None,
            place,
            sender: None,
            minted: began.ids.trace_id,
            decision: began.ids.decision,
            parent,
            is_inferred,
            is_only_one,
            context: None,
            position: None,
        };
        self.nodes.insert(id, node);
        if let Some(place) = place {
            self.meet(id, place);
        }
    }

    fn refuses(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        self.refused.iter().any(|range| range.contains(&address))
    }

    /// Brings both ends of an exchange together, when the second of them is told.
    fn meet(&mut self, id: SpanId, place: Place) {
        let other = self.alone.get(&place).copied();
        let own = self.nodes.at(id);
        let pair = other.and_then(|other| {
            let (own, node) = (own?, self.nodes.at(other)?);
            match (own.direction, node.direction) {
                (Direction::Received, Direction::Sent) => Some((other, id, node, own)),
                (Direction::Sent, Direction::Received) => Some((id, other, own, node)),
                _ => None,
            }
        });
        let pair = pair.filter(|(_, _, sender, receiver)| {
            let is_before = |one: &Node, other: &Node| {
                let ended = one.ended.unwrap_or(u64::MAX);
                ended.saturating_add(INVERSION) < other.start
            };
            let comes_again = matches!(place.client, Client::Unix(_));
            !comes_again || !(is_before(sender, receiver) || is_before(receiver, sender))
        });
        let Some((sender, receiver, ..)) = pair else {
            self.alone.insert(place, id);
            return;
        };
        self.alone.remove(&place);
        if let Some(node) = self.nodes.at_mut(receiver) {
            node.sender = Some(sender);
        }
    }

    /// The only request that a process has in flight.
    fn only_one(&self, pid: u32, cause: Cause) -> Option<SpanId> {
        let handled = self.handled.get(&pid)?;
        if handled.count == 1 {
            let only = SpanId(handled.sum.to_ne_bytes());
            // Who asks itself may well be at its next request before the end of this one is told.
            return (!self.is_own(only, pid)).then_some(only);
        }
        if handled.count > 1 || cause == Cause::Ambiguous {
            self.health.add(Counter::ParentsAmbiguous, 1);
        }
        None
    }

    /// Whether what a process has received was sent by itself.
    fn is_own(&self, id: SpanId, pid: u32) -> bool {
        let sender = self.nodes.at(id).and_then(|node| node.sender);
        let sender = sender.and_then(|sender| self.nodes.at(sender));
        sender.is_some_and(|sender| sender.pid == pid)
    }

    /// A request's head is known: whether it is worth a trace.
    pub fn judge(&mut self, id: SpanId, request: Request<'_>) {
        if let Some(node) = self.nodes.at_mut(id)
            && node.is_dropped.is_none()
        {
            node.is_dropped = Some(self.drop.take(node.dropping, request));
        }
    }

    /// An exchange is over: what its process sends from now on is not for it. Exchanges come to be over in the order of events,
    /// and are finished many at a time.
    pub fn over(&mut self, id: SpanId, time: u64) {
        if let Some(node) = self.nodes.at_mut(id)
            && node.ended.replace(time).is_none()
        {
            answer(&mut self.handled, id, node);
            self.over.push_back(id);
        }
    }

    /// An exchange is over, and `context` is what its request's own fields say.
    pub fn finished(&mut self, id: SpanId, time: u64, context: Option<Context>) {
        self.over(id, time);
        if let Some(node) = self.nodes.at_mut(id) {
            node.context.get_or_insert_with(|| context.map(Box::new));
        }
    }

    /// Puts a span where it belongs; `decision` is the kernel half's. All that happened before `now` has been told, in nanoseconds
    /// of the kernel's clock. It may be another that is placed: one that has waited too long.
    pub fn place(&mut self, mut span: Span, decision: Decision, table: &Table, now: u64) -> Placed {
        match self.settle(&mut span, table, now, true) {
            Settled::Unknown => return self.alone(span, decision),
            Settled::Here => return Placed::Here(span),
            Settled::Unsampled => return Placed::Unsampled(span),
            Settled::LeftOut => return Placed::LeftOut,
            Settled::Dropped(why) => return Placed::Dropped(why),
            Settled::Waits => self.waiting.push_back(span),
        }
        if self.waiting.len() <= WAITING {
            return Placed::Waits;
        }
        match self.waiting.pop_front() {
            Some(mut oldest) => match self.settle(&mut oldest, table, u64::MAX, true) {
                Settled::Unsampled => Placed::Unsampled(oldest),
                Settled::LeftOut => Placed::LeftOut,
                Settled::Dropped(why) => Placed::Dropped(why),
                Settled::Here | Settled::Waits | Settled::Unknown => Placed::Here(oldest),
            },
            None => Placed::Waits,
        }
    }

    /// Leaves a span, of which nothing else is known, where the kernel half has put it.
    fn alone(&mut self, mut span: Span, decision: Decision) -> Placed {
        let (verdict, state) = self.sampler.begins(decision);
        self.sampler.saw(verdict, true);
        span.state = state;
        if verdict.is_sampled {
            Placed::Here(span)
        } else {
            Placed::Unsampled(span)
        }
    }

    /// Puts a span where it belongs as far as that is known, such as that of an exchange that is still open.
    pub fn place_open(&mut self, mut span: Span, table: &Table) -> Placed {
        match self.settle(&mut span, table, u64::MAX, false) {
            Settled::LeftOut => Placed::LeftOut,
            Settled::Dropped(why) => Placed::Dropped(why),
            Settled::Unsampled => Placed::Unsampled(span),
            Settled::Here | Settled::Waits | Settled::Unknown => Placed::Here(span),
        }
    }

    /// Spans that waited and are placed by now.
    pub fn placed(&mut self, table: &Table, now: u64) -> Vec<Placed> {
        let mut placed = Vec::new();
        for mut span in std::mem::take(&mut self.waiting) {
            match self.settle(&mut span, table, now, true) {
                Settled::Here | Settled::Unknown => placed.push(Placed::Here(span)),
                Settled::Unsampled => placed.push(Placed::Unsampled(span)),
                Settled::LeftOut => placed.push(Placed::LeftOut),
                Settled::Dropped(why) => placed.push(Placed::Dropped(why)),
                Settled::Waits => self.waiting.push_back(span),
            }
        }
        placed
    }

    /// Whether the span is where it belongs now. Where it is over, it counts.
    fn settle(&mut self, span: &mut Span, table: &Table, now: u64, is_over: bool) -> Settled {
        let Some(position) = self.position(span.span_id, table, now, DEPTH) else {
            return if self.nodes.contains(span.span_id) {
                Settled::Waits
            } else {
                Settled::Unknown
            };
        };
        if position.is_left_out {
            return Settled::LeftOut;
        }
        if let Some(why) = position.dropped {
            return Settled::Dropped(why);
        }
        if position.is_inferred {
            mark(span, semconv::PARENT_INFERRED);
        }
        if position.is_late {
            mark(span, semconv::PARENT_ENDED);
        }
        correlation::follow(span, position.trace_id);
        span.parent = position.parent;
        span.state = position.state;
        span.link = position.link;
        if is_over {
            self.sampler.saw(position.verdict, span.parent.is_none());
        }
        if position.verdict.is_sampled {
            Settled::Here
        } else {
            Settled::Unsampled
        }
    }

    /// Where a span belongs; `None` where that is not known yet, or nothing is known of it.
    fn position(&mut self, id: SpanId, table: &Table, now: u64, depth: u32) -> Option<Position> {
        let node = self.nodes.at(id)?;
        if let Some(position) = &node.position {
            return Some(position.clone());
        }
        let (minted, start, is_inferred) = (node.minted, node.start, node.is_inferred);
        let decision = node.decision;
        let (direction, place, sender, parent) = (node.direction, node.place, node.sender, node.parent);
        let (covered, is_refused) = (node.covered, node.is_refused);
        let (pid, is_only_one) = (node.pid, node.is_only_one);
        let may_be_sent = now < node.sent_by().saturating_add(PATIENCE);
        let is_young = now < start.saturating_add(PATIENCE);
        if is_young && self.is_untold(id, table) {
            return None;
        }
        let told = parent.filter(|_| direction == Direction::Received);
        let parent = match direction {
            Direction::Received => {
                if may_be_sent && sender.is_none() && parent.is_none() && place.is_some() {
                    return None;
                }
                sender
            }
            Direction::Sent => parent.filter(|parent| self.is_for(id, *parent, table)),
        };
        let parent = match parent.filter(|_| is_only_one && depth > 0) {
            // It may even be who receives this.
            Some(parent) if self.is_own(parent, pid) => None,
            Some(parent) => {
                self.position(parent, table, now, depth - 1)?;
                Some(parent).filter(|parent| !self.is_own(*parent, pid))
            }
            None => parent,
        };
        let is_dropped = self.nodes.at(id).and_then(|node| node.is_dropped) == Some(true);
        let dropped = |is_above: bool| match (is_dropped, is_above) {
            (true, _) => Some(Dropped::Rule),
            (false, true) => Some(Dropped::Below),
            (false, false) => None,
        };
        let position = match parent.filter(|_| depth > 0) {
            Some(parent) => {
                let above = self.position(parent, table, now, depth - 1)?;
                let ended = self.nodes.at(parent).and_then(|node| node.ended);
                Position {
                    parent: if above.is_left_out {
                        above.parent
                    } else {
                        Some(parent)
                    },
                    is_inferred: is_inferred || above.is_left_out && above.is_inferred,
                    is_late: direction == Direction::Sent && ended.is_some_and(|ended| ended < start),
                    is_left_out: covered == Covered::All,
                    dropped: dropped(above.dropped.is_some()),
                    link: None,
                    ..above
                }
            }
            None => match self.context(id, table).cloned() {
                Some(context) if !is_refused => {
                    let (verdict, state) = self.sampler.continues(&context, decision);
                    Position {
                        dropped: dropped(self.is_dropped(context.parent, table, now, depth)),
                        trace_id: context.trace_id,
                        parent: Some(context.parent),
                        state,
                        is_inferred: false,
                        is_late: false,
                        is_left_out: covered != Covered::No,
                        verdict,
                        link: None,
                    }
                }
                context => {
                    let (verdict, state) = self.sampler.begins(decision);
                    Position {
                        link: context.map(|context| {
                            Box::new(Link {
                                trace_id: context.trace_id,
                                span_id: context.parent,
                                state: context.state,
                            })
                        }),
                        trace_id: minted,
                        parent: told,
                        state,
                        is_inferred: false,
                        is_late: false,
                        is_left_out: covered == Covered::All,
                        dropped: dropped(false),
                        verdict,
                    }
                }
            },
        };
        if let Some(node) = self.nodes.at_mut(id) {
            node.position = Some(position.clone());
        }
        Some(position)
    }

    /// Whether a span that a request names as its parent was made on this host, and dropped.
    fn is_dropped(&mut self, id: SpanId, table: &Table, now: u64, depth: u32) -> bool {
        depth > 0
            && self.nodes.contains(id)
            && self
                .position(id, table, now, depth - 1)
                .is_some_and(|position| position.dropped.is_some())
    }

    /// Whether a request is put below the one that was being handled: it names no span itself, or that which the other
    /// names, too.
    fn is_for(&mut self, id: SpanId, handled: SpanId, table: &Table) -> bool {
        if !self.nodes.contains(handled) {
            self.health.add(Counter::ParentsLost, 1);
            return false;
        }
        let Some(own) = self.context(id, table) else {
            return true;
        };
        let own = (own.trace_id, own.parent);
        let passed_on = self.context(handled, table);
        passed_on.is_some_and(|theirs| (theirs.trace_id, theirs.parent) == own)
    }

    /// Whether a request's head is still on its way, and may name a context.
    fn is_untold(&mut self, id: SpanId, table: &Table) -> bool {
        self.context(id, table);
        let node = self.nodes.at(id);
        node.is_some_and(|node| node.context.is_none() && table.has(node.connection))
    }

    /// What a request's own fields say.
    fn context(&mut self, id: SpanId, table: &Table) -> Option<&Context> {
        let node = self.nodes.at_mut(id)?;
        if node.context.is_none()
            && let Some(request) = table.request(node.connection, id)
        {
            node.context = Some(extract(request).context.map(Box::new));
            node.is_dropped
                .get_or_insert_with(|| self.drop.take(node.dropping, request));
        }
        node.context.as_ref()?.as_deref()
    }

    /// Forgets what has been over for a while.
    pub fn forget(&mut self, now: u64) {
        while let Some(id) = self.over.front().copied() {
            let ended = self.nodes.at(id).and_then(|node| node.ended);
            if ended.is_some_and(|ended| ended.saturating_add(REMEMBERED) > now) {
                return;
            }
            self.over.pop_front();
            if ended.is_some()
                && let Some(node) = self.nodes.remove(id)
            {
                self.leave(id, &node);
            }
        }
    }

    /// Nobody meets a forgotten one any more.
    fn leave(&mut self, id: SpanId, node: &Node) {
        if let Some(place) = node.place
            && self.alone.get(&place) == Some(&id)
        {
            self.alone.remove(&place);
        }
    }

    /// Forgets what was lost. Where they belong is found out for those that go on, while what caused them is remembered.
    pub fn sweep(&mut self, table: &Table, now: u64) {
        let last = now.saturating_sub(PATIENCE);
        let goes_on = |node: &Node| node.ended.is_none() && node.position.is_none() && node.start < last;
        for id in self.nodes.of(goes_on) {
            if !self.is_untold(id, table) {
                self.position(id, table, now, DEPTH);
            }
        }
        let is_lost = |node: &Node| node.ended.is_none() && !table.has(node.connection);
        for id in self.nodes.of(is_lost) {
            if let Some(node) = self.nodes.remove(id) {
                answer(&mut self.handled, id, &node);
                self.leave(id, &node);
            }
        }
        self.nodes.give_back();
    }
}

/// Says something of a span in an attribute of ours.
fn mark(span: &mut Span, key: &'static str) {
    let value = Value::Boolean(true);
    let key = key.into();
    span.attributes.push(Attribute { key, value });
}

/// A request is no longer in flight.
fn answer(handled: &mut HashMap<u32, Handled>, id: SpanId, node: &Node) {
    if let Some(of) = handled.get_mut(&node.pid).filter(|_| node.is_handled) {
        of.count = of.count.saturating_sub(1);
        of.sum = of.sum.wrapping_sub(number(id));
        if of.count == 0 {
            handled.remove(&node.pid);
        }
    }
}

const fn number(id: SpanId) -> u64 {
    u64::from_ne_bytes(id.0)
}

#[cfg(test)]
mod tests;
