//! Streams by their ids: what belongs together, and when it comes out.
//!
//! A client numbers its streams upwards (RFC 9113, section 5.1.1). So an id tells what is not in the table: at or below
//! the last request's, it has come out, or its request was lost; above, its request is still to come.

use super::head::Head;
use super::stream::{Half, Stream};
use super::{Ending, ErrorCode, Exchange, Flow, Limits, Malformed, Outcome, Reason};
use crate::connection::Close;
use std::collections::BTreeMap;

/// The fields of HEADERS, with what continued them.
pub(super) struct Block<S> {
    pub(super) head: Head,
    pub(super) first: S,
    pub(super) last: S,
    /// The message has no content and no trailers behind it.
    pub(super) ends: bool,
}

#[derive(Debug)]
pub(super) struct Streams<S> {
    streams: BTreeMap<u32, Box<Stream<S>>>,
    /// How many of them have a request.
    requests: usize,
    /// Bytes that their fields take.
    held: usize,
    /// Highest id of a request so far.
    last: u32,
    /// Requests below this id that are not in the table were lost, and have not been counted.
    seen_from: u32,
    /// Requests behind `last` were lost.
    lost: bool,
    /// Streams above this id are refused.
    goaway: Option<(u32, ErrorCode)>,
}

impl<S: Copy> Streams<S> {
    pub(super) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            requests: 0,
            held: 0,
            last: 0,
            seen_from: 0,
            lost: false,
            goaway: None,
        }
    }

    /// A request that came before the connection was one of HTTP/2.
    pub(super) fn begin_with(&mut self, request: Half<S>) {
        let mut stream = Stream::new();
        stream.request = Some(request);
        self.last = 1;
        self.requests = 1;
        self.held = stream.cost();
        self.streams.insert(self.last, Box::new(stream));
    }

    /// Requests that have not come out.
    pub(super) fn in_flight(&self) -> usize {
        self.requests
    }

    /// Whether a head on this stream would be that of a request not seen before.
    pub(super) fn is_new(&self, id: u32) -> bool {
        id > self.last && id % 2 == 1
    }

    /// Exchanges that began at a stamp of which `is_due` holds, as far as they have come `now`.
    pub(super) fn so_far(&self, now: S, is_due: impl Fn(S) -> bool) -> impl Iterator<Item = Exchange<S>> {
        self.streams.iter().filter_map(move |(id, stream)| {
            let request = stream.request.as_ref().filter(|request| is_due(request.first))?;
            Some(Exchange {
                stream: *id,
                request: request.clone().message()?,
                response: stream.response.clone().and_then(Half::message),
                ending: Ending::Unseen,
                ended: now,
            })
        })
    }

    /// Head of the request that begins at a stamp of which `is_it` holds. The newest are asked first.
    pub(super) fn request(&self, is_it: impl Fn(S) -> bool) -> Option<&Head> {
        let requests = self
            .streams
            .values()
            .rev()
            .filter_map(|stream| stream.request.as_ref());
        let request = requests.into_iter().find(|request| is_it(request.first))?;
        request.head.as_ref()
    }

    /// A head, an interim one, or trailers.
    pub(super) fn block(&mut self, flow: Flow, id: u32, block: Block<S>, out: &mut Vec<Outcome<S>>) {
        match flow {
            Flow::Request if self.is_new(id) => self.open(id, block, out),
            Flow::Request => self.change(id, |stream| {
                if let Some(request) = stream.unfinished(flow) {
                    request.trail(block);
                }
            }),
            // Pushed, or an answer to what has come out or was not seen.
            Flow::Response if id.is_multiple_of(2) => {}
            Flow::Response if id <= self.last && !self.streams.contains_key(&id) => {
                let is_final = block.head.status().is_some_and(|status| status >= 200);
                if id < self.seen_from && is_final {
                    out.push(Outcome::Lost(Reason::ResponseWithoutRequest));
                }
            }
            Flow::Response => {
                self.stream(id);
                self.change(id, |stream| stream.answer(block));
            }
        }
        self.settle(id, out);
    }

    /// A header block cannot be decoded, and its message is lost. Tells whether an exchange is known to be lost by that.
    pub(super) fn drop_block(&mut self, flow: Flow, id: u32, out: &mut Vec<Outcome<S>>) -> bool {
        match flow {
            Flow::Request if self.is_new(id) => {
                self.forget_unasked(id, out);
                self.last = id;
                self.remove(id);
                true
            }
            Flow::Response if self.is_new(id) => {
                // It is, once the request comes.
                self.stream(id).lossy = true;
                false
            }
            Flow::Request | Flow::Response => self.remove(id).is_some(),
        }
    }

    /// `length` bytes of content, `None` where they were not copied.
    pub(super) fn content(&mut self, flow: Flow, id: u32, stamp: S, length: u64, shown: Option<&[u8]>) {
        if let Some(half) = self.unfinished(flow, id) {
            half.add(stamp, length, shown);
        }
    }

    /// Content was lost, and nobody knows how much.
    pub(super) fn lose_content(&mut self, flow: Flow, id: u32) {
        if let Some(half) = self.unfinished(flow, id) {
            half.lose();
        }
    }

    /// A message came to its end.
    pub(super) fn end(&mut self, flow: Flow, id: u32, stamp: S, out: &mut Vec<Outcome<S>>) {
        if let Some(half) = self.unfinished(flow, id) {
            half.complete = true;
            half.last = stamp;
            self.settle(id, out);
        }
    }

    /// The stream was reset.
    pub(super) fn reset(&mut self, by: Flow, id: u32, code: ErrorCode, stamp: S, out: &mut Vec<Outcome<S>>) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.reset = Some((by, code, stamp));
            self.settle(id, out);
        }
    }

    /// The server refuses requests above `last`.
    pub(super) fn go_away(&mut self, last: u32, code: ErrorCode, stamp: S, out: &mut Vec<Outcome<S>>) {
        self.goaway = Some((last, code));
        let refused = self.streams.range(last.saturating_add(1)..);
        let refused = refused.filter(|(_, stream)| stream.request.is_some() && stream.response.is_none());
        let refused: Vec<u32> = refused.map(|(id, _)| *id).collect();
        for id in refused {
            self.take(id, Ending::GoAway(code), stamp, out);
        }
    }

    /// Bytes of one direction were lost, and nobody knows of which streams.
    pub(super) fn lose(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        self.lost |= flow == Flow::Request;
        for stream in self.streams.values_mut() {
            stream.lossy |= flow == Flow::Response;
            if let Some(half) = stream.half(flow) {
                half.lose();
            }
        }
        if flow == Flow::Request {
            // Those whose end may have been lost need not be waited for.
            let ids: Vec<u32> = self.streams.keys().copied().collect();
            for id in ids {
                self.settle(id, out);
            }
        }
    }

    /// Takes out the oldest as long as there is too much.
    pub(super) fn make_room(&mut self, limits: &Limits, out: &mut Vec<Outcome<S>>) {
        while (self.streams.len() > limits.in_flight || self.held > limits.held)
            && let Some(id) = self.streams.keys().next().copied()
        {
            match self.remove(id) {
                Some(stream) if stream.request.is_some() => out.push(Outcome::Lost(Reason::TooManyInFlight)),
                Some(stream) => out.extend(unasked(&stream)),
                None => {}
            }
        }
    }

    /// The connection is over: whatever is in flight comes out, in the order of ids.
    pub(super) fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        while let Some((id, stream)) = self.streams.first_key_value() {
            let id = *id;
            let (ending, ended) = match &stream.response {
                _ if stream.request.is_none() => {
                    out.extend(unasked(stream));
                    self.remove(id);
                    continue;
                }
                Some(response) if response.complete => (Ending::Complete, response.last),
                // Its end may have been long before.
                Some(response) if response.lossy && response.head.is_some() => {
                    (Ending::Unseen, response.last)
                }
                _ if stream.lossy => {
                    out.push(Outcome::Lost(Reason::Incomplete));
                    self.remove(id);
                    continue;
                }
                _ => (Ending::Close(how), stamp),
            };
            self.take(id, ending, ended, out);
        }
    }

    /// The head of a request not seen before.
    fn open(&mut self, id: u32, block: Block<S>, out: &mut Vec<Outcome<S>>) {
        self.forget_unasked(id, out);
        self.last = id;
        if !block.head.is_of_request() {
            if self.lost {
                // Trailers of a request that was lost.
                self.seen_from = id + 1;
            } else {
                self.remove(id);
                let malformed = Outcome::Lost(Reason::Unparsed(Malformed::Head));
                let incomplete = Outcome::Lost(Reason::Incomplete);
                out.push(if block.head.may_have_more() {
                    incomplete
                } else {
                    malformed
                });
            }
            return;
        }
        if std::mem::take(&mut self.lost) {
            self.seen_from = id;
        }
        let last = block.last;
        self.stream(id);
        self.requests += 1;
        self.change(id, |stream| {
            let mut request = Half::new(block.first);
            request.complete = block.ends;
            request.begin(block.head, block.first, block.last);
            stream.request = Some(request);
        });
        if let Some((_, code)) = self.goaway.filter(|(last, _)| id > *last) {
            self.take(id, Ending::GoAway(code), last, out);
        }
    }

    /// Drops responses to requests before `id`, which will not come any more.
    fn forget_unasked(&mut self, id: u32, out: &mut Vec<Outcome<S>>) {
        let ids: Vec<u32> = self.streams.range(self.last + 1..id).map(|(id, _)| *id).collect();
        for id in ids {
            out.extend(self.remove(id).iter().filter_map(|stream| unasked(stream)));
        }
    }

    /// Takes the stream out if it is over.
    fn settle(&mut self, id: u32, out: &mut Vec<Outcome<S>>) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let Stream {
            request: Some(request),
            response,
            reset,
            ..
        } = &**stream
        else {
            return;
        };
        let asked = request.complete || request.lossy || reset.is_some();
        let (ending, ended) = match (response, reset) {
            (Some(response), _) if stream.is_tunnel() => (Ending::Upgraded, response.head_last),
            (Some(response), _) if response.complete && asked => (Ending::Complete, response.last),
            (_, Some((by, code, stamp))) => (Ending::Reset { by: *by, code: *code }, *stamp),
            _ => return,
        };
        self.take(id, ending, ended, out);
    }

    fn take(&mut self, id: u32, ending: Ending, ended: S, out: &mut Vec<Outcome<S>>) {
        let Some(stream) = self.remove(id) else { return };
        let Some(request) = stream.request.and_then(Half::message) else {
            return;
        };
        let mut response = stream.response.and_then(Half::message);
        match (&mut response, ending) {
            (None, Ending::Complete) => return out.push(Outcome::Lost(Reason::Incomplete)),
            (Some(response), Ending::Upgraded) => (response.body, response.messages) = (None, None),
            _ => {}
        }
        out.push(Outcome::Exchange(Box::new(Exchange {
            stream: id,
            request,
            response,
            ending,
            ended,
        })));
    }

    fn remove(&mut self, id: u32) -> Option<Box<Stream<S>>> {
        let stream = self.streams.remove(&id)?;
        self.held -= stream.cost();
        self.requests -= usize::from(stream.request.is_some());
        Some(stream)
    }

    /// What is kept of a stream: nothing yet where it is new.
    fn stream(&mut self, id: u32) -> &mut Stream<S> {
        self.streams.entry(id).or_insert_with(|| Box::new(Stream::new()))
    }

    /// Changes what is kept of a stream.
    fn change(&mut self, id: u32, change: impl FnOnce(&mut Stream<S>)) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.held -= stream.cost();
            change(stream);
            self.held += stream.cost();
        }
    }

    fn unfinished(&mut self, flow: Flow, id: u32) -> Option<&mut Half<S>> {
        self.streams.get_mut(&id)?.unfinished(flow)
    }
}

/// A response whose request is not there, unless it is of an exchange that began before anything was seen.
fn unasked<S: Copy>(stream: &Stream<S>) -> Option<Outcome<S>> {
    let (_, response) = stream.heads();
    response.map(|_| Outcome::Lost(Reason::ResponseWithoutRequest))
}
