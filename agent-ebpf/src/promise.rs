//! Exchanges that begin before their bytes are sent, so that those can name them.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::{Sending, enrolled};
use crate::context::{self, UNTOLD};
use crate::flow;
use crate::frames::operands;
use crate::maps::PROMISES;
use crate::operation::Operation;
use crate::propagate::tcp_option;
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::{SENT, cause};

/// An exchange that was begun before its bytes were sent, so that they can name it: by the sock, and by the sequence number
/// of its first byte among those that the application has sent.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Promise {
    sock: u64,
    sequence: u32,
    /// Padding, always zero.
    reserved: u32,
}

/// Begins the exchange whose first byte is about to be sent, as byte `sequence` of the connection: a promise to
/// [`context::begins`], which will see it when it was sent. It is in the connection's [`Sending`] then; what was promised before
/// and is not kept yet makes room for it. Asked again where the send came to nothing, it is the same exchange. A global function,
/// for the reason that [`operands`] gives. Callers have said that something is sent ([`context::sends`]), since on 5.10 there is no
/// room for that below here.
///
/// [`Sending`]: crate::connection::Sending
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn promise(sock: u64, slot: u32, sequence: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return 0;
    };
    let sending = &mut dialogue.sending;
    let mut key = Promise {
        sock,
        sequence: sequence.wrapping_sub(sending.injected),
        reserved: 0,
    };
    let own = key.sequence;
    sending.overtaken = 0;
    if sending.exchange.ids.span != 0 {
        if sending.promised == own {
            return 0;
        }
        if sending.promised != sending.kept {
            key.sequence = sending.promised;
            let _ = PROMISES.insert(&key, &sending.exchange, 0);
            sending.elsewhere += 1;
            key.sequence = own;
        }
    }
    if sending.elsewhere != 0
        && let Some(promise) = PROMISES.get_ptr(&key)
    {
        // SAFETY: a map value.
        sending.exchange.set(unsafe { &*promise });
        sending.promised = own;
        return 0;
    }
    operation.exchange.begins = sequence;
    context::mints(slot);
    context::begin(operation, dialogue, SENT as u32, dialogue.sending.stream);
    if dialogue.sending.enrolled == enrolled::IN && operation.exchange.ids.flags & UNTOLD == 0 {
        operation.exchange.cause |= cause::TOLD;
    }
    if tcp_option::is_wanted() {
        tcp_option::offers(sock, slot);
    }
    // Whoever keeps the last promise meanwhile, of another thread's send, finds that it is another by now.
    // SAFETY: of a reference.
    unsafe { write_volatile(&raw mut dialogue.sending.promised, own) };
    dialogue.sending.exchange.set(&operation.exchange);
    flow::tells(sock, slot);
    0
}

pub(crate) use promise as make;

/// Takes over what was promised of the exchange that begins at `sequence`; whether anything was.
#[inline(always)]
pub(crate) fn keep(operation: &mut Operation, sending: &mut Sending, sequence: u32) -> bool {
    if sending.promised == sequence && sending.exchange.ids.span != 0 {
        operation.exchange.set(&sending.exchange);
        // SAFETY: of a reference.
        if unsafe { read_volatile(&raw const sending.promised) } == sequence {
            sending.kept = sequence;
            return true;
        }
    }
    if sending.elsewhere == 0 {
        return false;
    }
    let key = Promise {
        sock: operation.sock,
        sequence,
        reserved: 0,
    };
    let Some(promise) = PROMISES.get_ptr(&key) else {
        return false;
    };
    // SAFETY: a map value.
    operation.exchange.set(unsafe { &*promise });
    let _ = PROMISES.remove(&key);
    true
}
