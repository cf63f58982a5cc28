//! A connection: bytes to frames, frames to streams.

use super::fields::Fields;
use super::frame::{ErrorCode, Header, Kind, PREFACE};
use super::head::Head;
use super::search::Search;
use super::side::{Payload, Side, State, Unfinished};
use super::streams::{Block, Streams};
use super::{Exchange, Flow, Limits, Malformed, Outcome, Reason};
use crate::connection::Close;
use crate::connection::piece::Piece;
use std::mem;

/// One HTTP/2 connection: pieces of both directions in, outcomes out.
///
/// Each direction's pieces come in order. One direction may run ahead of the other, though a reset must not be told
/// before what it followed. A mark (`starts`) says that a frame begins there; its number is not looked at. Elided
/// bytes are of one frame's payload, behind the length of its padding, and perhaps whole frames behind its end that carry
/// nothing of a message.
#[derive(Debug)]
pub struct Connection<S> {
    limits: Limits,
    requests: Side<S>,
    responses: Side<S>,
    pub(super) streams: Streams<S>,
    /// The kernel marks frames, so that none is searched.
    marked: bool,
    done: bool,
}

impl<S: Copy> Connection<S> {
    /// A connection from its first byte, which is the client's preface. Where it is joined later, begin both directions
    /// with a [`Piece::Gap`] of length 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: Side::new(State::Preface(0), limits.table),
            responses: Side::new(State::between(), limits.table),
            streams: Streams::new(),
            marked: false,
            done: false,
        }
    }

    /// Requests that have not come out yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.streams.in_flight()
    }

    /// Exchanges that have not come out and began at a stamp of which `is_due` holds, as far as they have come `now`.
    pub fn so_far(&self, now: S, is_due: impl Fn(S) -> bool) -> impl Iterator<Item = Exchange<S>> {
        self.streams.so_far(now, is_due)
    }

    /// Head of the request that begins at a stamp of which `is_it` holds, and has not come out.
    pub fn request(&self, is_it: impl Fn(S) -> bool) -> Option<&Head> {
        self.streams.request(is_it)
    }

    /// Whether the connection is closed, or was never one of HTTP/2: what is read is ignored.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Reads one piece of one direction. `stamp` goes to every message that begins or ends in it.
    pub fn read(&mut self, flow: Flow, stamp: S, piece: Piece<'_>, out: &mut Vec<Outcome<S>>) {
        match piece {
            _ if self.done => {}
            Piece::Bytes { data, starts } => {
                if starts.is_some() {
                    self.marked = true;
                    self.begin_marked(flow, out);
                }
                self.bytes(flow, stamp, data, out);
            }
            Piece::Elided { wire, .. } => self.elide(flow, stamp, wire, out),
            Piece::Gap { length } => self.miss(flow, stamp, length, out),
        }
        self.streams.make_room(&self.limits, out);
    }

    /// The connection is over: whatever is in flight comes out.
    pub fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        if self.done {
            return;
        }
        if matches!(self.responses.state, State::Header(_) | State::Payload(_))
            && let State::Searching(search) = &mut self.requests.state
            && let Some(found) = search.end(Flow::Request)
        {
            self.requests.state = State::between();
            for (stamp, part) in found.parts() {
                self.bytes(Flow::Request, stamp, part, out);
            }
        }
        self.drop_head(Reason::HeadUnfinished, out);
        self.streams.close(stamp, how, out);
        self.finish();
    }

    /// The rest of a request's head will not come.
    fn drop_head(&self, reason: Reason, out: &mut Vec<Outcome<S>>) {
        let cut = match &self.requests.state {
            State::Payload(payload) if payload.header.kind == Kind::Headers => Some(payload.header.stream),
            _ => self.requests.block.as_ref().map(|block| block.header.stream),
        };
        if cut.is_some_and(|stream| self.streams.is_new(stream)) {
            out.push(Outcome::Lost(reason));
        }
    }

    fn finish(&mut self) {
        self.done = true;
        self.requests = Side::new(State::between(), 0);
        self.responses = Side::new(State::between(), 0);
    }

    fn side(&mut self, flow: Flow) -> &mut Side<S> {
        match flow {
            Flow::Request => &mut self.requests,
            Flow::Response => &mut self.responses,
        }
    }

    /// The capture says that a frame begins here.
    fn begin_marked(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        match &self.side(flow).state {
            State::Preface(_) => return,
            State::Header(beginning) if beginning.filled == 0 => return,
            State::Searching(_) => {}
            State::Header(_) | State::Payload(_) => self.lose(flow, out),
        }
        self.side(flow).state = State::between();
    }

    fn bytes(&mut self, flow: Flow, stamp: S, mut data: &[u8], out: &mut Vec<Outcome<S>>) {
        while !data.is_empty() && !self.done {
            let used = self.step(flow, stamp, data, out);
            data = &data[used..];
        }
    }

    /// Moves on by a part of `data`: returns how many bytes.
    fn step(&mut self, flow: Flow, stamp: S, data: &[u8], out: &mut Vec<Outcome<S>>) -> usize {
        let (limit, marked) = (self.limits.search, self.marked);
        let side = self.side(flow);
        match &mut side.state {
            State::Preface(matched) => {
                let used = data.len().min(PREFACE.len() - *matched);
                if data[..used] != PREFACE[*matched..][..used] {
                    out.push(Outcome::Lost(Reason::Unparsed(Malformed::Preface)));
                    self.finish();
                    return used;
                }
                *matched += used;
                if *matched == PREFACE.len() {
                    side.state = State::between();
                }
                used
            }
            State::Header(beginning) => {
                let (used, header) = beginning.read(stamp, data);
                if let Some((header, first)) = header {
                    match side.begin(header, first) {
                        Ok(()) if header.length == 0 => self.end_frame(flow, stamp, None, out),
                        Ok(()) => {}
                        Err(malformed) => self.malformed(flow, malformed, out),
                    }
                }
                used
            }
            State::Payload(_) => self.payload(flow, stamp, data, out),
            State::Searching(_) if marked => data.len(),
            State::Searching(search) => {
                if let Some(found) = search.push(flow, stamp, data, limit) {
                    side.state = State::between();
                    for (stamp, part) in found.parts() {
                        self.bytes(flow, stamp, part, out);
                    }
                }
                data.len()
            }
        }
    }

    /// Moves on within a frame's payload.
    fn payload(&mut self, flow: Flow, stamp: S, data: &[u8], out: &mut Vec<Outcome<S>>) -> usize {
        let head = self.limits.head;
        let State::Payload(payload) = &mut self.side(flow).state else {
            return 0;
        };
        if payload.padding.is_none() {
            let padding = u32::from(data[0]);
            payload.padding = Some(padding);
            payload.left -= 1;
            if padding > payload.left {
                self.malformed(flow, Malformed::Padding, out);
            } else if payload.left == 0 {
                self.end_frame(flow, stamp, None, out);
            }
            return 1;
        }
        let used = data.len().min(payload.left as usize);
        let next = &data[..used];
        let whole = payload.left == payload.header.length && used == payload.left as usize;
        let content = used.min((payload.left - payload.padding.unwrap_or(0).min(payload.left)) as usize);
        payload.left -= used as u32;
        let (header, left) = (payload.header, payload.left);
        // Most frames come in one piece.
        let direct = whole && used <= payload.wanted(head);
        if !direct {
            payload.keep(next, head);
        }
        if header.kind == Kind::Data {
            self.streams
                .content(flow, header.stream, stamp, content as u64, Some(&next[..content]));
        }
        if left == 0 {
            self.end_frame(flow, stamp, direct.then_some(next), out);
        }
        used
    }

    /// Steps over bytes that were not copied: what is left of a frame, or a part of that, and behind a frame's end whole
    /// ones that say nothing of an exchange.
    fn elide(&mut self, flow: Flow, stamp: S, wire: u64, out: &mut Vec<Outcome<S>>) {
        match &self.side(flow).state {
            State::Payload(payload) => {
                let left = wire.min(payload.left.into());
                if left > 0 {
                    self.miss(flow, stamp, left, out);
                }
            }
            State::Header(beginning) if beginning.filled == 0 => {}
            State::Searching(_) => {}
            State::Header(_) | State::Preface(_) => self.lose(flow, out),
        }
    }

    /// Steps over bytes that are not there: not copied, or lost.
    fn miss(&mut self, flow: Flow, stamp: S, length: u64, out: &mut Vec<Outcome<S>>) {
        let State::Payload(payload) = &mut self.side(flow).state else {
            return self.lose(flow, out);
        };
        let Some(left) = u32::try_from(length)
            .ok()
            .filter(|length| *length > 0)
            .and_then(|length| payload.left.checked_sub(length))
        else {
            return self.lose(flow, out);
        };
        let before = mem::replace(&mut payload.left, left);
        payload.cut = true;
        let header = payload.header;
        if header.kind == Kind::Data {
            match payload.padding {
                Some(padding) => {
                    let [before, left] = [before, left].map(|bytes| bytes.saturating_sub(padding));
                    let content = u64::from(before - left);
                    self.streams.content(flow, header.stream, stamp, content, None);
                }
                // The byte that says how much is padding is not there.
                None => {
                    payload.padding = Some(0);
                    self.streams.lose_content(flow, header.stream);
                }
            }
        }
        if left == 0 {
            self.end_frame(flow, stamp, None, out);
        }
    }

    /// A frame came to its end; `whole` is its payload where that came in one piece.
    fn end_frame(&mut self, flow: Flow, stamp: S, whole: Option<&[u8]>, out: &mut Vec<Outcome<S>>) {
        let limit = self.limits.head;
        let side = self.side(flow);
        let State::Payload(payload) = mem::replace(&mut side.state, State::between()) else {
            return;
        };
        let Payload {
            header,
            first,
            kept,
            cut,
            ..
        } = payload;
        let payload = whole.unwrap_or(&kept);
        match header.kind {
            Kind::Data => {
                // Content of no bytes is content.
                self.streams.content(flow, header.stream, stamp, 0, None);
                if header.ends_stream() {
                    self.streams.end(flow, header.stream, stamp, out);
                }
            }
            Kind::Headers | Kind::PushPromise => match header.fragment(payload, cut) {
                Some(fragment) if header.ends_headers() => {
                    let block = (header, first, fragment, cut);
                    self.end_block(flow, stamp, block, out);
                }
                None if !cut => self.malformed(flow, Malformed::Padding, out),
                fragment => {
                    side.block = Some(Unfinished {
                        header,
                        first,
                        fragment: fragment.unwrap_or_default().to_vec(),
                        cut,
                    });
                    if header.ends_headers() {
                        self.end_unfinished(flow, stamp, out);
                    }
                }
            },
            Kind::Continuation => {
                if let Some(block) = &mut side.block
                    && !block.cut
                {
                    let room = limit.saturating_sub(block.fragment.len());
                    block
                        .fragment
                        .extend_from_slice(&payload[..payload.len().min(room)]);
                    block.cut = cut || payload.len() > room;
                }
                if header.ends_headers() {
                    self.end_unfinished(flow, stamp, out);
                }
            }
            Kind::RstStream => {
                let code = payload
                    .first_chunk()
                    .map_or(u32::MAX, |code| u32::from_be_bytes(*code));
                self.streams
                    .reset(flow, header.stream, ErrorCode(code), stamp, out);
            }
            Kind::GoAway if flow == Flow::Response => {
                if let Some([a, b, c, d, code @ ..]) = payload.first_chunk::<8>() {
                    let last = u32::from_be_bytes([a & 0x7f, *b, *c, *d]);
                    self.streams
                        .go_away(last, ErrorCode(u32::from_be_bytes(*code)), stamp, out);
                }
            }
            _ => {}
        }
    }

    fn end_unfinished(&mut self, flow: Flow, stamp: S, out: &mut Vec<Outcome<S>>) {
        if let Some(block) = self.side(flow).block.take() {
            let block = (block.header, block.first, &*block.fragment, block.cut);
            self.end_block(flow, stamp, block, out);
        }
    }

    /// A header block came to its end.
    fn end_block(
        &mut self,
        flow: Flow,
        stamp: S,
        (header, first, fragment, cut): (Header, S, &[u8], bool),
        out: &mut Vec<Outcome<S>>,
    ) {
        let mut fields = Fields::of_block(fragment.len(), self.limits.head);
        let decoder = &mut self.side(flow).decoder;
        let decoded = decoder.decode(fragment, &mut fields);
        if cut || decoded.is_err() {
            decoder.forget();
        }
        if cut {
            fields.cut_here();
        }
        let id = header.stream;
        match decoded {
            // What is promised is not told (section 8.4).
            _ if header.kind == Kind::PushPromise => {}
            Err(malformed) if !cut => {
                if self.streams.drop_block(flow, id, out) {
                    out.push(Outcome::Lost(Reason::Unparsed(Malformed::Fields(malformed))));
                }
            }
            _ => {
                let block = Block {
                    head: Head::new(fields),
                    first,
                    last: stamp,
                    ends: header.ends_stream(),
                };
                self.streams.block(flow, id, block, out);
            }
        }
    }

    /// What came is not HTTP/2.
    fn malformed(&mut self, flow: Flow, malformed: Malformed, out: &mut Vec<Outcome<S>>) {
        out.push(Outcome::Lost(Reason::Unparsed(malformed)));
        let side = self.side(flow);
        (side.state, side.block) = (State::between(), None);
        self.lose(flow, out);
    }

    /// Frames were lost: which, and where the next one begins, is not known.
    fn lose(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        if flow == Flow::Request {
            self.drop_head(Reason::Incomplete, out);
        }
        let side = self.side(flow);
        side.state = State::Searching(Search::new());
        side.block = None;
        side.decoder.forget();
        self.streams.lose(flow, out);
    }
}
