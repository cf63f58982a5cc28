//! What was asked, in order, and the answers to it ("Message Flow" in PostgreSQL's documentation).
//!
//! Each message of the client that is answered is an [`Asked`] in a queue, and each frame of the server answers the
//! one in front, or does not fit, in which case some of either were lost. Five things make that less than plain:
//!
//! - An error ends all up to the next Sync ([`Skipping`]); it belongs to the first Execute there.
//! - During COPY FROM STDIN the server ignores Sync, up to the client's CopyDone or CopyFail.
//! - A Sync may fail, when it commits. The error is that of the Execute before it, which is kept until then.
//! - A name's meaning changes when the server confirms it, not when the client says so.
//! - Behind a loss nothing is known of what is in flight ([`Doubt`]). A client that waits for each ReadyForQuery
//!   before it sends on shows where a new beginning is; what comes of that beginning is told when its answers, up to
//!   ReadyForQuery and no further, were those that were expected ([`Probation`]).

mod answers;

use super::frame::Frame;
use super::message::{self, Bind, Name, Parse, Target};
use super::statements::{Bound, Statements};
use super::{
    Ending, Exchange, Limits, Malformed, Outcome, Protocol, Reason, Request, Response, Session, Text,
};
use crate::connection::Close;
use std::collections::VecDeque;
use std::sync::Arc;

/// What each message in flight is charged beside its texts.
const OVERHEAD: usize = 128;

/// Names kept of a batch that failed before its first Execute; more are forgotten.
const SKIPPED_NAMES: usize = 64;

/// A message of the client that waits for its answer.
#[derive(Debug)]
pub(super) enum Asked<S> {
    Startup,
    Query {
        text: Arc<Text>,
        sent: Sent<S>,
    },
    Call,
    Parse(Option<Parse>),
    Bind(Option<Bind>),
    Describe {
        parameters: bool,
    },
    Close(Option<Target>),
    Execute {
        portal: Option<Name>,
        sent: Sent<S>,
    },
    Sync,
    /// CopyDone or CopyFail.
    CopyEnd,
}

/// Number and stamps of a Query or an Execute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<S> {
    pub(super) ordinal: u64,
    pub(super) first: S,
    pub(super) last: S,
}

impl<S> Asked<S> {
    fn sent(&self) -> Option<&Sent<S>> {
        match self {
            Self::Query { sent, .. } | Self::Execute { sent, .. } => Some(sent),
            _ => None,
        }
    }

    /// Whether ReadyForQuery answers it.
    fn is_sync(&self) -> bool {
        matches!(self, Self::Startup | Self::Query { .. } | Self::Call | Self::Sync)
    }

    fn cost(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Query { text, .. } => text.bytes.len(),
                Self::Parse(Some(parse)) => parse.name.len() + parse.text.bytes.len(),
                Self::Bind(Some(bind)) => bind.portal.len() + bind.statement.len(),
                Self::Execute {
                    portal: Some(name), ..
                }
                | Self::Close(Some(Target::Statement(name) | Target::Portal(name))) => name.len(),
                _ => 0,
            }
    }
}

/// Whether a frame was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// Nothing is asked that it could answer: the client's side has to catch up.
    Early,
}

/// Whether a Sync was ignored.
type Ignored = bool;

/// A batch that failed: what follows is passed over, up to Sync.
#[derive(Debug)]
struct Skipping<S> {
    /// The error, until the Execute that it belongs to has come.
    error: Option<Response<S>>,
    /// What was passed over before that Execute.
    parsed: Vec<Parse>,
    bound: Vec<Bind>,
}

/// Some of what was asked or answered is not known.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// The server is in the middle of an answer.
    is_answering: bool,
    /// Queries and Syncs that were seen since, and not answered.
    syncs: u64,
    /// Exchanges counted as lost whose answer may still come.
    owed: u64,
}

/// Behind a doubt, what was answered is kept until the next beginning: had there been answers to something unseen, the
/// client would have had them all by then, and so would we.
#[derive(Debug)]
struct Probation<S> {
    kept: Vec<Exchange<S>>,
    /// ReadyForQuery came where it should.
    is_ready: bool,
    /// The batch may have begun unseen: then an error may be that of something unseen.
    is_partial: bool,
}

/// What is in flight on one connection.
#[derive(Debug)]
pub(super) struct Pairing<S> {
    asked: VecDeque<Asked<S>>,
    cost: usize,
    /// Of those in `asked`, how many are Query or Execute, and how many [`Asked::is_sync`].
    executions: usize,
    syncs: usize,
    /// The answer to the one in front, as far as it came.
    answer: Option<Response<S>>,
    /// A COPY FROM STDIN whose end was not sent yet: Syncs are ignored. One was, if this says so.
    copying_in: Option<Ignored>,
    /// The answer in progress is that of a COPY TO STDOUT.
    copying_out: bool,
    skipping: Option<Skipping<S>>,
    /// The Execute that was answered last: its commit may still fail.
    last: Option<Exchange<S>>,
    doubt: Option<Doubt>,
    probation: Option<Probation<S>>,
    /// The numbers rest on the assumption that the client waits for each ReadyForQuery.
    inferred: bool,
    /// The client has been seen not to.
    pipelines: bool,
    /// The client has begun a batch, or may have, and not ended it with Sync.
    in_batch: bool,
    pub(super) statements: Statements,
    pub(super) session: Option<Arc<Session>>,
    ordinals: u64,
    limit: usize,
}

impl<S: Copy> Pairing<S> {
    /// As [`super::Connection::request`].
    pub(super) fn request(&self, is_it: impl Fn(S) -> bool) -> Option<Option<&Text>> {
        let asked = self.asked.iter().rev();
        let asked = asked
            .into_iter()
            .find(|asked| asked.sent().is_some_and(|sent| is_it(sent.first)));
        let last = self.last.as_ref().filter(|last| is_it(last.request.first));
        let text = asked.map(|asked| match asked {
            Asked::Query { text, .. } => Some(&**text),
            _ => None,
        });
        text.or_else(|| last.map(|_| None))
    }

    pub(super) fn new(limits: Limits) -> Self {
        Self {
            asked: VecDeque::new(),
            cost: 0,
            executions: 0,
            syncs: 0,
            answer: None,
            copying_in: None,
            copying_out: false,
            skipping: None,
            last: None,
            doubt: None,
            probation: None,
            inferred: false,
            pipelines: false,
            in_batch: false,
            statements: Statements::new(limits),
            session: None,
            ordinals: 0,
            limit: limits.in_flight,
        }
    }

    /// Queries and Executes that have not come out.
    pub(super) fn in_flight(&self) -> usize {
        self.executions
            + usize::from(self.last.is_some())
            + self.probation.as_ref().map_or(0, |it| it.kept.len())
    }

    /// Number and stamps of the next exchange; `marked` is its number where the kernel gave it one.
    pub(super) fn sent(&mut self, marked: Option<u64>, [first, last]: [S; 2]) -> Sent<S> {
        let ordinal = marked.unwrap_or(self.ordinals);
        self.ordinals = ordinal.saturating_add(1);
        Sent { ordinal, first, last }
    }

    /// The client sent `asked`.
    pub(super) fn ask(&mut self, asked: Asked<S>, out: &mut Vec<Outcome<S>>) {
        self.end_probation(out);
        if self.inferred && self.syncs > 0 && !matches!(asked, Asked::CopyEnd) && self.copying_in.is_none() {
            // It does not wait: what rests on that is not told.
            self.pipelines = true;
            self.lose(Reason::Incomplete, out);
        }
        let is_known = self.leave_doubt(&asked);
        self.in_batch = !asked.is_sync();
        if !is_known {
            self.ask_in_doubt(&asked, out);
            return;
        }
        if asked.is_sync() && self.copying_in.is_some() {
            // Behind an error, which data made, just the one in front of the data.
            self.copying_in = self.skipping.is_none().then_some(true);
            return;
        }
        self.pipelines |= asked.is_sync() && self.syncs > 0;
        if let Asked::CopyEnd = asked {
            self.copying_in = None;
        }
        self.executions += usize::from(asked.sent().is_some());
        self.syncs += usize::from(asked.is_sync());
        self.cost += asked.cost();
        self.asked.push_back(asked);
        self.skip(out);
        if self.cost > self.limit {
            self.lose(Reason::TooManyInFlight, out);
        }
    }

    /// The client sends on: it has had all answers.
    fn end_probation(&mut self, out: &mut Vec<Outcome<S>>) {
        if self.asked.is_empty()
            && let Some(passed) = self.probation.take_if(|it| it.is_ready)
        {
            out.extend(passed.kept.into_iter().map(Outcome::Exchange));
        }
    }

    /// Whether what is asked will be answered in order, which is the case where a new batch begins while nothing is
    /// in flight, as far as that can be told.
    fn leave_doubt(&mut self, asked: &Asked<S>) -> bool {
        let Some(doubt) = self.doubt else { return true };
        let begins = !matches!(asked, Asked::CopyEnd);
        if !begins || doubt.is_answering || doubt.syncs > 0 || self.pipelines {
            return false;
        }
        self.doubt = None;
        self.inferred = true;
        self.probation = Some(Probation {
            kept: Vec::new(),
            is_ready: false,
            is_partial: self.in_batch && !asked.is_sync(),
        });
        true
    }

    fn ask_in_doubt(&mut self, asked: &Asked<S>, out: &mut Vec<Outcome<S>>) {
        if let Some(doubt) = &mut self.doubt {
            doubt.syncs += u64::from(asked.is_sync());
            if asked.sent().is_some() {
                doubt.owed += 1;
                out.push(Outcome::Lost(Reason::Incomplete));
            }
        }
        self.unconfirmed(asked);
    }

    /// The server may have done what `asked` says, or not.
    fn unconfirmed(&mut self, asked: &Asked<S>) {
        match asked {
            Asked::Parse(Some(parse)) => self.statements.forget(&parse.name),
            Asked::Bind(Some(bind)) => self.statements.closed(Some(&Target::Portal(bind.portal.clone()))),
            Asked::Parse(None) | Asked::Bind(None) | Asked::Close(None) => self.statements.clear(),
            Asked::Close(target) => self.statements.closed(target.as_ref()),
            _ => {}
        }
    }

    /// Rows that were not copied came, `count` of them.
    pub(super) fn rows(&mut self, stamp: S, count: u64) {
        if count == 0 || self.copying_out {
            return;
        }
        // An Execute is answered by its rows alone: what they are like was said when it was described.
        if self.answer.is_none()
            && self.doubt.is_none()
            && matches!(self.asked.front(), Some(Asked::Execute { .. }))
        {
            self.answer = Some(answers::begun([stamp; 2]));
        }
        if let Some(answer) = &mut self.answer {
            *answer.returned.get_or_insert(0) += count;
        }
    }

    /// The server sent `frame`.
    pub(super) fn answer(&mut self, frame: &Frame<S>, out: &mut Vec<Outcome<S>>) -> Taken {
        // These come at any time.
        if matches!(frame.tag, b'N' | b'A' | b'S') {
            return Taken::Yes;
        }
        if self.doubt.is_some() {
            self.answer_in_doubt(frame, out);
            return Taken::Yes;
        }
        while matches!(self.asked.front(), Some(Asked::CopyEnd)) {
            self.pop();
        }
        let Some(front) = self.asked.front() else {
            if self.probation.is_none() {
                return Taken::Early;
            }
            // The beginning was none: more was in flight.
            self.lose(Reason::Incomplete, out);
            self.answer_in_doubt(frame, out);
            return Taken::Yes;
        };
        let at_commit = matches!(front, Asked::Sync);
        if let Some(mut last) = self.last.take() {
            if let Some(response) = &mut last.response {
                match frame.tag {
                    b'E' if at_commit => {
                        response.failure.get_or_insert(message::failure(frame));
                        response.last = frame.last;
                        last.ended = frame.last;
                        self.last = Some(last);
                        return Taken::Yes;
                    }
                    b'Z' => response.transaction = message::transaction(frame),
                    _ => {}
                }
            }
            self.tell(last, out);
        }
        if !self.take(frame, out) {
            let reason = match self.probation {
                Some(_) => Reason::Incomplete,
                None => Reason::Unparsed(Malformed::Order),
            };
            self.lose(reason, out);
            self.statements.clear();
            self.answer_in_doubt(frame, out);
        }
        Taken::Yes
    }

    fn exchange(
        &self,
        protocol: Protocol,
        bound: Bound,
        sent: Sent<S>,
        response: Option<Response<S>>,
        close: Option<(S, Close)>,
    ) -> Exchange<S> {
        let ended = match close {
            Some((stamp, _)) => stamp,
            None => response.as_ref().map_or(sent.last, |response| response.last),
        };
        Exchange {
            ordinal: sent.ordinal,
            session: self.session.clone(),
            request: Request {
                protocol,
                text: bound.text,
                statement: bound.statement,
                first: sent.first,
                last: sent.last,
            },
            response,
            ending: close.map_or(Ending::Complete, |(_, how)| Ending::Close(how)),
            ended,
        }
    }

    fn tell(&mut self, exchange: Exchange<S>, out: &mut Vec<Outcome<S>>) {
        match &mut self.probation {
            Some(probation) => probation.kept.push(exchange),
            None => out.push(Outcome::Exchange(exchange)),
        }
    }

    /// In doubt, an answer is known to be there, and no more.
    fn answer_in_doubt(&mut self, frame: &Frame<S>, out: &mut Vec<Outcome<S>>) {
        let Some(doubt) = &mut self.doubt else { return };
        doubt.is_answering = frame.tag != b'Z';
        match frame.tag {
            b'Z' => {
                doubt.syncs = doubt.syncs.saturating_sub(1);
                if doubt.syncs == 0 && !self.pipelines {
                    doubt.owed = 0;
                }
            }
            b'C' | b'I' | b's' | b'E' => match doubt.owed.checked_sub(1) {
                Some(owed) => doubt.owed = owed,
                None => out.push(Outcome::Lost(Reason::ResponseWithoutRequest)),
            },
            _ => {}
        }
    }

    /// Bytes of the client were lost that may have held messages.
    pub(super) fn lose_requests(&mut self, out: &mut Vec<Outcome<S>>) {
        self.end_probation(out);
        self.lose(Reason::Incomplete, out);
        self.statements.clear();
        self.in_batch = true;
    }

    /// Bytes of the server were lost that may have held messages.
    pub(super) fn lose_responses(&mut self, out: &mut Vec<Outcome<S>>) {
        self.lose(Reason::Incomplete, out);
        if let Some(doubt) = &mut self.doubt {
            *doubt = Doubt {
                owed: doubt.owed,
                ..Doubt::default()
            };
        }
    }

    /// All that is in flight is lost, and what comes next is in doubt.
    pub(super) fn lose(&mut self, reason: Reason, out: &mut Vec<Outcome<S>>) {
        // Answered, but for what its commit may say.
        if let Some(last) = self.last.take() {
            self.tell(last, out);
        }
        if let Some(failed) = self.probation.take() {
            out.extend(failed.kept.iter().map(|_| Outcome::Lost(reason)));
        }
        let mut owed = 0;
        for asked in std::mem::take(&mut self.asked) {
            if asked.sent().is_some() {
                owed += 1;
                out.push(Outcome::Lost(reason));
            }
            self.unconfirmed(&asked);
        }
        let before = self.doubt.unwrap_or_default();
        self.doubt = Some(Doubt {
            is_answering: before.is_answering || self.answer.is_some(),
            syncs: before.syncs + self.syncs as u64,
            owed: before.owed + owed,
        });
        (self.cost, self.executions, self.syncs) = (0, 0, 0);
        self.answer = None;
        self.skipping = None;
        self.copying_in = None;
        self.copying_out = false;
        self.inferred = false;
    }

    /// The connection is over: what is in flight comes out with what it has.
    pub(super) fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        let kept = self.probation.take().into_iter().flat_map(|it| it.kept);
        out.extend(kept.chain(self.last.take()).map(Outcome::Exchange));
        let mut response = self.answer.take();
        let mut skipping = Skipping {
            error: None,
            parsed: Vec::new(),
            bound: Vec::new(),
        };
        while let Some(asked) = self.pop() {
            // What was confirmed is known, what was not is what the client means.
            let (protocol, bound, sent) = match asked {
                Asked::Parse(Some(parse)) => {
                    skipping.parsed.push(parse);
                    continue;
                }
                Asked::Bind(Some(bind)) => {
                    skipping.bound.push(bind);
                    continue;
                }
                Asked::Query { text, sent } => (Protocol::Simple, Bound::of(text), sent),
                Asked::Execute { portal, sent } => {
                    (Protocol::Extended, self.meant(&skipping, portal.as_ref()), sent)
                }
                _ => continue,
            };
            let exchange = self.exchange(protocol, bound, sent, response.take(), Some((stamp, how)));
            out.push(Outcome::Exchange(exchange));
        }
    }
}
