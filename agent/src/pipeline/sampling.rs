//! Head sampling: what the kernel half is told of it, and what becomes of traces that are not kept.

use super::discovery::Pace;
use super::{Pipeline, Stages};
use crate::health::Counter;
use crate::metrics::requests;
use crate::redact::Redacted;
use crate::span::Span;

impl Stages {
    /// The slot by which it is decided which traces are kept that begin in a process; the kernel half is told of it first.
    pub(super) fn slot(&mut self, pid: u32) -> u32 {
        let resource = self.processes.resource(pid);
        let slot = self.causality.sampler().slot(&resource);
        if slot == 0 {
            self.health.add(Counter::SamplingServicesFull, 1);
        }
        self.tell_thresholds();
        slot
    }

    /// Where no slot is left, takes back those of services of which no process is left that the kernel half decides of. It is
    /// asked of each process that is watched, so not often.
    pub(super) fn give_back_slots(&mut self, pace: &mut Pace) {
        if !self.causality.sampler().is_full() || !pace.is_due() {
            return;
        }
        match self.capture.slots_in_use() {
            Some(in_use) => self.causality.sampler().give_back(&in_use),
            None => tracing::debug!("cannot read by which slots is decided"),
        }
    }

    /// Has thresholds follow what was seen. `now` in nanoseconds of the kernel's clock.
    pub(super) fn turn_thresholds(&mut self, now: u64) {
        self.causality.sampler().turn(now);
        self.tell_thresholds();
    }

    /// Tells the kernel half which traces it is to keep, where that is another than it was.
    pub(super) fn tell_thresholds(&mut self) {
        for (slot, word) in self.causality.sampler().changes() {
            if let Err(error) = self.capture.set_threshold(slot, word) {
                tracing::warn!("cannot change which traces are kept: {error}");
            }
        }
    }
}

impl Pipeline {
    /// Counts a request whose trace is not kept. Unless its span is to be shown, all that is looked at of it is what metrics say.
    pub(super) fn count_unsampled(&mut self, mut span: Span) -> Option<Redacted> {
        self.stages.health.add(Counter::SpansUnsampled, 1);
        let is_shown = self.stages.rules.shows_unsampled;
        if self.stages.requests.is_none() && !is_shown {
            return None;
        }
        if !is_shown {
            requests::strip(&mut span);
        }
        let span = self.redacted(span);
        if let Some(requests) = &mut self.stages.requests {
            requests.record_unsampled(&span, self.clock.monotonic());
        }
        is_shown.then_some(span)
    }
}
