//! The body of a message: bytes that are stepped over, and the chunks they come in (RFC 9112, section 7.1).

use super::{message_ends, next};
use crate::connection::{Dialogue, Half};
use crate::frames::Step;
use crate::operation::Operation;
use crate::state;

#[inline(always)]
pub(super) fn body(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Step {
    let rest = operation.available() as u64 + operation.unread;
    let count = if half.remaining < rest {
        half.remaining
    } else {
        rest
    };
    operation.step_over(count);
    half.content += count;
    half.remaining -= count;
    if half.remaining == 0 {
        if half.state == state::BODY {
            message_ends(operation, dialogue, half);
        } else {
            half.state = state::CHUNK_END;
        }
    }
    if count == rest { Step::Stop } else { Step::More }
}

/// In a chunk's size (RFC 9112, section 7.1).
#[inline(always)]
pub(super) fn chunk_size(operation: &mut Operation, half: &mut Half) -> Step {
    let byte = next(operation);
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b';' | b' ' | b'\t' => {
            half.state = state::CHUNK_EXTENSION;
            return Step::More;
        }
        _ => return Step::Lost,
    };
    if half.value >> 56 != 0 {
        return Step::Lost;
    }
    half.value = (half.value << 4) | digit as u64;
    Step::More
}

#[inline(always)]
pub(super) fn chunk_begins(half: &mut Half) {
    half.remaining = half.value;
    half.state = if half.value == 0 {
        state::TRAILER
    } else {
        state::CHUNK_DATA
    };
}
