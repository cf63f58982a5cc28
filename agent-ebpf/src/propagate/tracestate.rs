//! `tracestate` of the requests that are being handled, by their span, so that what is sent for them carries it on.
//!
//! What begins here says by which threshold it was kept, and nothing else.
//!
//! Several header lines are one list. Where one of them is not as it should be, or is not there as a whole when it is looked
//! at, none is carried on: whoever is named there must not be told half of it.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use super::carriers::{keep, kept, what};
use super::{message, number};
use crate::connection::{Dialogue, Sending};
use crate::frames::operands;
use crate::globals::global;
use crate::maps::{OPERATIONS, STATES, THRESHOLDS, count};
use crate::operation::{Operation, WINDOW};
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{bpf_msg_pop_data, bpf_msg_push_data, bpf_probe_read_kernel};
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::tracestate::{LIMIT, Reading, phase};
use spanwire_ebpf::{Counter, RECEIVED, sampling};

/// What one request carries.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct State {
    /// The list. The verifier knows an index and a length each by its own bounds, so there is room for both.
    pub(super) text: [u8; 2 * LIMIT as usize + 8],
    length: u32,
    members: u32,
    /// 1 where the request's `traceparent` is as it should be: without one it says nothing.
    continues: u32,
    /// 1 where nothing is carried on.
    broken: u32,
}

/// Of a request of which nothing is known yet.
static NOTHING: State = State {
    text: [0; 2 * LIMIT as usize + 8],
    length: 0,
    members: 0,
    continues: 0,
    broken: 0,
};

/// Bytes of the header in front of its value: `tracestate:`.
const NAME: u32 = 11;

/// Steps of eight bytes for one header: more than is carried on.
const STEPS: u32 = LIMIT / 8 + 8;

/// The request that is being received has at the cursor a `tracestate` header. A global function, for the reason that
/// [`operands`] gives, and so is the one that it calls.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn carries_state(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let Dialogue {
        serving, continues, ..
    } = dialogue;
    // Of several at a time, nobody can tell for which something is sent.
    if global!(propagates) == 0 || dialogue.requests_direction != RECEIVED || serving.requests != 1 {
        return 0;
    }
    operation.reading.begins = operation.cursor + NAME;
    operation.reading.ends = operation.end;
    takes_state(operation.slot, serving.sum.span, *continues as u32, 0)
}

/// A request with this span comes with a `tracestate` whose value, or what there is of it, is where the operation's reading
/// says; it is `whole`, or ends with its line. Whether the request `continues` a trace may be known later. As [`carries_state`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn takes_state(slot: u32, span: u64, continues: u32, whole: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 0;
    };
    if let Some(state) = keep(&STATES, &span, what::STATE, &NOTHING) {
        // SAFETY: map values, the first of which is this program's own.
        let (operation, state) = unsafe { (&mut *operation, &mut *state) };
        state.continues = continues;
        if state.broken == 0 {
            add(operation, state, whole != 0);
        }
    }
    0
}

/// Takes the value that was found in a frame, for the request that carries it on. Not from where it is found, since there is no room
/// for that on the stack.
#[inline(always)]
pub(crate) fn takes_found(slot: u32) {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let span = operation.fields.state_carrier;
    operation.fields.state_carrier = 0;
    if span != 0 {
        let [begins, ends] = operation.fields.state;
        operation.reading.begins = begins;
        operation.reading.ends = ends;
        takes_state(slot, span, 1, 1);
    }
}

/// Adds a value to the list.
#[inline(always)]
fn add(operation: &mut Operation, state: &mut State, whole: bool) {
    let comma = (state.length != 0) as u32;
    let begins = Reading {
        phase: phase::GAP,
        at: 0,
        count: 0,
        last: 0,
        from: 0,
        to: 0,
        members: state.members,
        room: LIMIT.saturating_sub(state.length + comma),
        begins: operation.reading.begins,
        ends: operation.reading.ends,
    };
    store(&mut operation.reading, begins);
    for _ in 0..STEPS {
        if some_state(operation.slot) != 0 {
            break;
        }
    }
    let mut reading = load(&operation.reading);
    if whole && reading.phase == phase::ENDED {
        // A line that ends within it.
        reading.phase = phase::MALFORMED;
    } else if whole && reading.phase != phase::MALFORMED && reading.begins + reading.at == reading.ends {
        reading = reading.take(b'\n');
    }
    if reading.phase == phase::MALFORMED {
        state.broken = 1;
        count(Counter::StatesMalformed, 1);
        return;
    }
    // What is longer is left out. What ends before may go on with the next operation.
    if reading.phase != phase::ENDED && reading.at < STEPS * 8 {
        state.broken = 1;
        count(Counter::StatesCut, 1);
        return;
    }
    // As numbers of their own, whose bounds stay known.
    let length = number(operation, reading.length() as u64);
    let at = number(operation, (state.length + comma) as u64);
    if length == 0 || length > LIMIT as u64 || at > LIMIT as u64 {
        return;
    }
    if comma != 0 {
        state.text[state.length as usize & (LIMIT as usize - 1)] = b',';
    }
    let from = (reading.begins + reading.from) as usize & (WINDOW - 1);
    // SAFETY: there is room for as much; the helper checks the address that is read.
    let result = unsafe {
        let from = operation.window.as_ptr().add(from);
        bpf_probe_read_kernel(
            state.text.as_mut_ptr().add(at as usize).cast(),
            length as u32,
            from.cast(),
        )
    };
    if result == 0 {
        state.length = (at + length) as u32;
        state.members = reading.members;
    }
}

/// Reads up to eight bytes of the value; 1 where it, or what is there of it, is over.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_state(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 1;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    for _ in 0..8 {
        // From memory and back each time: what is there, the verifier does not follow.
        let reading = load(&operation.reading);
        let at = reading.begins + reading.at;
        if at >= reading.ends || reading.phase == phase::ENDED || reading.phase == phase::MALFORMED {
            return 1;
        }
        let byte = operation.byte(at);
        store(&mut operation.reading, reading.take(byte));
    }
    0
}

#[inline(always)]
fn load(from: &Reading) -> Reading {
    // SAFETY: of a reference.
    unsafe {
        Reading {
            phase: read_volatile(&raw const from.phase),
            at: read_volatile(&raw const from.at),
            count: read_volatile(&raw const from.count),
            last: read_volatile(&raw const from.last),
            from: read_volatile(&raw const from.from),
            to: read_volatile(&raw const from.to),
            members: read_volatile(&raw const from.members),
            room: read_volatile(&raw const from.room),
            begins: read_volatile(&raw const from.begins),
            ends: read_volatile(&raw const from.ends),
        }
    }
}

#[inline(always)]
fn store(to: &mut Reading, from: Reading) {
    // SAFETY: as above.
    unsafe {
        write_volatile(&raw mut to.phase, from.phase);
        write_volatile(&raw mut to.at, from.at);
        write_volatile(&raw mut to.count, from.count);
        write_volatile(&raw mut to.last, from.last);
        write_volatile(&raw mut to.from, from.from);
        write_volatile(&raw mut to.to, from.to);
        write_volatile(&raw mut to.members, from.members);
        write_volatile(&raw mut to.room, from.room);
        write_volatile(&raw mut to.begins, from.begins);
        write_volatile(&raw mut to.ends, from.ends);
    }
}

/// The request that is being received continues a trace.
#[inline(always)]
pub(crate) fn continues(dialogue: &mut Dialogue) {
    dialogue.continues = 1;
    if let Some(state) = STATES.get_ptr_mut(&dialogue.serving.sum.span) {
        // SAFETY: a map value.
        unsafe { (*state).continues = 1 };
    }
}

/// The threshold by which the trace of a request with these flags is kept, that was decided of here; 0 where there is none to tell,
/// or what came with the trace goes on. A global function, which the verifier looks at once and not for each protocol.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn threshold(flags: u64) -> u64 {
    let Some(by) = sampling::by(flags) else {
        return 0;
    };
    let Some(word) = THRESHOLDS.get(by.slot) else {
        return 0;
    };
    if flags & sampling::SAMPLED == 0 {
        return 0;
    }
    match sampling::kept_by(*word, by) {
        Some(threshold) if threshold < sampling::NEVER => threshold,
        Some(_) => 0,
        None => {
            count(Counter::StatesOutdated, 1);
            0
        }
    }
}

/// Writes what `tracestate` says of a threshold: [`sampling::MEMBER`] bytes.
#[inline(always)]
pub(super) fn tell(to: *mut u8, threshold: u64) {
    let (first, second, third) = sampling::member(threshold);
    // SAFETY: callers have room for all of it. The machines that spanwire supports need no alignment.
    unsafe {
        write_volatile(to.cast::<u64>(), first);
        write_volatile(to.add(8).cast::<u64>(), second);
        write_volatile(to.add(16).cast::<u32>(), third);
    }
}

/// What goes with a request that is sent, since it came with the one that it is sent for, and how long it is.
#[inline(always)]
pub(super) fn of(sending: &Sending) -> Option<(&State, u32)> {
    // SAFETY: a map value; one that is replaced in the meantime is another's whole text, or the beginning of it.
    let state = unsafe { &*kept(&STATES, &sending.exchange.parent, what::STATE)? };
    // SAFETY: of a reference; once, since it may change.
    let length = unsafe { read_volatile(&raw const state.length) };
    let is_carried = state.continues != 0 && state.broken == 0 && length != 0 && length <= LIMIT;
    is_carried.then_some((state, length))
}

/// Puts in front of byte `at` `FIRST` bytes, which `begin` writes, the list, and `LAST` bytes, which `end` writes. The last `OVER`
/// of these take the place of what was there before. Returns whether that was possible; if not, nothing has changed.
#[inline(always)]
pub(super) fn put<const FIRST: u32, const LAST: u32, const OVER: u32>(
    context: *mut sk_msg_md,
    at: u32,
    (state, length): (&State, u32),
    begin: impl FnOnce(*mut u8),
    end: impl FnOnce(*mut u8),
) -> bool {
    let written = FIRST + length + LAST;
    // SAFETY: the program's own context.
    if unsafe { bpf_msg_push_data(context, at, written - OVER, 0) } != 0 {
        return false;
    }
    if let Some((start, limit)) = message::pull(context, at, written)
        && start + FIRST as usize <= limit
    {
        begin(start as *mut u8);
        // Behind the list by a pull of its own: else the verifier would look at it once for each length that the list may have.
        if write_list(start + FIRST as usize, limit, state, length)
            && (LAST == 0 || message::rewrite::<LAST>(context, at + FIRST + length, end))
        {
            return true;
        }
    }
    // SAFETY: as above.
    unsafe { bpf_msg_pop_data(context, at, written - OVER, 0) };
    false
}

/// Writes the list; whether there is room.
#[inline(always)]
fn write_list(start: usize, end: usize, state: &State, length: u32) -> bool {
    let mut offset = 0;
    for _ in 0..LIMIT / 8 {
        if offset + 8 > length as usize {
            break;
        }
        let to = start + offset;
        if to + 8 > end {
            return false;
        }
        // SAFETY: there is room for as much, as was just seen, and it is within the text.
        unsafe {
            write_volatile(
                to as *mut u64,
                read_volatile(state.text.as_ptr().add(offset).cast()),
            )
        };
        offset += 8;
    }
    for _ in 0..7 {
        if offset >= length as usize {
            break;
        }
        let to = start + offset;
        if to + 1 > end {
            return false;
        }
        // SAFETY: as above.
        unsafe { write_volatile(to as *mut u8, read_volatile(state.text.as_ptr().add(offset))) };
        offset += 1;
    }
    true
}
