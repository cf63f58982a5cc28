//! PostgreSQL's protocol, version 3 (PostgreSQL documentation, "Message Formats").
//!
//! ```text
//!   +----------+----------------+----------------------+
//!   | type (1) | length (4, BE) | body (length - 4)    |
//!   +----------+----------------+----------------------+
//! ```

use super::{Frame, Head, mark};

/// Type and length.
pub const HEADER: u32 = 5;

/// A longer message cannot be (`PQ_LARGE_MESSAGE_LIMIT`).
const LONGEST: u32 = 0x3fff_ffff;
/// A longer first message cannot be (`MAX_STARTUP_PACKET_LENGTH`).
const LONGEST_OPENING: u32 = 10_000;

/// Handed on of a statement's text, at most.
const TEXT: u32 = HEADER + 16 * 1024 + 512;
/// Handed on of what begins with names.
const NAMES: u32 = HEADER + 160;
/// Handed on of an error.
const ERROR: u32 = HEADER + 512;

/// A set of types that are letters.
const fn set(types: &[u8]) -> u64 {
    let mut set = 0;
    let mut index = 0;
    while index < types.len() {
        set |= 1 << (types[index] - 0x40);
        index += 1;
    }
    set
}

/// From the client: what has no body, what begins with a text, what begins with names, and all.
const CLIENT_EMPTY: u64 = set(b"SHXc");
const CLIENT_TEXTS: u64 = set(b"QP");
const CLIENT_NAMES: u64 = set(b"BEDC");
const CLIENT: u64 = CLIENT_EMPTY | CLIENT_TEXTS | CLIENT_NAMES | set(b"Fpdf");
/// From the server: what has no body, what is short and handed on whole, and all.
const SERVER_EMPTY: u64 = set(b"nsIc");
const SERVER_NAMES: u64 = set(b"ZCS");
const SERVER: u64 = SERVER_EMPTY | SERVER_NAMES | set(b"RKTDENAtGHWdVv");

/// The message that begins with `head`.
#[inline(always)]
#[must_use]
pub const fn frame(head: Head, request: bool) -> Frame {
    let kind = head.byte(0);
    let length = head.big_endian(1);
    if length < 4 || length > LONGEST {
        return Frame::NONE;
    }
    let whole = length + 1;
    // ParseComplete, BindComplete and CloseComplete are digits.
    if !request && kind.wrapping_sub(b'1') < 3 {
        return if length == 4 {
            Frame::new(whole, HEADER, 0)
        } else {
            Frame::NONE
        };
    }
    let letter = if kind & 0xc0 == 0x40 {
        1u64 << (kind & 0x3f)
    } else {
        0
    };
    let (all, empty, names) = if request {
        (CLIENT, CLIENT_EMPTY, CLIENT_NAMES)
    } else {
        (SERVER, SERVER_EMPTY, SERVER_NAMES)
    };
    let is_ready = !request && kind == b'Z';
    if letter & all == 0
        || (letter & empty != 0) != (length == 4)
        || is_ready && length != 5
        || letter & names != 0 && length > 16 * 1024 && kind != b'B'
    {
        return Frame::NONE;
    }
    // Rows, and data that is copied in or out.
    if kind == b'd' || !request && kind == b'D' {
        return Frame::new(whole, 0, mark::ROW);
    }
    let begins = request && (kind == b'Q' || kind == b'E');
    let limit = if letter & names != 0 {
        NAMES
    } else if request && letter & CLIENT_TEXTS != 0 {
        TEXT
    } else if !request && kind == b'E' {
        ERROR
    } else {
        HEADER
    };
    let marks = if begins { mark::EXCHANGE } else { 0 };
    Frame::new(whole, limit, if is_ready { mark::ANSWERS } else { marks })
}

/// Whether a client's message is a simple query: a text that ends in a zero.
#[inline(always)]
#[must_use]
pub const fn is_query(head: Head) -> bool {
    head.byte(0) == b'Q'
}

/// Codes of a client's first message that is no StartupMessage ("SSLRequest", "GSSENCRequest", "CancelRequest").
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;

/// The code of a client's first message, which says what it is.
#[inline(always)]
const fn code(head: Head) -> u32 {
    head.big_endian(4)
}

#[inline(always)]
const fn opening_length(head: Head) -> u32 {
    (head.word as u32).swap_bytes()
}

/// A client's first message.
#[inline(always)]
#[must_use]
pub const fn opening(head: Head) -> Frame {
    let length = opening_length(head);
    if length < 8 || length > LONGEST_OPENING {
        return Frame::NONE;
    }
    Frame::new(length, LONGEST_OPENING, 0)
}

/// Whether a first message asks for encryption, so that one byte answers it and another first message may follow.
#[inline(always)]
#[must_use]
pub const fn asks_for_encryption(head: Head) -> bool {
    opening_length(head) == 8 && (code(head) == SSL || code(head) == GSS)
}

/// Whether a client begins so. Of the version alone that cannot be told, which a request of Kafka's has as well: the first
/// parameter's name decides.
#[inline(always)]
#[must_use]
pub const fn is_client(head: Head) -> bool {
    let length = opening_length(head);
    let startup = code(head) >> 16 == 3 && (head.next as u8).is_ascii_lowercase();
    asks_for_encryption(head) || startup && length > 8 && length <= LONGEST_OPENING
}

/// Whether it cancels what another connection asked for: it carries nothing else.
#[inline(always)]
#[must_use]
pub const fn is_cancel(head: Head) -> bool {
    let length = opening_length(head);
    code(head) == CANCEL && length >= 16 && length <= 12 + 256
}

/// Whether an operation of `length` bytes that begins with `head` and has `last` as its last eight bytes is a client's: it
/// ends in Sync, or is one Query. Its first message lies within it: where another protocol's bytes begin with a letter, what
/// follows is hardly ever a length that fits.
#[inline(always)]
#[must_use]
pub const fn is_request(head: Head, last: u64, length: u32) -> bool {
    let syncs = last >> 24 == (b'S' as u64) | 0x04 << 32;
    let frame = frame(head, true);
    let query = head.byte(0) == b'Q' && frame.length == length && last >> 56 == 0;
    frame.length != 0 && (syncs && frame.length <= length || query)
}

/// The same of the server: it ends in ReadyForQuery.
#[inline(always)]
#[must_use]
pub const fn is_response(head: Head, last: u64, length: u32) -> bool {
    let state = (last >> 56) as u8;
    let ready = (last >> 16) & 0xff_ffff_ffff == (b'Z' as u64) | 0x05 << 32;
    let frame = frame(head, false);
    let fits = frame.length != 0 && frame.length <= length;
    fits && ready && (state == b'I' || state == b'T' || state == b'E')
}
