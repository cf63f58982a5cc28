//! One record of a segment: a header, and a request behind it.
//!
//! ```text
//!  0       4          8         12       16       24               28              32    33
//!  | magic | length   | plain   | spans  | time   | crc of content | crc of header | state | content ...
//! ```
//!
//! Numbers are little-endian. `length` is that of the content, which is the request compressed by zstd, `plain` that of the
//! request. `time` is when it was stored, in milliseconds since 1970. Both checksums are CRC32C (RFC 3720, section 12.1), that
//! of the header over all in front of it. `state` is under none, since it is written again where the record is: one byte, so
//! that nobody ever sees half of it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::super::form::Request;

/// Bytes of a header.
pub(super) const HEADER: usize = 33;

/// What a record begins with; the last byte is the version of this form.
pub(super) const MAGIC: [u8; 4] = *b"SWr\x01";

/// Where the state is.
pub(super) const STATE: u64 = 32;

/// It was delivered, or given up. Every other value says that it still is to be sent: of a bit that flips, sending twice is
/// the worst that comes.
pub(super) const DONE: u8 = 0xa5;
const WAITING: u8 = 0x5a;

/// A request that is said to be larger is damaged.
const LARGEST: u32 = 256 << 20;

/// What is known of a request without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the content.
    pub(super) length: u32,
    plain: u32,
    /// Spans in the request.
    pub(super) spans: u32,
    time: u64,
    content: u32,
    /// It need not be sent any more.
    pub(super) is_done: bool,
}

impl Header {
    /// `None` where this is no header.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..4] != MAGIC || number(28) != crc32c::crc32c(&bytes[..28]) {
            return None;
        }
        let header = Self {
            length: number(4),
            plain: number(8),
            spans: number(12),
            time: u64::from(number(16)) | u64::from(number(20)) << 32,
            content: number(24),
            is_done: bytes[32] == DONE,
        };
        (header.plain <= LARGEST).then_some(header)
    }

    /// Bytes of the whole record.
    pub(super) fn size(&self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }

    /// How long ago it was stored, by `now`.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        Duration::from_millis(milliseconds(now).saturating_sub(self.time))
    }

    /// The request; `None` where it is not what was stored.
    pub(super) fn request(&self, content: &[u8]) -> Option<Request> {
        if crc32c::crc32c(content) != self.content {
            return None;
        }
        let plain = zstd::bulk::decompress(content, self.plain as usize).ok()?;
        (plain.len() == self.plain as usize).then(|| Request {
            spans: self.spans.into(),
            bytes: plain.into(),
        })
    }
}

/// The record of `request`, stored at `now`; `None` where it is too large for one.
pub(super) fn record(request: &Request, now: SystemTime) -> Option<Bytes> {
    let plain = u32::try_from(request.bytes.len())
        .ok()
        .filter(|plain| *plain <= LARGEST)?;
    let content = zstd::bulk::compress(&request.bytes, 1).ok()?;
    let mut bytes = Vec::with_capacity(HEADER + content.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&u32::try_from(content.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&plain.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(request.spans).ok()?.to_le_bytes());
    bytes.extend_from_slice(&milliseconds(now).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.push(WAITING);
    bytes.extend_from_slice(&content);
    Some(bytes.into())
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
