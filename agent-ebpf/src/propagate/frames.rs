//! What the protocols of frames have in common: a send is looked at frame by frame, a window at a time.

use super::{amqp, http2, message, sql};
use crate::connection::{Dialogue, Half, Sending};
use crate::operation::Operation;
use crate::state as walker;
use aya_ebpf::bindings::sk_msg_md;
use core::ptr::read_volatile;
use spanwire_ebpf::frame;
use spanwire_ebpf::protocol::{HTTP2, POSTGRES};

/// Values of [`Sending::state`].
mod state {
    /// A frame should begin here.
    pub(super) const START: u8 = 0;
    /// Within a frame.
    pub(super) const FRAME: u8 = 1;
    /// In what only the walker can tell the end of: it will, before the next send.
    pub(super) const REST: u8 = 2;
}

/// What comes of looking at some frames.
pub(super) mod looked {
    /// There is more to look at.
    pub(crate) const GOES_ON: u32 = 0;
    /// The frame at the cursor is one for a context.
    pub(crate) const FOUND: u32 = 1;
    /// The window ends in the frame at the cursor, or before it.
    pub(crate) const OUT: u32 = 2;
    /// These are no frames.
    pub(crate) const FOREIGN: u32 = 3;
}

/// What comes of looking at some of the fields of a frame.
pub(super) mod fields {
    /// There is more to look at.
    pub(crate) const GO_ON: u32 = 0;
    /// None of them is a context.
    pub(crate) const FREE: u32 = 1;
    /// One of them is.
    pub(crate) const OWN: u32 = 2;
    /// They do not end where they should.
    pub(crate) const UNKNOWN: u32 = 3;
}

/// What has to be seen of a frame is shorter.
const LONGEST_HEADER: u32 = 16;

/// What is sent is joined again after a context was put in, if it is no longer than that.
const SHORT: u32 = 8_192;

/// Takes over where the walker is.
#[inline(always)]
pub(super) fn adopt(sending: &mut Sending, sent: &Half) {
    if sending.protocol == HTTP2 && sent.status > sending.stream {
        sending.stream = sent.status;
    }
    sending.state = match sent.state {
        walker::START if sent.carried == 0 => state::START,
        walker::COPY | walker::SKIP => {
            sending.remaining = sent.remaining;
            state::FRAME
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
    if sending.state == state::FRAME {
        if sending.steps_over(context, size) {
            sending.state = state::START;
        }
        return;
    }
    if message::look(context, operation, size) {
        walk(context, operation, dialogue, size);
    } else {
        sending.state = state::REST;
    }
}

/// Looks at the frames in the window, up to the first that is one for a context.
#[inline(always)]
pub(super) fn walk(context: *mut sk_msg_md, operation: &mut Operation, dialogue: &mut Dialogue, size: u32) {
    let sending = &mut dialogue.sending;
    let protocol = sending.protocol;
    let looked = match protocol {
        HTTP2 => http2::frames(operation.sock, operation.slot),
        POSTGRES => sql::frames(operation.sock, operation.slot),
        _ => amqp::frames(operation.sock, operation.slot),
    };
    if looked == looked::FOREIGN {
        sending.state = state::REST;
        return;
    }
    // By way of another reference it was moved.
    // SAFETY: of a reference.
    let cursor = unsafe { read_volatile(&raw const operation.cursor) };
    let (mut behind, mut size) = (cursor, size);
    if looked == looked::FOUND {
        let head = head_at(operation, cursor);
        behind += frame::of(protocol, head, true).length;
        if behind > operation.end && cursor > 0 && behind <= size {
            // All of it will be in the window of the next run.
            sending.run_again(context, cursor);
            return;
        }
        let put = match protocol {
            HTTP2 => http2::injects(context, operation, sending, head),
            POSTGRES => sql::injects(context, operation, sending, head),
            _ => amqp::injects(context, operation, sending, head),
        };
        behind += put;
        size += put;
        // Nobody waits for what is sent in bulk.
        if put != 0 && size <= SHORT {
            message::join(context, if behind < size { behind } else { size });
        }
    }
    if behind > size {
        sending.remaining = (behind - size) as u64;
        sending.state = state::FRAME;
    } else if looked == looked::OUT && behind < size && (behind == 0 || size - behind < LONGEST_HEADER) {
        // The send ends in the header of a frame, of which nothing is known then.
        sending.state = state::REST;
        sending.late |= (protocol == HTTP2) as u8;
    } else if behind < size {
        sending.run_again(context, behind);
    }
}

/// The first bytes of the frame at an index of the window.
#[inline(always)]
pub(super) fn head_at(operation: &Operation, at: u32) -> frame::Head {
    frame::Head {
        word: operation.word(at),
        next: operation.word(at + 8),
    }
}
