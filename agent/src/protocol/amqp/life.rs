//! One channel from its opening to its close: which message is whose, and what settles it.
//!
//! - The broker numbers deliveries from 1, the client names that number when it settles one, or all up to it.
//! - In confirm mode both sides count publishes from 1, and the broker settles those in the same way.
//! - consume, get and queue.declare are answered in order ([`Calls`]).
//!
//! What is settled before it was read (the directions are read independently) is kept until it comes.

use super::calls::Calls;
use super::method::{Consume, Route};
use super::pending::{Numbered, Origin, Pending, Returned, Told};
use super::{Content, Ending, Flow, Operation, Outcome};
use crate::connection::Close;
use smol_str::SmolStr;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// So many returns are kept of what was not read yet.
const EARLY: usize = 64;

/// So many consumers are remembered.
const CONSUMERS: usize = 1024;

/// So many names of queues that were declared last.
const DECLARED: usize = 8;

/// Deliveries that wait to be settled while nothing tells that this consumer settles any.
const UNTOLD: usize = 32;

/// Mandatory publishes that wait to be returned, where nothing confirms them.
const MANDATORY: usize = 64;

/// A queue as the client names it.
#[derive(Clone, Debug)]
pub(super) enum Queue {
    Named(Arc<str>),
    /// No name: the queue that this channel declared last, which is the declaration of this number.
    Declared(u64),
}

/// Where deliveries come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    queue: Option<Queue>,
    no_ack: bool,
}

/// How publishes are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbering {
    /// Not at all: confirm.select was not sent.
    Off,
    /// The next one has this number.
    Next(u64),
    /// Some were not seen.
    Unknown,
}

/// The consumer that has a tag.
#[derive(Clone, Copy, Debug)]
struct Tagged {
    number: u64,
    /// The server has not agreed yet.
    awaits: bool,
}

/// One channel, from its opening to its close.
#[derive(Debug)]
pub(super) struct Life<S> {
    numbering: Numbering,
    /// The broker confirms publishes here, the client settles deliveries.
    confirms: bool,
    settles: bool,
    /// Of each direction, whether some was lost.
    gaps: [bool; 2],
    ended: [bool; 2],
    closed: Option<(u16, S)>,
    publishes: Numbered<S>,
    deliveries: Numbered<S>,
    /// Mandatory publishes without a number.
    mandatory: VecDeque<Pending<S>>,
    /// Returns of what was not read yet.
    returns: VecDeque<Returned>,
    gets: Calls<Source, u64>,
    /// With the tag that the client chose, which may be none.
    consumes: Calls<(Box<[u8]>, Source), u64>,
    declares: Calls<u64, Arc<str>>,
    tags: HashMap<Box<[u8]>, Tagged>,
    consumers: HashMap<u64, Source>,
    next_consumer: u64,
    /// The queue declared last, and how many were declared.
    current: Option<Queue>,
    next_declare: u64,
    declared: VecDeque<(u64, Arc<str>)>,
    /// Bytes of all that is pending.
    cost: usize,
}

pub(super) fn text(bytes: &[u8]) -> SmolStr {
    String::from_utf8_lossy(bytes).into()
}

impl<S: Copy> Life<S> {
    pub(super) fn new() -> Self {
        Self {
            numbering: Numbering::Off,
            confirms: false,
            settles: false,
            gaps: [false; 2],
            ended: [false; 2],
            closed: None,
            publishes: Numbered::new(),
            deliveries: Numbered::new(),
            mandatory: VecDeque::new(),
            returns: VecDeque::new(),
            gets: Calls::new(),
            consumes: Calls::new(),
            declares: Calls::new(),
            tags: HashMap::new(),
            consumers: HashMap::new(),
            next_consumer: 0,
            current: None,
            next_declare: 0,
            declared: VecDeque::new(),
            cost: 0,
        }
    }

    /// As [`super::Connection::request`].
    pub(super) fn request(&self, is_it: &impl Fn(S) -> bool) -> Option<&Content> {
        let numbered = [&self.deliveries, &self.publishes].map(|numbered| numbered.pending.values().rev());
        let numbered = numbered.into_iter().flatten().map(|pending| &pending.exchange);
        let all = numbered.chain(self.mandatory.iter().map(|pending| &pending.exchange));
        let exchange = all.into_iter().find(|exchange| is_it(exchange.first));
        exchange.map(|exchange| &exchange.content)
    }

    /// Exchanges that have not come out.
    pub(super) fn in_flight(&self) -> usize {
        self.publishes.pending.len() + self.deliveries.pending.len() + self.mandatory.len()
    }

    /// Bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        let settled = self.publishes.early.len() + self.deliveries.early.len();
        let returns: usize = self.returns.iter().map(Returned::cost).sum();
        let calls = self.gets.cost() + self.consumes.cost() + self.declares.cost();
        self.cost + settled * size_of::<Told<S>>() + returns + calls
    }

    /// Some of `flow` was lost, and with it perhaps the beginning of this life.
    pub(super) fn gap(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        self.gaps[flow as usize] = true;
        self.gets.lose();
        self.declares.lose();
        for (tag, source) in self.consumes.lose() {
            if !tag.is_empty() {
                let number = self.consumer(&tag, true);
                self.consumers.insert(number, source);
            }
        }
        self.current = None;
        self.returns.clear();
        match flow {
            Flow::Request => {
                self.numbering = Numbering::Unknown;
                self.publishes.early.clear();
                self.deliveries.doubt();
            }
            Flow::Response => {
                self.deliveries.early.clear();
                self.publishes.doubt();
            }
        }
        if self.gaps == [true; 2] {
            // The channel may have been closed and opened again: numbers and tags may stand for others, and an end is another's.
            self.tags.clear();
            self.consumers.clear();
            self.let_go(out);
            self.ended = [false; 2];
            self.closed = None;
        }
    }

    fn is_lossy(&self) -> bool {
        self.gaps != [false; 2]
    }

    pub(super) fn select(&mut self) {
        self.numbering = match self.numbering {
            Numbering::Unknown if self.confirms => Numbering::Unknown,
            Numbering::Off | Numbering::Unknown => Numbering::Next(1),
            next @ Numbering::Next(_) => next,
        };
    }

    /// The number that a publish gets which begins now.
    pub(super) fn number(&mut self) -> Option<u64> {
        let Numbering::Next(number) = self.numbering else {
            return None;
        };
        self.numbering = Numbering::Next(number.saturating_add(1));
        Some(number)
    }

    /// A publish is complete.
    pub(super) fn published(
        &mut self,
        number: Option<u64>,
        mut publish: Pending<S>,
        out: &mut Vec<Outcome<S>>,
    ) {
        if let Some(at) = self.returns.iter().position(|returned| returned.is_of(&publish)) {
            publish.exchange.returned = self.returns.remove(at).map(|returned| returned.code);
        }
        match number {
            Some(number) => self.publishes.add(number, publish, &mut self.cost, out),
            None if publish.mandatory && publish.exchange.returned.is_none() => {
                self.cost += publish.cost();
                self.mandatory.push_back(publish);
                if self.mandatory.len() > MANDATORY {
                    self.let_go_mandatory(1, out);
                }
            }
            None => out.push(publish.end(Ending::Content, None)),
        }
    }

    /// The first `count` are not to be returned any more.
    fn let_go_mandatory(&mut self, count: usize, out: &mut Vec<Outcome<S>>) {
        for publish in self.mandatory.drain(..count) {
            self.cost -= publish.cost();
            out.push(publish.end(Ending::Content, None));
        }
    }

    /// The broker says that it lives: what it had not returned by the time before, it will not return.
    pub(super) fn heartbeat(&mut self, out: &mut Vec<Outcome<S>>) {
        let aged = self.mandatory.iter().take_while(|it| it.is_aged).count();
        self.let_go_mandatory(aged, out);
        for publish in &mut self.mandatory {
            publish.is_aged = true;
        }
    }

    /// A message came back: of several that are the same, the oldest.
    pub(super) fn returned(&mut self, returned: Returned, out: &mut Vec<Outcome<S>>) {
        if let Some(at) = self.mandatory.iter().position(|it| returned.is_of(it)) {
            if let Some(mut publish) = self.mandatory.remove(at) {
                self.cost -= publish.cost();
                publish.exchange.returned = Some(returned.code);
                out.push(publish.end(Ending::Content, None));
            }
            return;
        }
        let mut publishes = self.publishes.pending.values_mut();
        if let Some(publish) = publishes.find(|it| returned.is_of(it)) {
            publish.exchange.returned = Some(returned.code);
        } else if !self.is_lossy() && self.returns.len() < EARLY {
            self.returns.push_back(returned);
        }
    }

    /// The broker confirms publishes.
    pub(super) fn confirm(&mut self, told: Told<S>, out: &mut Vec<Outcome<S>>) {
        self.confirms = true;
        self.publishes.settle(told, &mut self.cost, out);
    }

    /// The client settles deliveries.
    pub(super) fn settle(&mut self, told: Told<S>, out: &mut Vec<Outcome<S>>) {
        self.settles = true;
        self.learn(told.tag);
        self.deliveries.settle(told, &mut self.cost, out);
    }

    /// The delivery of this number is settled, so all of its consumer's have to be.
    fn learn(&mut self, tag: u64) {
        let pending = self
            .deliveries
            .pending
            .get(&tag)
            .filter(|pending| pending.is_untold);
        let delivery = pending.and_then(|pending| pending.exchange.delivery.as_ref());
        let Some(consumer) = delivery.and_then(|delivery| delivery.consumer.clone()) else {
            return;
        };
        let consumer = consumer.as_bytes();
        let number = match self.tags.get(consumer) {
            Some(tagged) => tagged.number,
            None => self.consumer(consumer, false),
        };
        self.consumers.entry(number).or_insert(Source {
            queue: None,
            no_ack: false,
        });
        for pending in self.deliveries.pending.values_mut() {
            pending.is_untold &= !pending.is_to(consumer);
        }
    }

    fn queue(&self, name: &[u8]) -> Option<Queue> {
        match name {
            [] => self.current.clone(),
            name => Some(Queue::Named(String::from_utf8_lossy(name).into())),
        }
    }

    fn name(&self, queue: &Queue) -> Option<Arc<str>> {
        match queue {
            Queue::Named(name) => Some(Arc::clone(name)),
            Queue::Declared(number) => {
                let mut declared = self.declared.iter();
                let (_, name) = declared.find(|(declared, _)| declared == number)?;
                Some(Arc::clone(name))
            }
        }
    }

    pub(super) fn declare(&mut self, queue: &[u8], no_wait: bool) {
        self.next_declare += 1;
        self.current = Some(match queue {
            [] => Queue::Declared(self.next_declare),
            name => Queue::Named(String::from_utf8_lossy(name).into()),
        });
        if !no_wait {
            let pair = self.declares.ask(self.next_declare);
            self.name_declared(pair);
        }
    }

    pub(super) fn declare_ok(&mut self, queue: &[u8]) {
        let pair = self.declares.answer(String::from_utf8_lossy(queue).into());
        self.name_declared(pair);
    }

    fn name_declared(&mut self, pair: Option<(u64, Arc<str>)>) {
        self.declared.extend(pair);
        if self.declared.len() > DECLARED {
            self.declared.pop_front();
        }
    }

    pub(super) fn consume(&mut self, consume: Consume<'_>, out: &mut Vec<Outcome<S>>) {
        let source = Source {
            queue: self.queue(consume.queue),
            no_ack: consume.no_ack,
        };
        // Behind a loss a tag that the client chose is certain, and an order is not.
        if consume.no_wait || self.is_lossy() && !consume.tag.is_empty() {
            let number = self.consumer(consume.tag, !consume.no_wait);
            for pending in self.deliveries.pending.values_mut() {
                // The server has been read further.
                if pending.origin == Origin::Consumer(None) && pending.is_to(consume.tag) {
                    pending.origin = Origin::Consumer(Some(number));
                }
            }
            self.tied(source, number, out);
        } else if let Some(((_, source), number)) = self.consumes.ask((consume.tag.into(), source)) {
            self.tied(source, number, out);
        }
    }

    pub(super) fn consume_ok(&mut self, tag: &[u8], out: &mut Vec<Outcome<S>>) {
        if let Some(tagged) = self.tags.get_mut(tag).filter(|tagged| tagged.awaits) {
            tagged.awaits = false;
            return;
        }
        let number = self.consumer(tag, false);
        if let Some(((_, source), number)) = self.consumes.answer(number) {
            self.tied(source, number, out);
        }
    }

    /// A new consumer with this tag. Returns its number.
    fn consumer(&mut self, tag: &[u8], awaits: bool) -> u64 {
        if self.tags.len() == CONSUMERS {
            self.tags.clear();
            self.consumers.clear();
        }
        self.next_consumer += 1;
        let number = self.next_consumer;
        self.tags.insert(tag.into(), Tagged { number, awaits });
        number
    }

    /// It is known now what the consumer of this number consumes.
    fn tied(&mut self, source: Source, number: u64, out: &mut Vec<Outcome<S>>) {
        let of = |pending: &Pending<S>| pending.origin == Origin::Consumer(Some(number));
        let waiting = self.deliveries.pending.iter().filter(|(_, it)| of(it));
        for tag in waiting.map(|(tag, _)| *tag).collect::<Vec<_>>() {
            self.come_from(&source, tag, out);
        }
        self.consumers.insert(number, source);
    }

    /// It is known now where a delivery came from.
    fn come_from(&mut self, source: &Source, tag: u64, out: &mut Vec<Outcome<S>>) {
        let queue = source.queue.as_ref().and_then(|queue| self.name(queue));
        if let Some(pending) = self.deliveries.pending.get_mut(&tag) {
            pending.exchange.queue = queue;
            pending.is_untold = false;
        }
        if source.no_ack
            && let Some(pending) = self.deliveries.take(tag, &mut self.cost)
        {
            out.push(pending.end(Ending::Content, None));
        }
    }

    pub(super) fn get(&mut self, queue: &[u8], no_ack: bool, out: &mut Vec<Outcome<S>>) {
        let queue = self.queue(queue);
        if let Some((source, tag)) = self.gets.ask(Source { queue, no_ack }) {
            self.come_from(&source, tag, out);
        }
    }

    pub(super) fn got_nothing(&mut self) {
        // No delivery has this number.
        self.gets.answer(0);
    }

    /// Origin of deliveries with this consumer tag.
    pub(super) fn origin(&self, tag: &[u8]) -> Origin {
        Origin::Consumer(self.tags.get(tag).map(|tagged| tagged.number))
    }

    /// A delivery of this number is complete.
    pub(super) fn delivered(&mut self, tag: u64, mut delivery: Pending<S>, out: &mut Vec<Outcome<S>>) {
        let source = match delivery.origin {
            Origin::Get => self.gets.answer(tag).map(|(source, _)| source),
            Origin::Consumer(number) => number.and_then(|number| self.consumers.get(&number)).cloned(),
            Origin::Publish => None,
        };
        let queue = source.as_ref().and_then(|source| source.queue.as_ref());
        delivery.exchange.queue = queue.and_then(|queue| self.name(queue));
        if source.as_ref().is_some_and(|source| source.no_ack) {
            self.deliveries.highest = self.deliveries.highest.max(tag);
            out.push(delivery.end(Ending::Content, None));
            return;
        }
        delivery.is_untold = source.is_none() && self.is_lossy();
        self.deliveries.add(tag, delivery, &mut self.cost, out);
        if source.is_none() && self.is_lossy() && !self.settles && self.deliveries.pending.len() > UNTOLD {
            self.evict_message(out);
        }
    }

    /// Makes room. Returns whether it could.
    pub(super) fn evict(&mut self, out: &mut Vec<Outcome<S>>) -> bool {
        self.evict_message(out) || self.let_go_early(out)
    }

    /// Lets the oldest of what is pending go. Returns whether there was any.
    fn evict_message(&mut self, out: &mut Vec<Outcome<S>>) -> bool {
        let delivery = self.deliveries.pending.pop_first();
        let oldest = delivery.or_else(|| self.publishes.pending.pop_first());
        let Some((_, pending)) = oldest else {
            let is_any = !self.mandatory.is_empty();
            self.let_go_mandatory(usize::from(is_any), out);
            return is_any;
        };
        self.cost -= pending.cost();
        out.push(pending.end(Ending::Unseen, None));
        true
    }

    /// Lets what was said ahead of the other direction go, as if the rest of that had been lost. Returns whether there
    /// was any.
    fn let_go_early(&mut self, out: &mut Vec<Outcome<S>>) -> bool {
        let is_any = self.cost() > 0;
        if is_any {
            for flow in [Flow::Request, Flow::Response] {
                self.gap(flow, out);
            }
        }
        is_any
    }

    /// Lets all that is pending go.
    fn let_go(&mut self, out: &mut Vec<Outcome<S>>) {
        self.let_go_mandatory(self.mandatory.len(), out);
        while self.evict_message(out) {}
    }

    /// `flow` closes the channel, or agrees to. Returns whether both have.
    pub(super) fn end(&mut self, flow: Flow, code: Option<u16>, stamp: S, out: &mut Vec<Outcome<S>>) -> bool {
        self.ended[flow as usize] = true;
        if let Some(code) = code.filter(|code| *code >= 300) {
            self.closed.get_or_insert((code, stamp));
        }
        let over = self.ended == [true; 2];
        if over {
            self.finish(None, out);
        }
        over
    }

    /// Nothing more is to come: what is pending comes out. `close` is how the transport ended, if it did.
    pub(super) fn finish(&mut self, close: Option<(S, Close)>, out: &mut Vec<Outcome<S>>) {
        self.let_go_mandatory(self.mandatory.len(), out);
        let pending = [&mut self.deliveries, &mut self.publishes].map(|it| std::mem::take(&mut it.pending));
        for pending in pending.into_iter().flat_map(BTreeMap::into_values) {
            let is_publish = pending.exchange.operation == Operation::Publish;
            out.push(match (self.closed, close) {
                _ if pending.is_doubtful || pending.is_untold => pending.end(Ending::Unseen, None),
                (Some((code, stamp)), _) => pending.end(Ending::Closed(code), Some(stamp)),
                (None, Some((stamp, how))) if is_publish && how != Close::Stopped => {
                    pending.end(Ending::Close(how), Some(stamp))
                }
                _ => pending.end(Ending::Unseen, None),
            });
        }
        self.cost = 0;
    }
}

/// A message's way, as its method tells it.
pub(super) fn route(to: Route<'_>) -> [SmolStr; 2] {
    [text(to.exchange), text(to.key)]
}
