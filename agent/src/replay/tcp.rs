//! TCP: the segments of a connection, in whatever order they were captured, become two streams (RFC 9293).
//!
//! A segment is delivered when all before it has been: the bytes of its own direction, and those of the other that it
//! acknowledges. So the two streams come in the order in which the two ends had them, also where the capture mixed it
//! up. What cannot be delivered is held. It is no longer waited for, and becomes a gap, where
//! - the receiver has acknowledged bytes that were not captured, and `PATIENCE` segments later they still were not;
//! - more is held than the limits allow, or the connection or the file is over.
//!
//! Of bytes that come twice the first are taken. Sequence numbers are compared modulo 2^32 (section 3.4).

use std::collections::VecDeque;

/// How many segments of a connection, and nanoseconds, a capture may be out of order.
const PATIENCE: u64 = 32;
const LONGEST_PATIENCE: u64 = 1_000_000_000;
/// Most that is held of a connection: segments, and bytes of a direction. The largest window in use is some megabytes.
const MOST_SEGMENTS: usize = 4096;
const MOST_BYTES: usize = 4 << 20;
/// What is further away is not of this connection: a number used again, or nonsense.
const FARTHEST: u32 = 64 << 20;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one whose address sorts first.
    Low,
    /// The other one.
    High,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<D> {
    /// Who sent it.
    pub side: Side,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number, where it is one.
    pub acknowledges: Option<u32>,
    /// Control bits.
    pub syn: bool,
    /// Control bits.
    pub fin: bool,
    /// Control bits.
    pub rst: bool,
    /// What was captured of the data.
    pub data: D,
    /// Bytes at the end of the data that were not.
    pub cut: u32,
    /// When it was captured.
    pub time: u64,
}

/// Why bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// They were before the capture began, if there were any.
    Before,
    /// No packet that was captured has them.
    Lost,
    /// Their packet was not captured whole.
    Cut,
    /// They may come yet, but no more can be held until then.
    OverLimit,
}

/// What comes next of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// Bytes that are missing; how many, if that can be told.
    Gap(u32, Missing),
    /// The direction's end.
    End,
    /// The connection's end: this side reset it.
    Reset,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Sequence number of the first byte that was, or could have been, delivered.
    start: Option<u32>,
    /// Sequence number of what comes next.
    next: Option<u32>,
    /// It is known from its first byte on.
    whole: bool,
    /// Highest acknowledgment of the receiver.
    acknowledged: Option<u32>,
    /// Bytes held.
    held: usize,
    over: bool,
}

impl Half {
    /// How far `sequence` is ahead of what comes next; negative where it lies behind.
    fn ahead(&self, sequence: u32) -> Option<i32> {
        self.next.map(|next| distance(next, sequence))
    }

    fn begin(&mut self, sequence: u32, whole: bool) {
        self.start = Some(sequence);
        self.next = Some(sequence);
        self.whole = whole;
    }
}

/// Whether a segment is of the connection whose state is kept, or of a later one with the same ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Of this one.
    Same,
    /// It begins a new one.
    New,
    /// Of neither: nothing is missed without it.
    Stray,
}

/// Both directions of a connection.
#[derive(Debug, Default)]
pub struct Streams {
    halves: [Half; 2],
    held: VecDeque<Held>,
    /// Segments so far.
    count: u64,
    /// Reset, or both directions over.
    over: bool,
}

#[derive(Debug)]
struct Held {
    segment: Segment<Vec<u8>>,
    count: u64,
}

/// `to - from`, within half the number space (RFC 9293, section 3.4).
const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

impl<D: AsRef<[u8]>> Segment<D> {
    /// Sequence number of its first byte of data.
    fn first(&self) -> u32 {
        self.sequence.wrapping_add(self.syn.into())
    }

    /// Sequence number behind its data.
    fn end(&self) -> u32 {
        self.first().wrapping_add(self.length())
    }

    fn length(&self) -> u32 {
        u32::try_from(self.data.as_ref().len())
            .unwrap_or(u32::MAX)
            .saturating_add(self.cut)
    }

    /// Whether it moves its direction on.
    fn is_move(&self) -> bool {
        self.length() > 0 || self.fin || self.rst
    }
}

impl Streams {
    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.halves.iter().map(|half| half.held).sum()
    }

    /// Whether nothing more will be delivered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whose segment it is.
    #[must_use]
    pub fn fit(&self, segment: &Segment<&[u8]>) -> Fit {
        let half = &self.halves[segment.side as usize];
        let Some(ahead) = half.ahead(segment.first()) else {
            return Fit::Same;
        };
        let first = half.start.map(|start| distance(segment.first(), start));
        match first {
            // Once more, or late: before bytes that were taken for the first.
            Some(0) if segment.syn => Fit::Same,
            Some(late) if segment.syn => {
                let is_young = !half.whole && !self.over && self.count < PATIENCE;
                let is_late = is_young && (0..1 << 16).contains(&late);
                if is_late { Fit::Stray } else { Fit::New }
            }
            _ if segment.rst && ahead.unsigned_abs() > 1 << 20 => Fit::Stray,
            _ if self.over && (ahead < 0 || segment.length() == 0) => Fit::Stray,
            _ if self.over || ahead.unsigned_abs() > FARTHEST => Fit::New,
            _ => Fit::Same,
        }
    }

    /// Takes a segment, and hands on what can be by now: each delivery with its side and its time.
    pub fn take(&mut self, segment: &Segment<&[u8]>, out: &mut impl FnMut(Side, u64, Delivery<'_>)) {
        self.count += 1;
        let begun = segment.syn && self.handshake(segment);
        if let Some(number) = segment.acknowledges {
            let other = &mut self.halves[segment.side.other() as usize];
            if other
                .acknowledged
                .is_none_or(|before| distance(before, number) > 0)
            {
                other.acknowledged = Some(number);
            }
        }
        let due = segment.is_move() && self.is_due(segment);
        if due {
            self.deliver(segment, out);
        } else if segment.is_move() {
            self.hold(segment);
        }
        if due || begun {
            self.catch_up(out);
        }
        while self.is_overdue(segment.time) {
            self.give_up(Missing::Lost, out);
        }
        while self.is_over_limit() {
            self.give_up(Missing::OverLimit, out);
        }
    }

    /// Hands on all that is held: nothing more comes, or there is no room for it.
    pub fn flush(&mut self, why: Missing, out: &mut impl FnMut(Side, u64, Delivery<'_>)) {
        while !self.held.is_empty() {
            self.give_up(why, out);
        }
    }

    /// Learns from a handshake's segment where directions begin, its own and the one that it answers; whether it did.
    fn handshake(&mut self, segment: &Segment<&[u8]>) -> bool {
        let answered = segment.acknowledges.map(|number| (segment.side.other(), number));
        let mut begun = false;
        for (side, first) in [Some((segment.side, segment.first())), answered]
            .into_iter()
            .flatten()
        {
            let half = &mut self.halves[side as usize];
            if half.next.is_none() {
                half.begin(first, true);
                begun = true;
            }
        }
        begun
    }

    /// Whether all that comes before `segment` has been delivered.
    fn is_due<D: AsRef<[u8]>>(&self, segment: &Segment<D>) -> bool {
        let half = &self.halves[segment.side as usize];
        half.ahead(segment.first()).is_some_and(|ahead| ahead <= 0) && self.unacknowledged(segment).is_none()
    }

    /// The acknowledgment number of `segment`, where it is ahead of what the other direction has delivered.
    fn unacknowledged<D>(&self, segment: &Segment<D>) -> Option<u32> {
        let other = &self.halves[segment.side.other() as usize];
        // A reset need not acknowledge anything (section 3.10.7.1), and what it does is no longer of interest.
        segment
            .acknowledges
            .filter(|number| !segment.rst && other.ahead(*number).is_none_or(|ahead| ahead > 0))
    }

    fn hold(&mut self, segment: &Segment<&[u8]>) {
        self.halves[segment.side as usize].held += segment.data.len();
        self.held.push_back(Held {
            segment: Segment {
                side: segment.side,
                sequence: segment.sequence,
                acknowledges: segment.acknowledges,
                syn: segment.syn,
                fin: segment.fin,
                rst: segment.rst,
                data: segment.data.to_vec(),
                cut: segment.cut,
                time: segment.time,
            },
            count: self.count,
        });
    }

    /// Delivers what is held and due.
    fn catch_up(&mut self, out: &mut impl FnMut(Side, u64, Delivery<'_>)) {
        while let Some(index) = self.held.iter().position(|held| self.is_due(&held.segment))
            && let Some(held) = self.held.remove(index)
        {
            self.halves[held.segment.side as usize].held -= held.segment.data.len();
            self.deliver(&held.segment, out);
        }
    }

    /// Hands on what of `segment` is new. Its first byte is what comes next, or lies before that.
    fn deliver<D: AsRef<[u8]>>(
        &mut self,
        segment: &Segment<D>,
        out: &mut impl FnMut(Side, u64, Delivery<'_>),
    ) {
        let side = segment.side;
        let half = &mut self.halves[side as usize];
        let Some(ahead) = half.ahead(segment.first()).filter(|_| !half.over && !self.over) else {
            return;
        };
        let old = ahead.unsigned_abs();
        let data = segment.data.as_ref();
        if old < segment.length() {
            half.next = Some(segment.end());
            let new = data.get(old as usize..).unwrap_or_default();
            if !new.is_empty() {
                out(side, segment.time, Delivery::Bytes(new));
            }
            let cut = segment.cut.min(segment.length() - old);
            if cut > 0 {
                out(side, segment.time, Delivery::Gap(cut, Missing::Cut));
            }
        }
        let half = &mut self.halves[side as usize];
        if segment.fin && half.next == Some(segment.end()) {
            // The end takes a number of its own (section 3.4).
            half.next = Some(segment.end().wrapping_add(1));
            half.over = true;
            out(side, segment.time, Delivery::End);
            self.over = self.halves.iter().all(|half| half.over);
        }
        if segment.rst {
            self.over = true;
            out(side, segment.time, Delivery::Reset);
        }
    }

    /// Whether what the oldest held segment waits for is known to be missing, and was waited for long enough.
    fn is_overdue(&self, now: u64) -> bool {
        let Some(Held { segment, count }) = self.held.front() else {
            return false;
        };
        let half = &self.halves[segment.side as usize];
        let is_known = half.next.is_none()
            || self.unacknowledged(segment).is_some()
            || half
                .acknowledged
                .is_some_and(|number| distance(segment.first(), number) >= 0);
        let is_late = self.count - count >= PATIENCE || now.saturating_sub(segment.time) > LONGEST_PATIENCE;
        is_known && is_late
    }

    fn is_over_limit(&self) -> bool {
        self.held.len() > MOST_SEGMENTS || self.halves.iter().any(|half| half.held > MOST_BYTES)
    }

    /// Gives up what the oldest held segment waits for first.
    fn give_up(&mut self, why: Missing, out: &mut impl FnMut(Side, u64, Delivery<'_>)) {
        let Some(Held { segment, .. }) = self.held.front() else {
            return;
        };
        let (side, time) = (segment.side, segment.time);
        // What is acknowledged came before the segment's own bytes.
        let (of, to) = match self.unacknowledged(segment) {
            Some(number) => (side.other(), number),
            None => (side, segment.first()),
        };
        // The first segment of a direction acknowledges the handshake, if nothing was said before.
        let own = &self.halves[side as usize];
        let answers_handshake = of != side && own.whole && own.start == Some(segment.first());
        // An end that was not captured takes a number, too, and an end is what answers it.
        let answers_end = of != side && (segment.fin || own.over);
        let nearest = self
            .held
            .iter()
            .filter(|held| held.segment.side == of)
            .map(|held| held.segment.first())
            .filter(|first| {
                self.halves[of as usize]
                    .ahead(*first)
                    .is_none_or(|ahead| ahead > 0)
            })
            .reduce(|nearest, first| {
                if distance(nearest, first) < 0 {
                    first
                } else {
                    nearest
                }
            });
        let to = nearest.map_or(to, |nearest| if distance(to, nearest) < 0 { nearest } else { to });
        let half = &mut self.halves[of as usize];
        match half.next {
            None => {
                half.begin(to, answers_handshake);
                if !answers_handshake {
                    out(of, time, Delivery::Gap(0, Missing::Before));
                }
            }
            Some(next) if answers_end && nearest.is_none() && to == next.wrapping_add(1) => {
                half.next = Some(to);
                half.over = true;
                out(of, time, Delivery::End);
            }
            Some(next) => {
                half.next = Some(to);
                if !half.over {
                    out(of, time, Delivery::Gap(to.wrapping_sub(next), why));
                }
            }
        }
        self.catch_up(out);
    }
}

#[cfg(test)]
mod tests;
