//! Frames: type, length, body (PostgreSQL documentation, "Message Formats").
//!
//! ```text
//!   +------+----------------+----------------------+
//!   | type | length (4, BE) | body (length - 4)    |
//!   +------+----------------+----------------------+
//! ```

use super::{Flow, Malformed};

/// Type and length.
pub(super) const HEADER: usize = 5;

/// As much is kept of a body that begins with names.
pub(super) const NAMES: usize = 512;

/// A longer message cannot be (`PQ_LARGE_MESSAGE_LIMIT`).
const LONGEST: u32 = 0x3fff_ffff;

/// A frame, read to its end.
#[derive(Debug)]
pub(super) struct Frame<S> {
    pub(super) tag: u8,
    /// The body's beginning, as far as it is of use.
    pub(super) body: Vec<u8>,
    /// Nothing of the body is missing behind that.
    pub(super) is_whole: bool,
    /// Stamp of the first byte.
    pub(super) first: S,
    /// Stamp of the last byte.
    pub(super) last: S,
}

/// Reads the frames of one direction.
#[derive(Debug)]
pub(super) struct Reader<S> {
    flow: Flow,
    /// Bytes kept of a statement's text.
    text: usize,
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    filled: usize,
    /// The frame in progress, once its header is complete.
    frame: Option<Frame<S>>,
    first: Option<S>,
    /// Bytes kept of its body at most.
    keep: usize,
    /// Bytes of its body that are still to come.
    left: u64,
}

impl<S: Copy> Reader<S> {
    pub(super) fn new(flow: Flow, text: usize) -> Self {
        Self {
            flow,
            text,
            header: [0; HEADER],
            filled: 0,
            frame: None,
            first: None,
            keep: 0,
            left: 0,
        }
    }

    /// Forgets the frame in progress.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.flow, self.text);
    }

    /// Whether no frame is in progress.
    pub(super) fn is_between(&self) -> bool {
        self.filled == 0
    }

    /// Reads up to the end of one frame. Returns how many bytes that took, and the frame if it is complete.
    pub(super) fn bytes(&mut self, stamp: S, data: &[u8]) -> Result<(usize, Option<Frame<S>>), Malformed> {
        let mut used = 0;
        if self.filled < HEADER {
            used = (HEADER - self.filled).min(data.len());
            self.header[self.filled..self.filled + used].copy_from_slice(&data[..used]);
            self.filled += used;
            let first = *self.first.get_or_insert(stamp);
            if self.filled < HEADER {
                return Ok((used, None));
            }
            let [tag, length @ ..] = self.header;
            let length = u32::from_be_bytes(length);
            if !is_valid(self.flow, tag, length) {
                return Err(Malformed::Frame);
            }
            self.left = u64::from(length - 4);
            self.keep = kept(self.flow, tag, self.text);
            self.frame = Some(Frame {
                tag,
                body: Vec::new(),
                is_whole: true,
                first,
                last: stamp,
            });
        }
        if let Some(frame) = &mut self.frame {
            let here = &data[used..];
            let here = &here[..usize::try_from(self.left).unwrap_or(usize::MAX).min(here.len())];
            if frame.is_whole {
                let room = (self.keep - frame.body.len()).min(here.len());
                frame.body.extend_from_slice(&here[..room]);
                frame.is_whole = room == here.len();
            }
            used += here.len();
            self.left -= here.len() as u64;
        }
        Ok((used, self.finish(stamp)))
    }

    /// Steps over up to `length` bytes of the body in progress that were not copied, or were lost. Returns how many
    /// bytes were left behind its end, and the frame if it is complete; `None` where there is no body to step over.
    pub(super) fn skip(&mut self, stamp: S, length: u64) -> Option<(u64, Option<Frame<S>>)> {
        let frame = self.frame.as_mut()?;
        let here = self.left.min(length);
        frame.is_whole &= here == 0;
        self.left -= here;
        Some((length - here, self.finish(stamp)))
    }

    /// Bytes of the body in progress that are still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn finish(&mut self, stamp: S) -> Option<Frame<S>> {
        if self.left > 0 {
            return None;
        }
        let mut frame = self.frame.take()?;
        frame.last = stamp;
        self.filled = 0;
        self.first = None;
        Some(frame)
    }
}

/// How much of a body is of use. Of passwords, parameters and rows nothing is, and of Bind only what is in front of the
/// parameters.
fn kept(flow: Flow, tag: u8, text: usize) -> usize {
    match (flow, tag) {
        (Flow::Request, b'Q') => text.saturating_add(1),
        (Flow::Request, b'P') => text.saturating_add(NAMES),
        (Flow::Request, b'B' | b'E' | b'D' | b'C') | (Flow::Response, b'E') => NAMES,
        (Flow::Response, b'C') => 64,
        (Flow::Response, b'Z') => 1,
        _ => 0,
    }
}

/// Whether `flow` knows messages of type `tag`, and they can be `length` bytes long.
pub(super) fn is_valid(flow: Flow, tag: u8, length: u32) -> bool {
    let (least, most) = match (flow, tag) {
        (Flow::Request, b'S' | b'H' | b'X' | b'c') => (4, 4),
        (Flow::Response, b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c') => (4, 4),
        (Flow::Response, b'Z') => (5, 5),
        (Flow::Request, b'Q' | b'f') => (5, LONGEST),
        (Flow::Request, b'P') => (8, LONGEST),
        (Flow::Request, b'B') => (12, LONGEST),
        (Flow::Request, b'E') => (9, 4 + 1024),
        (Flow::Request, b'D' | b'C') => (6, 4 + 1024),
        (Flow::Request, b'F') => (14, LONGEST),
        (Flow::Request, b'p') => (4, 1 << 16),
        (Flow::Request | Flow::Response, b'd') => (4, LONGEST),
        (Flow::Response, b'R') => (8, 1 << 16),
        (Flow::Response, b'K') => (12, 4 + 4 + 256),
        (Flow::Response, b'T' | b't' | b'D') => (6, LONGEST),
        (Flow::Response, b'C') => (5, 4 + 1024),
        (Flow::Response, b'E' | b'N') => (5, LONGEST),
        (Flow::Response, b'A') => (10, 1 << 16),
        (Flow::Response, b'S') => (6, 1 << 16),
        (Flow::Response, b'V') => (8, LONGEST),
        (Flow::Response, b'G' | b'H' | b'W') => (7, 1 << 16),
        (Flow::Response, b'v') => (12, 1 << 16),
        _ => return false,
    };
    (least..=most).contains(&length)
}

/// Whether `piece` begins with what can only be frames: three of them, or as many as there are up to its very end, and
/// each body like its type. Only a piece's own beginning is looked at: within a row, bytes may well look like one.
pub(super) fn is_provable(flow: Flow, piece: &[u8]) -> bool {
    let (mut rest, mut frames) = (piece, 0);
    while let Some((_, behind)) = split(flow, rest) {
        (rest, frames) = (behind, frames + 1);
        if frames == 3 {
            return true;
        }
    }
    frames > 0 && rest.is_empty()
}

/// Whether `piece` is frames up to its very end, and behind them it is the other side's turn.
pub(super) fn ends_turn(flow: Flow, piece: &[u8]) -> bool {
    let (mut rest, mut last) = (piece, None);
    while let Some((tag, behind)) = split(flow, rest) {
        (rest, last) = (behind, Some(tag));
    }
    let turn = match flow {
        Flow::Request => b'S',
        Flow::Response => b'Z',
    };
    rest.is_empty() && last == Some(turn)
}

/// A whole frame in front, with a body like its type: that, and what is behind it.
fn split(flow: Flow, bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&[tag, ref length @ ..], behind) = bytes.split_first_chunk::<HEADER>()?;
    let length = u32::from_be_bytes(*length);
    if !is_valid(flow, tag, length) {
        return None;
    }
    let (body, behind) = behind.split_at_checked(length as usize - 4)?;
    is_body(flow, tag, body).then_some((tag, behind))
}

/// Whether `body` looks like one of type `tag`.
fn is_body(flow: Flow, tag: u8, body: &[u8]) -> bool {
    let strings = |count: usize| {
        body.last() == Some(&0) && body.iter().filter(|byte| **byte == 0).take(count + 1).count() == count
    };
    let count = |at: usize| Some(usize::from(u16::from_be_bytes(*body.get(at..)?.first_chunk()?)));
    match (flow, tag) {
        (Flow::Request, b'Q' | b'f') => strings(1),
        (Flow::Request, b'P') => body.iter().filter(|byte| **byte == 0).take(2).count() == 2,
        (Flow::Request, b'E') => body
            .split_last_chunk::<4>()
            .is_some_and(|(name, _)| name.last() == Some(&0)),
        (Flow::Request, b'D' | b'C') => matches!(body.first(), Some(b'S' | b'P')) && strings(1),
        (Flow::Response, b'Z') => matches!(body, [b'I' | b'T' | b'E']),
        (Flow::Response, b'C') => body.first().is_some_and(u8::is_ascii_uppercase) && strings(1),
        (Flow::Response, b'E' | b'N') => {
            body.first().is_some_and(u8::is_ascii_uppercase) && body.ends_with(b"\0\0")
        }
        (Flow::Response, b'S') => strings(2),
        // Each column is at least a name's end and 18 bytes, each value at least its length.
        (Flow::Response, b'T') => count(0).is_some_and(|columns| body.len() >= 2 + 19 * columns),
        (Flow::Response, b'D') => count(0).is_some_and(|values| body.len() >= 2 + 4 * values),
        (Flow::Response, b't') => count(0).is_some_and(|parameters| body.len() == 2 + 4 * parameters),
        (Flow::Response, b'G' | b'H' | b'W') => count(1).is_some_and(|columns| body.len() == 3 + 2 * columns),
        _ => true,
    }
}
