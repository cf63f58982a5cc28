//! The two readers of a connection, kept in step.
//!
//! Mostly each direction is read on its own. Two things need the other: what follows a response's head depends on its
//! request's method, and what follows a CONNECT or an upgrade depends on its response. Where the other direction is
//! behind (records of the two may come in either order), pieces are held back until it has caught up, up to a limit.

use super::pairing::{Asked, Pairing};
use super::side::{Side, State};
use super::{Flow, Limits, Outcome, Reason, RequestHead};
use crate::connection::Close;
use crate::connection::piece::Piece;
use crate::protocol::deferred::Released;

/// One HTTP/1.x connection: pieces of both directions in, outcomes out.
///
/// Each direction's pieces come in order; the directions may run ahead of each other where messages are marked. Where
/// nothing is marked and bytes were lost, pieces have to come in the order in which they were on the wire, and a loss
/// right before the piece behind it.
#[derive(Debug)]
pub struct Connection<S> {
    pub(super) limits: Limits,
    pub(super) requests: Side<S>,
    pub(super) responses: Side<S>,
    pub(super) pairing: Pairing<S>,
    /// The kernel marks this connection's messages.
    pub(super) marked: bool,
    /// What comes is no longer HTTP/1.x, or the connection is over.
    pub(super) done: bool,
    /// The request that asked for another protocol and has not been answered.
    pub(super) upgrading: Option<u64>,
    /// What came behind an upgrade to HTTP/2 and was not read.
    pub(super) rest: Option<Vec<(Flow, Released<S>)>>,
    /// No request will come any more.
    closing: bool,
}

impl<S: Copy> Connection<S> {
    /// A connection from its first byte. Where it is joined later and messages are not marked, begin both
    /// directions with a [`Piece::Gap`] of length 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: Side::new(),
            responses: Side::new(),
            pairing: Pairing::new(limits.in_flight),
            marked: false,
            done: false,
            upgrading: None,
            rest: None,
            closing: false,
        }
    }

    /// The same, where the capture marks each message's beginning, so that a loss is never searched for one. A
    /// connection from [`Self::new`] becomes one of these with its first mark; until then, what is behind a loss could
    /// be taken for a message.
    #[must_use]
    pub fn marked(limits: Limits) -> Self {
        Self {
            marked: true,
            ..Self::new(limits)
        }
    }

    /// Requests that have not come out yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pairing.in_flight()
    }

    /// Head of the request that begins at a stamp of which `is_it` holds, and has not come out.
    pub fn request(&self, is_it: impl Fn(S) -> bool) -> Option<&RequestHead> {
        self.pairing
            .requests()
            .find(|request| is_it(request.first))
            .map(|request| &request.head)
    }

    /// Whether the connection speaks another protocol by now, or is closed: what is read is ignored.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Reads one piece of one direction. `stamp` goes to every message that begins or ends in it.
    pub fn read(&mut self, flow: Flow, stamp: S, piece: Piece<'_>, out: &mut Vec<Outcome<S>>) {
        if self.done {
            return;
        }
        if !self.marked && matches!(piece, Piece::Bytes { starts: Some(_), .. }) {
            self.marked = true;
            self.pairing.trust_marks();
        }
        if self.side(flow).deferred.is_empty() && !self.is_stalled(flow) {
            let used = self.advance(flow, stamp, piece, out);
            match piece {
                _ if used.is_none() => {}
                Piece::Bytes { data, .. } => {
                    let rest = data.get(used.unwrap_or_default()..).unwrap_or_default();
                    if !rest.is_empty() {
                        self.hold(
                            flow,
                            stamp,
                            Piece::Bytes {
                                data: rest,
                                starts: None,
                            },
                            out,
                        );
                    }
                }
                Piece::Elided { .. } | Piece::Gap { .. } => self.hold(flow, stamp, piece, out),
            }
        } else {
            self.hold(flow, stamp, piece, out);
        }
        self.catch_up(out);
        if flow == Flow::Request && matches!(piece, Piece::Gap { .. }) {
            // The responses that have been waiting until here were to requests within the loss, if at all: they say
            // nothing of the requests right before its end.
            self.pairing.hide_requests();
        }
    }

    /// One direction has come to its end: a response without framing is complete (RFC 9112, section 6.3).
    pub fn end(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        self.side_mut(flow).over = true;
        self.catch_up(out);
    }

    /// The connection is over: whatever is in flight comes out.
    pub fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        if self.done {
            return;
        }
        if how == Close::Closed {
            self.responses.over = true;
        }
        if let State::Head { .. } = self.requests.state {
            out.push(Outcome::Lost(Reason::HeadUnfinished));
            self.pairing.skip_request(self.requests.mark.take());
            self.requests.state = State::Searching;
        }
        self.closing = true;
        self.catch_up(out);
        if self.done {
            return;
        }
        if self.marked && matches!(self.responses.state, State::Searching) {
            // Their responses may be among what was lost.
            self.pairing.give_up_all(out);
        }
        self.pairing.close(stamp, how, out);
        self.finish();
    }

    /// What came behind an upgrade to HTTP/2 (RFC 7540, section 3.2), each direction's pieces in order; `None` where
    /// there was no such upgrade.
    pub(in crate::protocol) fn take_rest(&mut self) -> Option<Vec<(Flow, Released<S>)>> {
        self.rest.take()
    }

    /// Keeps what is held back for whoever reads HTTP/2.
    pub(super) fn leave_to_http2(&mut self) {
        let mut rest = Vec::new();
        for flow in [Flow::Request, Flow::Response] {
            while let Some(released) = self.side_mut(flow).deferred.pop() {
                rest.push((flow, released));
            }
        }
        self.rest = Some(rest);
    }

    /// Ignores all that comes from here on.
    pub(super) fn finish(&mut self) {
        self.done = true;
        for flow in [Flow::Request, Flow::Response] {
            *self.side_mut(flow) = Side::new();
        }
    }

    pub(super) fn side(&self, flow: Flow) -> &Side<S> {
        match flow {
            Flow::Request => &self.requests,
            Flow::Response => &self.responses,
        }
    }

    pub(super) fn side_mut(&mut self, flow: Flow) -> &mut Side<S> {
        match flow {
            Flow::Request => &mut self.requests,
            Flow::Response => &mut self.responses,
        }
    }

    /// Whether `flow` cannot be read before the other direction has caught up.
    pub(super) fn is_stalled(&self, flow: Flow) -> bool {
        match flow {
            Flow::Request => self.upgrading.is_some() && matches!(self.requests.state, State::Idle),
            Flow::Response => matches!(self.responses.state, State::Waiting(_)),
        }
    }

    /// Whether the request that the waiting response answers may still come.
    pub(super) fn may_come(&self, asked: Asked) -> bool {
        asked == Asked::NotYet && !self.closing && !(self.requests.over && self.requests.deferred.is_empty())
    }

    fn hold(&mut self, flow: Flow, stamp: S, piece: Piece<'_>, out: &mut Vec<Outcome<S>>) {
        self.side_mut(flow).deferred.push(stamp, piece);
        while self.side(flow).deferred.cost() > self.limits.deferred {
            match flow {
                // Most likely a tunnel's bytes, and the response that says so was lost.
                Flow::Request => self.abandon_upgrade(),
                Flow::Response => self.abandon_waiting(out),
            }
            self.drain(flow, out);
        }
    }

    /// Goes on without an answer to the request that asked for another protocol.
    fn abandon_upgrade(&mut self) {
        self.upgrading = None;
        self.requests.state = State::Searching;
        if !self.marked {
            self.pairing.lose_requests();
        }
    }

    /// Reads what was held back, as far as it can be read by now.
    fn catch_up(&mut self, out: &mut Vec<Outcome<S>>) {
        loop {
            if self
                .upgrading
                .is_some_and(|ordinal| self.pairing.asked(ordinal) != Asked::InFlight)
            {
                self.abandon_upgrade();
            }
            let resolved = self.resolve(out);
            let drained = self.drain(Flow::Request, out) | self.drain(Flow::Response, out);
            if !resolved && !drained {
                break;
            }
        }
        if self.responses.over && self.responses.deferred.is_empty() {
            self.end_unframed(out);
        }
    }

    /// Reads held pieces of `flow` until it stalls; whether there was anything to read.
    fn drain(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) -> bool {
        let mut drained = false;
        while !self.is_stalled(flow)
            && let Some(released) = self.side_mut(flow).deferred.pop()
        {
            drained = true;
            if let Some(used) = self.advance(flow, released.stamp, released.piece(), out) {
                self.side_mut(flow).deferred.put_back(released, used);
            }
        }
        drained
    }

    /// Reads `piece`; `Some` where `flow` stalled, with the number of bytes that were read before.
    fn advance(
        &mut self,
        flow: Flow,
        stamp: S,
        piece: Piece<'_>,
        out: &mut Vec<Outcome<S>>,
    ) -> Option<usize> {
        match piece {
            Piece::Bytes { data, starts } => self.bytes(flow, stamp, data, starts, out),
            Piece::Elided { wire, content, last } => self.elided(flow, stamp, (wire, content, last), out),
            Piece::Gap { length } => {
                self.gap(flow, length, out);
                None
            }
        }
    }
}
