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
use crate::framed::{self, frame_of_words};
use crate::frames::operands;
use crate::globals::{global, kernel};
use crate::http1;
use crate::maps::FLOWS;
use crate::operation::{self, Operation, Source, user};
use crate::promise;
use crate::propagate::tcp_option;
use crate::registers::Registers;
use crate::state;
use spanwire_ebpf::frame::{Frame, Head, http2, mark};
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

/// Whether what is about to be sent may begin a request into which nothing is put.
#[inline(always)]
pub(crate) fn may_begin(dialogue: &Dialogue, sent: &Half) -> bool {
    dialogue.sequenced != 0
        && dialogue.requests_direction != RECEIVED
        && (dialogue.sending.enrolled != enrolled::IN && dialogue.protocol <= HTTP2
            || tcp_option::may_begin(dialogue))
        && sent.state == state::START
        && sent.carried == 0
}

/// Promises the request that begins with what is about to be sent, where one does.
#[inline(always)]
pub(crate) fn announce(sock: u64, connection: *mut Connection) -> Option<()> {
    let registers = Registers::current()?;
    // SAFETY: a map value.
    let Connection { sent, dialogue, .. } = unsafe { &mut *connection };
    let (mut address, vectors, length) = match registers.source(0) {
        Source::Buffer(address) => (address, 0, registers.third),
        Source::Vectors(address, count) => (address, count, 0),
        Source::Nowhere => return None,
    };
    let offset = if framed::has(dialogue) {
        let first = first_exchange(dialogue.protocol as u32, address, vectors, length, sent.status);
        if first == NONE {
            return None;
        }
        if dialogue.protocol == HTTP2 {
            dialogue.sending.stream = first as u32;
        }
        (first >> 32) as u32
    } else {
        if vectors != 0 {
            address = user(address)?;
        }
        let [word, next]: [u64; 2] = user(address)?;
        // What HTTP/2 begins with looks like a request.
        if !http1::is_request(word, next) || word == http2::PREFACE_BEGINS {
            return None;
        }
        0
    };
    let sequence: u32 = kernel(sock, global!(tcp_write_seq))?;
    // Where something went unseen, nobody knows what begins.
    if sequence.wrapping_sub(dialogue.sending.injected) != sent.kernel_sequence {
        return None;
    }
    dialogue.sending.announces = 1;
    let operation = operation::claim()?;
    // SAFETY: a map value, and this program's own until it is released.
    let operation = unsafe { &mut *operation };
    operation.identify(sock, SENT);
    context::sends(dialogue);
    dialogue.sending.announcing = 1;
    promise::make(sock, operation.slot, sequence.wrapping_add(offset));
    dialogue.sending.announcing = 0;
    operation.release();
    Some(())
}

/// In place of where an exchange begins: nowhere.
const NONE: u64 = u64::MAX;

/// Frames, and buffers, that are looked at in one send.
const FRAMES: u32 = 16;

/// Where the first exchange begins in frames that are about to be sent, one beginning with the first byte: high half, and its
/// stream of HTTP/2, low half; or [`NONE`]. They are in so many buffers, or in one of `length` bytes. Streams up to `highest` have
/// begun. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn first_exchange(
    protocol: u32,
    address: u64,
    vectors: u64,
    length: u64,
    highest: u32,
) -> u64 {
    let (mut vector, mut vectors) = (address, vectors);
    let (mut at, mut left) = (address, if vectors == 0 { length } else { 0 });
    let (mut skip, mut offset) = (0, 0u32);
    for _ in 0..FRAMES {
        if skip >= left {
            skip -= left;
            let Some([base, length]) = user::<[u64; 2]>(vector).filter(|_| vectors != 0) else {
                return NONE;
            };
            vector += 16;
            vectors -= 1;
            (at, left) = (base, length);
            continue;
        }
        at += skip;
        left -= skip;
        let next = if protocol == HTTP2 as u32 { 8 } else { 0 };
        let (Some(word), Some(next)) = (user::<u64>(at), user::<u64>(at + next)) else {
            return NONE;
        };
        let frame = Frame::unpack(frame_of_words(protocol, word, next, 1));
        if frame.length == 0 {
            return NONE;
        }
        if frame.marks & mark::EXCHANGE != 0 {
            let stream = http2::stream(Head { word, next });
            if protocol != HTTP2 as u32 || stream > highest {
                return (offset as u64) << 32 | stream as u64;
            }
        }
        skip = frame.length as u64;
        offset = offset.wrapping_add(frame.length);
    }
    NONE
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
