//! The two ends of one request on this host: what the sender is part of is known to the receiver's side by the place of the
//! request's first byte, the client's address and TCP's sequence number, where nothing on the wire says it.
//!
//! A request that is begun before it is sent ([`promise::make`]) is known before it can be received: one of an enrolled
//! socket, and where a hook comes before the send, one that the send begins with. Of others it may be known too late, since
//! they are seen behind it.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::{Connection, Dialogue, Half, enrolled};
use crate::context::{self, UNTOLD};
use crate::frames::operands;
use crate::globals::{global, kernel};
use crate::http1;
use crate::maps::FLOWS;
use crate::operation::{self, Operation, Source, user};
use crate::promise;
use crate::registers::Registers;
use crate::state;
use spanwire_ebpf::frame::{Head, http2, mark};
use spanwire_ebpf::protocol::HTTP2;
use spanwire_ebpf::{RECEIVED, SENT, cause, family};

/// The first byte of a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The client's address and port, mixed to a number that others hardly have: [`client`].
    client: u64,
    /// TCP's number of the byte.
    sequence: u32,
    /// Padding, always zero.
    reserved: u32,
}

/// Flags of a trace (W3C Trace Context, section 3.2.2.5).
const FLAGS: u64 = 0xff;

/// Notes what the request that is sent is part of: the ids and the place are the operation's. A global function, for the reason
/// that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn flow_tells(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return 0;
    };
    if let Some(place) = place(operation, dialogue, operation.exchange.begins, true) {
        let exchange = &mut operation.exchange;
        // The agent may still conclude what it is sent for, unless others were told.
        if exchange.parent == 0 && exchange.cause & cause::TOLD == 0 {
            exchange.ids.flags |= UNTOLD;
        }
        let _ = FLOWS.insert(&place, &operation.exchange.ids, 0);
    }
    0
}
pub(crate) use flow_tells as tells;

/// Finds what the request that is received at the cursor is part of: then the operation has its trace. A global function, as
/// above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn flow_hears(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    let offset = operation.position().wrapping_sub(half.position);
    let sequence = half.kernel_sequence.wrapping_add(offset as u32);
    let Some(place) = place(operation, dialogue, sequence, false) else {
        return 0;
    };
    // SAFETY: a value that does not change its shape.
    if let Some(sender) = unsafe { FLOWS.get(&place) } {
        operation.exchange.ids.set(sender);
        operation.exchange.ids.flags &= FLAGS | UNTOLD;
        operation.heard = 1;
        let _ = FLOWS.remove(&place);
    }
    0
}
pub(crate) use flow_hears as hears;

/// Whether what is about to be sent may begin a request that nothing on the wire says anything of.
#[inline(always)]
pub(crate) fn may_begin(dialogue: &Dialogue, sent: &Half) -> bool {
    dialogue.sequenced != 0
        && dialogue.sending.enrolled != enrolled::IN
        && dialogue.requests_direction != RECEIVED
        && dialogue.protocol <= HTTP2
        && sent.state == state::START
        && sent.carried == 0
}

/// Promises the request that begins with what is about to be sent, where one does.
#[inline(always)]
pub(crate) fn announce(sock: u64, connection: *mut Connection) -> Option<()> {
    let address = match Registers::current()?.source(0) {
        Source::Buffer(address) => address,
        Source::Vectors(address, _) => user(address)?,
        Source::Nowhere => return None,
    };
    let [word, next]: [u64; 2] = user(address)?;
    // SAFETY: a map value.
    let Connection { sent, dialogue, .. } = unsafe { &mut *connection };
    let head = Head { word, next };
    let begins = if dialogue.protocol == HTTP2 {
        let begins =
            http2::frame(head, true).marks & mark::EXCHANGE != 0 && http2::stream(head) > sent.status;
        if begins {
            dialogue.sending.stream = http2::stream(head);
        }
        begins
    } else {
        http1::is_request(word, next)
    };
    let sequence: u32 = kernel(sock, global!(tcp_write_seq))?;
    // Where something went unseen, nobody knows what begins.
    if !begins || sequence.wrapping_sub(dialogue.sending.injected) != sent.kernel_sequence {
        return None;
    }
    dialogue.sending.announces = 1;
    let operation = operation::claim()?;
    // SAFETY: a map value, and this program's own until it is released.
    let operation = unsafe { &mut *operation };
    operation.identify(sock, SENT);
    context::sends(dialogue);
    promise::make(sock, operation.slot, sequence);
    operation.release();
    Some(())
}

#[inline(always)]
fn place(operation: &Operation, dialogue: &mut Dialogue, sequence: u32, is_client: bool) -> Option<Place> {
    // What is about to be sent may be the first; then injection knows what it is.
    if dialogue.sequenced == 0 || dialogue.protocol > HTTP2 || dialogue.sending.protocol > HTTP2 {
        return None;
    }
    if dialogue.client == 0 {
        dialogue.client = client(operation.sock, dialogue.family, is_client)?;
    }
    Some(Place {
        client: dialogue.client,
        sequence,
        reserved: 0,
    })
}

/// The client of a connection: IPv4 as it is written in IPv6, as one end may have it.
#[inline(always)]
fn client(sock: u64, of: u16, is_local: bool) -> Option<u64> {
    const MAPPED: u64 = 0xffff_0000;
    let (v4, v6, port) = if is_local {
        let port: u16 = kernel(sock, global!(sock_local_port))?;
        (global!(sock_local_v4), global!(sock_local_v6), port)
    } else {
        let port: u16 = kernel(sock, global!(sock_remote_port))?;
        (
            global!(sock_remote_v4),
            global!(sock_remote_v6),
            port.swap_bytes(),
        )
    };
    let [high, low] = if of == family::INET {
        [0, MAPPED | (kernel::<u32>(sock, v4)? as u64) << 32]
    } else {
        kernel::<[u64; 2]>(sock, v6)?
    };
    // Odd factors with as many ones as zeroes; of a product the high bits depend on all.
    let mixed = (high ^ (port as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29) ^ low).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Some((mixed ^ (mixed >> 32)) | 1)
}
