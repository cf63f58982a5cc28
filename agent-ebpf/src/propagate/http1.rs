//! A header of HTTP/1, at the end of a request's head: by then it is known whether the application has sent one of its own.

use super::{carried, frames, message, tracestate};
use super::{tells, text};
use crate::connection::{Dialogue, Half, Sending, UNDECIDED};
use crate::context::Ids;
use crate::http1::{is_request, past_line_feed};
use crate::maps::{OPERATIONS, count};
use crate::operation::Operation;
use crate::promise;
use crate::state as walker;
use aya_ebpf::bindings::sk_msg_md;
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::frame::{amqp, http2};
use spanwire_ebpf::protocol::{AMQP, HTTP2};
use spanwire_ebpf::sampling::MEMBER;
use spanwire_ebpf::traceparent::{Field, LENGTH, LINE, NAME_BYTES, field};
use spanwire_ebpf::word::{SEVEN, bytes_before, find_in, no_digits, number, pattern};
use spanwire_ebpf::{Counter, propagate};

/// Values of [`Sending::state`].
mod state {
    /// A request should begin here.
    pub(super) const START: u8 = 0;
    /// At the beginning of a header line.
    pub(super) const LINE: u8 = 1;
    /// Within a line.
    pub(super) const IN_LINE: u8 = 2;
    /// In a body of known length.
    pub(super) const BODY: u8 = 3;
    /// In what only the walker can tell the end of: it will, before the next send.
    pub(super) const REST: u8 = 4;
}

/// Bits of [`Sending::marks`].
pub(super) mod marked {
    /// The first line has not been seen to its end.
    pub(super) const FIRST: u8 = 1;
    /// The head has a context of the application's own.
    pub(super) const OWN: u8 = 2;
    /// The head has lines whose names are not known: a send ended in them.
    pub(super) const UNSURE: u8 = 4;
    /// How long the body is cannot be told from here.
    pub(super) const UNKNOWN_LENGTH: u8 = 8;
    /// The head has been seen from its beginning on. The walker counts the others.
    pub(super) const BEGAN: u8 = 16;
    /// The head has a `tracestate` of the application's own.
    pub(crate) const OWN_STATE: u8 = 32;
    /// The head has a `baggage` of the application's own.
    pub(crate) const OWN_BAGGAGE: u8 = 64;
    /// The head has an id by which people find a request.
    pub(crate) const OWN_ID: u8 = 128;
}

/// What comes of looking at some of a head.
mod looked {
    /// There is more to look at.
    pub(super) const GOES_ON: u32 = 0;
    /// The head ends with the empty line at the cursor, which is one byte long.
    pub(super) const ENDS: u32 = 1;
    /// The same with two bytes.
    pub(super) const ENDS_BY_TWO: u32 = 2;
    /// The window ends, or what is at the cursor cannot be told by what is there of it.
    pub(super) const OUT: u32 = 3;
    /// This is no request of HTTP/1.
    pub(super) const FOREIGN: u32 = 4;
}

/// Steps for one run: a line each, or 64 bytes of it.
const STEPS: u32 = 256;

/// Bytes from which the beginning of a request can be told; none is shorter.
const START_BYTES: u32 = 16;

/// Takes over where the walker is.
#[inline(always)]
pub(super) fn adopt(sending: &mut Sending, sent: &Half) {
    let in_head = sending.state == state::LINE || sending.state == state::IN_LINE;
    sending.state = match sent.state {
        walker::START if sent.carried == 0 => {
            sending.marks = 0;
            state::START
        }
        walker::START | walker::FIRST_LINE..=walker::CODING => {
            // What came before is known where it went by way of here.
            if !in_head || sending.overtaken != 0 {
                sending.marks = marked::UNSURE;
            } else if sent.carried != 0 {
                sending.marks |= marked::UNSURE;
            }
            if sent.state == walker::LINE && sent.carried == 0 {
                state::LINE
            } else {
                state::IN_LINE
            }
        }
        walker::BODY => {
            sending.remaining = sent.remaining;
            state::BODY
        }
        _ => state::REST,
    };
}

/// Looks at what is about to be sent: `size` bytes.
#[inline(always)]
pub(super) fn run(context: *mut sk_msg_md, operation: &mut Operation, dialogue: &mut Dialogue, size: u32) {
    let sending = &mut dialogue.sending;
    if sending.state == state::REST {
        return;
    }
    if sending.state == state::BODY {
        if sending.steps_over(context, size) {
            sending.state = state::START;
        }
        return;
    }
    if !message::look(context, operation, size) {
        sending.state = state::REST;
        return;
    }
    if sending.protocol == UNDECIDED
        && let Some(protocol) = protocol_of(operation.word(0))
    {
        sending.protocol = protocol;
        frames::walk(context, operation, dialogue, size);
        return;
    }
    if sending.state == state::START {
        if operation.end < START_BYTES || !is_request(operation.word(0), operation.word(8)) {
            sending.state = state::REST;
            return;
        }
        promise::make(operation.sock, operation.slot, sending.began);
        sending.state = state::IN_LINE;
        sending.marks = marked::FIRST | marked::BEGAN;
        sending.remaining = 0;
        operation.cursor = 8;
    }
    operation.head = Head {
        remaining: sending.remaining,
        state: sending.state,
        marks: sending.marks,
        known: (dialogue.protocol != UNDECIDED) as u8,
        reserved: [0; 5],
    };
    let looked = lines(operation.slot);
    // By way of another reference they were changed.
    // SAFETY: of references.
    unsafe {
        sending.remaining = read_volatile(&raw const operation.head.remaining);
        sending.state = read_volatile(&raw const operation.head.state);
        sending.marks = read_volatile(&raw const operation.head.marks);
    }
    let end = match looked {
        looked::ENDS => 1,
        looked::ENDS_BY_TWO => 2,
        looked::FOREIGN => {
            sending.state = state::REST;
            return;
        }
        _ => {
            goes_on(context, operation, sending, size);
            return;
        }
    };
    let mut behind = operation.cursor + end;
    let mut size = size;
    let put = injects(context, operation, sending);
    behind += put;
    size += put;
    if put != 0 {
        message::join(context, behind);
    }
    let rest = (size as u64).wrapping_sub(behind as u64);
    // A line that was not seen may have said how long the body is: what looks like a request may be in it.
    if sending.marks & (marked::UNKNOWN_LENGTH | marked::UNSURE) != 0 {
        sending.state = state::REST;
    } else if sending.remaining > rest {
        sending.remaining -= rest;
        sending.state = state::BODY;
    } else if sending.remaining == rest {
        sending.state = state::START;
    } else {
        // Another request is in the same message.
        sending.state = state::START;
        sending.run_again(context, behind + sending.remaining as u32);
    }
}

/// The protocol of frames whose client begins so.
#[inline(always)]
fn protocol_of(word: u64) -> Option<u8> {
    match word {
        http2::PREFACE_BEGINS => Some(HTTP2),
        amqp::OPENING => Some(AMQP),
        _ => None,
    }
}

/// The head goes on behind what was looked at: with the next run.
#[inline(always)]
fn goes_on(context: *mut sk_msg_md, operation: &mut Operation, sending: &mut Sending, size: u32) {
    let cursor = operation.cursor;
    if cursor < operation.end && (cursor == 0 || operation.end == size) {
        // The message ends in a line whose name is not all there.
        sending.state = state::IN_LINE;
        sending.marks |= marked::UNSURE;
    } else if cursor < size {
        sending.run_again(context, cursor);
    }
}

/// Puts the header in front of the empty line at the cursor, where there is nothing against that; how many bytes that were.
#[inline(always)]
fn injects(context: *mut sk_msg_md, operation: &mut Operation, sending: &mut Sending) -> u32 {
    if sending.marks & marked::BEGAN == 0 {
        return 0;
    }
    if sending.marks & marked::OWN != 0 {
        count(Counter::InjectionOwn, 1);
        return 0;
    }
    if sending.marks & marked::UNSURE != 0 {
        count(Counter::InjectionCut, 1);
        return 0;
    }
    let at = operation.cursor;
    if !tells(operation.sock, &sending.exchange.ids, propagate::HTTP1, at) {
        return 0;
    }
    let ids = &sending.exchange.ids;
    let mut put = if carried::is_wanted() {
        carried::put(context, operation, at)
    } else {
        0
    };
    if put == 0 && sending.marks & marked::OWN_STATE == 0 {
        put = with_state(context, sending, at);
    }
    if put == 0 && message::put::<LINE, LINE>(context, at, |to| write(to, ids)) {
        put = LINE;
    }
    if put == 0 {
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    count(Counter::Injected, 1);
    sending.add(put, at + put);
    put
}

/// Puts the header and a `tracestate` at a byte, where there is one to tell; how many bytes that were.
#[inline(always)]
fn with_state(context: *mut sk_msg_md, sending: &Sending, at: u32) -> u32 {
    let ids = &sending.exchange.ids;
    let put = if let Some(state) = tracestate::of(sending) {
        let put =
            tracestate::put::<{ LINE + STATE }, 2, 0>(context, at, state, |to| write_both(to, ids), end_line);
        if put { LINE + STATE + state.1 + 2 } else { 0 }
    } else {
        let threshold = tracestate::threshold(ids.flags);
        if threshold != 0 && message::put::<TELLING, TELLING>(context, at, |to| tell(to, ids, threshold)) {
            TELLING
        } else {
            0
        }
    };
    if put != 0 {
        count(Counter::StatesInjected, 1);
    }
    put
}

/// Length of the header and of a `tracestate` that tells a threshold.
pub(super) const TELLING: u32 = LINE + STATE + MEMBER + 2;

/// Writes the header: [`LINE`] bytes.
#[inline(always)]
pub(super) fn write(to: *mut u8, ids: &Ids) {
    // SAFETY: callers have room for all of it. The machines that spanwire supports need no alignment.
    unsafe {
        write_volatile(to.cast::<u64>(), pattern(b"tracepar"));
        write_volatile(to.add(5).cast::<u64>(), pattern(b"parent: "));
        text(to.add(13), ids);
        write_volatile(to.add(13 + LENGTH as usize).cast::<u16>(), 0x0a0d);
    }
}

/// Length of `tracestate: `.
const STATE: u32 = 12;

/// Writes the header, and the beginning of another: [`LINE`] and [`STATE`] bytes.
#[inline(always)]
fn write_both(to: *mut u8, ids: &Ids) {
    write(to, ids);
    // SAFETY: as above.
    unsafe {
        let to = to.add(LINE as usize);
        write_volatile(to.cast::<u64>(), pattern(b"tracesta"));
        write_volatile(to.add(8).cast::<u32>(), pattern(b"te: ") as u32);
    }
}

/// Writes the header, and a `tracestate` that tells a threshold: [`TELLING`] bytes.
#[inline(always)]
pub(super) fn tell(to: *mut u8, ids: &Ids, threshold: u64) {
    write_both(to, ids);
    // SAFETY: as above.
    unsafe {
        tracestate::tell(to.add((LINE + STATE) as usize), threshold);
        end_line(to.add((LINE + STATE + MEMBER) as usize));
    }
}

/// Writes the end of a line: two bytes.
#[inline(always)]
fn end_line(to: *mut u8) {
    // SAFETY: callers have room for both.
    unsafe { write_volatile(to.cast::<u16>(), 0x0a0d) };
}

/// A head that is being looked at: what [`Sending`] knows of it. With the operation, since that is found faster than a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// [`Sending::remaining`].
    remaining: u64,
    /// [`Sending::state`].
    state: u8,
    /// [`Sending::marks`].
    marks: u8,
    /// 1 where the connection is known to speak HTTP/1.
    known: u8,
    /// Padding, always zero.
    reserved: [u8; 5],
}

/// Looks at lines of the operation's head from the cursor on; one of [`looked`], but not `GOES_ON`. A global function, for the
/// reason that [`operands`] gives, and so is the one that it calls.
///
/// [`operands`]: crate::frames::operands
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lines(slot: u32) -> u32 {
    for _ in 0..STEPS {
        let looked = some_line(slot);
        if looked != looked::GOES_ON {
            return looked;
        }
    }
    looked::OUT
}

/// A step of [`lines`]: a line, or 64 bytes of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_line(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return looked::FOREIGN;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    if operation.cursor >= operation.end {
        return looked::OUT;
    }
    let mut head = operation.head;
    if head.state == state::LINE {
        let cursor = operation.cursor;
        let (word, second, third) = (
            operation.word(cursor),
            operation.word(cursor + 8),
            operation.word(cursor + 16),
        );
        let available = operation.available();
        if word as u8 == b'\n' {
            return looked::ENDS;
        }
        if word as u16 == 0x0a0d && available >= 2 {
            return looked::ENDS_BY_TWO;
        }
        if available < NAME_BYTES && find_in(word, second, third, b'\n') >= available {
            return looked::OUT;
        }
        match field(word, second, third) {
            Field::Context => head.marks |= marked::OWN,
            Field::State => head.marks |= marked::OWN_STATE,
            Field::Coding => head.marks |= marked::UNKNOWN_LENGTH,
            Field::Length => length(operation, &mut head),
            Field::Other => {}
        }
        if carried::is_wanted() {
            head.marks |= carried::own(word, second, third);
        }
        head.state = state::IN_LINE;
    }
    let ends = past_line_feed(operation);
    let first = ends && head.marks & marked::FIRST != 0;
    if ends {
        head.state = state::LINE;
        head.marks &= !marked::FIRST;
    }
    operation.head = head;
    if first {
        // A line that began with an earlier run may have its version there.
        if operation.cursor < 10 {
            return if head.known != 0 {
                looked::GOES_ON
            } else {
                looked::FOREIGN
            };
        }
        let carriage = (operation.byte(operation.cursor - 2) == b'\r') as u32;
        if operation.word(operation.cursor - 9 - carriage) & SEVEN != pattern(b"HTTP/1.") {
            return looked::FOREIGN;
        }
    }
    looked::GOES_ON
}

/// The value of Content-Length, whose line begins at the cursor.
#[inline(always)]
fn length(operation: &Operation, head: &mut Head) {
    let mut at = operation.cursor + 15;
    at += (operation.byte(at) == b' ') as u32;
    let word = operation.word(at);
    let digits = bytes_before(no_digits(word));
    // What is longer than that is not followed by another request in the same message.
    if digits == 0 || digits == 8 || at + 8 > operation.end {
        head.marks |= marked::UNKNOWN_LENGTH;
    } else {
        head.remaining = number(word, digits).0;
    }
}
