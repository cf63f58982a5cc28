//! The head of a message, as far as it says how long the body is (RFC 9112, section 6.3).

use super::{marked, message_ends, past_line_feed};
use crate::connection::{Dialogue, Half, IGNORED, UNDECIDED};
use crate::context;
use crate::extract;
use crate::frames::Step;
use crate::maps::count;
use crate::operation::{Operation, mark};
use crate::propagate::{carried, tracestate};
use crate::state;
use spanwire_ebpf::traceparent::is_context;
use spanwire_ebpf::word::{LOWER, SEVEN, bytes_before, find, find_in, no_digits, number, pattern};
use spanwire_ebpf::{Counter, RECEIVED};

/// Bytes from which every header name of interest can be told.
const NAME_BYTES: u32 = 19;

/// In the first line: a request's must end in its version (RFC 9112, section 3).
#[inline(always)]
pub(super) fn first_line(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Step {
    if !past_line_feed(operation) {
        return Step::More;
    }
    half.state = state::LINE;
    let request = dialogue.requests_direction as u32 == operation.direction;
    // Seen whole in this window; else the agent's parser finds out.
    if request && operation.marks & mark::STARTS != 0 && operation.cursor >= 10 {
        let before = operation.byte(operation.cursor - 2);
        let version = operation.word(operation.cursor - 9 - (before == b'\r') as u32);
        if version & SEVEN != pattern(b"HTTP/1.") {
            operation.marks = 0;
            context::answered(operation.sock);
            dialogue.requests = dialogue.requests.wrapping_sub(1);
            if dialogue.requests == 0 && dialogue.announced == 0 {
                dialogue.protocol = IGNORED;
                count(Counter::ClaimsRevoked, 1);
                return Step::Stop;
            }
            return Step::Lost;
        }
    }
    Step::More
}

/// At the beginning of a header line.
#[inline(always)]
pub(super) fn line(operation: &mut Operation, half: &mut Half) -> Step {
    let cursor = operation.cursor;
    let name = operation.byte(cursor) | 0x20;
    let is_carried = carried::is_wanted() && operation.direction == RECEIVED as u32;
    if is_carried && matches!(operation.byte(cursor), b' ' | b'\t') {
        carried::folds(operation);
    }
    if matches!(name, b'c' | b't' | b'b' | b'u' | b'x') {
        let word = operation.word(cursor);
        let second = operation.word(cursor + 8);
        let third = operation.word(cursor + 16);
        if operation.available() < NAME_BYTES {
            let line_feed = find_in(word, second, third, b'\n');
            if line_feed >= operation.available() {
                // The line may go on with the next operation, or the next buffer.
                operation.carry(half);
                return Step::More;
            }
        }
        if word | LOWER == pattern(b"content-") && (second | LOWER) & SEVEN == pattern(b"length:") {
            operation.cursor += 15;
            past_space(operation);
            half.value = 0;
            half.marks &= !marked::DIGIT;
            half.state = state::LENGTH;
            return Step::More;
        }
        if word | LOWER == pattern(b"transfer")
            && second | LOWER == pattern(b"-encodin")
            && (third | 0x2020) & 0xffff == pattern(b"g:")
        {
            operation.cursor += 18;
            past_space(operation);
            half.state = state::CODING;
            return Step::More;
        }
        if operation.direction == RECEIVED as u32 && is_context(word, second) {
            let before = extract::continues(operation.sock, operation.slot);
            if before != 0 {
                operation.cursor += before;
                half.state = state::CONTEXT;
                return Step::More;
            }
        }
        if operation.direction == RECEIVED as u32
            && word | LOWER == pattern(b"tracesta")
            && (second | LOWER) & 0xff_ffff == pattern(b"te:")
        {
            tracestate::carries_state(operation.sock, operation.slot);
        }
        if is_carried {
            let kind = spanwire_ebpf::carried::kind(word, second, third);
            if kind != spanwire_ebpf::carried::kind::NONE {
                carried::begins(operation, half, kind);
                return Step::More;
            }
        }
    }
    half.state = state::SKIP_LINE;
    if past_line_feed(operation) {
        half.state = state::LINE;
    }
    Step::More
}

/// Steps over the one space that most often follows the colon.
#[inline(always)]
fn past_space(operation: &mut Operation) {
    operation.cursor += (operation.available() > 0 && operation.byte(operation.cursor) == b' ') as u32;
}

/// In the value of Content-Length (RFC 9110, section 8.6).
#[inline(always)]
pub(super) fn length(operation: &mut Operation, half: &mut Half) -> Step {
    /// No body is longer; the agent's parser refuses what is.
    const LIMIT: u64 = 1 << 59;
    /// Below, any eight digits more fit.
    const SHORT: u64 = LIMIT / 100_000_000;
    let word = operation.word(operation.cursor);
    let mut count = bytes_before(no_digits(word));
    if count > operation.available() {
        count = operation.available();
    }
    if count > 1 && half.value >= SHORT {
        count = 1;
    }
    if count > 0 && half.value < LIMIT {
        let (number, scale) = number(word, count);
        half.value = half.value * scale + number;
        half.marks |= marked::DIGIT;
        operation.cursor += count;
        return Step::More;
    }
    if !matches!(word as u8, b' ' | b'\t') {
        length_ends(half);
        half.state = state::SKIP_LINE;
    }
    operation.cursor += 1;
    Step::More
}

#[inline(always)]
pub(super) fn length_ends(half: &mut Half) {
    if half.marks & marked::DIGIT != 0 {
        half.remaining = half.value;
        half.marks |= marked::LENGTH;
    }
    half.state = state::LINE;
}

/// In the value of Transfer-Encoding (RFC 9112, section 6.1): is `chunked` the last coding?
#[inline(always)]
pub(super) fn coding(operation: &mut Operation, half: &mut Half) -> Step {
    let cursor = operation.cursor;
    let first = operation.byte(cursor);
    if first | 0x20 == b'c' {
        let word = operation.word(cursor);
        if operation.available() < 7 && find(word, b'\n') >= operation.available() {
            operation.carry(half);
            return Step::More;
        }
        if (word | LOWER) & SEVEN == pattern(b"chunked") {
            half.marks |= marked::CHUNKED;
            operation.cursor += 7;
            return Step::More;
        }
    }
    if first == b',' {
        half.marks &= !marked::CHUNKED;
    }
    operation.cursor += 1;
    Step::More
}

/// Behind the empty line: what comes now (RFC 9112, section 6.3)?
#[inline(always)]
pub(super) fn head_ends(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    if operation.marks & mark::PENDING != 0 {
        operation.copy_to = operation.cursor;
        operation.marks |= mark::HEAD_ENDS;
    }
    half.value = 0;
    let request = dialogue.requests_direction as u32 == operation.direction;
    if !request {
        let bit = 1u64 << (half.ordinal & 63);
        let connect = dialogue.connects & bit != 0 && half.status / 100 == 2;
        if half.status == 101 || connect {
            if operation.marks & mark::PENDING != 0 {
                operation.marks |= mark::TUNNEL;
            }
            message_ends(operation, dialogue, half);
            if connect {
                half.state = state::TUNNEL;
                dialogue.protocol = IGNORED;
            } else {
                half.status = 0;
                dialogue.switched = 1;
                dialogue.protocol = UNDECIDED;
            }
            return;
        }
        let bodiless =
            half.status < 200 || half.status == 204 || half.status == 304 || dialogue.heads & bit != 0;
        if bodiless {
            message_ends(operation, dialogue, half);
            return;
        }
    } else if operation.direction == RECEIVED as u32 {
        carried::head_ends(operation);
    }
    if half.marks & marked::CHUNKED != 0 {
        half.state = state::CHUNK_SIZE;
    } else if half.marks & marked::LENGTH != 0 && half.remaining > 0 {
        half.state = state::BODY;
    } else if request || half.marks & marked::LENGTH != 0 {
        message_ends(operation, dialogue, half);
    } else {
        half.state = state::UNTIL_CLOSE;
    }
}

/// The head is over the limit: no more of it is handed on.
#[inline(always)]
pub(crate) fn cut(half: &mut Half) {
    half.marks |= marked::CUT;
    count(Counter::HeadsCut, 1);
}

/// Whether the next byte is of a head that is handed on.
#[inline(always)]
pub(crate) fn copies_head(half: &Half) -> bool {
    (state::FIRST_LINE..=state::CODING).contains(&half.state) && half.marks & marked::CUT == 0
}
