//! Trace contexts in what is received, so that what is sent for it names the same trace: `traceparent`, with its `tracestate`.
//! What else there may be is read in the agent, but later. So of a request that names its trace in another format, or where it
//! cannot be seen, it is noted that nobody is to be told which it is.
//!
//! Where nothing is told, of HTTP/2 and AMQP a context is looked for just where spanwire puts it.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

mod amqp;
pub(crate) mod http2;

use crate::connection::{self, Dialogue, Half};
use crate::context::{Ids, READ, Serving, UNTOLD};
use crate::decision::decides_again;
use crate::frames::{Step, operands};
use crate::globals::global;
use crate::maps::{UNITS, add, count};
use crate::operation::Operation;
use crate::propagate::{tracestate, wanted};
use crate::runtime::node;
use crate::state;
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::hpack::Names;
use spanwire_ebpf::protocol::AMQP;
use spanwire_ebpf::traceparent::{self, Context, LENGTH, Partial, Taken, is_blank, is_traceparent};
use spanwire_ebpf::unit::NODE;
use spanwire_ebpf::{Counter, RECEIVED};

/// The request that is being received continues a trace: at the cursor is a header that says so. What is sent for it is
/// part of that trace. Where not all of its value is there, or there are more blanks around it than one in front, returns how far in
/// front of that it begins: it is taken in parts ([`step`]). A global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn continues(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    if dialogue.requests_direction != RECEIVED {
        return 0;
    }
    let cursor = operation.cursor;
    if !is_traceparent(operation.word(cursor), operation.word(cursor + 8)) {
        // What else there is counts where this is not there.
        if dialogue.serving.sum.flags & READ == 0 {
            is_untold(&mut dialogue.serving);
        }
        return 0;
    }
    let mut at = cursor + traceparent::NAME;
    at += (operation.byte(at) == b' ') as u32;
    let behind = at + LENGTH;
    let is_apart = is_blank(operation.byte(at)) || is_blank(operation.byte(behind));
    if behind + 2 > operation.end || is_apart {
        store(half, Partial::default());
        return at - cursor;
    }
    if traceparent::ends(operation.word(at), operation.word(behind))
        && let Some(read) = read(operation, at)
    {
        takes_over(dialogue, &read);
    }
    0
}

/// Takes what there is of a value at the cursor that is taken in parts, up to its line's end. A global function, as above.
#[inline(always)]
pub(crate) fn step(operation: &mut Operation, half: &mut Half) -> Step {
    let taken = continues_in_parts(operation.sock, operation.slot);
    operation.cursor += taken & !PARTS_END;
    if taken & PARTS_END != 0 {
        half.state = state::SKIP_LINE;
    }
    Step::More
}

/// Beside how many bytes were taken: there are no more to come.
const PARTS_END: u32 = 1 << 31;

/// As [`continues`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn continues_in_parts(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return PARTS_END;
    };
    for taken in 0..=traceparent::PARTS {
        let at = operation.cursor + taken;
        if at >= operation.end {
            return taken;
        }
        match load(half).take(operation.byte(at)) {
            Taken::More(partial) => store(half, partial),
            Taken::Whole(context) => {
                if let Some(read) = trusted(operation, context) {
                    takes_over(dialogue, &read);
                }
                return taken | PARTS_END;
            }
            Taken::Malformed => return taken | PARTS_END,
        }
    }
    // There are many blanks.
    traceparent::PARTS + 1
}

/// The value that comes in parts waits where the rest of a line does in other states. From memory and back each time: what is there,
/// the verifier does not follow.
#[inline(always)]
fn load(half: &Half) -> Partial {
    // SAFETY: of references.
    Partial([0, 1, 2].map(|place| unsafe { read_volatile(&raw const half.carry[place]) }))
}

#[inline(always)]
fn store(half: &mut Half, partial: Partial) {
    for (place, word) in partial.0.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut half.carry[place], word) };
    }
}

/// The request that is received says this of the trace that it continues.
#[inline(always)]
fn takes_over(dialogue: &mut Dialogue, read: &Context) {
    if dialogue.serving.sum.flags & READ != 0 {
        // There twice, neither counts.
        is_untold(&mut dialogue.serving);
    } else if join(&mut dialogue.serving, read) {
        tracestate::continues(dialogue);
    }
}

/// What the fields of a block or the entries of a table say, as far as they were looked at.
#[repr(C)]
pub(crate) struct Fields {
    /// Index in the window of the next one.
    at: u32,
    /// Index behind the last one.
    ends: u32,
    /// Where the value of `traceparent` is; 0 where there is none.
    context: u32,
    /// 1 where there is one more.
    twice: u32,
    /// 1 where there may be a context that is read in the agent alone.
    others: u32,
    /// Where the value of `tracestate` is, and behind it; 0 where there is none.
    pub(crate) state: [u32; 2],
    /// 1 where it cannot be read.
    state_cut: u32,
    /// One of [`view`].
    view: u32,
    /// The span of the request that carries it on; 0 where it is not carried on.
    pub(crate) state_carrier: u64,
    /// Where the values of `baggage`, and of ids by which people find the request, are, by their kind, and behind it; 0 where
    /// there is none, and [`CUT`] where there are several.
    pub(crate) carried: [[u32; 2]; 4],
    /// The span of the request that carries them on; 0 where nothing is carried on.
    pub(crate) carrier: u64,
    /// What a request that is sent has of its own: bits of its marks.
    pub(crate) own: u32,
    /// Of a string that is being decoded: its next bit.
    bit: u32,
    /// What the names are for that are in the connection's dynamic table.
    names: Names,
    /// What was decoded.
    text: [u8; 56],
}

/// What they have come to.
#[derive(Clone, Copy)]
struct Found {
    context: u32,
    twice: u32,
    others: u32,
}

impl Fields {
    /// What was found, by way of another reference.
    #[inline(always)]
    fn found(&self) -> Found {
        // SAFETY: of references.
        unsafe {
            Found {
                context: read_volatile(&raw const self.context),
                twice: read_volatile(&raw const self.twice),
                others: read_volatile(&raw const self.others),
            }
        }
    }

    /// Begins to look at those from one index to another.
    #[inline(always)]
    fn begin(&mut self, at: u32, ends: u32) {
        self.at = at;
        self.ends = ends;
        self.context = 0;
        self.twice = 0;
        self.others = 0;
        self.state = [0; 2];
        self.state_carrier = 0;
        self.state_cut = 0;
        self.carried = [[0; 2]; 4];
        self.carrier = 0;
    }

    /// There is a `traceparent`, whose value is at an index.
    #[inline(always)]
    fn finds(&mut self, at: u32) {
        self.twice |= (self.context != 0) as u32;
        self.context = at;
    }

    /// There is a value of one of [`spanwire_ebpf::carried::kind`]. Of several, none is taken over.
    #[inline(always)]
    fn finds_carried(&mut self, kind: u64, from: u32, to: u32) {
        let place = &mut self.carried[kind as usize & 3];
        *place = if place[0] == 0 { [from, to] } else { [CUT, CUT] };
    }

    /// There is a `tracestate`. Of several, none is taken over.
    #[inline(always)]
    fn finds_state(&mut self, from: u32, to: u32) {
        self.state_cut |= (self.state[0] != 0) as u32;
        self.state = [from, to];
    }
}

/// What comes of looking at one of them.
mod looked {
    pub(super) const GOES_ON: u32 = 0;
    pub(super) const ENDS: u32 = 1;
    pub(super) const UNKNOWN: u32 = 2;
}

/// Fields of one block, entries of one table.
const FIELDS: u32 = 128;

/// Looks at one after the other up to the last; 1 where all of them are as they should be.
#[inline(always)]
fn all(look: impl Fn() -> u32) -> u32 {
    for _ in 0..FIELDS {
        let looked = look();
        if looked != looked::GOES_ON {
            return (looked == looked::ENDS) as u32;
        }
    }
    0
}

/// In place of how many bytes came before: they are not there any more, and part of the block was among them.
pub(crate) const CUT: u32 = u32::MAX;

/// The last `count` bytes in front of the cursor are all or the end of HEADERS or of a message's header; `apart` bytes came
/// before, which are the frame's header, or [`CUT`]. Looks at what is there, where its process tells others; by itself, since there
/// is no room on the stack for that below [`frame_continues`]. As [`continues`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frame_looks(sock: u64, slot: u32, count: u32, apart: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let seen = if wanted() == 0 {
        view::NONE
    } else if dialogue.protocol == AMQP {
        amqp::looks(operation, count, apart)
    } else {
        http2::looks(operation, dialogue, half, count, apart)
    };
    // SAFETY: of a reference.
    unsafe { write_volatile(&raw mut operation.fields.view, seen) };
    if dialogue.protocol != AMQP && seen != view::WHOLE {
        http2::is_unseen(dialogue);
    }
    0
}

/// Takes over the context that is there. HEADERS `begins` a request, or is its trailers. Where it says that the request continues
/// a trace, and not which, that is noted. As [`continues`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn frame_continues(sock: u64, slot: u32, count: u32, begins: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let view = if global!(propagates) == 0 {
        view::NONE
    } else {
        // SAFETY: of a reference.
        unsafe { read_volatile(&raw const operation.fields.view) }
    };
    match dialogue.protocol {
        AMQP => amqp::continues(operation, dialogue, count, view),
        // Trailers say nothing of it.
        _ if begins == 0 => {}
        _ => http2::continues(operation, dialogue, half, count, view),
    }
    0
}

/// What was seen of a frame.
mod view {
    /// It was not looked at, since nobody is told.
    pub(super) const NONE: u32 = 0;
    /// All of it.
    pub(super) const WHOLE: u32 = 1;
    /// It is not there as a whole, or not as it should be.
    pub(super) const PART: u32 = 2;
    /// There is nothing in it to be looked at.
    pub(super) const EMPTY: u32 = 3;
}

/// The request with this span carries on the `tracestate` that it came with: once there is room on the stack, by
/// [`tracestate::takes_found`].
#[inline(always)]
fn carries_state(operation: &mut Operation, span: u64) {
    // SAFETY: of references, as above.
    unsafe {
        let fields = &raw mut operation.fields;
        if read_volatile(&raw const (*fields).state_cut) != 0 {
            count(Counter::StatesCut, 1);
        } else if read_volatile(&raw const (*fields).state[0]) != 0 {
            write_volatile(&raw mut (*fields).state_carrier, span);
        }
    }
}

/// The context whose value is at `at` in the window, where it is trusted.
#[inline(always)]
fn read(operation: &Operation, at: u32) -> Option<Context> {
    if at + LENGTH > operation.end {
        return None;
    }
    of_words(operation, |offset| operation.word_behind(at, offset))
}

/// The context whose value has these words at these offsets, where it is trusted.
#[inline(always)]
fn of_words(operation: &Operation, word: impl Fn(usize) -> u64) -> Option<Context> {
    let words = [word(0), word(8), word(16), word(24), word(32), word(40), word(47)];
    trusted(operation, traceparent::read(words)?)
}

/// A context that was read, where it is trusted.
#[inline(always)]
fn trusted(operation: &Operation, mut read: Context) -> Option<Context> {
    if connection::is_refused(operation.sock) {
        return None;
    }
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
