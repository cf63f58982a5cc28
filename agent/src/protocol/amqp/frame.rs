//! Frames (AMQP 0-9-1, section 2.3.5).
//!
//! ```text
//!   +------+-------------+----------+----------------+------+
//!   | type | channel (2) | size (4) | payload (size) | 0xCE |
//!   +------+-------------+----------+----------------+------+
//! ```

use super::Malformed;
use super::method;
use std::borrow::Cow;

/// Type, channel and size.
pub(super) const HEADER: usize = 7;

/// The octet that ends each frame.
pub(super) const END: u8 = 0xce;

/// As much is kept of a method: what is used of any is in front of that.
const METHOD: usize = 1024;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Method,
    Header,
    Body,
    Heartbeat,
}

/// A frame's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) channel: u16,
    pub(super) size: u32,
}

impl Head {
    /// Reads it; `None` where this cannot be one.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let [kind, c0, c1, size @ ..] = *bytes;
        let (channel, size) = (u16::from_be_bytes([c0, c1]), u32::from_be_bytes(size));
        let kind = match kind {
            1 if size >= 4 => Kind::Method,
            2 if size >= 14 && channel > 0 => Kind::Header,
            3 if channel > 0 => Kind::Body,
            8 if channel == 0 && size == 0 => Kind::Heartbeat,
            _ => return None,
        };
        Some(Self { kind, channel, size })
    }
}

/// A frame, read to its end.
#[derive(Debug)]
pub(super) struct Frame<'a, S> {
    pub(super) head: Head,
    /// The payload's beginning, as far as it is of use.
    pub(super) payload: Cow<'a, [u8]>,
    /// Nothing of the payload is missing behind that.
    pub(super) is_whole: bool,
    /// Stamp of the first byte.
    pub(super) first: S,
    /// Stamp of the last byte.
    pub(super) last: S,
}

/// Reads the frames of one direction.
#[derive(Debug)]
pub(super) struct Reader<S> {
    /// Bytes kept of a content header.
    limit: usize,
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    filled: usize,
    /// The frame in progress, once its header is complete.
    frame: Option<Frame<'static, S>>,
    first: Option<S>,
    /// Bytes that are still to come, the end octet among them.
    left: u64,
}

impl<S: Copy> Reader<S> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; HEADER],
            filled: 0,
            frame: None,
            first: None,
            left: 0,
        }
    }

    /// Forgets the frame in progress.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Whether no frame is in progress.
    pub(super) fn is_between(&self) -> bool {
        self.filled == 0
    }

    /// Reads up to the end of one frame. Returns how many bytes that took, and the frame if it is complete.
    pub(super) fn bytes<'a>(
        &mut self,
        stamp: S,
        data: &'a [u8],
    ) -> Result<(usize, Option<Frame<'a, S>>), Malformed> {
        if let Some((used, frame)) = self.whole(stamp, data)? {
            return Ok((used, Some(frame)));
        }
        let mut used = 0;
        if self.filled < HEADER {
            used = (HEADER - self.filled).min(data.len());
            self.header[self.filled..self.filled + used].copy_from_slice(&data[..used]);
            self.filled += used;
            let first = *self.first.get_or_insert(stamp);
            if self.filled < HEADER {
                return Ok((used, None));
            }
            let head = Head::read(&self.header).ok_or(Malformed::Frame)?;
            self.left = u64::from(head.size) + 1;
            self.frame = Some(Frame {
                head,
                payload: Cow::Owned(Vec::new()),
                is_whole: true,
                first,
                last: stamp,
            });
        }
        if let Some(frame) = &mut self.frame {
            let here = &data[used..];
            let here = &here[..usize::try_from(self.left).unwrap_or(usize::MAX).min(here.len())];
            let ends = here.len() as u64 == self.left;
            let payload = if ends { &here[..here.len() - 1] } else { here };
            if ends && here.last() != Some(&END) {
                return Err(Malformed::Frame);
            }
            frame.keep(payload, self.limit);
            used += here.len();
            self.left -= here.len() as u64;
        }
        Ok((used, self.finish(stamp)))
    }

    /// The frame that begins with `data`, where all of it is there: nothing has to be copied.
    fn whole<'a>(&self, stamp: S, data: &'a [u8]) -> Result<Option<(usize, Frame<'a, S>)>, Malformed> {
        let Some((header, rest)) = data.split_first_chunk().filter(|_| self.is_between()) else {
            return Ok(None);
        };
        let head = Head::read(header).ok_or(Malformed::Frame)?;
        let size = head.size as usize;
        let (Some(payload), Some(end)) = (rest.get(..size), rest.get(size)) else {
            return Ok(None);
        };
        if *end != END {
            return Err(Malformed::Frame);
        }
        let kept = &payload[..kept(head.kind, payload, self.limit).min(size)];
        let frame = Frame {
            head,
            payload: Cow::Borrowed(kept),
            is_whole: kept.len() == size,
            first: stamp,
            last: stamp,
        };
        Ok(Some((HEADER + size + 1, frame)))
    }

    /// Steps over up to `length` bytes of the frame in progress that were not copied, or were lost. Returns the frame if
    /// it is complete; `None` where there is none to step over, or fewer bytes are left of it.
    pub(super) fn skip(&mut self, stamp: S, length: u64) -> Option<Option<Frame<'static, S>>> {
        let frame = self.frame.as_mut()?;
        self.left = self.left.checked_sub(length)?;
        // The end octet is no payload.
        frame.is_whole &= length == 0 || (self.left == 0 && length == 1);
        Some(self.finish(stamp))
    }

    fn finish(&mut self, stamp: S) -> Option<Frame<'static, S>> {
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

/// How much is kept of a payload that begins with `payload`. Which method it is decides: nothing where it holds a password.
fn kept(kind: Kind, payload: &[u8], limit: usize) -> usize {
    match kind {
        Kind::Header => limit,
        Kind::Method => match payload.first_chunk() {
            None => method::ID,
            Some(id) if method::is_secret(*id) => method::ID,
            Some(_) => METHOD,
        },
        Kind::Body | Kind::Heartbeat => 0,
    }
}

impl<S> Frame<'_, S> {
    /// Keeps what is of use of `more` payload.
    fn keep(&mut self, mut more: &[u8], limit: usize) {
        while self.is_whole && !more.is_empty() {
            let keep = kept(self.head.kind, &self.payload, limit);
            let room = keep.saturating_sub(self.payload.len()).min(more.len());
            self.payload.to_mut().extend_from_slice(&more[..room]);
            self.is_whole = room > 0;
            more = &more[room..];
        }
    }
}
