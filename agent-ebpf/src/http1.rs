//! HTTP/1 as the kernel sees it (RFC 9112): where heads begin and end, and how long bodies are. Heads are handed on,
//! bodies are stepped over. The agent's parser is the one that understands heads; this one only has to find them.
//!
//! One [`step`] does a bounded piece of work on the window; `frames` calls it until the operation is used up. All that
//! must outlive a step is in the half, so that any split of the bytes over operations comes to the same.

mod body;
mod head;

use self::body::{body, chunk_begins, chunk_size};
use self::head::{coding, first_line, head_ends, length, length_ends, line};
use crate::connection::{Dialogue, HTTP1, Half, IGNORED, UNDECIDED, UNKNOWN_DIRECTION};
use crate::context;
use crate::emit;
use crate::extract;
use crate::framed;
use crate::frames::Step;
use crate::log;
use crate::maps::{COUNTERS, add, count};
use crate::operation::{LOOK, Operation, mark};
use crate::propagate::carried;
use crate::state;
use spanwire_ebpf::word::{SEVEN, bytes_before, digit, equal, find, find_in, pattern};
use spanwire_ebpf::{Counter, SENT, kind};

pub(crate) use self::head::{copies_head, cut};

/// Bits of [`Half::marks`].
mod marked {
    /// Content-Length was there.
    pub(super) const LENGTH: u8 = 1;
    /// Transfer-Encoding ends in `chunked`.
    pub(super) const CHUNKED: u8 = 2;
    /// The head is over the limit: no more of it is handed on.
    pub(super) const CUT: u8 = 4;
    /// A digit of Content-Length was seen.
    pub(super) const DIGIT: u8 = 8;
}

/// Bytes from which every decision at the beginning of a message can be made.
const START_BYTES: u32 = 16;
/// Turns after which a connection that was joined late, and on which neither side began a message, is left alone. Within
/// one message of HTTP/1 the sides do not take turns, however long it is.
const TURNS: u16 = 1000;
/// The same of a Unix socket, of which nobody knows whether it was joined late.
const UNIX_TURNS: u16 = 64;

/// Looks for a line feed in the next [`LOOK`] bytes. Returns whether it was found; the cursor is behind it, or behind the
/// bytes that were looked at.
#[inline(always)]
pub(crate) fn past_line_feed(operation: &mut Operation) -> bool {
    let cursor = operation.cursor;
    let (mut feeds, mut offset) = (0, 0);
    while offset < LOOK {
        feeds = equal(operation.word_behind(cursor, offset), b'\n');
        if feeds != 0 {
            break;
        }
        offset += 8;
    }
    let mut behind = cursor + offset as u32;
    if feeds != 0 {
        behind += bytes_before(feeds) + 1;
    }
    // The window's end may come first: what is behind it is left over from before.
    if behind > operation.end {
        operation.cursor = operation.end;
        return false;
    }
    operation.cursor = behind;
    feeds != 0
}

/// Steps over the end of a line, or as much of it as is there. Returns whether it ended.
#[inline(always)]
fn past_line_end(operation: &mut Operation) -> bool {
    let carriage = (operation.byte(operation.cursor) == b'\r') as u32;
    let ends = carriage < operation.available() && operation.byte(operation.cursor + carriage) == b'\n';
    operation.cursor += carriage + ends as u32;
    ends
}

/// Does one bounded piece of work.
#[inline(always)]
pub(crate) fn step(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Step {
    match half.state {
        state::BODY | state::CHUNK_DATA => return body(operation, dialogue, half),
        state::UNTIL_CLOSE | state::TUNNEL => {
            let rest = operation.available() as u64 + operation.unread;
            half.content += rest;
            operation.step_over(rest);
            return Step::Stop;
        }
        _ => {}
    }
    if half.state >= state::LINE && half.state <= state::TRAILER {
        let cursor = operation.cursor;
        if past_line_end(operation) {
            line_ends(operation, dialogue, half);
            return Step::More;
        }
        if operation.cursor != cursor {
            return Step::More;
        }
    }
    match half.state {
        state::START | state::LOST => {
            // What is pending belongs to the message before.
            flush(operation, dialogue, half);
            start(operation, dialogue, half)
        }
        state::FIRST_LINE => first_line(operation, dialogue, half),
        state::LINE => line(operation, half),
        state::LENGTH => length(operation, half),
        state::CODING => coding(operation, half),
        state::CONTEXT => extract::step(operation, half),
        state::CARRIED if carried::is_wanted() => carried::step(operation, half),
        state::CHUNK_SIZE => chunk_size(operation, half),
        state::CHUNK_END => Step::Lost,
        state::TRAILER => {
            operation.cursor += 1;
            half.state = state::SKIP_TRAILER;
            Step::More
        }
        _ => {
            if past_line_feed(operation) {
                match half.state {
                    state::SKIP_LINE => half.state = state::LINE,
                    state::CHUNK_EXTENSION => chunk_begins(half),
                    _ => half.state = state::TRAILER,
                }
            }
            Step::More
        }
    }
}

/// Behind the end of a line in a state where that means something.
#[inline(always)]
fn line_ends(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    match half.state {
        state::LINE => head_ends(operation, dialogue, half),
        state::LENGTH => length_ends(half),
        state::CODING => half.state = state::LINE,
        state::CHUNK_SIZE => chunk_begins(half),
        state::CHUNK_END => {
            half.value = 0;
            half.state = state::CHUNK_SIZE;
        }
        _ => message_ends(operation, dialogue, half),
    }
}

/// Takes one byte.
#[inline(always)]
fn next(operation: &mut Operation) -> u8 {
    let byte = operation.byte(operation.cursor);
    operation.cursor += 1;
    byte
}

/// Decides whether a message begins at the cursor.
#[inline(never)]
fn start(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Step {
    let first = operation.byte(operation.cursor);
    if half.state == state::START && (first == b'\r' || first == b'\n') {
        // Empty lines in front of a request are allowed for (RFC 9112, section 2.2).
        operation.cursor += 1;
        return Step::More;
    }
    let available = operation.available();
    let word = operation.word(operation.cursor);
    let next_word = operation.word(operation.cursor + 8);
    if available < START_BYTES {
        // A line feed says that there is no more to come of this line.
        let line_feed = find_in(word, next_word, 0, b'\n');
        if line_feed >= available {
            if !(word as u8).is_ascii_alphabetic() {
                return not_a_message(operation, dialogue, half, word);
            }
            return carry(operation, half);
        }
    }
    let response = word & SEVEN == pattern(b"HTTP/1.");
    let request = !response && is_request(word, next_word);
    if !response && !request {
        return not_a_message(operation, dialogue, half, word);
    }
    let direction = operation.direction as u8;
    if dialogue.requests_direction == UNKNOWN_DIRECTION {
        dialogue.requests_direction = if request { direction } else { 1 - direction };
    }
    if (dialogue.requests_direction == direction) != request {
        return not_a_message(operation, dialogue, half, word);
    }
    if dialogue.protocol == UNDECIDED {
        dialogue.protocol = HTTP1;
        count(Counter::Http1, 1);
        log::claimed(operation.sock, HTTP1, operation.position());
    }
    half.marks = 0;
    half.head = 0;
    half.content = 0;
    half.status = 0;
    if request {
        if dialogue.adrift != 0 {
            // Whatever was in flight is over: its answers can no longer be told from this one's.
            dialogue.adrift = 0;
            let fresh = if dialogue.requests > dialogue.responses {
                dialogue.requests
            } else {
                dialogue.responses
            };
            dialogue.requests = fresh;
            dialogue.responses = fresh;
        }
        if dialogue.requests.wrapping_sub(dialogue.responses) >= 64 {
            // More in flight than there are bits to remember their methods in.
            return Step::Lost;
        }
        half.ordinal = dialogue.requests;
        if dialogue.requests != dialogue.responses {
            dialogue.pipelined = 1;
        }
        dialogue.requests += 1;
        let bit = 1u64 << (half.ordinal & 63);
        dialogue.heads &= !bit;
        dialogue.connects &= !bit;
        if word & 0x00ff_ffff_ffff == pattern(b"HEAD ") {
            dialogue.heads |= bit;
        }
        if word == pattern(b"CONNECT ") {
            dialogue.connects |= bit;
        }
    } else {
        if dialogue.adrift != 0 {
            return skip_operation(operation, half);
        }
        // "HTTP/1.1 200": the digits are the word's second half from byte 9 on.
        let digits = next_word >> 8;
        half.status = digit(digits) * 100 + digit(digits >> 8) * 10 + digit(digits >> 16);
        half.ordinal = dialogue.responses;
    }
    log::message(operation.sock, operation.position(), half.ordinal, request as u8);
    operation.copy_from = operation.cursor;
    let exchange = if request { mark::EXCHANGE } else { 0 };
    if request {
        context::begins(operation.sock, operation.direction, operation.slot);
    }
    operation.marks = mark::PENDING | mark::STARTS | exchange;
    half.state = state::FIRST_LINE;
    // No first line is shorter, so no line feed is stepped over.
    operation.cursor += 8;
    first_line(operation, dialogue, half)
}

/// Waits for more bytes of what begins at the cursor.
#[inline(always)]
pub(crate) fn carry(operation: &mut Operation, half: &mut Half) -> Step {
    if half.started == 0 {
        half.started = operation.time;
    }
    operation.carry(half);
    Step::More
}

/// Hands on what is pending.
#[inline(always)]
pub(crate) fn flush(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    if operation.marks & mark::PENDING != 0 {
        emit::record(kind::BYTES, operation, dialogue, half, 0, 0);
    }
}

/// Whether the sixteen bytes are the beginning of a request line: a token, a space, and what a target begins with.
#[inline(always)]
pub(crate) fn is_request(word: u64, next_word: u64) -> bool {
    if !(word as u8).is_ascii_alphabetic() {
        return false;
    }
    let space = find(word, b' ');
    let target = if space < 7 {
        word >> (8 * (space + 1))
    } else if space == 7 {
        next_word
    } else {
        let space = find(next_word, b' ');
        if space >= 7 {
            // A longer method: its target is out of reach, and the end of the line will tell.
            return space == 7;
        }
        next_word >> (8 * (space + 1))
    } as u8;
    if word == pattern(b"CONNECT ") {
        return target.is_ascii_alphanumeric() || target == b'[';
    }
    target == b'/' || target == b'*' || target | 0x20 == b'h'
}

/// What stands where a message should begin is none.
#[inline(never)]
fn not_a_message(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half, word: u64) -> Step {
    if operation.cursor < operation.carried {
        // Not with what an earlier operation left over; perhaps with what this one begins with.
        operation.cursor = operation.carried;
        half.started = 0;
        return Step::More;
    }
    if half.state == state::LOST || dialogue.adrift != 0 {
        if dialogue.protocol == UNDECIDED && dialogue.turn != operation.direction as u8 {
            dialogue.turn = operation.direction as u8;
            dialogue.turns += 1;
            let turns = if dialogue.sequenced != 0 {
                TURNS
            } else {
                UNIX_TURNS
            };
            if dialogue.turns == turns {
                dialogue.protocol = IGNORED;
                count(Counter::UnclaimedOther, 1);
                log::left_alone(operation.sock, Counter::UnclaimedOther as u32);
            }
        }
        return skip_operation(operation, half);
    }
    if dialogue.protocol == UNDECIDED && dialogue.sequenced == 0 {
        // Nothing tells whether this is its beginning.
        dialogue.late = 1;
        dialogue.adrift = 1;
        return skip_operation(operation, half);
    }
    if dialogue.protocol == UNDECIDED {
        dialogue.protocol = IGNORED;
        let bytes = word as u32;
        // TLS: a record of type handshake, version 3.x (RFC 8446, section 5.1).
        let counter = if bytes & 0xffff == 0x0316 {
            Counter::UnclaimedTls
        } else {
            Counter::UnclaimedOther
        };
        count(counter, 1);
        log::left_alone(operation.sock, counter as u32);
        return Step::Stop;
    }
    Step::Lost
}

/// Nothing in this operation is of use.
#[inline(always)]
fn skip_operation(operation: &mut Operation, half: &mut Half) -> Step {
    half.state = state::LOST;
    half.started = 0;
    let rest = operation.available() as u64 + operation.unread;
    operation.step_over(rest);
    Step::Stop
}

/// The thread is lost. What is left of this operation is a gap, and so is what follows, up to the next operation that
/// begins like a request.
#[inline(always)]
pub(crate) fn lost(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    operation.failure = Counter::GapSyntax as u32;
    flush(operation, dialogue, half);
    let position = operation.position();
    let rest = operation.available() as u64 + operation.unread;
    give_up(operation, dialogue, half, position, rest);
}

/// Counts and reports a gap of `length` bytes from `position` on, and leaves the half lost.
#[inline(never)]
pub(crate) fn give_up(
    operation: &mut Operation,
    dialogue: &mut Dialogue,
    half: &mut Half,
    mut position: u64,
    mut length: u64,
) {
    if framed::has(dialogue) {
        // What was stepped over since the last record is lost with it: where a frame ended in it nobody can tell.
        length += position.wrapping_sub(half.copied_to);
        position = half.copied_to;
    }
    if half.state != state::LOST
        && let Some(counter) = COUNTERS.get_ptr_mut(operation.failure)
    {
        add(counter, 1);
        log::lost(operation.sock, position, length, operation.failure);
    }
    if dialogue.announced != 0 {
        emit::record(kind::GAP, operation, dialogue, half, position, length);
    }
    half.state = state::LOST;
    half.carried = 0;
    half.started = 0;
    dialogue.adrift = 1;
    if dialogue.pipelined != 0 {
        dialogue.protocol = IGNORED;
        count(Counter::PipelinesGivenUp, 1);
    }
}

/// The message is over at the cursor.
#[inline(never)]
fn message_ends(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    let request = dialogue.requests_direction as u32 == operation.direction;
    half.state = state::START;
    half.marks = 0;
    if !request && (half.status >= 200 || half.status == 101) {
        dialogue.responses += 1;
        if dialogue.responses == dialogue.requests {
            if operation.direction == SENT as u32 {
                context::answers(operation.sock);
            } else {
                context::is_answered(operation.sock);
            }
        }
    }
    let position = operation.position();
    if operation.marks & mark::PENDING != 0 {
        operation.marks |= mark::MESSAGE_ENDS;
        operation.content = half.content;
        operation.wire = position.wrapping_sub(operation.base + operation.copy_to as u64);
    } else {
        emit::record(kind::END, operation, dialogue, half, position, 0);
    }
}
