//! From pieces to frames: where a direction is, and how it goes on behind a loss.

use super::super::recognise::PROTOCOL;
use super::super::{Flow, Malformed, Outcome, Reason};
use super::{Connection, State};
use std::borrow::Cow;

impl<S: Copy> Connection<S> {
    /// The kernel says that a frame begins with `data`, or the client's protocol header.
    pub(super) fn marked(&mut self, flow: Flow, mark: Option<u64>, data: &[u8], out: &mut Vec<Outcome<S>>) {
        let side = self.side(flow);
        match side.state {
            State::Opening(0) if flow == Flow::Response || data.first() == PROTOCOL.first() => {}
            State::Frames if side.reader.is_between() => {}
            // A loss that nobody told of.
            State::Opening(_) | State::Frames => self.search(flow, out),
            State::Searching | State::Ended => {}
        }
        if let State::Searching = self.side(flow).state {
            self.regain(flow, out);
        }
        self.side_mut(flow).mark = mark;
    }

    pub(super) fn bytes(&mut self, flow: Flow, stamp: S, data: &[u8], out: &mut Vec<Outcome<S>>) {
        // Where a search ends, what it held is read again; the next is the last.
        let mut parts = Vec::new();
        let mut next = Some((stamp, Cow::Borrowed(data)));
        while !self.done
            && let Some((stamp, data)) = next.take().or_else(|| parts.pop())
        {
            let used = match self.side(flow).state {
                State::Opening(seen) => self.opening(flow, seen, &data, out),
                State::Frames => self.frames(flow, stamp, &data, out),
                State::Searching => {
                    if let Some(found) = self.side_mut(flow).search.add(flow, stamp, &data) {
                        self.regain(flow, out);
                        let found = found.into_iter().rev();
                        parts.extend(found.map(|(stamp, bytes)| (stamp, Cow::Owned(bytes))));
                    }
                    continue;
                }
                State::Ended => return,
            };
            if used < data.len() {
                let rest = match data {
                    Cow::Borrowed(data) => Cow::Borrowed(&data[used..]),
                    Cow::Owned(mut data) => Cow::Owned(data.split_off(used)),
                };
                next = Some((stamp, rest));
            }
        }
    }

    /// Reads the client's protocol header, of which `seen` bytes came before. The server has none, unless it does not
    /// speak this version: then it says which it does, and that is all. Returns how many bytes that took.
    fn opening(&mut self, flow: Flow, seen: usize, data: &[u8], out: &mut Vec<Outcome<S>>) -> usize {
        if flow == Flow::Response {
            self.responses.state = State::Frames;
            if data.first() == PROTOCOL.first() {
                self.finish(None, out);
            }
            return 0;
        }
        let expected = &PROTOCOL[seen..];
        let here = expected.len().min(data.len());
        if data[..here] != expected[..here] {
            out.push(Outcome::Lost(Reason::Unparsed(Malformed::Opening)));
            self.finish(None, out);
        } else {
            self.requests.state = match seen + here {
                seen if seen < PROTOCOL.len() => State::Opening(seen),
                _ => State::Frames,
            };
        }
        here
    }

    /// Reads frames. Returns how many bytes that took, which are fewer than there are where it cannot go on.
    fn frames(&mut self, flow: Flow, stamp: S, data: &[u8], out: &mut Vec<Outcome<S>>) -> usize {
        let mut at = 0;
        while at < data.len() && !self.done && matches!(self.side(flow).state, State::Frames) {
            match self.side_mut(flow).reader.bytes(stamp, &data[at..]) {
                Ok((used, frame)) => {
                    at += used;
                    if let Some(frame) = frame {
                        self.frame(flow, &frame, out);
                    }
                }
                Err(malformed) => {
                    out.push(Outcome::Lost(Reason::Unparsed(malformed)));
                    self.search(flow, out);
                    // What looked like a frame's beginning was none: the next may be in what is left.
                    at += 1;
                }
            }
        }
        at
    }

    /// Steps over bytes of a frame that are not there.
    pub(super) fn skip(&mut self, flow: Flow, stamp: S, length: u64, out: &mut Vec<Outcome<S>>) {
        let side = self.side_mut(flow);
        match side.state {
            State::Frames => match side.reader.skip(stamp, length) {
                Some(Some(frame)) => self.frame(flow, &frame, out),
                Some(None) => {}
                None => self.search(flow, out),
            },
            State::Opening(_) => self.search(flow, out),
            State::Searching => side.search.lose(),
            State::Ended => {}
        }
    }

    /// Frames of `flow` were lost, and the next has to be found.
    pub(super) fn search(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        let side = self.side_mut(flow);
        if let State::Ended = side.state {
            return;
        }
        side.state = State::Searching;
        side.reader.reset();
        side.search.end();
        side.mark = None;
        side.lose(Reason::Incomplete, out);
        self.gap(flow, out);
    }

    /// A frame begins behind a loss.
    pub(super) fn regain(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        let side = self.side_mut(flow);
        side.state = State::Frames;
        if side.search.end() {
            // What began meanwhile is concerned as well.
            self.gap(flow, out);
        }
    }
}
