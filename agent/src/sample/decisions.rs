//! What became of the traces that were decided last, so that their late spans follow.

use crate::span::TraceId;
use crate::trace::sampling::threshold::{Randomness, Threshold};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// What became of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is kept.
    Kept {
        /// By which it was chosen; none where it was not chosen by its randomness.
        threshold: Option<Threshold>,
        /// Its randomness.
        randomness: Randomness,
        /// It counts against the budget.
        is_paid: bool,
    },
    /// It is not.
    Dropped,
}

/// The last decisions, a bounded number.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    limit: usize,
    known: HashMap<TraceId, Decision>,
    order: VecDeque<TraceId>,
}

impl Decisions {
    /// Remembers as many from now on.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink();
    }

    pub(super) fn of(&self, trace: TraceId) -> Option<Decision> {
        self.known.get(&trace).copied()
    }

    pub(super) fn add(&mut self, trace: TraceId, decision: Decision) {
        if self.known.insert(trace, decision).is_none() {
            self.order.push_back(trace);
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        while self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut decisions = Decisions::default();
        decisions.set_limit(3);
        let trace = |number| TraceId([number; 16]);
        for number in [1, 2, 3, 3, 4] {
            decisions.add(trace(number), Decision::Dropped);
        }
        let known = |decisions: &Decisions| -> Vec<u8> {
            (1..=4)
                .filter(|number| decisions.of(trace(*number)).is_some())
                .collect()
        };
        assert_eq!(known(&decisions), [2, 3, 4]);
        decisions.set_limit(1);
        assert_eq!(
            (known(&decisions), decisions.order.len(), decisions.known.len()),
            (vec![4], 1, 1)
        );
    }
}
