//! AMQP: an entry of a message's table of headers.

use super::{all, carries_state, is_untold, join, looked, read, view};
use crate::connection::Dialogue;
use crate::context::Serving;
use crate::maps::OPERATIONS;
use crate::operation::{Operation, WINDOW};
use spanwire_ebpf::frame::{Head, amqp};
use spanwire_ebpf::hpack::purpose;
use spanwire_ebpf::traceparent::LENGTH;

/// Takes over a context that is the first entry of a message's headers, where spanwire puts it.
#[inline(always)]
fn first(operation: &Operation, serving: &mut Serving, count: u32) {
    let at = table(operation, operation.cursor.wrapping_sub(count), count) + 4;
    if at != 4
        && amqp::is_traceparent(operation.word(at), operation.word(at + 8))
        && let Some(read) = read(operation, at + amqp::ENTRY - LENGTH)
    {
        join(serving, &read);
    }
}

/// Takes over the context among the entries, and the `tracestate` that goes with it; of a message that was not looked at, what is
/// its first entry, where spanwire puts it.
#[inline(always)]
pub(super) fn continues(operation: &mut Operation, dialogue: &mut Dialogue, count: u32, view: u32) {
    let serving = &mut dialogue.serving;
    if view == view::NONE {
        first(operation, serving, count);
    } else if view == view::PART {
        is_untold(serving);
    }
    if view != view::WHOLE {
        return;
    }
    let found = operation.fields.found();
    let read = if found.context == 0 {
        None
    } else {
        read(operation, found.context)
    };
    match read {
        Some(read) if found.twice == 0 => {
            if join(serving, &read) {
                carries_state(operation, serving.sum.span);
            }
        }
        _ if found.twice | found.others != 0 => {
            is_untold(serving);
        }
        _ => {}
    }
}

/// Looks at all entries of the table of headers of the message whose header ends at the cursor; one of [`view`].
#[inline(always)]
pub(super) fn looks(operation: &mut Operation, count: u32, apart: u32) -> u32 {
    let table = table(operation, operation.cursor.wrapping_sub(count), count);
    if apart != 0 {
        return view::PART;
    }
    if table == 0 {
        return view::EMPTY;
    }
    // In front of the frame's last byte.
    let limit = operation.cursor.wrapping_sub(1);
    let length = (operation.word(table) as u32).swap_bytes();
    let at = table + 4;
    if at > limit || length > limit - at {
        return view::PART;
    }
    operation.fields.begin(at, at + length);
    if entries(operation.slot) != 0 {
        view::WHOLE
    } else {
        view::PART
    }
}

/// Looks at entries up to the end of the table; 1 where all of them are as they should be. A global function, which the verifier
/// looks at once, and so is the other one here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn entries(slot: u32) -> u32 {
    all(|| table_entry(slot))
}

/// Looks at the next entry; one of [`looked`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn table_entry(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return looked::UNKNOWN;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let at = operation.fields.at;
    let ends = operation.fields.ends;
    if at >= ends {
        return if at == ends { looked::ENDS } else { looked::UNKNOWN };
    }
    // A short string, as one of HPACK that is not coded.
    let purpose = purpose(operation.word(at), operation.word(at + 8));
    let kind = at + 1 + operation.byte(at) as u32;
    let length = amqp::value(operation.byte(kind), operation.word(kind + 1));
    if length > WINDOW as u32 {
        return looked::UNKNOWN;
    }
    let text = operation.byte(kind) == b'S';
    let fields = &mut operation.fields;
    let value = kind + 1;
    fields.at = value + length;
    match purpose {
        purpose::NONE => {}
        purpose::TRACEPARENT if text && length == 4 + LENGTH => fields.finds(value + 4),
        purpose::TRACESTATE if text => fields.finds_state(value + 4, value + length),
        purpose::TRACESTATE => fields.state_cut = 1,
        _ => fields.others = 1,
    }
    looked::GOES_ON
}

/// Of the header frame of a message, which takes up `count` bytes from an index of the window on, where the length of its table
/// of headers is; 0 where it has none, or is not there as a whole.
#[inline(always)]
fn table(operation: &Operation, begins: u32, count: u32) -> u32 {
    let head = Head {
        word: operation.word(begins),
        next: operation.word(begins + 8),
    };
    let mut at = begins + amqp::FLAGS;
    let flags = (operation.word(at) as u16).swap_bytes();
    at += 2;
    at += amqp::before_headers(flags, 0x8000, operation.byte(at));
    at += amqp::before_headers(flags, 0x4000, operation.byte(at));
    let whole = amqp::is_content_header(head) && amqp::frame(head, false).length == count;
    if whole && flags & amqp::HEADERS != 0 {
        at
    } else {
        0
    }
}
