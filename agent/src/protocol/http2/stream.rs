//! One stream: a request and its response, as far as they were seen.

use super::head::Head;
use super::messages::Counter;
use super::streams::Block;
use super::{ErrorCode, Flow, Message, grpc};

/// A message under way.
#[derive(Clone, Debug)]
pub(super) struct Half<S> {
    /// `None` where it was lost.
    pub(super) head: Option<Head>,
    pub(super) trailers: Option<Head>,
    pub(super) first: S,
    /// Stamp of the head's last byte.
    pub(super) head_last: S,
    pub(super) last: S,
    pub(super) body: Option<u64>,
    pub(super) complete: bool,
    pub(super) lossy: bool,
    pub(super) counter: Counter,
}

impl<S: Copy> Half<S> {
    /// A message of which neither head nor content is known yet.
    pub(super) fn new(first: S) -> Self {
        Self {
            head: None,
            trailers: None,
            first,
            head_last: first,
            last: first,
            body: None,
            complete: false,
            lossy: false,
            counter: Counter::new(),
        }
    }

    pub(super) fn begin(&mut self, head: Head, first: S, last: S) {
        if !grpc::may_be(&head) {
            self.counter.lose();
        }
        self.head = Some(head);
        (self.first, self.head_last, self.last) = (first, last, last);
    }

    /// Trailers.
    pub(super) fn trail(&mut self, block: Block<S>) {
        self.trailers = Some(block.head);
        self.last = block.last;
        self.complete |= block.ends;
    }

    /// Content, shown or not.
    pub(super) fn add(&mut self, stamp: S, length: u64, shown: Option<&[u8]>) {
        *self.body.get_or_insert(0) += length;
        self.last = stamp;
        match shown {
            Some(content) => self.counter.read(content),
            None => self.counter.skip(length),
        }
    }

    /// Bytes of it may be lost.
    pub(super) fn lose(&mut self) {
        if !self.complete {
            self.lossy = true;
            self.counter.lose();
        }
    }

    /// Bytes that its fields take.
    pub(super) fn cost(&self) -> usize {
        self.head.iter().chain(&self.trailers).map(Head::cost).sum()
    }

    /// The message; `None` where its head was lost.
    pub(super) fn message(self) -> Option<Message<S>> {
        Some(Message {
            head: self.head?,
            trailers: self.trailers,
            first: self.first,
            last: self.last,
            body: self.body.filter(|_| !self.lossy),
            messages: self.counter.messages(),
            complete: self.complete,
            lossy: self.lossy,
        })
    }
}

/// A stream that has not come out.
#[derive(Debug)]
pub(super) struct Stream<S> {
    pub(super) request: Option<Half<S>>,
    pub(super) response: Option<Half<S>>,
    pub(super) reset: Option<(Flow, ErrorCode, S)>,
    /// The response's beginning may be lost.
    pub(super) lossy: bool,
}

impl<S: Copy> Stream<S> {
    pub(super) fn new() -> Self {
        Self {
            request: None,
            response: None,
            reset: None,
            lossy: false,
        }
    }

    pub(super) fn half(&mut self, flow: Flow) -> &mut Option<Half<S>> {
        match flow {
            Flow::Request => &mut self.request,
            Flow::Response => &mut self.response,
        }
    }

    /// A message that has not come to its end.
    pub(super) fn unfinished(&mut self, flow: Flow) -> Option<&mut Half<S>> {
        self.half(flow).as_mut().filter(|half| !half.complete)
    }

    /// A response's fields: of its head, of an interim one (section 8.1), or trailers.
    pub(super) fn answer(&mut self, block: Block<S>) {
        let status = block.head.status();
        if status.is_some_and(|status| status < 200) {
            return;
        }
        let lossy = self.lossy;
        if self.response.as_ref().is_some_and(|response| response.complete) {
            return;
        }
        let response = self.response.get_or_insert_with(|| Half {
            lossy,
            ..Half::new(block.first)
        });
        let trails = block.head.is_of_trailers();
        let is_head = match &response.head {
            None => status.is_some() || !trails && !lossy,
            // Where the status of the one before is not known, it may have been interim, unless content followed it.
            Some(head) => head.status().is_none() && response.body.is_none() && !trails,
        };
        if !is_head {
            return response.trail(block);
        }
        if status.is_none() && block.ends {
            // These may be trailers: then all before them is lost, or is no interim head.
            response.lose();
        }
        let was_head = response.head.is_some();
        response.begin(block.head, block.first, block.last);
        response.complete = block.ends;
        if was_head && response.lossy {
            response.head = None;
        }
    }

    /// The request's head, and the response's.
    pub(super) fn heads(&self) -> (Option<&Head>, Option<&Head>) {
        let [request, response] =
            [&self.request, &self.response].map(|half| half.as_ref().and_then(|half| half.head.as_ref()));
        (request, response)
    }

    /// Whether CONNECT was granted: the stream holds no messages any more (section 8.5).
    pub(super) fn is_tunnel(&self) -> bool {
        let (Some(request), Some(response)) = self.heads() else {
            return false;
        };
        request.method() == Some(b"CONNECT") && response.status().is_some_and(|status| status / 100 == 2)
    }

    /// Bytes that its fields take.
    pub(super) fn cost(&self) -> usize {
        self.request.iter().chain(&self.response).map(Half::cost).sum()
    }
}
