//! One direction's messages: how each piece moves its reader on.

use super::body::{Body, Follows, after_request, after_response};
use super::connection::Connection;
use super::head::{Framing, Head, HeadReader, RequestHead, ResponseHead};
use super::pairing::Asked;
use super::side::{State, Waiting, is_provable};
use super::{Flow, Malformed, Outcome, Reason, Response};
use crate::connection::piece::Piece;
use crate::protocol::deferred::Released;
use std::mem;

impl<S: Copy> Connection<S> {
    /// Reads `data`; `Some` where `flow` stalled, with the number of bytes that were read before.
    pub(super) fn bytes(
        &mut self,
        flow: Flow,
        stamp: S,
        data: &[u8],
        starts: Option<u64>,
        out: &mut Vec<Outcome<S>>,
    ) -> Option<usize> {
        if let Some(ordinal) = starts {
            self.begin_marked(flow, ordinal, out);
        }
        let mut used = 0;
        while used < data.len() && !self.done {
            if self.is_stalled(flow) {
                return Some(used);
            }
            used += self.step(flow, stamp, data, used, out);
        }
        if let Some(rest) = &mut self.rest
            && used < data.len()
        {
            let data = &data[used..];
            rest.insert(
                0,
                (flow, Released::of(stamp, Piece::Bytes { data, starts: None })),
            );
        }
        None
    }

    /// Moves on by a part of `data[used..]`: returns how many bytes, or 0 where only the state changed.
    fn step(&mut self, flow: Flow, stamp: S, data: &[u8], used: usize, out: &mut Vec<Outcome<S>>) -> usize {
        let rest = &data[used..];
        let limit = self.limits.head;
        let marked = self.marked;
        let side = self.side_mut(flow);
        match &mut side.state {
            State::Idle => {
                // Empty lines before a request are ignored (RFC 9112, section 2.2).
                let blank = rest
                    .iter()
                    .take_while(|byte| matches!(**byte, b'\r' | b'\n'))
                    .count();
                if blank < rest.len() {
                    side.state = State::Head {
                        reader: HeadReader::new(flow, limit),
                        first: stamp,
                    };
                }
                blank
            }
            State::Head { reader, .. } => match reader.read(rest) {
                Ok((read, ended)) => {
                    if ended {
                        self.end_head(flow, stamp, HeadReader::finish, out);
                    }
                    read
                }
                Err(malformed) => {
                    self.malformed(flow, malformed, out);
                    rest.len()
                }
            },
            State::Body { body, ordinal } => match body.read(rest) {
                Ok(progress) => {
                    let ordinal = *ordinal;
                    self.touch(flow, ordinal, stamp, progress.content);
                    if progress.done {
                        self.end_message(flow, ordinal, out);
                    }
                    progress.used
                }
                Err(malformed) => {
                    self.malformed(flow, malformed, out);
                    rest.len()
                }
            },
            State::Searching if !marked && used == 0 && is_provable(flow, data) => {
                side.state = State::Idle;
                0
            }
            State::Searching if !marked && flow == Flow::Request => {
                // What is stepped over may hold requests.
                self.pairing.hide_requests();
                rest.len()
            }
            State::Searching | State::Waiting(_) => rest.len(),
        }
    }

    /// The message of exchange `ordinal` begins with the next byte: the kernel says so.
    fn begin_marked(&mut self, flow: Flow, ordinal: u64, out: &mut Vec<Outcome<S>>) {
        match self.side(flow).state {
            State::Head { .. } => self.malformed(flow, Malformed::Mark, out),
            State::Body { ordinal, .. } => self.end_message(flow, ordinal, out),
            State::Idle | State::Searching | State::Waiting(_) => {}
        }
        let side = self.side_mut(flow);
        side.state = State::Idle;
        side.mark = Some(ordinal);
    }

    /// Steps over bytes that were not copied; `Some` where `flow` stalled, so that they have to come again.
    pub(super) fn elided(
        &mut self,
        flow: Flow,
        stamp: S,
        (wire, content, last): (u64, u64, bool),
        out: &mut Vec<Outcome<S>>,
    ) -> Option<usize> {
        if wire > 0 && matches!(self.side(flow).state, State::Head { .. }) {
            self.end_head(flow, stamp, HeadReader::cut_here, out);
        }
        if self.is_stalled(flow) && matches!(self.side(flow).state, State::Waiting(_)) {
            return Some(0);
        }
        if let State::Body { body, ordinal } = &mut self.side_mut(flow).state {
            let (ended, ordinal) = (body.elide(wire, last), *ordinal);
            self.touch(flow, ordinal, stamp, content);
            if ended {
                self.end_message(flow, ordinal, out);
            }
        }
        None
    }

    /// `length` bytes were lost.
    pub(super) fn gap(&mut self, flow: Flow, length: u64, out: &mut Vec<Outcome<S>>) {
        match &mut self.side_mut(flow).state {
            State::Body { body, ordinal } => {
                let ordinal = *ordinal;
                if let Some(content) = body.skip(length) {
                    self.add_content(flow, ordinal, content);
                    return;
                }
                match (flow, ordinal) {
                    (Flow::Request, Some(ordinal)) => self.pairing.end_request(ordinal, false, out),
                    (Flow::Response, Some(ordinal)) if self.marked => {
                        self.pairing.forget(ordinal);
                        out.push(Outcome::Lost(Reason::Incomplete));
                    }
                    (Flow::Response, Some(ordinal)) => self.pairing.cut_response(ordinal, out),
                    (_, None) => {}
                }
                self.lose(flow, out);
            }
            State::Head { .. } => {
                self.lose(flow, out);
                if flow == Flow::Request {
                    out.push(Outcome::Lost(Reason::Incomplete));
                    let mark = self.requests.mark.take();
                    self.pairing.skip_request(mark);
                }
            }
            State::Idle | State::Waiting(_) | State::Searching => self.lose(flow, out),
        }
        self.side_mut(flow).mark = None;
    }

    /// Where the next message begins has to be found.
    fn lose(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        self.side_mut(flow).state = State::Searching;
        match flow {
            _ if self.marked => {}
            Flow::Request => self.pairing.lose_requests(),
            Flow::Response => self.pairing.lose_responses(out),
        }
    }

    /// The message in progress is not HTTP/1.x: counts its exchange.
    fn malformed(&mut self, flow: Flow, malformed: Malformed, out: &mut Vec<Outcome<S>>) {
        let mark = self.side_mut(flow).mark.take();
        let state = mem::replace(&mut self.side_mut(flow).state, State::Searching);
        let in_body = match state {
            State::Body { ordinal, .. } => Some(ordinal),
            _ => None,
        };
        let ordinal = match (flow, in_body) {
            (_, Some(ordinal)) => ordinal,
            (Flow::Request, None) => None,
            (Flow::Response, None) => Some(mark.unwrap_or(self.pairing.next_response())),
        };
        // An exchange that was given up has been counted.
        let counted = match (flow, ordinal) {
            (Flow::Request, None) => in_body.is_some(),
            (Flow::Response, None) => true,
            (_, Some(ordinal)) => self.pairing.asked(ordinal) == Asked::GivenUp,
        };
        if !counted {
            out.push(Outcome::Lost(Reason::Unparsed(malformed)));
        }
        if let Some(ordinal) = ordinal {
            self.pairing.forget(ordinal);
            if flow == Flow::Response {
                self.pairing.reach_response(ordinal, out);
            }
        }
        self.lose(flow, out);
        if flow == Flow::Request && (in_body.is_none() || !self.marked && !counted) {
            self.pairing.skip_request(mark);
        }
    }

    /// The head in progress is over: `finish` makes it.
    fn end_head(
        &mut self,
        flow: Flow,
        stamp: S,
        finish: fn(HeadReader) -> Result<Head, Malformed>,
        out: &mut Vec<Outcome<S>>,
    ) {
        let State::Head { reader, first } = mem::replace(&mut self.side_mut(flow).state, State::Idle) else {
            return;
        };
        match finish(reader) {
            Ok(Head::Request(head, framing)) => self.begin_request(head, &framing, [first, stamp], out),
            Ok(Head::Response(head, framing)) => self.begin_response(head, framing, [first, stamp], out),
            Err(malformed) => self.malformed(flow, malformed, out),
        }
    }

    fn begin_request(
        &mut self,
        head: RequestHead,
        framing: &Framing,
        stamps: [S; 2],
        out: &mut Vec<Outcome<S>>,
    ) {
        if self
            .requests
            .mark
            .is_some_and(|ordinal| ordinal < self.pairing.next_request())
        {
            // Counted without a number, since its number is another's.
            out.push(Outcome::Lost(Reason::Unparsed(Malformed::Mark)));
            self.requests.mark = None;
            return self.lose(Flow::Request, out);
        }
        let follows = match after_request(&head, framing) {
            Ok(follows) => follows,
            Err(malformed) => return self.malformed(Flow::Request, malformed, out),
        };
        let asks = framing.upgrade || head.method() == b"CONNECT";
        let mark = self.requests.mark.take();
        let ordinal = if mark.is_some_and(|ordinal| ordinal < self.pairing.next_response()) {
            // Its response has come, and was given up and counted.
            self.pairing.skip_request(mark);
            None
        } else {
            let between = self.responses.is_between();
            self.pairing
                .begin_request(head, follows.content(), stamps, mark, between, out)
        };
        self.upgrading = ordinal.filter(|_| asks);
        match follows {
            Follows::Body(body) => self.requests.state = State::Body { body, ordinal },
            Follows::Nothing | Follows::Empty | Follows::Tunnel => {
                self.end_message(Flow::Request, ordinal, out);
            }
        }
    }

    fn begin_response(
        &mut self,
        head: ResponseHead,
        framing: Framing,
        [first, last]: [S; 2],
        out: &mut Vec<Outcome<S>>,
    ) {
        if matches!(head.status(), 100..200) && head.status() != 101 {
            // Interim: the final response has the same mark.
            return;
        }
        let mark = self.responses.mark.take();
        let ordinal = mark.unwrap_or(self.pairing.next_response());
        if ordinal < self.pairing.next_response() {
            out.push(Outcome::Lost(Reason::Unparsed(Malformed::Mark)));
            return self.lose(Flow::Response, out);
        }
        self.responses.state = State::Waiting(Waiting {
            ordinal,
            head,
            framing,
            first,
            last,
        });
        self.resolve(out);
    }

    /// Goes on behind the waiting response's head, if it can be by now.
    pub(super) fn resolve(&mut self, out: &mut Vec<Outcome<S>>) -> bool {
        let State::Waiting(Waiting { ordinal, .. }) = self.responses.state else {
            return false;
        };
        if self.pairing.is_in_doubt() && !self.pairing.is_certain() {
            self.pairing.drop_response(out);
            self.lose(Flow::Response, out);
            return true;
        }
        match self.pairing.asked(ordinal) {
            Asked::InFlight => self.answer(out),
            asked if self.may_come(asked) => return false,
            asked => {
                if asked == Asked::NotYet {
                    self.count_unasked(ordinal, out);
                }
                self.step_over_waiting(out);
            }
        }
        true
    }

    /// Gives up on the waiting response's request.
    pub(super) fn abandon_waiting(&mut self, out: &mut Vec<Outcome<S>>) {
        let State::Waiting(Waiting { ordinal, .. }) = self.responses.state else {
            return;
        };
        self.count_unasked(ordinal, out);
        if self.marked {
            self.step_over_waiting(out);
        } else {
            self.pairing.lose_requests();
            self.lose(Flow::Response, out);
        }
    }

    /// Counts a response that no request was seen for, unless the kernel has counted that request as lost.
    fn count_unasked(&mut self, ordinal: u64, out: &mut Vec<Outcome<S>>) {
        if !(self.marked && matches!(self.requests.state, State::Searching)) {
            out.push(Outcome::Lost(Reason::ResponseWithoutRequest));
        }
        self.pairing.skip_unasked(ordinal);
    }

    /// Steps over the waiting response, whose exchange has been given up and counted.
    fn step_over_waiting(&mut self, out: &mut Vec<Outcome<S>>) {
        let State::Waiting(waiting) = mem::replace(&mut self.responses.state, State::Idle) else {
            return;
        };
        self.pairing.reach_response(waiting.ordinal, out);
        match after_response(&waiting.head, &waiting.framing, None) {
            Ok(Follows::Nothing | Follows::Empty) => {}
            Ok(Follows::Tunnel) => {
                self.pairing.give_up_all(out);
                self.finish();
            }
            // Without a mark on the next message, its length is needed, and that depends on the method.
            Ok(Follows::Body(body)) if self.marked => {
                self.responses.state = State::Body { body, ordinal: None }
            }
            Ok(Follows::Body(_)) | Err(_) => self.lose(Flow::Response, out),
        }
    }

    /// Ties the waiting response to its request, which is in flight.
    fn answer(&mut self, out: &mut Vec<Outcome<S>>) {
        let State::Waiting(waiting) = mem::replace(&mut self.responses.state, State::Idle) else {
            return;
        };
        let Waiting {
            ordinal,
            head,
            framing,
            first,
            last,
        } = waiting;
        let follows = match after_response(&head, &framing, self.pairing.method(ordinal)) {
            Ok(follows) => follows,
            Err(malformed) => {
                self.responses.mark = Some(ordinal);
                return self.malformed(Flow::Response, malformed, out);
            }
        };
        self.pairing.reach_response(ordinal, out);
        let complete = follows == Follows::Tunnel;
        let is_h2c = complete
            && head
                .header("upgrade")
                .is_some_and(|to| to.eq_ignore_ascii_case(b"h2c"));
        self.pairing.begin_response(
            ordinal,
            Response {
                head,
                first,
                last,
                body: follows.content(),
                complete,
            },
        );
        match follows {
            Follows::Tunnel => {
                self.pairing.upgrade(ordinal, last, out);
                if is_h2c {
                    self.leave_to_http2();
                }
                return self.finish();
            }
            Follows::Body(body) => {
                self.responses.state = State::Body {
                    body,
                    ordinal: Some(ordinal),
                }
            }
            Follows::Nothing | Follows::Empty => self.end_message(Flow::Response, Some(ordinal), out),
        }
        // Refused: what follows the request is HTTP/1.x.
        self.upgrading = self.upgrading.filter(|upgrading| *upgrading > ordinal);
    }

    /// The direction of the responses has ended, and with it a response that has no other end.
    pub(super) fn end_unframed(&mut self, out: &mut Vec<Outcome<S>>) {
        if let State::Body {
            body: Body::UntilEnd | Body::Unseen,
            ordinal,
        } = self.responses.state
        {
            self.end_message(Flow::Response, ordinal, out);
        }
    }

    fn end_message(&mut self, flow: Flow, ordinal: Option<u64>, out: &mut Vec<Outcome<S>>) {
        self.side_mut(flow).state = State::Idle;
        match (flow, ordinal) {
            (Flow::Request, Some(ordinal)) => self.pairing.end_request(ordinal, true, out),
            (Flow::Response, Some(ordinal)) => self.pairing.end_response(ordinal, out),
            (_, None) => {}
        }
    }

    /// Bytes of a body came at `stamp`, `content` of them content.
    fn touch(&mut self, flow: Flow, ordinal: Option<u64>, stamp: S, content: u64) {
        let Some(ordinal) = ordinal else { return };
        match flow {
            Flow::Request => {
                if let Some(request) = self.pairing.request(ordinal) {
                    request.last = stamp;
                }
            }
            Flow::Response => {
                if let Some(response) = self.pairing.response(ordinal) {
                    response.last = stamp;
                }
            }
        }
        self.add_content(flow, Some(ordinal), content);
    }

    fn add_content(&mut self, flow: Flow, ordinal: Option<u64>, content: u64) {
        let Some(ordinal) = ordinal.filter(|_| content > 0) else {
            return;
        };
        let body = match flow {
            Flow::Request => self.pairing.request(ordinal).map(|request| &mut request.body),
            Flow::Response => self.pairing.response(ordinal).map(|response| &mut response.body),
        };
        if let Some(body) = body {
            *body = Some(body.unwrap_or(0).saturating_add(content));
        }
    }
}
