//! Requests of a channel that are answered in order, such as basic.get.

use std::collections::VecDeque;

/// Over so many waiting ones, something is wrong, and nothing is tied any more.
const MOST: usize = 4096;

/// Requests and replies: the first belongs to the first, whichever was read before.
#[derive(Debug)]
pub(super) struct Calls<Q, R> {
    asked: VecDeque<Q>,
    answered: VecDeque<R>,
    /// Some were lost. From there on a reply belongs to the request that waits for it alone: clients wait before they
    /// ask again.
    is_lossy: bool,
    /// This client does not.
    is_pipelined: bool,
}

impl<Q, R> Calls<Q, R> {
    pub(super) fn new() -> Self {
        Self {
            asked: VecDeque::new(),
            answered: VecDeque::new(),
            is_lossy: false,
            is_pipelined: false,
        }
    }

    /// The client asks. Returns the pair where the reply is already there.
    pub(super) fn ask(&mut self, request: Q) -> Option<(Q, R)> {
        if let Some(reply) = self.answered.pop_front() {
            return Some((request, reply));
        }
        self.is_pipelined |= self.is_lossy && !self.asked.is_empty();
        if self.asked.len() == MOST {
            self.lose();
        }
        self.asked.push_back(request);
        None
    }

    /// The server answers. Returns the pair where the request is already there.
    pub(super) fn answer(&mut self, reply: R) -> Option<(Q, R)> {
        if let Some(request) = self.asked.pop_front() {
            return (!self.is_pipelined).then_some((request, reply));
        }
        if !self.is_lossy {
            if self.answered.len() == MOST {
                self.lose();
            }
            self.answered.push_back(reply);
        }
        None
    }

    /// Bytes of what waits.
    pub(super) fn cost(&self) -> usize {
        self.asked.len() * size_of::<Q>() + self.answered.len() * size_of::<R>()
    }

    /// Some requests or replies were lost. Returns the requests that will not be tied to theirs.
    pub(super) fn lose(&mut self) -> VecDeque<Q> {
        self.answered.clear();
        self.is_lossy = true;
        std::mem::take(&mut self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_between_the_directions_does_not_matter() {
        let mut calls = Calls::new();
        assert_eq!(calls.ask('a'), None);
        assert_eq!(calls.ask('b'), None);
        assert_eq!(calls.answer(1), Some(('a', 1)));
        assert_eq!(calls.answer(2), Some(('b', 2)));
        assert_eq!(calls.answer(3), None);
        assert_eq!(calls.ask('c'), Some(('c', 3)));
    }

    #[test]
    fn behind_a_loss_a_request_has_to_wait_alone() {
        let mut calls = Calls::new();
        calls.ask('a');
        calls.lose();
        assert_eq!(calls.answer(1), None);
        calls.ask('b');
        assert_eq!(calls.answer(2), Some(('b', 2)));
        calls.ask('c');
        calls.ask('d');
        assert_eq!(calls.answer(3), None);
        assert_eq!(calls.answer(4), None);
    }
}
