//! AMQP 0-9-1 (specification, section 4.2.3).
//!
//! ```text
//!   +----------+-------------+----------+---------+------------+
//!   | type (1) | channel (2) | size (4) | payload | 0xCE (1)   |
//!   +----------+-------------+----------+---------+------------+
//!   a method's payload: class (2), method (2), arguments
//! ```

use super::{Frame, Head, mark};
use crate::HEAD_LIMIT;
use crate::traceparent;
use crate::word::pattern;

/// Type, channel and size; of a method its class and its own number, too.
pub const HEADER: u32 = 11;

/// The octet that ends a frame.
pub const END: u8 = 0xce;

/// What frames have around their payload.
const AROUND: u32 = 8;
/// A larger frame is none: RabbitMQ's default limit is 128 KiB.
const LARGEST: u32 = 1 << 26;
/// Handed on of a method.
const METHOD: u32 = 4096;
/// Handed on of a method that holds a password: its class and its number.
const SECRET: u32 = 11;
/// A body up to this length is handed on whole, so that its end needs no record of its own.
const SMALL: u32 = 64;

/// Frame types.
mod kind {
    pub(super) const METHOD: u8 = 1;
    pub(super) const HEADER: u8 = 2;
    pub(super) const BODY: u8 = 3;
    pub(super) const HEARTBEAT: u8 = 8;
}

/// Class and method of what is told apart here.
mod method {
    pub(super) const START_OK: u32 = 10 << 16 | 11;
    pub(super) const SECURE_OK: u32 = 10 << 16 | 21;
    pub(super) const UPDATE_SECRET: u32 = 10 << 16 | 70;
    pub(super) const CONSUME: u32 = 60 << 16 | 20;
    pub(super) const CONSUME_OK: u32 = 60 << 16 | 21;
    pub(super) const PUBLISH: u32 = 60 << 16 | 40;
    pub(super) const RETURN: u32 = 60 << 16 | 50;
    pub(super) const DELIVER: u32 = 60 << 16 | 60;
    pub(super) const GET: u32 = 60 << 16 | 70;
    pub(super) const GET_OK: u32 = 60 << 16 | 71;
    pub(super) const GET_EMPTY: u32 = 60 << 16 | 72;
    pub(super) const ACK: u32 = 60 << 16 | 80;
    pub(super) const REJECT: u32 = 60 << 16 | 90;
    pub(super) const NACK: u32 = 60 << 16 | 120;
}

/// Length of the payload.
#[inline(always)]
#[must_use]
pub const fn size(head: Head) -> u32 {
    head.big_endian(3)
}

/// The channel of a frame.
#[inline(always)]
#[must_use]
pub const fn channel(head: Head) -> u32 {
    ((head.word >> 8) as u16).swap_bytes() as u32
}

/// Whether it is the frame that holds a message's properties.
#[inline(always)]
#[must_use]
pub const fn is_content_header(head: Head) -> bool {
    head.byte(0) == kind::HEADER
}

/// Longest frame that every peer takes (section 4.2.3, frame-min-size).
pub const FRAME_MIN_SIZE: u32 = 4096;

/// In a content header, where the flags of the properties are: behind class, weight and the body's size.
pub const FLAGS: u32 = 7 + 2 + 2 + 8;

/// The flag of the property `headers`.
pub const HEADERS: u16 = 0x2000;

/// Length of one of the short strings that come before the headers, by its flag and its first byte.
#[inline(always)]
#[must_use]
pub const fn before_headers(flags: u16, flag: u16, first: u8) -> u32 {
    if flags & flag != 0 { 1 + first as u32 } else { 0 }
}

/// Length of an entry of a table with a `traceparent`: name, type, length, value.
pub const ENTRY: u32 = 1 + 11 + 1 + 4 + traceparent::LENGTH;

/// Length of a table with that entry alone.
pub const TABLE: u32 = 4 + ENTRY;

/// What stands in front of the entry's value: two words and a byte.
pub const ENTRY_BEGINS: [u64; 3] = [
    pattern(b"\x0btracepa"),
    pattern(b"rentS\0\0\0"),
    traceparent::LENGTH as u64,
];

/// Length of what stands in front of the value of an entry with a `tracestate`: name, type, length.
pub const STATE: u32 = 1 + 10 + 1 + 4;

/// That, but for the length.
pub const STATE_BEGINS: [u64; 2] = [pattern(b"\x0atracest"), pattern(b"ateS")];

/// Whether the entry that begins with these bytes is called `traceparent`.
#[inline(always)]
#[must_use]
pub const fn is_traceparent(word: u64, next: u64) -> bool {
    word == ENTRY_BEGINS[0] && next as u32 == ENTRY_BEGINS[1] as u32
}

/// Whether it is called that, or `tracestate`.
#[inline(always)]
#[must_use]
pub const fn is_context(word: u64, next: u64) -> bool {
    let state = word == STATE_BEGINS[0] && next as u32 & 0xff_ffff == STATE_BEGINS[1] as u32 & 0xff_ffff;
    state || is_traceparent(word, next)
}

/// Length of a field's value by its type, as RabbitMQ and its clients write them; the value begins with `word`. `u32::MAX`
/// for a type that is not known.
#[inline(always)]
#[must_use]
pub const fn value(kind: u8, word: u64) -> u32 {
    match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' | b'U' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'A' | b'F' | b'x' => (word as u32).swap_bytes().saturating_add(4),
        _ => u32::MAX,
    }
}

/// The frame that begins with `head`.
#[inline(always)]
#[must_use]
pub const fn frame(head: Head, request: bool) -> Frame {
    let size = size(head);
    if size > LARGEST {
        return Frame::NONE;
    }
    let whole = size + AROUND;
    match head.byte(0) {
        kind::METHOD => {
            let method = head.big_endian(7);
            if size < 4 || !is_class(method >> 16) || method as u16 > 120 {
                return Frame::NONE;
            }
            let begins = if request {
                method == method::PUBLISH
            } else {
                method == method::DELIVER || method == method::GET_OK
            };
            let settles = request && matches!(method, method::ACK | method::REJECT | method::NACK);
            let secret =
                method == method::START_OK || method == method::SECURE_OK || method == method::UPDATE_SECRET;
            Frame::new(
                whole,
                if secret { SECRET } else { METHOD },
                (begins as u32 * mark::EXCHANGE) | (settles as u32 * mark::SETTLES),
            )
        }
        // A class, a weight of 0, a length and flags.
        kind::HEADER if size >= 14 => Frame::new(whole, HEAD_LIMIT, 0),
        kind::BODY => {
            let limit = if size <= SMALL { AROUND + SMALL } else { AROUND - 1 };
            Frame::new(whole, limit, mark::BODY | mark::ENDS)
        }
        kind::HEARTBEAT if size == 0 => Frame::new(whole, AROUND, 0),
        _ => Frame::NONE,
    }
}

/// connection, channel, exchange, queue, basic, confirm, tx.
#[inline(always)]
const fn is_class(class: u32) -> bool {
    matches!(class, 10 | 20 | 40 | 50 | 60 | 85 | 90)
}

/// Whether a frame, of which the first seven bytes are there, is complete in fewer than [`HEADER`] bytes.
#[inline(always)]
#[must_use]
pub const fn is_short(head: Head) -> bool {
    size(head) + AROUND < HEADER
}

/// The protocol header.
pub const OPENING: u64 = pattern(b"AMQP\x00\x00\x09\x01");

/// A client's protocol header.
#[inline(always)]
#[must_use]
pub const fn opening(head: Head) -> Frame {
    if head.word == OPENING {
        Frame::new(8, 8, 0)
    } else {
        Frame::NONE
    }
}

/// Which way a method goes that only one side sends: `Some(true)` for the client's.
#[inline(always)]
#[must_use]
pub const fn is_request(head: Head) -> Option<bool> {
    if head.byte(0) != kind::METHOD {
        return None;
    }
    match head.big_endian(7) {
        method::PUBLISH | method::GET | method::CONSUME => Some(true),
        method::DELIVER | method::GET_OK | method::GET_EMPTY | method::RETURN | method::CONSUME_OK => {
            Some(false)
        }
        _ => None,
    }
}
