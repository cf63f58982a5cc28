//! Trace contexts in what is received, so that what is sent for it names the same trace: `traceparent` of HTTP/1 wherever it is
//! in a head, of HTTP/2 and AMQP where spanwire puts it. What it does not find there is read in the agent, but later.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection;
use crate::context::{self, Ids, Serving};
use crate::frames::operands;
use crate::maps::{UNITS, add};
use crate::operation::Operation;
use crate::propagate::tracestate;
use crate::stream;
use spanwire_ebpf::frame::{Head, amqp};
use spanwire_ebpf::hpack::{self, FIELD};
use spanwire_ebpf::protocol::AMQP;
use spanwire_ebpf::traceparent::{self, Context};
use spanwire_ebpf::unit::EVENT;
use spanwire_ebpf::{RECEIVED, traceparent::LENGTH};

/// The request that is being received continues a trace: at the cursor is its `traceparent` header. What is sent for it is
/// part of that trace. A global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn continues(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    if dialogue.requests_direction == RECEIVED {
        let mut at = operation.cursor + traceparent::NAME;
        at += (operation.byte(at) == b' ') as u32;
        if let Some(read) = read(operation, at) {
            if join(&mut dialogue.serving, &read) {
                tracestate::continues(dialogue);
            }
        }
    }
    0
}

/// The last `count` bytes in front of the cursor are all or the end of a frame that spanwire may have put a context into. As
/// [`continues`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frame_continues(sock: u64, slot: u32, count: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let begins = operation.cursor.wrapping_sub(count);
    if dialogue.protocol == AMQP {
        if let Some(read) = entry(operation, begins, count) {
            join(&mut dialogue.serving, &read);
        }
        return 0;
    }
    let at = operation.cursor.wrapping_sub(FIELD);
    if count < FIELD || !hpack::is_field(operation.word(at), operation.word(at + 8)) {
        return 0;
    }
    if let Some(read) = read(operation, at + FIELD - LENGTH) {
        join_stream(
            operation,
            dialogue.unit as u32,
            &mut dialogue.serving,
            half.status,
            &read,
        );
    }
    0
}

/// Of the header frame of a message, which begins at an index of the window, the first entry of the headers, where that is a
/// context.
#[inline(always)]
fn entry(operation: &Operation, begins: u32, count: u32) -> Option<Context> {
    let head = Head {
        word: operation.word(begins),
        next: operation.word(begins + 8),
    };
    if !amqp::is_content_header(head) || amqp::frame(head, false).length != count {
        return None;
    }
    let mut at = begins + amqp::FLAGS;
    let flags = (operation.word(at) as u16).swap_bytes();
    at += 2;
    at += amqp::before_headers(flags, 0x8000, operation.byte(at));
    at += amqp::before_headers(flags, 0x4000, operation.byte(at));
    at += 4;
    if flags & amqp::HEADERS == 0 || !amqp::is_traceparent(operation.word(at), operation.word(at + 8)) {
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
    traceparent::read([word(0), word(8), word(16), word(24), word(32), word(40), word(47)])
}

/// Makes what is received on a connection part of a trace, where that is one request alone.
#[inline(always)]
fn join(serving: &mut Serving, read: &Context) -> bool {
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
    shift(&raw mut unit.sum, &serving.sum, read);
    let sum = &raw mut serving.sum;
    shift(sum, &serving.sum, read);
    if unit.current.span == serving.sum.span {
        unit.current.join(&serving.sum);
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
    let by = (
        read.trace[0].wrapping_sub(from.trace[0]),
        read.trace[1].wrapping_sub(from.trace[1]),
        read.flags.wrapping_sub(from.flags),
    );
    add(first, by.0);
    add(second, by.1);
    add(flags, by.2);
}

/// Makes a stream part of a trace.
#[inline(always)]
fn join_stream(operation: &Operation, unit: u32, serving: &mut Serving, stream: u32, read: &Context) {
    if unit == EVENT {
        let loop_of = context::event_loop();
        if let Some(unit) = UNITS.get_ptr_mut(&loop_of) {
            // SAFETY: a map value.
            let current = unsafe { &mut (*unit).current };
            if current.span == operation.exchange.ids.span {
                current.trace = read.trace;
                current.flags = read.flags;
            }
        }
        return;
    }
    let Some(served) = stream::served(operation.sock, stream) else {
        return;
    };
    // Of a goroutine, none handles it yet.
    if served.by.id != 0
        && serving.by.id == served.by.id
        && let Some(unit) = UNITS.get_ptr_mut(&served.by)
    {
        // SAFETY: a map value.
        shift(unsafe { &raw mut (*unit).sum }, &served.ids, read);
        shift(&raw mut serving.sum, &served.ids, read);
    }
    served.ids.trace = read.trace;
    served.ids.flags = read.flags;
}
