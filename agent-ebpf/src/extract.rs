//! Trace contexts in what is received, so that what is sent for it names the same trace: `traceparent` of HTTP/1 wherever it is
//! in a head, of HTTP/2 and AMQP where spanwire puts it. What else there may be is read in the agent, but later. So of a request
//! that names its trace elsewhere, or in another format, it is noted that nobody is to be told which it is.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::{self, Dialogue};
use crate::context::{self, Ids, READ, Serving, UNTOLD};
use crate::decision::decides_again;
use crate::frames::operands;
use crate::maps::{OPERATIONS, UNITS, add};
use crate::operation::{Operation, WINDOW};
use crate::propagate::{tracestate, wanted};
use crate::runtime::node;
use crate::stream;
use spanwire_ebpf::RECEIVED;
use spanwire_ebpf::frame::{Head, amqp, http2};
use spanwire_ebpf::hpack::{self, FIELD};
use spanwire_ebpf::protocol::AMQP;
use spanwire_ebpf::traceparent::{self, Context, LENGTH, is_traceparent};
use spanwire_ebpf::unit::{EVENT, NODE};

/// The request that is being received continues a trace: at the cursor is a header that says so. What is sent for it is
/// part of that trace. A global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn continues(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    if dialogue.requests_direction != RECEIVED {
        return 0;
    }
    let cursor = operation.cursor;
    let known = dialogue.serving.sum.flags & READ != 0;
    if !is_traceparent(operation.word(cursor), operation.word(cursor + 8)) {
        // What else there is counts where this is not there.
        if !known {
            is_untold(&mut dialogue.serving);
        }
        return 0;
    }
    let mut at = cursor + traceparent::NAME;
    at += (operation.byte(at) == b' ') as u32;
    let behind = at + LENGTH;
    if behind + 2 > operation.end || !traceparent::ends(operation.word(at), operation.word(behind)) {
        return 0;
    }
    let Some(read) = read(operation, at) else {
        return 0;
    };
    if known {
        // There twice, neither counts.
        is_untold(&mut dialogue.serving);
    } else if join(&mut dialogue.serving, &read) {
        tracestate::continues(dialogue);
    }
    0
}

/// The last `count` bytes in front of the cursor are all or the end of a frame that spanwire may have put a context into: 1 where
/// it has. As [`continues`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frame_continues(sock: u64, slot: u32, count: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let begins = operation.cursor.wrapping_sub(count);
    if dialogue.protocol == AMQP {
        let Some(read) = entry(operation, begins, count) else {
            return 0;
        };
        join(&mut dialogue.serving, &read);
        return 1;
    }
    let at = operation.cursor.wrapping_sub(FIELD);
    if count < FIELD || !hpack::is_field(operation.word(at), operation.word(at + 8)) {
        return 0;
    }
    let Some(read) = read(operation, at + FIELD - LENGTH) else {
        return 0;
    };
    let stream = half.status;
    with_stream(operation, dialogue, stream, |sum, from| shift(sum, from, &read));
    1
}

/// Fields of one block.
const FIELDS: u32 = 128;

/// In place of where a field ends: it is one with a context.
pub(crate) const CONTEXT: u32 = u32::MAX;
/// The same: nobody knows.
pub(crate) const UNKNOWN: u32 = u32::MAX - 1;

/// In place of how many bytes came before: they are not there any more, and part of the block was among them.
pub(crate) const CUT: u32 = u32::MAX;

/// The last `count` bytes in front of the cursor are the end of HEADERS, or of a message's header, without a context of
/// spanwire's; `apart` bytes came before, which are the frame's header, or [`CUT`]. Where a context of the application's own may
/// be there, or of HTTP/2 the name of one was in others before, it is noted that the trace is not known. As [`continues`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frame_names(sock: u64, slot: u32, count: u32, apart: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    if wanted() == 0 {
        return 0;
    }
    if dialogue.protocol == AMQP {
        let at = table(operation, operation.cursor.wrapping_sub(count), count);
        if apart == CUT || at != 0 && entries(slot, at) != 0 {
            is_untold(&mut dialogue.serving);
        }
        return 0;
    }
    if dialogue.untold == 0 {
        let head = Head {
            word: half.carry[0],
            next: 0,
        };
        let from = http2::plain_block(head);
        let begins = if from == 0 || apart == CUT {
            UNKNOWN
        } else {
            operation.cursor.wrapping_sub(count + apart) + from
        };
        if fields(slot, begins) == 0 {
            return 0;
        }
        dialogue.untold = 1;
    }
    let stream = half.status;
    with_stream(operation, dialogue, stream, mark);
    0
}
pub(crate) use frame_names as names;

/// Looks at the fields of the block from an index of the window to the cursor: 0 where none is a context.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fields(slot: u32, begins: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 1;
    };
    // SAFETY: a map value, and this program's own.
    let end = unsafe { (*operation).cursor };
    let mut at = begins;
    for _ in 0..FIELDS {
        if at >= end {
            return (at != end) as u32;
        }
        at = block_field(slot, at);
    }
    1
}

/// [`field`], as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn block_field(slot: u32, at: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return UNKNOWN;
    };
    // SAFETY: as above.
    let operation = unsafe { &*operation };
    field(operation, at, |name, representation| {
        representation.strings == 2 && hpack::is_context(operation.word(name), operation.word(name + 8))
    })
}

/// Looks at the entries of the table of headers whose length is at an index of the window: 0 where none is a context.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn entries(slot: u32, table: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 1;
    };
    // SAFETY: a map value, and this program's own.
    let length = unsafe { (*operation).word(table) as u32 }.swap_bytes();
    let mut at = table + 4;
    let end = at.wrapping_add(length);
    for _ in 0..FIELDS {
        if at >= end {
            return (at != end) as u32;
        }
        at = table_entry(slot, at);
    }
    1
}

/// Where the entry ends that begins at an index of the window, or [`CONTEXT`], or [`UNKNOWN`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn table_entry(slot: u32, at: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return UNKNOWN;
    };
    // SAFETY: as above.
    let operation = unsafe { &*operation };
    // A short string, as one of HPACK that is not coded.
    if hpack::is_context(operation.word(at), operation.word(at + 8)) {
        return CONTEXT;
    }
    let kind = at + 1 + operation.byte(at) as u32;
    let length = amqp::value(operation.byte(kind), operation.word(kind + 1));
    if length > WINDOW as u32 {
        return UNKNOWN;
    }
    kind + 1 + length
}

/// Where the field ends that begins at an index of the window, or [`CONTEXT`] where it is one by its representation and where
/// its first string is, or [`UNKNOWN`].
#[inline(always)]
pub(crate) fn field(
    operation: &Operation,
    mut at: u32,
    is_context: impl Fn(u32, hpack::Representation) -> bool,
) -> u32 {
    let representation = hpack::representation(operation.word(at));
    let hpack::Representation { length, strings, .. } = representation;
    if length == 0 {
        return UNKNOWN;
    }
    at += length;
    if is_context(at, representation) {
        return CONTEXT;
    }
    if strings >= 1 {
        let string = hpack::string(operation.word(at));
        if string == 0 {
            return UNKNOWN;
        }
        at += string;
    }
    if strings == 2 {
        let string = hpack::string(operation.word(at));
        if string == 0 {
            return UNKNOWN;
        }
        at += string;
    }
    at
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

/// The first entry of the headers of a message, where that is a context.
#[inline(always)]
fn entry(operation: &Operation, begins: u32, count: u32) -> Option<Context> {
    let at = table(operation, begins, count) + 4;
    if at == 4 || !amqp::is_traceparent(operation.word(at), operation.word(at + 8)) {
        return None;
    }
    read(operation, at + amqp::ENTRY - LENGTH)
}

/// The context whose value is at `at` in the window, where it is trusted.
#[inline(always)]
fn read(operation: &Operation, at: u32) -> Option<Context> {
    if at + LENGTH > operation.end || connection::is_refused(operation.sock) {
        return None;
    }
    let word = |offset: usize| operation.word_behind(at, offset);
    let mut read = traceparent::read([word(0), word(8), word(16), word(24), word(32), word(40), word(47)])?;
    read.flags = decides_again(operation.tgid, read.trace[1], read.flags);
    Some(read)
}

/// Makes what is received on a connection part of a trace, where that is one request alone.
#[inline(always)]
fn join(serving: &mut Serving, read: &Context) -> bool {
    with_only(serving, |sum, from| shift(sum, from, read))
}

/// Notes of what is received on a connection that its trace is not known here.
#[inline(always)]
fn is_untold(serving: &mut Serving) {
    with_only(serving, mark);
}

/// Changes all sums of which the only request that a connection handles is a part; whether there is one.
#[inline(always)]
fn with_only(serving: &mut Serving, change: impl Fn(*mut Ids, &Ids)) -> bool {
    // Of several, it is the last one's; what is taken off their sum is not known.
    if serving.requests != 1 {
        return false;
    }
    let Some(unit) = UNITS.get_ptr_mut(&serving.by) else {
        return false;
    };
    // SAFETY: a map value.
    let unit = unsafe { &mut *unit };
    // The connection's own comes last, since the other is relative to it.
    change(&raw mut unit.sum, &serving.sum);
    let sum = &raw mut serving.sum;
    change(sum, &serving.sum);
    if unit.current.span == serving.sum.span {
        unit.current.join(&serving.sum);
    }
    if serving.by.unit == NODE {
        node::joins(&serving.sum);
    }
    true
}

/// Makes one of several requests part of a trace, in a sum of which it is a part with the ids `from`.
#[inline(always)]
fn shift(sum: *mut Ids, from: &Ids, read: &Context) {
    // Not by `enter`: of an addition of nothing the compiler makes another atomic operation, which is not in every BPF.
    // SAFETY: callers pass map values.
    let (first, second, flags) = unsafe {
        (
            &raw mut (*sum).trace[0],
            &raw mut (*sum).trace[1],
            &raw mut (*sum).flags,
        )
    };
    // Where the sender is on this host, its trace is known, and what was decided of it stays.
    if from.trace[0] == read.trace[0] && from.trace[1] == read.trace[1] {
        add(flags, (from.flags | READ).wrapping_sub(from.flags));
        return;
    }
    add(first, read.trace[0].wrapping_sub(from.trace[0]));
    add(second, read.trace[1].wrapping_sub(from.trace[1]));
    add(flags, (read.flags | READ).wrapping_sub(from.flags));
}

/// Notes of one of several requests that its trace is not known, in a sum of which it is a part with the ids `from`.
#[inline(always)]
fn mark(sum: *mut Ids, from: &Ids) {
    if from.flags & UNTOLD == 0 {
        // SAFETY: callers pass map values.
        add(unsafe { &raw mut (*sum).flags }, UNTOLD);
    }
}

/// Changes the ids of a stream, and all sums of which it is a part.
#[inline(always)]
fn with_stream(operation: &Operation, dialogue: &mut Dialogue, stream: u32, change: impl Fn(*mut Ids, &Ids)) {
    if dialogue.unit as u32 == EVENT {
        let key = context::event_loop(EVENT as u8);
        if let Some(unit) = UNITS.get_ptr_mut(&key) {
            // SAFETY: a map value.
            let current = unsafe { &mut (*unit).current };
            if current.span == operation.exchange.ids.span {
                let sum = &raw mut *current;
                change(sum, current);
            }
        }
        return;
    }
    let Some(served) = stream::served(operation.sock, stream) else {
        return;
    };
    let serving = &mut dialogue.serving;
    // Of a goroutine, none handles it yet.
    if served.by.id != 0
        && serving.by.id == served.by.id
        && let Some(unit) = UNITS.get_ptr_mut(&served.by)
    {
        // SAFETY: a map value.
        change(unsafe { &raw mut (*unit).sum }, &served.ids);
        change(&raw mut serving.sum, &served.ids);
    }
    let sum = &raw mut served.ids;
    change(sum, &served.ids);
}
