//! A field of HTTP/2, behind the others of a request's header block. gRPC is the same.
//!
//! It is looked at frame by frame. What the application sends as its own is found by its name, which has to be there as a
//! literal before it can be anywhere else; from then on, nothing is injected on the connection. Where the connection was enrolled
//! late, or a block could not be looked at, the name may be in the dynamic table already. There, what has a name from that table and a value as long as a context's
//! counts as one, and nothing is injected before some requests had none: whoever sends contexts sends a new one with most.

use super::frames::{fields, head_at, looked};
use super::tracestate::{self, State};
use super::{carried, message, tells, text};
use crate::connection::Sending;
use crate::context::Ids;
use crate::extract::http2 as received;
use crate::frames::operands;
use crate::maps::{OPERATIONS, count};
use crate::operation::Operation;
use crate::promise;
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::bpf_msg_pop_data;
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::frame::{Head, http2};
use spanwire_ebpf::hpack::{self, FIELD, FIELD_BEGINS, Representation};
use spanwire_ebpf::sampling::MEMBER;
use spanwire_ebpf::{Counter, SENT, propagate};

/// Bits of [`Sending::marks`], beside `OWN_BAGGAGE` and `OWN_ID` of HTTP/1.
mod marked {
    /// The application sends contexts of its own.
    pub(super) const OWN: u8 = 1;
}

/// Longest frame that any peer takes (RFC 9113, section 4.2).
const FRAME_LIMIT: u32 = 16_384;
/// Frames for one run.
const FRAMES: u32 = 64;
/// Fields of one block.
const FIELDS: u32 = 128;
/// Requests of a connection that was enrolled late which have to be without a context.
pub(super) const PROOF: u8 = 16;

/// Looks at frames from the cursor on, up to the first that begins a request; one of [`looked`], but not `GOES_ON`. A global
/// function, for the reason that [`operands`] gives, and so are the others here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn http2_frames(sock: u64, slot: u32) -> u32 {
    for _ in 0..FRAMES {
        let looked = http2_frame(sock, slot);
        if looked != looked::GOES_ON {
            return looked;
        }
    }
    looked::OUT
}

pub(super) use http2_frames as frames;

/// A step of [`http2_frames`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn http2_frame(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return looked::FOREIGN;
    };
    if operation.cursor < operation.end && operation.word(operation.cursor) == http2::PREFACE_BEGINS {
        operation.cursor += http2::PREFACE;
    }
    let cursor = operation.cursor;
    if cursor >= operation.end || operation.available() < http2::HEADER {
        return looked::OUT;
    }
    let head = head_at(operation, cursor);
    if http2::frame(head, true).length == 0 {
        return looked::FOREIGN;
    }
    if http2::is_headers(head) && http2::stream(head) > dialogue.sending.stream {
        return looked::FOUND;
    }
    operation.cursor = cursor + http2::whole(head);
    looked::GOES_ON
}

/// Puts the field into the frame at the cursor, where there is nothing against that; how many bytes that were.
#[inline(always)]
pub(super) fn injects(
    context: *mut sk_msg_md,
    operation: &mut Operation,
    sending: &mut Sending,
    head: Head,
) -> u32 {
    let cursor = operation.cursor;
    sending.stream = http2::stream(head);
    promise::make(operation.sock, operation.slot, sending.began.wrapping_add(cursor));
    let whole = http2::whole(head);
    let Some((from, padding)) = http2::block(head, operation.byte(cursor + http2::HEADER)) else {
        return is_cut(sending);
    };
    if whole > operation.available() || from + padding >= whole {
        // By the send, or longer than the window.
        return is_cut(sending);
    }
    let at = cursor + whole - padding;
    let last = operation.byte(at - 1);
    operation.copy_from = cursor + from;
    operation.copy_to = at;
    operation.fields.own = 0;
    let looked = some_fields(operation.slot, sending.late as u32);
    // SAFETY: of references. By way of others one was changed, and the other will be read.
    unsafe {
        let marks = sending.marks | read_volatile(&raw const operation.fields.own) as u8;
        write_volatile(&raw mut sending.marks, marks);
    }
    match looked {
        fields::FREE if sending.marks & marked::OWN == 0 => {}
        fields::UNKNOWN => return is_cut(sending),
        _ => {
            sending.marks |= marked::OWN;
            count(Counter::InjectionOwn, 1);
            return 0;
        }
    }
    if sending.unproven != 0 {
        sending.unproven -= 1;
        count(Counter::InjectionUnproven, 1);
        return 0;
    }
    if !tells(operation.sock, &sending.exchange.ids, propagate::HTTP2, at) {
        return 0;
    }
    if whole + FIELD > FRAME_LIMIT + http2::HEADER {
        count(Counter::InjectionCut, 1);
        return 0;
    }
    // One byte early, since Linux 5.10 refuses a push at the message's very end.
    let from = at - 1;
    let ids = &sending.exchange.ids;
    let mut put = 0;
    let room = FRAME_LIMIT + http2::HEADER - whole;
    // On a connection that was enrolled late, the application's own may be in the table.
    if carried::is_wanted() && sending.late == 0 {
        put = carried::put_fields(context, operation, from, last, room);
    }
    let states = put == 0;
    if !states {
        // It has gone with that.
    } else if let Some(state) = tracestate::of(sending) {
        put = with_state(context, from, last, ids, state, room);
    } else {
        let threshold = tracestate::threshold(ids.flags);
        if threshold != 0
            && TELLING <= room
            && message::put::<TELLING, { TELLING + 1 }>(context, from, |to| {
                tell(to, last, ids, threshold);
            })
        {
            put = TELLING;
        }
    }
    if put == 0 && message::put::<FIELD, { FIELD + 1 }>(context, from, |to| write(to, last, ids)) {
        put = FIELD;
    }
    if put == 0 {
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    if !lengthen(context, cursor, whole + put - http2::HEADER) {
        // SAFETY: the program's own context.
        unsafe { bpf_msg_pop_data(context, at, put, 0) };
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    count(Counter::Injected, 1);
    if states && put != FIELD {
        count(Counter::StatesInjected, 1);
    }
    sending.add(put, at + put);
    put
}

/// Not all of a block can be looked at: what it has put into the dynamic table is not known from then on.
#[inline(always)]
fn is_cut(sending: &mut Sending) -> u32 {
    sending.late = 1;
    count(Counter::InjectionCut, 1);
    0
}

/// Puts a `tracestate` and the field behind `last`, the byte at `from`, where there is room for both; how many bytes that were. The
/// field comes last: whoever receives it looks for it there.
#[inline(always)]
fn with_state(
    context: *mut sk_msg_md,
    from: u32,
    last: u8,
    ids: &Ids,
    state: (&State, u32),
    room: u32,
) -> u32 {
    let (prefix, bytes) = hpack::prefix(state.1);
    let added = hpack::STATE + bytes + state.1 + FIELD;
    if added > room {
        return 0;
    }
    let field = |to| field(to, ids);
    let put = match bytes {
        1 => {
            let begin = |to: *mut u8| {
                begin_state(to, last);
                // SAFETY: there is room for as much.
                unsafe { write_volatile(to.add(PREFIX), prefix as u8) };
            };
            tracestate::put::<{ 1 + hpack::STATE + 1 }, FIELD, 1>(context, from, state, begin, field)
        }
        2 => {
            let begin = |to: *mut u8| {
                begin_state(to, last);
                // SAFETY: as above. The machines that spanwire supports need no alignment.
                unsafe { write_volatile(to.add(PREFIX).cast::<u16>(), prefix as u16) };
            };
            tracestate::put::<{ 1 + hpack::STATE + 2 }, FIELD, 1>(context, from, state, begin, field)
        }
        _ => {
            let begin = |to: *mut u8| {
                begin_state(to, last);
                // SAFETY: as above.
                unsafe {
                    write_volatile(to.add(PREFIX).cast::<u16>(), prefix as u16);
                    write_volatile(to.add(PREFIX + 2), (prefix >> 16) as u8);
                }
            };
            tracestate::put::<{ 1 + hpack::STATE + 3 }, FIELD, 1>(context, from, state, begin, field)
        }
    };
    if put { added } else { 0 }
}

/// Length of the field and of a `tracestate` that tells a threshold.
pub(super) const TELLING: u32 = hpack::STATE + 1 + MEMBER + FIELD;

/// Writes the block's last byte, a `tracestate` that tells a threshold, and the field, which comes last here, too.
#[inline(always)]
pub(super) fn tell(to: *mut u8, last: u8, ids: &Ids, threshold: u64) {
    begin_state(to, last);
    // SAFETY: callers have room for all of it.
    unsafe {
        write_volatile(to.add(PREFIX), MEMBER as u8);
        tracestate::tell(to.add(PREFIX + 1), threshold);
        field(to.add(PREFIX + 1 + MEMBER as usize), ids);
    }
}

/// Behind the block's last byte, where the length of `tracestate` is.
const PREFIX: usize = (1 + hpack::STATE) as usize;

/// Writes the block's last byte, and the beginning of a `tracestate`.
#[inline(always)]
fn begin_state(to: *mut u8, last: u8) {
    // SAFETY: callers have room for all of it. The machines that spanwire supports need no alignment.
    unsafe {
        write_volatile(to, last);
        write_volatile(to.add(1).cast::<u64>(), hpack::STATE_BEGINS[0]);
        write_volatile(to.add(9).cast::<u32>(), hpack::STATE_BEGINS[1] as u32);
    }
}

/// Writes the length of a frame's payload into its header, which is at `at`; whether that was possible.
#[inline(always)]
fn lengthen(context: *mut sk_msg_md, at: u32, length: u32) -> bool {
    message::rewrite::<{ http2::HEADER }>(context, at, |to| {
        // SAFETY: there are as many bytes.
        unsafe {
            write_volatile(to, (length >> 16) as u8);
            write_volatile(to.add(1), (length >> 8) as u8);
            write_volatile(to.add(2), length as u8);
        }
    })
}

/// Writes the block's last byte, which was moved behind, and the field.
#[inline(always)]
fn write(to: *mut u8, last: u8, ids: &Ids) {
    // SAFETY: callers have room for all of it.
    unsafe { write_volatile(to, last) };
    // SAFETY: as above.
    field(unsafe { to.add(1) }, ids);
}

/// Writes the field: [`FIELD`] bytes.
#[inline(always)]
pub(super) fn field(to: *mut u8, ids: &Ids) {
    // SAFETY: callers have room for all of it. The machines that spanwire supports need no alignment.
    unsafe {
        write_volatile(to.cast::<u64>(), FIELD_BEGINS[0]);
        write_volatile(to.add(8).cast::<u64>(), FIELD_BEGINS[1]);
        text(to.add((FIELD - spanwire_ebpf::traceparent::LENGTH) as usize), ids);
    }
}

/// Looks at the fields of the block from `copy_from` to `copy_to`, on a connection that was enrolled `late` or not; one of
/// [`fields`], but not `GO_ON`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_fields(slot: u32, late: u32) -> u32 {
    for _ in 0..FIELDS {
        let found = some_field(slot, late);
        if found != fields::GO_ON {
            return found;
        }
    }
    fields::UNKNOWN
}

/// A step of [`some_fields`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_field(slot: u32, late: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return fields::UNKNOWN;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let at = operation.copy_from;
    if at >= operation.copy_to {
        return if at == operation.copy_to {
            fields::FREE
        } else {
            fields::UNKNOWN
        };
    }
    let field = received::field(operation, at);
    if is_own(operation, field.name, field.representation, late) {
        return fields::OWN;
    }
    if carried::is_wanted() && field.representation.strings == 2 {
        let word = |offset| operation.word_behind(field.name, offset);
        operation.fields.own |= carried::own_field(word(0), word(8), word(16)) as u32;
    }
    if field.behind == 0 {
        return fields::UNKNOWN;
    }
    operation.copy_from = field.behind;
    fields::GO_ON
}

/// Whether a field's name, or of a `late` connection its value, is at an index of the window and is one of a context.
#[inline(always)]
fn is_own(operation: &Operation, at: u32, representation: Representation, late: u32) -> bool {
    let (word, next) = (operation.word(at), operation.word(at + 8));
    match representation.strings {
        2 => hpack::is_context(word, next) || hpack::is_tracestate(word, next),
        1 => late != 0 && representation.is_dynamic() && hpack::may_be_context(word),
        _ => false,
    }
}
