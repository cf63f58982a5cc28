//! A field of HTTP/2, behind the others of a request's header block. gRPC is the same.
//!
//! It is looked at frame by frame. What the application sends as its own is found by its name, which has to be there as a
//! literal before it can be anywhere else; from then on, nothing is injected on the connection.

use super::frames::{fields, head_at, looked};
use super::{message, tells, text};
use crate::connection::Sending;
use crate::context::{self, Ids};
use crate::extract;
use crate::frames::operands;
use crate::maps::{OPERATIONS, count};
use crate::operation::Operation;
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::bpf_msg_pop_data;
use core::ptr::write_volatile;
use spanwire_ebpf::frame::{Head, http2};
use spanwire_ebpf::hpack::{FIELD, FIELD_BEGINS};
use spanwire_ebpf::{Counter, SENT, propagate};

/// Bits of [`Sending::marks`].
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
    context::promise(operation.sock, operation.slot, sending.began.wrapping_add(cursor));
    let whole = http2::whole(head);
    let Some((from, padding)) = http2::block(head, operation.byte(cursor + http2::HEADER)) else {
        count(Counter::InjectionCut, 1);
        return 0;
    };
    if whole > operation.available() || from + padding >= whole {
        // Cut by the send, or longer than the window.
        count(Counter::InjectionCut, 1);
        return 0;
    }
    let at = cursor + whole - padding;
    let last = operation.byte(at - 1);
    operation.copy_from = cursor + from;
    operation.copy_to = at;
    match some_fields(operation.slot) {
        fields::FREE if sending.marks & marked::OWN == 0 => {}
        fields::UNKNOWN => {
            count(Counter::InjectionCut, 1);
            return 0;
        }
        _ => {
            sending.marks |= marked::OWN;
            count(Counter::InjectionOwn, 1);
            return 0;
        }
    }
    if !tells(&sending.ids, propagate::HTTP2) {
        return 0;
    }
    if whole + FIELD > FRAME_LIMIT + http2::HEADER {
        count(Counter::InjectionCut, 1);
        return 0;
    }
    let ids = &sending.ids;
    // One byte early, since Linux 5.10 refuses a push at a message's very end.
    let put = message::put::<FIELD, { FIELD + 1 }>(context, at - 1, |to| write(to, last, ids));
    if !put {
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    if !lengthen(context, cursor, whole + FIELD - http2::HEADER) {
        // SAFETY: the program's own context.
        unsafe { bpf_msg_pop_data(context, at, FIELD, 0) };
        count(Counter::InjectionRefused, 1);
        return 0;
    }
    count(Counter::Injected, 1);
    sending.add(FIELD, at + FIELD);
    FIELD
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
    // SAFETY: callers have room for all of it. The machines that spanwire supports need no alignment.
    unsafe {
        write_volatile(to, last);
        write_volatile(to.add(1).cast::<u64>(), FIELD_BEGINS[0]);
        write_volatile(to.add(9).cast::<u64>(), FIELD_BEGINS[1]);
        text(
            to.add(1 + (FIELD - spanwire_ebpf::traceparent::LENGTH) as usize),
            ids,
        );
    }
}

/// Looks at the fields of the block from `copy_from` to `copy_to`; one of [`fields`], but not `GO_ON`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_fields(slot: u32) -> u32 {
    for _ in 0..FIELDS {
        let found = some_field(slot);
        if found != fields::GO_ON {
            return found;
        }
    }
    fields::UNKNOWN
}

/// A step of [`some_fields`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn some_field(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return fields::UNKNOWN;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let mut at = operation.copy_from;
    if at >= operation.copy_to {
        return if at == operation.copy_to {
            fields::FREE
        } else {
            fields::UNKNOWN
        };
    }
    at = match extract::field(operation, at) {
        extract::CONTEXT => return fields::OWN,
        extract::UNKNOWN => return fields::UNKNOWN,
        behind => behind,
    };
    operation.copy_from = at;
    fields::GO_ON
}
