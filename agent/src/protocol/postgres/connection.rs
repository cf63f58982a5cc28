//! The two readers of a connection, kept in step.
//!
//! Each direction is read on its own, with two exceptions. What follows an SSLRequest depends on its answer, which is
//! one byte and no frame. And an answer waits for what it answers. Where the other direction is behind (pieces of the
//! two may come in either order), pieces are held back until it has caught up, up to a limit.

use super::frame::{Frame, Reader};
use super::message;
use super::pairing::{Asked, Pairing, Taken};
use super::startup::{self, LENGTHS, Packet};
use super::{Flow, Limits, Malformed, Outcome, Reason, Text};
use crate::connection::Close;
use crate::connection::piece::Piece;
use crate::protocol::deferred::Deferred;
use std::sync::Arc;

/// Where a direction is.
#[derive(Debug)]
enum State {
    /// The client's packets before its first frame, and the server while it has none to answer.
    Opening(Vec<u8>),
    /// The client asked for encryption: the server answers with one byte.
    Asking,
    /// Between frames, or in one.
    Frames,
    /// Behind a loss: the next frame's beginning has to be found.
    Searching,
}

/// One direction.
#[derive(Debug)]
struct Side<S> {
    state: State,
    reader: Reader<S>,
    /// The kernel's mark on the frame in progress.
    mark: Option<u64>,
    /// A frame that answers nothing that was seen so far, and rows elided behind it.
    parked: Option<(Frame<S>, u64)>,
    /// Pieces that cannot be read before the other direction has caught up.
    deferred: Deferred<S>,
}

impl<S: Copy> Side<S> {
    fn new(flow: Flow, text: usize) -> Self {
        Self {
            state: State::Opening(Vec::new()),
            reader: Reader::new(flow, text),
            mark: None,
            parked: None,
            deferred: Deferred::new(),
        }
    }
}

/// One PostgreSQL connection: pieces of both directions in, outcomes out.
///
/// Each direction's pieces come in order; the directions may run ahead of each other. Where bytes were lost, pieces
/// have to come in the order in which they were on the wire, and a loss right before the piece behind it: then the
/// turns that client and server take show which answer is whose.
///
/// [`Piece::Elided`] is what is left of a body, or part of it. Behind a body's end it may also hold whole messages of
/// rows (DataRow or CopyData), as many as its `content` says. A mark says that a frame begins, and on a Query or
/// Execute which exchange that is.
#[derive(Debug)]
pub struct Connection<S> {
    limits: Limits,
    requests: Side<S>,
    responses: Side<S>,
    pairing: Pairing<S>,
    /// What comes is encrypted, or another protocol, or the connection is over.
    done: bool,
}

impl<S: Copy> Connection<S> {
    /// A connection from its first byte. Where it is joined later, begin both directions with a [`Piece::Gap`] of
    /// length 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: Side::new(Flow::Request, limits.text),
            responses: Side::new(Flow::Response, limits.text),
            pairing: Pairing::new(limits),
            done: false,
        }
    }

    /// Text of the Query or Execute that begins at a stamp of which `is_it` holds, and has not come out; no text where that
    /// is not a simple query.
    pub fn request(&self, is_it: impl Fn(S) -> bool) -> Option<Option<&Text>> {
        self.pairing.request(is_it)
    }

    /// Exchanges that have not come out yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pairing.in_flight()
    }

    /// Whether the connection is encrypted, cancels a query of another, or is over: what is read is ignored.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Reads one piece of one direction. `stamp` goes to every message that begins or ends in it.
    pub fn read(&mut self, flow: Flow, stamp: S, piece: Piece<'_>, out: &mut Vec<Outcome<S>>) {
        if self.done {
            return;
        }
        if self.side(flow).deferred.is_empty() && !self.is_stalled(flow) {
            if let Some(used) = self.advance(flow, stamp, piece, out)
                && !self.done
            {
                match piece {
                    Piece::Bytes { data, .. } if used < data.len() => {
                        let rest = Piece::Bytes {
                            data: &data[used..],
                            starts: None,
                        };
                        self.hold(flow, stamp, rest, out);
                    }
                    _ => {}
                }
            }
        } else {
            self.hold(flow, stamp, piece, out);
        }
        self.catch_up(out);
    }

    /// The connection is over: whatever is in flight comes out.
    pub fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        if self.done {
            return;
        }
        match &self.responses.parked {
            // A server that ends a session says so unasked.
            Some((frame, _)) if frame.tag != b'E' => out.push(Outcome::Lost(Reason::ResponseWithoutRequest)),
            _ => {}
        }
        if let State::Searching = self.responses.state {
            // The answers may be among what was lost.
            self.pairing.lose(Reason::Incomplete, out);
        }
        self.pairing.close(stamp, how, out);
        self.finish();
    }

    /// Ignores all that comes from here on.
    fn finish(&mut self) {
        self.done = true;
        self.requests = Side::new(Flow::Request, self.limits.text);
        self.responses = Side::new(Flow::Response, self.limits.text);
        self.pairing = Pairing::new(self.limits);
    }

    fn side(&self, flow: Flow) -> &Side<S> {
        match flow {
            Flow::Request => &self.requests,
            Flow::Response => &self.responses,
        }
    }

    fn side_mut(&mut self, flow: Flow) -> &mut Side<S> {
        match flow {
            Flow::Request => &mut self.requests,
            Flow::Response => &mut self.responses,
        }
    }

    /// Whether `flow` cannot be read before the other direction has caught up.
    fn is_stalled(&self, flow: Flow) -> bool {
        match flow {
            Flow::Request => matches!(self.requests.state, State::Asking),
            Flow::Response => {
                self.responses.parked.is_some() || matches!(self.responses.state, State::Opening(_))
            }
        }
    }

    fn hold(&mut self, flow: Flow, stamp: S, piece: Piece<'_>, out: &mut Vec<Outcome<S>>) {
        // A late joiner's first word: nothing of the opening will be seen.
        if matches!(piece, Piece::Gap { .. }) && matches!(self.side(flow).state, State::Opening(_)) {
            self.search(flow, out);
            if self.side(flow).deferred.is_empty() {
                return;
            }
        }
        self.side_mut(flow).deferred.push(stamp, piece);
        if self.side(flow).deferred.cost() > self.limits.deferred {
            self.pairing.lose(Reason::TooManyInFlight, out);
            for flow in [Flow::Request, Flow::Response] {
                if matches!(self.side(flow).state, State::Opening(_) | State::Asking) {
                    self.search(flow, out);
                }
            }
        }
    }

    /// Reads what was held back, as far as it can be read by now.
    fn catch_up(&mut self, out: &mut Vec<Outcome<S>>) {
        loop {
            let mut moved = false;
            if let Some((frame, rows)) = self.responses.parked.take() {
                if self.pairing.answer(&frame, out) == Taken::Early {
                    self.responses.parked = Some((frame, rows));
                } else {
                    self.pairing.rows(frame.last, rows);
                    moved = true;
                }
            }
            for flow in [Flow::Request, Flow::Response] {
                while !self.done
                    && !self.is_stalled(flow)
                    && let Some(released) = self.side_mut(flow).deferred.pop()
                {
                    moved = true;
                    if let Some(used) = self.advance(flow, released.stamp, released.piece(), out)
                        && !self.done
                        && matches!(released.piece(), Piece::Bytes { .. })
                    {
                        self.side_mut(flow).deferred.put_back(released, used);
                    }
                }
            }
            if !moved || self.done {
                break;
            }
        }
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
            Piece::Bytes { data, starts } => return self.bytes(flow, stamp, data, starts, out),
            Piece::Elided { wire, content, .. } => self.elided(flow, stamp, [wire, content], out),
            Piece::Gap { length } => self.gap(flow, stamp, length, out),
        }
        None
    }

    fn bytes(
        &mut self,
        flow: Flow,
        stamp: S,
        data: &[u8],
        starts: Option<u64>,
        out: &mut Vec<Outcome<S>>,
    ) -> Option<usize> {
        if starts.is_some() {
            if matches!(self.side(flow).state, State::Searching) {
                self.side_mut(flow).state = State::Frames;
            } else if !self.side(flow).reader.is_between() {
                // A loss that nobody told of.
                self.search(flow, out);
                self.side_mut(flow).state = State::Frames;
            }
            self.side_mut(flow).mark = starts;
        }
        let mut at = 0;
        while at < data.len() && !self.done {
            if self.is_stalled(flow) {
                return Some(at);
            }
            let rest = &data[at..];
            match (&mut self.side_mut(flow).state, flow) {
                (State::Opening(_), _) => at += self.opening(rest, out),
                (State::Asking, _) => {
                    at += 1;
                    self.encryption(rest[0], out);
                }
                (State::Searching, _) => {
                    if at > 0 || !super::frame::is_provable(flow, rest) {
                        self.skipped(flow, out);
                        return None;
                    }
                    self.side_mut(flow).state = State::Frames;
                }
                (State::Frames, _) => match self.side_mut(flow).reader.bytes(stamp, rest) {
                    Ok((used, frame)) => {
                        at += used;
                        if let Some(frame) = frame {
                            self.frame(flow, frame, 0, out);
                        }
                    }
                    Err(malformed) => {
                        out.push(Outcome::Lost(Reason::Unparsed(malformed)));
                        self.search(flow, out);
                        return None;
                    }
                },
            }
        }
        self.is_stalled(flow).then_some(at)
    }

    /// Reads the client's packets in front of its frames. Returns how many bytes that took.
    fn opening(&mut self, data: &[u8], out: &mut Vec<Outcome<S>>) -> usize {
        let State::Opening(packet) = &mut self.requests.state else {
            return data.len();
        };
        let length = |packet: &[u8]| {
            let length = packet.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*length) as usize)
        };
        let before = packet.len();
        let wanted = length(packet).unwrap_or(4);
        packet.extend_from_slice(&data[..(wanted - before).min(data.len())]);
        let used = packet.len() - before;
        let Some(length) = length(packet) else { return used };
        let read = match packet.len() {
            _ if !LENGTHS.contains(&length) => None,
            read if read < length => return used,
            _ => startup::packet(packet),
        };
        match read {
            Some(Packet::Startup(session)) => {
                self.pairing.session = Some(Arc::new(session));
                self.requests.state = State::Frames;
                if let State::Opening(_) = self.responses.state {
                    self.responses.state = State::Frames;
                }
                self.pairing.ask(Asked::Startup, out);
            }
            Some(Packet::Encryption) => {
                self.requests.state = State::Asking;
                match self.responses.state {
                    State::Opening(_) => self.responses.state = State::Asking,
                    // Its answer was lost.
                    _ => self.requests.state = State::Searching,
                }
            }
            Some(Packet::Cancel) => self.finish(),
            None => {
                out.push(Outcome::Lost(Reason::Unparsed(Malformed::Startup)));
                self.finish();
            }
        }
        used
    }

    /// The server's answer to a request for encryption.
    fn encryption(&mut self, answer: u8, out: &mut Vec<Outcome<S>>) {
        match answer {
            b'N' => {
                self.requests.state = State::Opening(Vec::new());
                self.responses.state = State::Opening(Vec::new());
            }
            b'S' | b'G' => {
                out.push(Outcome::Lost(Reason::Encrypted));
                self.finish();
            }
            // An ErrorResponse: the server ends the connection, which has carried nothing.
            b'E' => self.finish(),
            _ => {
                out.push(Outcome::Lost(Reason::Unparsed(Malformed::Startup)));
                self.finish();
            }
        }
    }

    fn elided(&mut self, flow: Flow, stamp: S, [wire, rows]: [u64; 2], out: &mut Vec<Outcome<S>>) {
        match self.side(flow).state {
            State::Searching => return self.skipped(flow, out),
            State::Frames => {}
            State::Opening(_) | State::Asking => return self.search(flow, out),
        }
        // What a client copies in is no answer to it.
        let rows = if flow == Flow::Response { rows } else { 0 };
        let side = self.side_mut(flow);
        if let Some((_, frame)) = side.reader.skip(stamp, wire) {
            match frame {
                Some(frame) => self.frame(flow, frame, rows, out),
                None => self.pairing.rows(stamp, rows),
            }
        } else if side.reader.is_between() {
            self.pairing.rows(stamp, rows);
        } else {
            self.search(flow, out);
        }
    }

    fn gap(&mut self, flow: Flow, stamp: S, length: u64, out: &mut Vec<Outcome<S>>) {
        let side = self.side_mut(flow);
        let within = (1..=side.reader.left()).contains(&length);
        if let State::Frames = side.state
            && within
            && let Some((_, frame)) = side.reader.skip(stamp, length)
        {
            // Only a body is missing, or a part of it: where the next frame begins is still known.
            if let Some(frame) = frame {
                self.frame(flow, frame, 0, out);
            }
            return;
        }
        self.search(flow, out);
    }

    /// Messages of `flow` were lost: the next frame has to be found.
    fn search(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        let side = self.side_mut(flow);
        let opening = matches!(side.state, State::Opening(_) | State::Asking);
        side.state = State::Searching;
        side.reader.reset();
        side.mark = None;
        match flow {
            Flow::Request => self.pairing.lose_requests(out),
            Flow::Response => self.pairing.lose_responses(out),
        }
        // Without one half of the opening, the other says nothing, unless it is the client's that is there.
        let other = match flow {
            Flow::Request => &mut self.responses,
            Flow::Response => &mut self.requests,
        };
        let waits = match flow {
            Flow::Request => matches!(other.state, State::Opening(_) | State::Asking),
            Flow::Response => matches!(other.state, State::Asking),
        };
        if opening && waits {
            other.state = State::Searching;
        }
    }

    /// Bytes in which no beginning was found.
    fn skipped(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        if flow == Flow::Response && self.pairing.in_flight() > 0 {
            self.pairing.lose_responses(out);
        }
    }

    /// Takes a frame that is complete, behind which `rows` more were elided.
    fn frame(&mut self, flow: Flow, frame: Frame<S>, rows: u64, out: &mut Vec<Outcome<S>>) {
        if flow == Flow::Response {
            if self.pairing.answer(&frame, out) == Taken::Early {
                self.responses.parked = Some((frame, rows));
            } else {
                self.pairing.rows(frame.last, rows);
            }
            return;
        }
        let mark = match frame.tag {
            b'Q' | b'E' => self.requests.mark.take(),
            _ => None,
        };
        let stamps = [frame.first, frame.last];
        let asked = match frame.tag {
            b'Q' => Asked::Query {
                text: message::query(&frame, self.limits.text),
                sent: self.pairing.sent(mark, stamps),
            },
            b'E' => Asked::Execute {
                portal: message::execute(&frame),
                sent: self.pairing.sent(mark, stamps),
            },
            b'P' => Asked::Parse(message::parse(&frame, self.limits.text)),
            b'B' => Asked::Bind(message::bind(&frame)),
            b'D' => Asked::Describe {
                parameters: frame.body.first() == Some(&b'S'),
            },
            b'C' => Asked::Close(message::target(&frame)),
            b'F' => Asked::Call,
            b'S' => Asked::Sync,
            b'c' | b'f' => Asked::CopyEnd,
            // Flush, CopyData, Terminate and all of authentication are not answered.
            _ => return,
        };
        self.pairing.ask(asked, out);
    }
}
