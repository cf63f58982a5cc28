//! Which response answers which request.
//!
//! Responses come in the order of their requests (RFC 9112, section 9.3.2), so both are numbered, by the kernel's
//! marks or by counting, and paired by number. Counting fails once bytes were lost that may have held a message's
//! beginning: then the connection is in [`Doubt`], and stays there until the numbers can be set anew.

use super::{Ending, Exchange, Outcome, Reason, Request, RequestHead, Response};
use crate::connection::Close;
use std::collections::VecDeque;

/// What is known of a response's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is in flight.
    InFlight,
    /// It was seen and given up, or its record was lost and counted in the kernel.
    GivenUp,
    /// It may still come.
    NotYet,
}

/// Numbers can no longer be counted: some message's beginning may have been lost, and nothing is marked.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// The lost bytes may have held requests (or ones were given up since), and no response to them has been seen.
    hidden_requests: bool,
    /// The lost bytes may have held responses: the next one's number is not known.
    hidden_responses: bool,
    /// Exchanges given up already whose response may still come.
    owed: u64,
}

/// The requests in flight of one connection.
#[derive(Debug)]
pub(super) struct Pairing<S> {
    in_flight: VecDeque<InFlight<S>>,
    limit: usize,
    next_request: u64,
    next_response: u64,
    doubt: Option<Doubt>,
    /// The numbers were set anew after a doubt, on the assumption that this client does not pipeline.
    inferred: bool,
    /// The client has been seen to pipeline.
    pipelines: bool,
}

#[derive(Debug)]
struct InFlight<S> {
    ordinal: u64,
    request: Request<S>,
    /// No more of the request will be seen.
    request_over: bool,
    response: Option<Response<S>>,
}

impl<S> InFlight<S> {
    fn is_answered(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.complete)
    }
}

impl<S: Copy> Pairing<S> {
    /// Requests that have not come out.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Request<S>> {
        self.in_flight.iter().map(|it| &it.request)
    }

    pub(super) fn new(limit: usize) -> Self {
        Self {
            in_flight: VecDeque::new(),
            limit: limit.max(1),
            next_request: 0,
            next_response: 0,
            doubt: None,
            inferred: false,
            pipelines: false,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn next_request(&self) -> u64 {
        self.next_request
    }

    pub(super) fn next_response(&self) -> u64 {
        self.next_response
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// The request numbered `ordinal`, as long as it is in flight.
    pub(super) fn request(&mut self, ordinal: u64) -> Option<&mut Request<S>> {
        // Nearly always the newest: the one that is just being read.
        self.in_flight
            .iter_mut()
            .rev()
            .find(|one| one.ordinal == ordinal)
            .map(|one| &mut one.request)
    }

    /// The response of the exchange numbered `ordinal`, as far as it was seen.
    pub(super) fn response(&mut self, ordinal: u64) -> Option<&mut Response<S>> {
        self.in_flight
            .iter_mut()
            .find(|one| one.ordinal == ordinal)?
            .response
            .as_mut()
    }

    /// Method of the request numbered `ordinal`, as long as it is in flight.
    pub(super) fn method(&self, ordinal: u64) -> Option<&[u8]> {
        self.in_flight
            .iter()
            .find(|one| one.ordinal == ordinal)
            .map(|one| one.request.head.method())
    }

    /// Takes a request whose head has been read, marked `marked` if it was; returns its number, `None` where it was
    /// given up at once. `between` says that no response is in progress.
    pub(super) fn begin_request(
        &mut self,
        head: RequestHead,
        body: Option<u64>,
        [first, last]: [S; 2],
        marked: Option<u64>,
        between: bool,
        out: &mut Vec<Outcome<S>>,
    ) -> Option<u64> {
        if let Some(ordinal) = marked {
            self.next_request = ordinal;
        } else if !self.settle(between, out) {
            return None;
        }
        if self.in_flight.len() >= self.limit {
            self.give_up_oldest(out);
        }
        let ordinal = self.next_request;
        self.next_request = self.next_request.saturating_add(1);
        let request = Request {
            head,
            first,
            last,
            body,
            complete: false,
        };
        self.in_flight.push_back(InFlight {
            ordinal,
            request,
            request_over: false,
            response: None,
        });
        Some(ordinal)
    }

    /// Makes sure that the next request's number is known; if it is not, that request is counted as lost.
    fn settle(&mut self, between: bool, out: &mut Vec<Outcome<S>>) -> bool {
        let unanswered = self.in_flight.iter().any(|one| !one.is_answered());
        match &mut self.doubt {
            None if self.inferred && unanswered => {
                // The assumption was wrong: nothing that rests on it is told.
                self.lose_responses(out);
            }
            None => return true,
            Some(doubt) => {
                // A client that does not pipeline has its answers when it asks again: the next response is to this.
                if between && !unanswered && !doubt.hidden_requests && !self.pipelines {
                    self.doubt = None;
                    self.inferred = true;
                    self.next_request = self.next_request.max(self.next_response);
                    self.next_response = self.next_request;
                    return true;
                }
            }
        }
        if let Some(doubt) = &mut self.doubt {
            doubt.owed += 1;
            doubt.hidden_requests = true;
        }
        out.push(Outcome::Lost(Reason::Incomplete));
        false
    }

    fn give_up_oldest(&mut self, out: &mut Vec<Outcome<S>>) {
        out.extend(
            self.in_flight
                .pop_front()
                .map(|one| given_up(one, Reason::TooManyInFlight)),
        );
    }

    /// Messages are marked: nothing is counted, and nothing in doubt.
    pub(super) fn trust_marks(&mut self) {
        self.doubt = None;
        self.inferred = false;
    }

    /// The next request was seen to be there, but cannot be told; the caller has counted it.
    pub(super) fn skip_request(&mut self, marked: Option<u64>) {
        match (&mut self.doubt, marked) {
            (_, Some(ordinal)) => self.next_request = ordinal.saturating_add(1),
            (Some(doubt), None) => doubt.owed += 1,
            (None, None) => self.next_request = self.next_request.saturating_add(1),
        }
    }

    /// The request numbered `ordinal` will not come.
    pub(super) fn skip_unasked(&mut self, ordinal: u64) {
        self.next_request = self.next_request.max(ordinal.saturating_add(1));
    }

    /// What is known of the request that the response numbered `ordinal` answers.
    pub(super) fn asked(&self, ordinal: u64) -> Asked {
        if self.in_flight.iter().any(|one| one.ordinal == ordinal) {
            Asked::InFlight
        } else if ordinal < self.next_request {
            Asked::GivenUp
        } else {
            Asked::NotYet
        }
    }

    /// In doubt, whether the next response's request is certain all the same.
    pub(super) fn is_certain(&self) -> bool {
        let hidden = self.doubt.is_some_and(|doubt| doubt.hidden_responses);
        !hidden && self.asked(self.next_response) == Asked::InFlight
    }

    /// The final response numbered `ordinal` begins: those before it have ended, or were lost.
    pub(super) fn reach_response(&mut self, ordinal: u64, out: &mut Vec<Outcome<S>>) {
        self.next_response = ordinal.saturating_add(1);
        self.give_up_before(ordinal, out);
    }

    fn give_up_before(&mut self, ordinal: u64, out: &mut Vec<Outcome<S>>) {
        while self.in_flight.front().is_some_and(|one| one.ordinal < ordinal) {
            out.extend(
                self.in_flight
                    .pop_front()
                    .map(|one| given_up(one, Reason::Incomplete)),
            );
        }
    }

    /// Ties a final response's head to the request numbered `ordinal`, which is in flight.
    pub(super) fn begin_response(&mut self, ordinal: u64, response: Response<S>) {
        self.pipelines |=
            self.doubt.is_none() && self.in_flight.back().is_some_and(|one| one.ordinal > ordinal);
        if let Some(one) = self.in_flight.iter_mut().find(|one| one.ordinal == ordinal) {
            one.response = Some(response);
        }
    }

    /// A response that no request is known for, while in doubt.
    pub(super) fn drop_response(&mut self, out: &mut Vec<Outcome<S>>) {
        if let Some(doubt) = &mut self.doubt {
            doubt.hidden_requests = false;
            doubt.hidden_responses = true;
            if doubt.owed > 0 {
                doubt.owed -= 1;
                return;
            }
        }
        out.push(Outcome::Lost(Reason::ResponseWithoutRequest));
    }

    /// No more of the request numbered `ordinal` will be seen.
    pub(super) fn end_request(&mut self, ordinal: u64, complete: bool, out: &mut Vec<Outcome<S>>) {
        if let Some(one) = self.in_flight.iter_mut().rev().find(|one| one.ordinal == ordinal) {
            one.request.complete = complete;
            one.request_over = true;
        }
        self.emit(ordinal, out);
    }

    /// The response to the request numbered `ordinal` is complete.
    pub(super) fn end_response(&mut self, ordinal: u64, out: &mut Vec<Outcome<S>>) {
        if let Some(response) = self.response(ordinal) {
            response.complete = true;
        }
        self.emit(ordinal, out);
    }

    /// The rest of the response to the request numbered `ordinal` was lost: its head answered that request all the same.
    pub(super) fn cut_response(&mut self, ordinal: u64, out: &mut Vec<Outcome<S>>) {
        if let Some(index) = self.in_flight.iter().position(|one| one.ordinal == ordinal)
            && let Some(one) = self.in_flight.remove(index)
        {
            out.push(told(one, Ending::Unseen, None));
        }
    }

    /// Emits the exchange numbered `ordinal` if both its halves are over.
    ///
    /// A response may end before its request (RFC 9110, section 7.5). Then the exchange waits for the request's end,
    /// since that may be only a record that comes late; the next response or the close does not wait with it.
    fn emit(&mut self, ordinal: u64, out: &mut Vec<Outcome<S>>) {
        let over = |one: &InFlight<S>| one.ordinal == ordinal && one.request_over && one.is_answered();
        if let Some(index) = self.in_flight.iter().position(over)
            && let Some(one) = self.in_flight.remove(index)
        {
            out.push(told(one, Ending::Complete, None));
        }
    }

    /// Emits the exchange numbered `ordinal`, after which the connection is a tunnel. What else is in flight was never
    /// a request, or will not be answered.
    pub(super) fn upgrade(&mut self, ordinal: u64, stamp: S, out: &mut Vec<Outcome<S>>) {
        for one in std::mem::take(&mut self.in_flight) {
            if one.ordinal == ordinal {
                out.push(told(one, Ending::Upgraded, Some(stamp)));
            } else if one.ordinal < ordinal && one.is_answered() {
                out.push(told(one, Ending::Complete, None));
            } else {
                out.push(Outcome::Lost(Reason::Incomplete));
            }
        }
    }

    /// Takes the exchange numbered `ordinal` out, without a word: the caller has counted it.
    pub(super) fn forget(&mut self, ordinal: u64) {
        self.in_flight.retain(|one| one.ordinal != ordinal);
    }

    /// Bytes of the client were lost that may have held the beginning of a request, and nothing is marked.
    pub(super) fn lose_requests(&mut self) {
        let (hidden_responses, owed) = self
            .doubt
            .map_or((false, 0), |doubt| (doubt.hidden_responses, doubt.owed));
        self.doubt = Some(Doubt {
            hidden_requests: true,
            hidden_responses,
            owed,
        });
    }

    /// In doubt, requests may be waiting for their responses.
    pub(super) fn hide_requests(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.hidden_requests = true;
        }
    }

    /// Bytes of the server were lost that may have held the beginning of a response, and nothing is marked.
    pub(super) fn lose_responses(&mut self, out: &mut Vec<Outcome<S>>) {
        let (hidden_requests, owed) = self
            .doubt
            .map_or((false, 0), |doubt| (doubt.hidden_requests, doubt.owed));
        let unanswered = self.in_flight.iter().filter(|one| one.response.is_none()).count() as u64;
        self.give_up_all(out);
        self.doubt = Some(Doubt {
            hidden_requests,
            hidden_responses: true,
            owed: owed + unanswered,
        });
    }

    /// All that is in flight and not answered is lost.
    pub(super) fn give_up_all(&mut self, out: &mut Vec<Outcome<S>>) {
        out.extend(
            self.in_flight
                .drain(..)
                .map(|one| given_up(one, Reason::Incomplete)),
        );
    }

    /// The connection is over: all that is in flight comes out with what it has.
    pub(super) fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        for one in std::mem::take(&mut self.in_flight) {
            out.push(match one.is_answered() {
                true => told(one, Ending::Complete, None),
                false => told(one, Ending::Close(how), Some(stamp)),
            });
        }
    }
}

/// What is said of an exchange that ends without the rest of its response, if any is missing.
fn given_up<S: Copy>(one: InFlight<S>, reason: Reason) -> Outcome<S> {
    if one.is_answered() {
        told(one, Ending::Complete, None)
    } else {
        Outcome::Lost(reason)
    }
}

/// The exchange `one`, ended at `stamp`, or with its response's last byte.
fn told<S: Copy>(one: InFlight<S>, ending: Ending, stamp: Option<S>) -> Outcome<S> {
    let InFlight {
        ordinal,
        request,
        response,
        ..
    } = one;
    let last = response.as_ref().map_or(request.last, |response| response.last);
    Outcome::Exchange(Box::new(Exchange {
        ordinal,
        request,
        response,
        ending,
        ended: stamp.unwrap_or(last),
    }))
}
