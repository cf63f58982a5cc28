//! Head sampling: which traces are kept is decided where they begin.
//!
//! The kernel half decides, so that whoever is asked can be told (`agent-ebpf/src/decision.rs`), by a threshold that each service
//! has here: its *slot*. It says with each exchange what it has decided, and by which of the slot's thresholds, since those
//! change. What of that does not hold, since a trace turned out to be another one, is decided here, by the same function.
//!
//! Thresholds follow from ratios, and where traces or spans a second are limited, from what was seen in the seconds before.
//! A trace is decided once, where it begins: no limit cuts one short.

pub mod share;
#[cfg(test)]
mod tests;
pub mod threshold;

use threshold::{Randomness, Said, Threshold, with_threshold};

use super::context::{Context, SAMPLED};
use crate::config::globs;
use crate::kernel::events::Decision;
use crate::span::Resource;
use globset::GlobSet;
use hashbrown::HashMap;
use smol_str::SmolStr;
use spanwire_ebpf::sampling::{self, GENERATIONS, SLOTS};
use std::collections::HashSet;

/// Of what was seen in a second, the part that counts where the seconds before had more: limits are kept at once, and let go
/// over some seconds.
const FALL: f64 = 0.25;

/// What is less often than this, a second, is over.
const SILENT: f64 = 0.01;

/// Traces of some services.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Names of services; all where it is empty.
    pub services: GlobSet,
    /// Their namespaces; all where it is empty.
    pub namespaces: GlobSet,
    /// Which part of the traces that begin there is kept, from 0 to 1.
    pub ratio: f64,
}

/// Which traces are kept.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Of a trace that comes from elsewhere, what was decided there counts.
    pub parent_based: bool,
    /// Which part of the traces that begin here is kept, from 0 to 1.
    pub ratio: f64,
    /// The first that fits counts instead.
    pub rules: Vec<Rule>,
    /// Traces a second that begin here and are kept, at most.
    pub traces_per_second: Option<f64>,
    /// Spans a second in these, at most.
    pub spans_per_second: Option<f64>,
}

impl Default for Policy {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self {
            parent_based: true,
            ratio: 1.0,
            rules: Vec::new(),
            traces_per_second: None,
            spans_per_second: None,
        }
    }
}

impl Policy {
    fn ratio_of(&self, service: &Service) -> f64 {
        if let Some(ratio) = service.ratio {
            return f64::from_bits(ratio);
        }
        // Who has no namespace is in none.
        let namespace = Some(&*service.namespace).filter(|namespace| !namespace.is_empty());
        let rule = self.rules.iter().find(|rule| {
            globs::fits(&rule.services, Some(&service.name)) && globs::fits(&rule.namespaces, namespace)
        });
        rule.map_or(self.ratio, |rule| rule.ratio)
    }

    const fn is_limited(&self) -> bool {
        self.traces_per_second.is_some() || self.spans_per_second.is_some()
    }
}

/// Whose traces are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Service {
    name: SmolStr,
    namespace: SmolStr,
    /// The bits of a ratio of its own.
    ratio: Option<u64>,
}

impl Service {
    fn of(resource: &Resource) -> Self {
        Self {
            name: resource.service_name().into(),
            namespace: resource.namespace().unwrap_or_default().into(),
            ratio: resource.own.sample.map(f64::to_bits),
        }
    }
}

/// What a service does: in the second under way, and how often a second.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    seen: u64,
    rate: f64,
}

impl Load {
    /// So many seconds are over.
    fn turn(&mut self, seconds: f64) {
        #[expect(clippy::cast_precision_loss, reason = "of a second")]
        let seen = std::mem::take(&mut self.seen) as f64 / seconds;
        self.rate = seen.max(self.rate + (seen - self.rate) * FALL);
        if self.rate < SILENT {
            self.rate = 0.0;
        }
    }
}

/// By what is decided of the traces that begin in a service.
#[derive(Debug, Default)]
struct Slot {
    service: Service,
    /// Without limits.
    ratio: f64,
    /// In force.
    generation: u32,
    /// The last words for the kernel half, by their generation.
    words: Vec<u64>,
    traces: Load,
    spans: Load,
}

impl Slot {
    fn word(&self) -> u64 {
        self.words
            .get(self.generation as usize - 1)
            .copied()
            .unwrap_or_default()
    }

    /// Puts a threshold in force; whether it was not.
    fn put(&mut self, threshold: Threshold, alone: bool) -> bool {
        let word = |generation| sampling::word(threshold.number(), generation, alone);
        if self.generation != 0 && self.word() == word(self.generation) {
            return false;
        }
        self.generation = self.generation % GENERATIONS + 1;
        let word = word(self.generation);
        match self.words.get_mut(self.generation as usize - 1) {
            Some(known) => *known = word,
            None => self.words.push(word),
        }
        true
    }
}

/// What becomes of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It is kept.
    pub is_sampled: bool,
    /// The slot by which that was decided, if it was here.
    slot: Option<u32>,
}

/// A slot's word, for the kernel half.
pub type Word = (u32, u64);

/// Decides.
#[derive(Debug)]
pub struct Sampler {
    policy: Policy,
    slots: Vec<Slot>,
    by_service: HashMap<Service, u32>,
    /// Slots that were given back.
    free: Vec<u32>,
    /// Slots whose words the kernel half has not been told yet.
    changed: Vec<u32>,
    /// When rates were last looked at, in nanoseconds of the kernel's clock.
    turned: Option<u64>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Sampler {
    /// After these rules.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let mut sampler = Self {
            policy,
            slots: vec![Slot::default()],
            by_service: HashMap::new(),
            free: Vec::new(),
            changed: Vec::new(),
            turned: None,
        };
        sampler.settle_ratios();
        sampler
    }

    /// After other rules from now on.
    pub fn follow(&mut self, policy: Policy) {
        self.policy = policy;
        self.settle_ratios();
    }

    fn settle_ratios(&mut self) {
        for (number, slot) in (0..).zip(&mut self.slots) {
            // Nobody in particular has the first one.
            slot.ratio = match number {
                0 => self.policy.ratio,
                _ => self.policy.ratio_of(&slot.service),
            };
        }
        self.settle_thresholds();
    }

    /// The word of services that have no slot of their own.
    #[must_use]
    pub fn common_word(&self) -> u64 {
        self.slots[0].word()
    }

    /// The slot of a process's service; 0 where there are too many services.
    pub fn slot(&mut self, resource: &Resource) -> u32 {
        let service = Service::of(resource);
        if let Some(slot) = self.by_service.get(&service) {
            return *slot;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).unwrap_or(SLOTS);
                if slot >= SLOTS {
                    return 0;
                }
                self.slots.push(Slot::default());
                slot
            }
        };
        let made = &mut self.slots[slot as usize];
        // Of one that was given back, the last words stay: by those, traces may have begun that go on.
        *made = Slot {
            ratio: self.policy.ratio_of(&service),
            service: service.clone(),
            generation: made.generation,
            words: std::mem::take(&mut made.words),
            ..Slot::default()
        };
        made.put(Threshold::of_ratio(made.ratio), !self.policy.parent_based);
        self.by_service.insert(service, slot);
        self.changed.push(slot);
        slot
    }

    /// Whether services that come now get no slot.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= SLOTS as usize
    }

    /// Takes back the slots of all services but those whose slots are `in_use`: no process is decided of by the others.
    pub fn give_back(&mut self, in_use: &HashSet<u32>) {
        let (free, slots) = (&mut self.free, &mut self.slots);
        self.by_service.retain(|_, slot| {
            let stays = in_use.contains(slot);
            if !stays {
                let given = &mut slots[*slot as usize];
                (given.traces, given.spans) = Default::default();
                free.push(*slot);
            }
            stays
        });
    }

    /// Words that the kernel half has not been told yet.
    pub fn changes(&mut self) -> Vec<Word> {
        let changed = std::mem::take(&mut self.changed);
        let word = |slot: u32| Some((slot, self.slots.get(slot as usize)?.word()));
        changed.into_iter().filter_map(word).collect()
    }

    /// What becomes of a trace for which nobody but the kernel half has decided, and its `tracestate`.
    #[must_use]
    pub fn begins(&self, decision: Decision) -> (Verdict, SmolStr) {
        let verdict = Verdict {
            is_sampled: decision.is_sampled,
            slot: decision.by.map(|by| by.slot),
        };
        let threshold = decision
            .by
            .and_then(|by| self.word_of(by))
            .map(Threshold::of_word);
        let state = match threshold {
            Some(threshold) if decision.is_sampled && threshold != Threshold::ALWAYS => {
                with_threshold("", Some(threshold))
            }
            _ => SmolStr::default(),
        };
        (verdict, state)
    }

    /// What becomes of a trace that comes from elsewhere, and its `tracestate`. The kernel half has decided of the trace that
    /// it would else have been.
    #[must_use]
    pub fn continues(&self, context: &Context, decision: Decision) -> (Verdict, SmolStr) {
        let word = decision.by.and_then(|by| self.word_of(by));
        let word = word.unwrap_or_else(|| self.common_word());
        let state = context.state.clone();
        if !sampling::is_alone(word) && !context.is_deferred {
            let verdict = Verdict {
                is_sampled: context.flags & SAMPLED != 0,
                slot: None,
            };
            return (verdict, state);
        }
        let threshold = Threshold::of_word(word);
        let is_sampled = threshold.keeps(randomness(context));
        let says = threshold != Threshold::ALWAYS || Said::of(&state).threshold.is_some();
        let state = match is_sampled && says {
            true => with_threshold(&state, Some(threshold)),
            false => state,
        };
        let verdict = Verdict {
            is_sampled,
            slot: decision.by.map(|by| by.slot),
        };
        (verdict, state)
    }

    fn word_of(&self, by: sampling::By) -> Option<u64> {
        let slot = self.slots.get(by.slot as usize)?;
        slot.words.get(by.generation as usize - 1).copied()
    }

    /// A span of a trace was seen, the first one where `is_first`, whether it is kept or not.
    pub fn saw(&mut self, verdict: Verdict, is_first: bool) {
        if let Some(slot) = verdict.slot.and_then(|slot| self.slots.get_mut(slot as usize)) {
            slot.spans.seen += 1;
            slot.traces.seen += u64::from(is_first);
        }
    }

    /// Has thresholds follow what was seen since the last time, about a second ago. `now` in nanoseconds of the kernel's clock.
    pub fn turn(&mut self, now: u64) {
        let before = self.turned.replace(now);
        let Some(passed) = before
            .map(|before| now.saturating_sub(before))
            .filter(|it| *it > 0)
        else {
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "about a second")]
        let seconds = passed as f64 / 1e9;
        for slot in &mut self.slots {
            slot.traces.turn(seconds);
            slot.spans.turn(seconds);
        }
        if self.policy.is_limited() {
            self.settle_thresholds();
        }
    }

    /// Puts in force what the ratios and the limits come to.
    fn settle_thresholds(&mut self) {
        let limit = |limit: Option<f64>, demands: &dyn Fn(&Slot) -> f64| {
            limit.map_or(f64::INFINITY, |limit| {
                share::level(self.slots.iter().map(demands), limit)
            })
        };
        let traces = |slot: &Slot| slot.traces.rate * slot.ratio;
        let level = limit(self.policy.traces_per_second, &traces);
        let ratio = move |slot: &Slot| slot.ratio * share::part(traces(slot), level);
        let spans = |slot: &Slot| slot.spans.rate * ratio(slot);
        let level = limit(self.policy.spans_per_second, &spans);
        let ratio = |slot: &Slot| ratio(slot) * share::part(spans(slot), level);
        let thresholds: Vec<_> = self
            .slots
            .iter()
            .map(|slot| Threshold::of_ratio(ratio(slot)))
            .collect();
        let alone = !self.policy.parent_based;
        for ((number, slot), threshold) in (0..).zip(&mut self.slots).zip(thresholds) {
            if slot.put(threshold, alone) {
                self.changed.push(number);
            }
        }
    }
}

/// The randomness of a trace that comes from elsewhere.
fn randomness(context: &Context) -> Randomness {
    let said = Said::of(&context.state).randomness;
    said.unwrap_or_else(|| Randomness::of_trace(context.trace_id.0))
}
