//! An entry in the headers of a message that is published by AMQP 0-9-1 (specification, sections 2.3.5.2 and 4.2.5.5): in
//! front of the table's others, or in a table made for it.
//!
//! The method comes first, and begins the exchange; the header frame behind it, on the same channel, may come with another
//! send.

use super::frames::{fields, head_at, looked};
use super::{message, tells, text, tracestate};
use crate::connection::Sending;
use crate::context::Ids;
use crate::frames::operands;
use crate::maps::{OPERATIONS, count};
use crate::operation::Operation;
use crate::promise;
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::bpf_msg_pop_data;
use core::ptr::write_volatile;
use spanwire_ebpf::frame::{self, Head, amqp};
use spanwire_ebpf::sampling::MEMBER;
use spanwire_ebpf::{Counter, SENT, propagate};

/// Bits of [`Sending::marks`].
mod marked {
    /// A message's method was sent on the channel that [`Sending::stream`] names, and its header was not seen since.
    pub(super) const PUBLISHING: u8 = 1;
}

/// Frames for one run.
const FRAMES: u32 = 64;
/// Entries of one table.
const ENTRIES: u32 = 128;

/// Looks at frames from the cursor on, up to the first header of a message that is published; one of [`looked`], but not
/// `GOES_ON`. A global function, for the reason that [`operands`] gives, and so are the others here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn amqp_frames(sock: u64, slot: u32) -> u32 {
    for _ in 0..FRAMES {
        let looked = amqp_frame(sock, slot);
        if looked != looked::GOES_ON {
            return looked;
        }
    }
    looked::OUT
}
pub(super) use amqp_frames as frames;

/// A step of [`amqp_frames`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn amqp_frame(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return looked::FOREIGN;
    };
    let sending = &mut dialogue.sending;
    let cursor = operation.cursor;
    let head = head_at(operation, cursor);
    let available = operation.available();
    if cursor >= operation.end || available < 8 {
        return looked::OUT;
    }
    if head.word == amqp::OPENING {
        operation.cursor = cursor + 8;
        return looked::GOES_ON;
    }
    if available < amqp::HEADER && !amqp::is_short(head) {
        return looked::OUT;
    }
    let frame = amqp::frame(head, true);
    if frame.length == 0 {
        return looked::FOREIGN;
    }
    let channel = amqp::channel(head);
    if frame.marks & frame::mark::EXCHANGE != 0 {
        let sequence = sending.began.wrapping_add(cursor);
        let is_again = sending.promised == sequence.wrapping_sub(sending.injected);
        if sending.marks & marked::PUBLISHING != 0 && !is_again {
            // Its header went by where it could not be seen, or is yet to come on another channel, where it will not be known for
            // one: one message at a time is followed.
            count(Counter::InjectionCut, 1);
        }
        sending.stream = channel;
        sending.marks |= marked::PUBLISHING;
        promise::make(sock, slot, sequence);
    } else if sending.marks & marked::PUBLISHING != 0
        && sending.overtaken == 0
        && sending.stream == channel
        && amqp::is_content_header(head)
    {
        return looked::FOUND;
    }
    operation.cursor = cursor + frame.length;
    looked::GOES_ON
}

/// The connection is over: a header that was not seen by now is not seen.
#[inline(always)]
pub(super) fn ends(sending: &Sending) {
    count(
        Counter::InjectionCut,
        (sending.marks & marked::PUBLISHING != 0) as u64,
    );
}

/// Puts the entry into the header frame at the cursor, where there is nothing against that; how many bytes that were.
#[inline(always)]
pub(super) fn injects(
    context: *mut sk_msg_md,
    operation: &mut Operation,
    sending: &mut Sending,
    head: Head,
) -> u32 {
    sending.marks &= !marked::PUBLISHING;
    let cursor = operation.cursor;
    let whole = amqp::frame(head, true).length;
    if whole > operation.available() || whole + amqp::TABLE > amqp::FRAME_MIN_SIZE {
        count(Counter::InjectionCut, 1);
        return 0;
    }
    let flags_at = cursor + amqp::FLAGS;
    let flags = (operation.word(flags_at) as u16).swap_bytes();
    let mut at = flags_at + 2;
    // In the order of their bits: content-type and content-encoding come before.
    at += amqp::before_headers(flags, 0x8000, operation.byte(at));
    at += amqp::before_headers(flags, 0x4000, operation.byte(at));
    let has_table = flags & amqp::HEADERS != 0;
    let old = if has_table {
        (operation.word(at) as u32).swap_bytes()
    } else {
        0
    };
    let end = cursor + whole - 1;
    if flags & 1 != 0 || at > end || has_table && (old > whole || at + 4 + old > end) {
        count(Counter::InjectionCut, 1);
        return 0;
    }
    operation.copy_from = at + 4;
    operation.copy_to = at + 4 + old;
    match if has_table {
        some_entries(operation.slot)
    } else {
        fields::FREE
    } {
        fields::FREE => {}
        fields::OWN => {
            count(Counter::InjectionOwn, 1);
            return 0;
        }
        _ => {
            count(Counter::InjectionCut, 1);
            return 0;
        }
    }
    if !tells(operation.sock, &sending.exchange.ids, propagate::AMQP, end) {
        return 0;
    }
    let ids = &sending.exchange.ids;
    let mut count_put = 0;
    if let Some(state) = tracestate::of(sending) {
        let more = amqp::STATE + state.1;
        let write = |to| write_both(to, old + amqp::ENTRY + more, ids, state.1);
        if whole + amqp::TABLE + more > amqp::FRAME_MIN_SIZE {
            // There is room for the context alone.
        } else if has_table
            // What is there of the table's length goes behind, and is written over.
            && tracestate::put::<{ amqp::TABLE + amqp::STATE }, 0, 4>(context, at, state, write, |_| {})
        {
            count_put = amqp::ENTRY + more;
        } else if !has_table
            && tracestate::put::<{ amqp::TABLE + amqp::STATE }, 0, 0>(context, at, state, write, |_| {})
        {
            count_put = amqp::TABLE + more;
        }
    } else {
        let threshold = tracestate::threshold(ids.flags);
        let write = |to: *mut u8| {
            write_both(to, old + amqp::ENTRY + TOLD, ids, MEMBER);
            // SAFETY: callers have room for all of it.
            tracestate::tell(unsafe { to.add((amqp::TABLE + amqp::STATE) as usize) }, threshold);
        };
        if threshold == 0 || whole + amqp::TABLE + TOLD > amqp::FRAME_MIN_SIZE {
            // Nothing is told, or there is room for the context alone.
        } else if has_table
            && message::put::<{ amqp::ENTRY + TOLD }, { amqp::TABLE + TOLD }>(context, at, write)
        {
            count_put = amqp::ENTRY + TOLD;
        } else if !has_table
            && message::put::<{ amqp::TABLE + TOLD }, { amqp::TABLE + TOLD }>(context, at, write)
        {
            count_put = amqp::TABLE + TOLD;
        }
    }
    if count_put != 0 {
        count(Counter::StatesInjected, 1);
    }
    if count_put == 0 {
        let write = |to| write(to, old + amqp::ENTRY, ids);
        if has_table && message::put::<{ amqp::ENTRY }, { amqp::TABLE }>(context, at, write) {
            count_put = amqp::ENTRY;
        } else if !has_table && message::put::<{ amqp::TABLE }, { amqp::TABLE }>(context, at, write) {
            count_put = amqp::TABLE;
        }
    }
    if count_put == 0 {
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    let size = (amqp::size(head) + count_put).swap_bytes();
    let flags = (flags | amqp::HEADERS).swap_bytes();
    let rewritten = message::rewrite::<{ amqp::FLAGS + 2 }>(context, cursor, |to| {
        // SAFETY: there are as many bytes. The machines that spanwire supports need no alignment.
        unsafe {
            write_volatile(to.add(3).cast::<u32>(), size);
            write_volatile(to.add(amqp::FLAGS as usize).cast::<u16>(), flags);
        }
    });
    if !rewritten {
        // SAFETY: the program's own context.
        unsafe { bpf_msg_pop_data(context, at, count_put, 0) };
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    count(Counter::Injected, 1);
    sending.add(count_put, at + count_put);
    count_put
}

/// Length of the entry of a `tracestate` that tells a threshold.
const TOLD: u32 = amqp::STATE + MEMBER;

/// Writes the length of the table, and the entry.
#[inline(always)]
fn write(to: *mut u8, length: u32, ids: &Ids) {
    // SAFETY: callers have room for all of it. The machines that spanwire supports need no alignment.
    unsafe {
        write_volatile(to.cast::<u32>(), length.swap_bytes());
        write_volatile(to.add(4).cast::<u64>(), amqp::ENTRY_BEGINS[0]);
        write_volatile(to.add(12).cast::<u64>(), amqp::ENTRY_BEGINS[1]);
        write_volatile(to.add(20), amqp::ENTRY_BEGINS[2] as u8);
        text(to.add(21), ids);
    }
}

/// Writes the same, and the beginning of an entry whose value is `state` bytes long.
#[inline(always)]
fn write_both(to: *mut u8, length: u32, ids: &Ids, state: u32) {
    write(to, length, ids);
    // SAFETY: as above.
    unsafe {
        let to = to.add(amqp::TABLE as usize);
        write_volatile(to.cast::<u64>(), amqp::STATE_BEGINS[0]);
        write_volatile(to.add(8).cast::<u32>(), amqp::STATE_BEGINS[1] as u32);
        write_volatile(to.add(12).cast::<u32>(), state.swap_bytes());
    }
}

/// Looks at the entries of the table from `copy_from` to `copy_to`; one of [`fields`], but not `GO_ON`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_entries(slot: u32) -> u32 {
    for _ in 0..ENTRIES {
        let found = some_entry(slot);
        if found != fields::GO_ON {
            return found;
        }
    }
    fields::UNKNOWN
}

/// A step of [`some_entries`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_entry(slot: u32) -> u32 {
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
    if amqp::is_context(operation.word(at), operation.word(at + 8)) {
        return fields::OWN;
    }
    let kind = at + 1 + operation.byte(at) as u32;
    let length = amqp::value(operation.byte(kind), operation.word(kind + 1));
    if length > operation.copy_to {
        return fields::UNKNOWN;
    }
    operation.copy_from = kind + 1 + length;
    fields::GO_ON
}
