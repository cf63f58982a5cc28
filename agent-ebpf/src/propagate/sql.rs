//! A comment behind a statement that is sent as a simple query of PostgreSQL, as sqlcommenter writes it. What is prepared is
//! left alone: its text outlives the execution that it was sent for.
//!
//! A query's length stands in front of it, so it is only done where the whole of it is in the window.

use super::frames::{fields, head_at, looked};
use super::{fits, is_told, message, text, wanted};
use crate::connection::Sending;
use crate::context::Ids;
use crate::frames::operands;
use crate::maps::{OPERATIONS, count};
use crate::operation::Operation;
use crate::promise;
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::bpf_msg_pop_data;
use core::ptr::write_volatile;
use spanwire_ebpf::frame::{Head, postgres};
use spanwire_ebpf::sql::{self, COMMENT, COMMENT_BEGINS, COMMENT_ENDS, VALUE};
use spanwire_ebpf::traceparent::LENGTH;
use spanwire_ebpf::{Counter, SENT, propagate};

/// Frames for one run.
const FRAMES: u32 = 64;
/// Steps of eight words for one text: as much as the window has.
const STEPS: u32 = 64;
/// Words of white space in front of a statement.
const INDENT: u32 = 16;

/// Looks at frames from the cursor on, up to the first simple query; one of [`looked`], but not `GOES_ON`. A global function,
/// for the reason that [`operands`] gives, and so are the others here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn postgres_frames(sock: u64, slot: u32) -> u32 {
    for _ in 0..FRAMES {
        let looked = postgres_frame(sock, slot);
        if looked != looked::GOES_ON {
            return looked;
        }
    }
    looked::OUT
}
pub(super) use postgres_frames as frames;

/// A step of [`postgres_frames`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn postgres_frame(sock: u64, slot: u32) -> u32 {
    let Some((operation, ..)) = operands(sock, SENT as u32, slot) else {
        return looked::FOREIGN;
    };
    let cursor = operation.cursor;
    if cursor >= operation.end || operation.available() < postgres::HEADER {
        return looked::OUT;
    }
    let head = head_at(operation, cursor);
    let frame = postgres::frame(head, true);
    if frame.length == 0 {
        return looked::FOREIGN;
    }
    if postgres::is_query(head) {
        return looked::FOUND;
    }
    operation.cursor = cursor + frame.length;
    looked::GOES_ON
}

/// Puts the comment behind the statement in the frame at the cursor, where there is nothing against that; how many bytes that
/// were.
#[inline(always)]
pub(super) fn injects(
    context: *mut sk_msg_md,
    operation: &mut Operation,
    sending: &mut Sending,
    head: Head,
) -> u32 {
    let cursor = operation.cursor;
    let sequence = sending.began.wrapping_add(cursor);
    // The walker need not count it as unseen.
    sending.stream = sequence.wrapping_sub(sending.injected);
    if wanted() & propagate::SQL == 0 {
        return 0;
    }
    let whole = postgres::frame(head, true).length;
    if whole > operation.available() {
        count(Counter::InjectionCut, 1);
        return 0;
    }
    let at = cursor + whole - 1;
    operation.copy_from = cursor + postgres::HEADER;
    operation.copy_to = at;
    if some_text(operation.slot) != fields::FREE {
        count(Counter::InjectionUnfit, 1);
        return 0;
    }
    promise::make(operation.sock, operation.slot, sequence);
    if !is_told(&sending.exchange.ids) || !fits(operation.sock, at) {
        return 0;
    }
    let ids = &sending.exchange.ids;
    // What ends the text is written over by itself.
    let put = message::put::<COMMENT, { COMMENT + 1 }>(context, at, |to| write(to, ids));
    if !put {
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    let length = (whole - 1 + COMMENT).swap_bytes();
    let rewritten = message::rewrite::<{ postgres::HEADER }>(context, cursor, |to| {
        // SAFETY: there are as many bytes. The machines that spanwire supports need no alignment.
        unsafe { write_volatile(to.add(1).cast::<u32>(), length) };
    });
    if !rewritten {
        // SAFETY: the program's own context.
        unsafe { bpf_msg_pop_data(context, at, COMMENT, 0) };
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    count(Counter::Injected, 1);
    sending.add(COMMENT, at + COMMENT);
    COMMENT
}

/// Writes the comment and the zero behind it.
#[inline(always)]
fn write(to: *mut u8, ids: &Ids) {
    // SAFETY: callers have room for all of it. The machines that spanwire supports need no alignment.
    unsafe {
        write_volatile(to.cast::<u64>(), COMMENT_BEGINS[0]);
        write_volatile(to.add(8).cast::<u64>(), COMMENT_BEGINS[1]);
        text(to.add(VALUE as usize), ids);
        write_volatile(to.add((VALUE + LENGTH) as usize).cast::<u32>(), COMMENT_ENDS);
    }
}

/// Looks at the text from `copy_from` to `copy_to`, where the zero is that ends it: `FREE` where a comment may be put behind
/// it, and `UNKNOWN` else.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_text(slot: u32) -> u32 {
    if first_word(slot) != fields::FREE {
        return fields::UNKNOWN;
    }
    for _ in 0..STEPS {
        let found = part_of_text(slot);
        if found != fields::GO_ON {
            return found;
        }
    }
    fields::UNKNOWN
}

/// Looks at the first word, behind white space; one of [`fields`], and `FREE` where the statement may have a context.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn first_word(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return fields::UNKNOWN;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let mut at = operation.copy_from;
    for _ in 0..INDENT {
        let spaces = sql::spaces(operation.word(at));
        at += spaces;
        if spaces < 8 {
            break;
        }
    }
    if at < operation.copy_to && sql::takes_context(operation.word(at), operation.word(at + 8)) {
        fields::FREE
    } else {
        fields::UNKNOWN
    }
}

/// A step of [`some_text`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn part_of_text(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return fields::UNKNOWN;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let mut at = operation.copy_from;
    for _ in 0..8 {
        let seen = sql::see(operation.word(at), operation.word(at + 1));
        if seen.comment {
            return fields::OWN;
        }
        if seen.length < 8 {
            return if at + seen.length == operation.copy_to {
                fields::FREE
            } else {
                fields::UNKNOWN
            };
        }
        at += 8;
    }
    operation.copy_from = at;
    fields::GO_ON
}
