//! What each frame of the server does to what is asked ("Simple Query", "Extended Query", "COPY Operations").

use super::super::frame::Frame;
use super::super::message;
use super::super::statements::{Bound, shown};
use super::super::{Outcome, Protocol, Reason, Response, Transaction};
use super::{Asked, Name, Pairing, SKIPPED_NAMES, Skipping};
use std::sync::Arc;

impl<S: Copy> Pairing<S> {
    /// Takes `frame` as an answer to what is in front; whether it can be one.
    pub(super) fn take(&mut self, frame: &Frame<S>, out: &mut Vec<Outcome<S>>) -> bool {
        let Some(front) = self.asked.front() else {
            return false;
        };
        match (front, frame.tag) {
            (Asked::Startup, b'R' | b'K' | b'v') | (Asked::Call, b'V' | b'E') | (Asked::Sync, b'E') => {}
            (Asked::Startup, b'E') => {
                self.pop();
            }
            (Asked::Startup | Asked::Call | Asked::Sync | Asked::Query { .. }, b'Z') => {
                self.ready(frame, out);
            }
            (Asked::Parse(_), b'1') | (Asked::Bind(_), b'2') | (Asked::Close(_), b'3') => self.confirm(),
            (Asked::Describe { parameters: true }, b't') => {
                if let Some(Asked::Describe { parameters }) = self.asked.front_mut() {
                    *parameters = false;
                }
            }
            (Asked::Describe { parameters: false }, b'T' | b'n') => {
                self.pop();
            }
            (
                Asked::Parse(_)
                | Asked::Bind(_)
                | Asked::Describe { .. }
                | Asked::Close(_)
                | Asked::Execute { .. },
                b'E',
            ) => {
                if self.probation.as_ref().is_some_and(|it| it.is_partial) {
                    return false;
                }
                self.fail(frame, out);
            }
            (Asked::Query { .. }, b'E') => {
                self.copying_in = None;
                let failure = message::failure(frame);
                self.begin(frame).failure.get_or_insert(failure);
            }
            (Asked::Query { .. }, b'T') => {
                self.begin(frame).returned.get_or_insert(0);
            }
            (Asked::Query { .. } | Asked::Execute { .. }, b'D') => {
                *self.begin(frame).returned.get_or_insert(0) += 1;
            }
            (Asked::Query { .. } | Asked::Execute { .. }, b'C') => self.complete(frame),
            (Asked::Query { .. }, b'I') => {
                self.begin(frame);
            }
            (Asked::Execute { .. }, b'I') => {
                self.begin(frame);
                self.execution_ends();
            }
            (Asked::Execute { .. }, b's') => {
                let answer = self.begin(frame);
                answer.suspended = true;
                answer.returned.get_or_insert(0);
                self.execution_ends();
            }
            (Asked::Query { .. } | Asked::Execute { .. }, b'G') => {
                self.begin(frame);
                self.copy_in();
            }
            (Asked::Query { .. } | Asked::Execute { .. }, b'H' | b'W' | b'd' | b'c') => {
                self.begin(frame);
                self.copying_out = true;
            }
            _ => return false,
        }
        true
    }

    /// The answer in progress, to which `frame` belongs.
    fn begin(&mut self, frame: &Frame<S>) -> &mut Response<S> {
        let answer = self.answer.get_or_insert(answer(frame));
        answer.last = frame.last;
        answer
    }

    pub(super) fn pop(&mut self) -> Option<Asked<S>> {
        let asked = self.asked.pop_front()?;
        self.discount(&asked);
        Some(asked)
    }

    pub(super) fn discount(&mut self, asked: &Asked<S>) {
        self.cost -= asked.cost();
        self.executions -= usize::from(asked.sent().is_some());
        self.syncs -= usize::from(asked.is_sync());
    }

    /// What is in front was done.
    fn confirm(&mut self) {
        match self.pop() {
            Some(Asked::Parse(parse)) => self.statements.parsed(parse),
            Some(Asked::Bind(bind)) => self.statements.bound(bind),
            Some(Asked::Close(target)) => self.statements.closed(target.as_ref()),
            _ => {}
        }
    }

    /// CommandComplete.
    fn complete(&mut self, frame: &Frame<S>) {
        let out_copied = std::mem::take(&mut self.copying_out);
        let command = message::command(frame);
        let answer = self.begin(frame);
        if let Some(command) = command {
            let count = |field: &mut Option<u64>, rows| *field = Some(field.unwrap_or(0) + rows);
            match (&*command.name, command.rows) {
                ("SELECT" | "FETCH", _) => count(&mut answer.returned, 0),
                ("COPY", Some(rows)) if out_copied => count(&mut answer.returned, rows),
                ("MOVE", _) | (_, None) => {}
                (_, Some(rows)) => count(&mut answer.affected, rows),
            }
            match &*command.name {
                "PREPARE" | "DEALLOCATE ALL" | "DISCARD ALL" => self.statements.clear(),
                _ => {}
            }
            if let Some(answer) = &mut self.answer {
                answer.command = Some(command.name);
            }
        }
        if let Some(Asked::Execute { .. }) = self.asked.front() {
            self.execution_ends();
        }
    }

    /// The Execute in front is answered.
    fn execution_ends(&mut self) {
        self.copying_out = false;
        let Some(mut response) = self.answer.take() else {
            return;
        };
        response.complete = true;
        if let Some(Asked::Execute { portal, sent }) = self.pop() {
            let bound = self.statements.portal(portal.as_ref());
            let exchange = self.exchange(Protocol::Extended, bound, sent, Some(response), None);
            self.last = Some(exchange);
        }
    }

    /// ReadyForQuery.
    fn ready(&mut self, frame: &Frame<S>, out: &mut Vec<Outcome<S>>) {
        let transaction = message::transaction(frame);
        self.copying_in = None;
        self.copying_out = false;
        if let Some(Asked::Query { text, sent }) = self.pop() {
            let mut response = self.answer.take().unwrap_or_else(|| answer(frame));
            response.last = frame.last;
            response.transaction = transaction;
            response.complete = true;
            let exchange = self.exchange(Protocol::Simple, Bound::of(text), sent, Some(response), None);
            self.tell(exchange, out);
            self.statements.end_unnamed();
        }
        if transaction != Some(Transaction::Open) {
            self.statements.end_portals();
        }
        if let Some(probation) = &mut self.probation {
            probation.is_ready = true;
            probation.is_partial = false;
        }
    }

    /// CopyInResponse: Syncs up to the end of the data are ignored.
    fn copy_in(&mut self) {
        let mut ignored = false;
        while let Some(next) = self.asked.get(1) {
            match next {
                Asked::CopyEnd => return,
                Asked::Sync => ignored = true,
                _ => break,
            }
            if let Some(sync) = self.asked.remove(1) {
                self.discount(&sync);
            }
        }
        self.copying_in = Some(ignored);
    }

    /// An error in a batch: all up to Sync is passed over.
    fn fail(&mut self, frame: &Frame<S>, out: &mut Vec<Outcome<S>>) {
        self.copying_in = self.copying_in.filter(|ignored| !ignored);
        self.copying_out = false;
        let mut response = self.answer.take().unwrap_or_else(|| answer(frame));
        response.failure = Some(message::failure(frame));
        response.last = frame.last;
        response.complete = true;
        self.skipping = Some(Skipping {
            error: Some(response),
            parsed: Vec::new(),
            bound: Vec::new(),
        });
        self.skip(out);
    }

    /// Passes over what is there up to Sync, if a batch has failed.
    pub(super) fn skip(&mut self, out: &mut Vec<Outcome<S>>) {
        let Some(mut skipping) = self.skipping.take() else {
            return;
        };
        while !matches!(self.asked.front(), Some(Asked::Sync)) {
            let Some(asked) = self.pop() else {
                self.skipping = Some(skipping);
                return;
            };
            // PostgreSQL discards Query too.
            let error = asked.sent().and_then(|_| skipping.error.take());
            match (asked, error) {
                (Asked::Parse(Some(parse)), _) if skipping.parsed.len() < SKIPPED_NAMES => {
                    skipping.parsed.push(parse);
                }
                (Asked::Bind(Some(bind)), _) if skipping.bound.len() < SKIPPED_NAMES => {
                    skipping.bound.push(bind);
                }
                (Asked::Execute { portal, sent }, Some(error)) => {
                    let bound = self.meant(&skipping, portal.as_ref());
                    let exchange = self.exchange(Protocol::Extended, bound, sent, Some(error), None);
                    self.tell(exchange, out);
                }
                (Asked::Query { text, sent }, Some(error)) => {
                    let exchange = self.exchange(Protocol::Simple, Bound::of(text), sent, Some(error), None);
                    self.tell(exchange, out);
                }
                (Asked::Execute { .. } | Asked::Query { .. }, None) => {
                    out.push(Outcome::Lost(Reason::Skipped));
                }
                _ => {}
            }
        }
    }

    /// What `portal` would have executed, had the batch not failed before.
    pub(super) fn meant(&mut self, skipping: &Skipping<S>, portal: Option<&Name>) -> Bound {
        let Some(portal) = portal else {
            return Bound::default();
        };
        let Some(bind) = skipping.bound.iter().rev().find(|bind| bind.portal == *portal) else {
            return self.statements.portal(Some(portal));
        };
        match skipping
            .parsed
            .iter()
            .rev()
            .find(|parse| parse.name == bind.statement)
        {
            Some(parse) => Bound {
                statement: shown(&parse.name),
                text: Some(Arc::clone(&parse.text)),
            },
            None => self.statements.named(&bind.statement),
        }
    }
}

/// An answer that begins with `frame`.
fn answer<S: Copy>(frame: &Frame<S>) -> Response<S> {
    begun([frame.first, frame.last])
}

/// An answer of which bytes with these stamps are there.
pub(super) fn begun<S>([first, last]: [S; 2]) -> Response<S> {
    Response {
        first,
        last,
        command: None,
        returned: None,
        affected: None,
        failure: None,
        suspended: false,
        transaction: None,
        complete: false,
    }
}
