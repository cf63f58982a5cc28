//! HTTP/2 (RFC 9113, section 4.1).
//!
//! ```text
//!   +------------+----------+-----------+------------+---------+
//!   | length (3) | type (1) | flags (1) | stream (4) | payload |
//!   +------------+----------+-----------+------------+---------+
//! ```

use super::{Frame, Head, mark};
use crate::HEAD_LIMIT;
use crate::word::pattern;

/// Length of a frame's header.
pub const HEADER: u32 = 9;

/// Length of the client's preface (section 3.4).
pub const PREFACE: u32 = 24;

/// Its first eight bytes.
pub const PREFACE_BEGINS: u64 = pattern(b"PRI * HT");

/// DATA up to this length is handed on whole: the agent counts the messages of gRPC in it, and the end of a stream needs no
/// record of its own then.
const SMALL: u32 = 256;

/// As much is handed on of other DATA: the header, the padding's length, and the prefix of a message of gRPC.
const PREFIX: u32 = HEADER + 7;

/// Frame types (section 6).
mod kind {
    pub(super) const DATA: u32 = 0;
    pub(super) const HEADERS: u32 = 1;
    pub(super) const PRIORITY: u32 = 2;
    pub(super) const RST_STREAM: u32 = 3;
    pub(super) const SETTINGS: u32 = 4;
    pub(super) const PUSH_PROMISE: u32 = 5;
    pub(super) const PING: u32 = 6;
    pub(super) const GOAWAY: u32 = 7;
    pub(super) const WINDOW_UPDATE: u32 = 8;
    pub(super) const CONTINUATION: u32 = 9;
}

/// END_STREAM (sections 6.1 and 6.2).
const END_STREAM: u8 = 1;
/// END_HEADERS.
const END_HEADERS: u8 = 4;
/// PADDED.
const PADDED: u8 = 8;
/// PRIORITY.
const PRIORITY: u8 = 32;

/// Largest type that a frame may have to be taken for one: some that extensions define are above those of the RFC.
const LAST_KIND: u32 = 0x20;

/// What has to be seen whole: a header block.
const BLOCKS: u32 = 1 << kind::HEADERS | 1 << kind::PUSH_PROMISE | 1 << kind::CONTINUATION;
/// What belongs to a stream, never to the connection.
const OF_STREAM: u32 = BLOCKS | 1 << kind::DATA | 1 << kind::PRIORITY | 1 << kind::RST_STREAM;
/// What belongs to the connection.
const OF_CONNECTION: u32 = 1 << kind::SETTINGS | 1 << kind::PING | 1 << kind::GOAWAY;

/// The stream of a frame.
#[inline(always)]
#[must_use]
pub const fn stream(head: Head) -> u32 {
    head.big_endian(5) & 0x7fff_ffff
}

/// Length of the frame with its header.
#[inline(always)]
#[must_use]
pub const fn whole(head: Head) -> u32 {
    ((head.word as u32).swap_bytes() >> 8) + HEADER
}

/// Whether a client's frame is HEADERS: it may begin a request.
#[inline(always)]
#[must_use]
pub const fn is_headers(head: Head) -> bool {
    head.byte(3) as u32 == kind::HEADERS && stream(head) & 1 != 0
}

/// Of HEADERS, where the header block begins in the frame, and how much padding is behind it (section 6.2). `first` is the
/// payload's first byte. `None` where the block does not end with the frame.
#[inline(always)]
#[must_use]
pub const fn block(head: Head, first: u8) -> Option<(u32, u32)> {
    let flags = head.byte(4);
    if flags & END_HEADERS == 0 {
        return None;
    }
    let padded = flags & PADDED != 0;
    let from = HEADER + padded as u32 + if flags & PRIORITY != 0 { 5 } else { 0 };
    Some((from, if padded { first as u32 } else { 0 }))
}

/// The frame that begins with `head`.
#[inline(always)]
#[must_use]
pub const fn frame(head: Head, request: bool) -> Frame {
    let length = (head.word as u32).swap_bytes() >> 8;
    let kind = head.byte(3) as u32;
    let flags = head.byte(4);
    let stream = head.big_endian(5);
    let bit = 1u32 << (kind & 31);
    // The reserved bit is 0 wherever anybody was seen to send it.
    if kind >= LAST_KIND
        || stream >> 31 != 0
        || bit & OF_STREAM != 0 && stream == 0
        || bit & OF_CONNECTION != 0 && stream != 0
        || !has_length(kind, length)
    {
        return Frame::NONE;
    }
    let whole = length + HEADER;
    if bit & BLOCKS != 0 {
        let headers = kind == kind::HEADERS;
        let begins = headers && request && stream & 1 != 0;
        let settles = headers && !request && flags & END_STREAM != 0;
        return Frame::new(
            whole,
            HEAD_LIMIT,
            (begins as u32 * mark::EXCHANGE) | (settles as u32 * mark::SETTLES),
        );
    }
    match kind {
        kind::DATA => {
            let limit = if length <= SMALL { HEADER + SMALL } else { PREFIX };
            let ends = match flags & END_STREAM {
                0 => 0,
                _ if request => mark::ENDS,
                _ => mark::ENDS | mark::SETTLES,
            };
            Frame::new(whole, limit, mark::BODY | ends)
        }
        kind::RST_STREAM => Frame::new(whole, HEADER + 8, mark::RESETS),
        kind::GOAWAY => Frame::new(whole, HEADER + 8, 0),
        _ => Frame::new(whole, 0, 0),
    }
}

/// Whether frames of this type may be so long.
#[inline(always)]
const fn has_length(kind: u32, length: u32) -> bool {
    match kind {
        kind::PRIORITY => length == 5,
        kind::RST_STREAM | kind::WINDOW_UPDATE => length == 4,
        kind::PING => length == 8,
        kind::SETTINGS => length.is_multiple_of(6) && length <= 6 * 64,
        kind::GOAWAY => length >= 8,
        _ => true,
    }
}

/// The client's preface.
#[inline(always)]
#[must_use]
pub const fn opening(head: Head) -> Frame {
    if head.word == PREFACE_BEGINS {
        Frame::new(PREFACE, PREFACE, 0)
    } else {
        Frame::NONE
    }
}

/// Whether a server may begin so: with SETTINGS on stream 0, which need not wait for the client's preface (section 3.4).
#[inline(always)]
#[must_use]
pub const fn is_server(head: Head) -> bool {
    let settings = head.word & !0x00ff_0000 == 0x0400_0000 && head.next & 0xff == 0;
    settings && head.byte(2).is_multiple_of(6)
}

/// Which way HEADERS goes, told by its first field: `Some(true)` for a request's, `None` for what says nothing, such as
/// trailers. `head` holds the frame's bytes, and `block` those behind its header.
#[inline(always)]
#[must_use]
pub const fn is_request(head: Head, block: u64) -> Option<bool> {
    if head.byte(3) as u32 != kind::HEADERS {
        return None;
    }
    let flags = head.byte(4);
    let mut skip = 0;
    if flags & PADDED != 0 {
        skip += 1;
    }
    if flags & PRIORITY != 0 {
        skip += 5;
    }
    let field = (block >> (8 * skip)) as u8;
    // RFC 7541, section 6: an indexed field, or a literal with an indexed name.
    let index = if field & 0x80 != 0 {
        field & 0x7f
    } else if field & 0x40 != 0 {
        field & 0x3f
    } else {
        field & 0x0f
    };
    match index {
        // RFC 7541, appendix A: :authority, :method, :path and :scheme; then :status.
        1..=7 => Some(true),
        8..=14 => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u32, flags: u8, stream: u8) -> Head {
        let bytes = [0, 0, 4, kind as u8, flags, 0, 0, 0];
        Head {
            word: u64::from_le_bytes(bytes),
            next: stream.into(),
        }
    }

    #[test]
    fn a_stream_is_settled_by_its_server_alone() {
        let marks = |kind, flags, request| frame(head(kind, flags, 1), request).marks;
        for kind in [kind::HEADERS, kind::DATA] {
            assert_eq!(marks(kind, END_STREAM, false) & mark::SETTLES, mark::SETTLES);
            assert_eq!(marks(kind, END_HEADERS, false) & mark::SETTLES, 0);
            assert_eq!(marks(kind, END_STREAM, true) & mark::SETTLES, 0);
        }
        assert_eq!(marks(kind::RST_STREAM, 0, true), mark::RESETS);
        assert_eq!(marks(kind::RST_STREAM, 0, false), mark::RESETS);
        assert_eq!(marks(kind::HEADERS, END_STREAM, true), mark::EXCHANGE);
    }

    #[test]
    fn a_block_is_told_where_it_ends_with_its_frame() {
        let of = |flags| block(head(kind::HEADERS, flags, 1), 7);
        assert_eq!(of(END_HEADERS), Some((HEADER, 0)));
        assert_eq!(of(END_HEADERS | END_STREAM), Some((HEADER, 0)));
        assert_eq!(of(END_HEADERS | PRIORITY), Some((HEADER + 5, 0)));
        assert_eq!(of(END_HEADERS | PADDED), Some((HEADER + 1, 7)));
        assert_eq!(of(END_HEADERS | PADDED | PRIORITY), Some((HEADER + 6, 7)));
        assert_eq!(of(PRIORITY), None);
    }
}
