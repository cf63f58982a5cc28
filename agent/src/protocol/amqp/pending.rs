//! Messages that wait to be settled, and what settles them by their number (sections 1.8.3.11 ff.).

use super::{Content, Ending, Exchange, Outcome};
use smol_str::SmolStr;
use std::collections::{BTreeMap, VecDeque};

/// What an exchange costs beside its texts.
const OVERHEAD: usize = 256;

/// So many settlements are kept of what was not read yet.
const EARLY: usize = 4096;

/// What told of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Publish,
    /// The consumer of this number; `None` where its beginning was not seen.
    Consumer(Option<u64>),
    Get,
}

/// An exchange that is not at its end.
#[derive(Debug)]
pub(super) struct Pending<S> {
    pub(super) exchange: Exchange<S>,
    pub(super) mandatory: bool,
    pub(super) origin: Origin,
    /// What would have settled it may have been lost: only what names it alone does.
    pub(super) is_doubtful: bool,
    /// Whether it has to be settled is not known.
    pub(super) is_untold: bool,
    /// The broker has shown a sign of life since.
    pub(super) is_aged: bool,
}

impl<S: Copy> Pending<S> {
    pub(super) fn new(exchange: Exchange<S>, origin: Origin, mandatory: bool) -> Self {
        Self {
            exchange,
            mandatory,
            origin,
            is_doubtful: false,
            is_untold: false,
            is_aged: false,
        }
    }

    pub(super) fn cost(&self) -> usize {
        let it = &self.exchange;
        OVERHEAD + it.exchange.len() + it.routing_key.len() + it.content.cost()
    }

    /// It is settled by what was told of it, or of all up to a number. All may not be meant; the one named is.
    pub(super) fn settled(self, number: u64, told: &Told<S>) -> Outcome<S> {
        if number != told.tag && (self.is_doubtful || self.is_untold) {
            return self.end(Ending::Unseen, None);
        }
        self.end(told.ending, Some(told.stamp))
    }

    /// Whether it is a delivery to the consumer of this tag.
    pub(super) fn is_to(&self, tag: &[u8]) -> bool {
        let delivery = self.exchange.delivery.as_ref();
        let consumer = delivery.and_then(|delivery| delivery.consumer.as_ref());
        consumer.is_some_and(|consumer| consumer.as_bytes() == tag)
    }

    pub(super) fn end(mut self, ending: Ending, ended: Option<S>) -> Outcome<S> {
        self.exchange.ending = ending;
        self.exchange.ended = ended.unwrap_or(self.exchange.last);
        Outcome::Exchange(self.exchange)
    }
}

/// A message that came back.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) code: u16,
    pub(super) exchange: SmolStr,
    pub(super) routing_key: SmolStr,
    pub(super) content: Content,
}

impl Returned {
    pub(super) fn cost(&self) -> usize {
        self.exchange.len() + self.routing_key.len() + self.content.cost()
    }

    pub(super) fn is_of<S>(&self, pending: &Pending<S>) -> bool {
        let it = &pending.exchange;
        pending.mandatory
            && it.returned.is_none()
            && (&it.exchange, &it.routing_key, &it.content)
                == (&self.exchange, &self.routing_key, &self.content)
    }
}

/// A settlement: of one number, or of all up to it (0: all that there are).
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<S> {
    pub(super) tag: u64,
    pub(super) multiple: bool,
    pub(super) ending: Ending,
    pub(super) stamp: S,
}

/// Messages that wait to be settled, by their number.
#[derive(Debug)]
pub(super) struct Numbered<S> {
    pub(super) pending: BTreeMap<u64, Box<Pending<S>>>,
    /// Settlements of what was not read yet, in their order.
    pub(super) early: VecDeque<Told<S>>,
    /// Greatest number that was read.
    pub(super) highest: u64,
}

impl<S: Copy> Numbered<S> {
    pub(super) fn new() -> Self {
        Self {
            pending: BTreeMap::new(),
            early: VecDeque::new(),
            highest: 0,
        }
    }

    /// A message of this number came.
    pub(super) fn add(
        &mut self,
        number: u64,
        pending: Pending<S>,
        cost: &mut usize,
        out: &mut Vec<Outcome<S>>,
    ) {
        self.highest = self.highest.max(number);
        let covers = |told: &&Told<S>| told.tag == number || told.multiple && told.tag > number;
        if let Some(told) = self.early.iter().find(covers) {
            out.push(pending.settled(number, told));
        } else {
            *cost += pending.cost();
            if let Some(other) = self.pending.insert(number, Box::new(pending)) {
                // The same number twice: neither is known to be the one that is settled.
                *cost -= other.cost();
                out.push(other.end(Ending::Unseen, None));
                if let Some(pending) = self.pending.get_mut(&number) {
                    pending.is_doubtful = true;
                }
            }
        }
        self.early.retain(|told| told.tag > self.highest);
    }

    /// Something was settled.
    pub(super) fn settle(&mut self, told: Told<S>, cost: &mut usize, out: &mut Vec<Outcome<S>>) {
        if told.multiple {
            let above = match told.tag.checked_add(1) {
                Some(next) if told.tag > 0 => self.pending.split_off(&next),
                _ => BTreeMap::new(),
            };
            for (number, pending) in std::mem::replace(&mut self.pending, above) {
                *cost -= pending.cost();
                out.push(pending.settled(number, &told));
            }
        } else if let Some(pending) = self.pending.remove(&told.tag) {
            *cost -= pending.cost();
            out.push(pending.settled(told.tag, &told));
        }
        if told.tag > self.highest {
            if self.early.len() == EARLY {
                self.early.pop_front();
            }
            self.early.push_back(told);
        }
    }

    /// What settles may have been lost.
    pub(super) fn doubt(&mut self) {
        for pending in self.pending.values_mut() {
            pending.is_doubtful = true;
        }
    }

    pub(super) fn take(&mut self, number: u64, cost: &mut usize) -> Option<Pending<S>> {
        let pending = self.pending.remove(&number)?;
        *cost -= pending.cost();
        Some(*pending)
    }
}
