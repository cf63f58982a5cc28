//! Contexts in an option of TCP, for what carries none otherwise: [`spanwire_ebpf::tcp_option`] is what it looks like.
//!
//! A client's SYN says that spanwire is there, and the SYN-ACK of a server says the same where another host's spanwire watches it.
//! A socket that listened before that came does not say so; there, what ends the handshake says it again, and the server's next
//! segment answers. Only then a context follows, with each segment that has the first byte of its request, also where that is
//! sent again: the kernel asks for options whenever it builds a header. One context of a connection is held, the last one. It
//! says which byte it is of, so that a segment that begins with another request's bytes carries none, and no request takes
//! another's.
//!
//! What is on the way may drop segments with options that it does not know. So a SYN that is sent again says nothing, and nor
//! does the beginning of a request that is sent for the fourth time.
//!
//! Connections are known here by their cookie, which is never used again, since a `sock_ops` program gets no address of the sock.
//! While the flags of a socket say so, its program is run for each segment. Beside enrolment ([`super`]) nothing else sets them, so
//! they are set while the connection lasts; without a program they mean nothing.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use super::{CURRENT_MSS, Connecting, WRITES, number, op, wanted};
use crate::connection::{self, Dialogue, enrolled};
use crate::context::{Ids, UNTOLD};
use crate::frames::operands;
use crate::globals::{global, kernel};
use crate::maps::{CONNECTING, HEARD, OFFERS, count};
use crate::operation;
use aya_ebpf::bindings::bpf_sock_ops;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_load_hdr_opt, bpf_reserve_hdr_opt, bpf_sock_ops_cb_flags_set,
    bpf_store_hdr_opt,
};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::protocol::{AMQP, HTTP2, POSTGRES};
use spanwire_ebpf::tcp_option::{self, CONTEXT, OFFER, SEARCHED};
use spanwire_ebpf::{Counter, RECEIVED, SENT, cause, propagate};

/// `BPF_LOAD_HDR_OPT_TCP_SYN`: of the SYN that is being answered.
const OF_SYN: u64 = 1;

/// `BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG`.
const PARSES: u32 = 1 << 5;

/// Flags of a segment (RFC 9293, section 3.1).
const SYN: u32 = 2;
const ACK: u32 = 16;
/// The shortest header.
const HEADER: usize = 20;

/// Among what [`CONNECTING`] says of a socket: it begins to listen.
pub(crate) const LISTENS: u32 = 1 << 31;

/// What is sent in an option on a connection to another spanwire.
///
/// Another thread may write while it is read. So it holds only where `check` comes out.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Offer {
    /// How far the two have come: one of [`stage`].
    stage: u64,
    trace: [u64; 2],
    /// As [`tcp_option::tail`] has it.
    tail: u64,
    /// Sequence number of the request's first byte, [`HELD`], and how often it was sent, by [`ONCE`].
    begins: u64,
    /// All of them taken together.
    check: u64,
}

/// There is something to be sent.
const HELD: u64 = 1 << 32;
/// It was sent one time more.
const ONCE: u64 = 1 << 33;
/// So often it is sent.
const OFTEN: u64 = 3;

/// How far two spanwires have come to know of each other on a connection.
mod stage {
    /// The SYN will say that there is one.
    pub(super) const NEW: u64 = 0;
    /// It was sent.
    pub(super) const SAID: u64 = 1;
    /// It was sent again, without.
    pub(super) const SILENT: u64 = 2;
    /// It was not answered: the next segment says so again.
    pub(super) const ASKS: u64 = 3;
    /// It did.
    pub(super) const ASKED: u64 = 4;
    /// Of the server: the next segment answers.
    pub(super) const ANSWERS: u64 = 5;
    /// The other end understands.
    pub(super) const KNOWN: u64 = 6;
    /// Nobody is known.
    pub(super) const NONE: u64 = 7;
}

/// Nothing is sent yet.
const fn at(stage: u64) -> Offer {
    Offer {
        stage,
        trace: [0; 2],
        tail: 0,
        begins: 0,
        check: 0,
    }
}
/// What a client begins with.
static NEW: Offer = at(stage::NEW);
/// What a server begins with that has not answered yet.
static ANSWERS: Offer = at(stage::ANSWERS);

/// The first byte of a request that is received.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Cookie of the socket.
    cookie: u64,
    /// TCP's number of the byte.
    sequence: u32,
    /// Padding, always zero.
    reserved: u32,
}

/// Whether contexts are sent in options at all.
#[inline(always)]
pub(crate) fn is_wanted() -> bool {
    global!(propagates) & propagate::TCP != 0
}

/// Whether what is about to be sent may begin a request that an option tells of, though its socket is enrolled, or no context
/// is put into its protocol.
#[inline(always)]
pub(crate) fn may_begin(dialogue: &Dialogue) -> bool {
    is_wanted() && (dialogue.protocol <= HTTP2 || dialogue.protocol == POSTGRES)
}

/// A socket begins to listen, in the process that serves.
#[inline(always)]
pub(crate) fn listens(sock: u64) {
    if is_wanted() && crate::process::is_watched() {
        let _ = CONNECTING.insert(sock, Connecting::here(LISTENS), 0);
    }
}

/// Has the exchange that was just promised told by an option, where the other end understands that and nothing else tells it. A
/// global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn option_offers(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, _)) = operands(sock, SENT as u32, slot) else {
        return 0;
    };
    let sending = &dialogue.sending;
    let what = match sending.protocol {
        POSTGRES => propagate::SQL,
        AMQP => propagate::AMQP,
        HTTP2 => propagate::HTTP2,
        _ => propagate::HTTP1,
    };
    if sending.enrolled == enrolled::IN && sending.announcing == 0 && wanted() & what != 0 {
        return 0;
    }
    let cookie: u64 = kernel(sock, global!(sock_cookie)).unwrap_or(0);
    let Some(offer) = OFFERS.get_ptr_mut(&cookie) else {
        return 0;
    };
    // SAFETY: a map value.
    if unsafe { read_volatile(&raw const (*offer).stage) } != stage::KNOWN {
        return 0;
    }
    let exchange = &mut operation.exchange;
    if exchange.ids.flags & UNTOLD != 0 {
        count(Counter::InjectionUntold, 1);
        return 0;
    }
    exchange.cause |= cause::TOLD;
    exchange.ids.span = tcp_option::span(exchange.ids.span);
    let tail = tcp_option::tail(exchange.ids.span, exchange.begins, exchange.ids.flags & 1 != 0);
    let begins = exchange.begins as u64 | HELD;
    let [first, second] = exchange.ids.trace;
    // SAFETY: a map value. What others make of it in between does not come out.
    unsafe {
        if read_volatile(&raw const (*offer).begins) >> 32 == HELD >> 32 {
            count(Counter::OptionsOvertaken, 1);
        }
        write_volatile(&raw mut (*offer).begins, 0);
        write_volatile(&raw mut (*offer).trace[0], first);
        write_volatile(&raw mut (*offer).trace[1], second);
        write_volatile(&raw mut (*offer).tail, tail);
        write_volatile(
            &raw mut (*offer).check,
            first ^ second ^ tail ^ begins as u32 as u64,
        );
        write_volatile(&raw mut (*offer).begins, begins);
    }
    1
}
pub(crate) use option_offers as offers;

/// A request was sent that was not promised. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn option_goes_without(sock: u64) -> u32 {
    let cookie: u64 = kernel(sock, global!(sock_cookie)).unwrap_or(0);
    if let Some(offer) = OFFERS.get_ptr(&cookie)
        // SAFETY: a map value.
        && unsafe { read_volatile(&raw const (*offer).stage) } == stage::KNOWN
    {
        count(Counter::OptionsUnseen, 1);
    }
    0
}
pub(crate) use option_goes_without as goes_without;

/// Finds what another host has told of the request that is received at the cursor. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn option_hears(sock: u64, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, RECEIVED as u32, slot) else {
        return 0;
    };
    if dialogue.sequenced == 0 {
        return 0;
    }
    let offset = operation.position().wrapping_sub(half.position);
    let place = Place {
        cookie: kernel(sock, global!(sock_cookie)).unwrap_or(0),
        sequence: half.kernel_sequence.wrapping_add(offset as u32),
        reserved: 0,
    };
    // SAFETY: a value that does not change its shape.
    let Some(told) = (unsafe { HEARD.get(&place) }) else {
        return 0;
    };
    if connection::is_refused(sock) {
        count(Counter::OptionsRefused, 1);
    } else if operation.heard == 0 {
        operation.exchange.ids.set(told);
        operation.exchange.parent = told.span;
        operation.heard = REMOTE;
        count(Counter::OptionsTaken, 1);
    }
    let _ = HEARD.remove(&place);
    0
}
pub(crate) use option_hears as hears;

/// In place of 1 of [`Operation::heard`](crate::operation::Operation::heard): another host has told, and who the parent is.
pub(crate) const REMOTE: u32 = 2;

/// TCP asks, or has something to say.
#[sock_ops]
pub(crate) fn spanwire_option(context: SockOpsContext) -> u32 {
    let ops = context.ops;
    match context.op() {
        op::CONNECT | op::LISTEN => begins(ops, context.op()),
        op::CONNECTED => connected(ops),
        op::ACCEPTED => accepted(ops),
        op::LENGTH => reserves(ops),
        op::WRITE => writes(ops),
        op::PARSE => parses(ops),
        _ => {}
    }
    1
}

/// Reads a field of the context: at once, as the verifier wants it.
macro_rules! field {
    ($ops:ident.$($field:tt)+) => {
        // SAFETY: the program's own context.
        unsafe { read_volatile(&raw const (*$ops).$($field)+) }
    };
}

#[inline(always)]
fn cookie(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the program's own context.
    unsafe { bpf_get_socket_cookie(ops.cast()) }
}

#[inline(always)]
fn set_flags(ops: *mut bpf_sock_ops, flags: u32) {
    // SAFETY: the program's own context.
    unsafe { bpf_sock_ops_cb_flags_set(ops, flags as i32) };
}

/// A socket is about to send a SYN, or to wait for some.
#[inline(always)]
fn begins(ops: *mut bpf_sock_ops, op: u32) {
    let Some(operation) = operation::claim() else {
        return;
    };
    // SAFETY: the context has a sock at this point; the operation is a map value, and this program's own until it is released.
    let sock = unsafe { number(&mut *operation, (*ops).__bindgen_anon_2.sk as u64) };
    // SAFETY: as above.
    unsafe { (*operation).release() };
    // SAFETY: a value that does not change its shape.
    let Some(&Connecting { wanted, .. }) = (unsafe { CONNECTING.get(sock) }) else {
        return;
    };
    let is_connect = op == op::CONNECT;
    let wants = if is_connect { propagate::TCP } else { LISTENS };
    if wanted & !wants == 0 {
        let _ = CONNECTING.remove(sock);
    }
    if wanted & wants == 0 || !connection::is_of_interest(sock) {
        return;
    }
    if is_connect && OFFERS.insert(&cookie(ops), &NEW, 0).is_err() {
        return;
    }
    set_flags(ops, field!(ops.bpf_sock_ops_cb_flags) | WRITES);
}

/// Whether a segment says that another spanwire understands: the one that came, or the SYN that is answered.
#[inline(always)]
fn understands(ops: *mut bpf_sock_ops, of: u64) -> bool {
    let mut option = [SEARCHED, 0];
    // SAFETY: the program's own context, and as much room as said.
    let length = unsafe { bpf_load_hdr_opt(ops, option.as_mut_ptr().cast(), OFFER, of) };
    // SAFETY: of a local variable.
    length == OFFER as i64 && unsafe { read_volatile(&raw const option[1]) } != global!(instance)
}

/// What is sent on this connection, and how far it has come; [`stage::NONE`] where the flags of its socket are another program's.
#[inline(always)]
fn known(ops: *mut bpf_sock_ops) -> (Option<*mut Offer>, u64) {
    let offer = OFFERS.get_ptr_mut(&cookie(ops));
    // SAFETY: a map value.
    let stage = offer.map_or(stage::NONE, |offer| unsafe {
        read_volatile(&raw const (*offer).stage)
    });
    (offer, stage)
}

#[inline(always)]
fn set_stage(offer: Option<*mut Offer>, stage: u64) {
    if let Some(offer) = offer {
        // SAFETY: a map value.
        unsafe { write_volatile(&raw mut (*offer).stage, stage) };
    }
}

/// A connection was made from here: by now it may be known who is at the other end.
#[inline(always)]
fn connected(ops: *mut bpf_sock_ops) {
    let (offer, stage) = known(ops);
    if stage == stage::SAID && understands(ops, 0) {
        set_stage(offer, stage::KNOWN);
        count(Counter::OptionPeers, 1);
    } else if stage == stage::SAID {
        set_stage(offer, stage::ASKS);
    } else if stage != stage::NONE {
        let _ = OFFERS.remove(&cookie(ops));
        set_flags(ops, done_with_writes(ops));
    }
}

/// The flags of a client's socket of which nothing is written any more. Where sockets are enrolled, one that blocks leaves when it
/// is asked for options ([`super`]).
#[inline(always)]
fn done_with_writes(ops: *mut bpf_sock_ops) -> u32 {
    let flags = field!(ops.bpf_sock_ops_cb_flags);
    if global!(propagates) & !propagate::TCP != 0 {
        flags
    } else {
        flags & !WRITES
    }
}

/// A connection was accepted; it has the flags of the socket that listens, for all that is known set here. What completes it may be
/// the first of its data.
#[inline(always)]
fn accepted(ops: *mut bpf_sock_ops) {
    let flags = field!(ops.bpf_sock_ops_cb_flags);
    if flags & (WRITES | PARSES) != 0 {
        set_flags(ops, flags & !WRITES | PARSES);
        parses(ops);
    } else if understands(ops, 0) && OFFERS.insert(&cookie(ops), &ANSWERS, 0).is_ok() {
        set_flags(ops, flags | WRITES | PARSES);
    }
}

/// How much room a segment needs.
#[inline(always)]
fn reserves(ops: *mut bpf_sock_ops) {
    let (offer, stage) = known(ops);
    let length = if field!(ops.__bindgen_anon_1.args[0]) == CURRENT_MSS {
        if stage != stage::KNOWN {
            return;
        }
        // Always the same, so that no segment becomes too long by what is known later.
        CONTEXT
    } else if field!(ops.skb_tcp_flags) & SYN != 0 {
        if stage == stage::SAID {
            set_stage(offer, stage::SILENT);
        }
        if !says_so(ops, stage) {
            return;
        }
        OFFER
    } else if stage == stage::KNOWN {
        if field!(ops.skb_len) == 0 || !is_due(ops, offer) {
            return;
        }
        CONTEXT
    } else {
        let fits = field!(ops.skb_len) + OFFER <= field!(ops.mss_cache);
        if stage != stage::ASKS && stage != stage::ANSWERS || !fits {
            return;
        }
        OFFER
    };
    // SAFETY: the program's own context.
    let is_refused = unsafe { bpf_reserve_hdr_opt(ops, length, 0) } != 0;
    if is_refused && length == CONTEXT && field!(ops.skb_len) != 0 {
        count(Counter::OptionsNoRoom, 1);
    }
}

/// Whether a SYN says that spanwire is there; a SYN-ACK says so to those of another host.
#[inline(always)]
fn says_so(ops: *mut bpf_sock_ops, stage: u64) -> bool {
    if field!(ops.skb_tcp_flags) & ACK != 0 {
        understands(ops, OF_SYN)
    } else {
        stage == stage::NEW
    }
}

/// Whether a segment may have the first byte of the request that is to be told of: not once that was acknowledged.
#[inline(always)]
fn is_due(ops: *mut bpf_sock_ops, offer: Option<*mut Offer>) -> bool {
    let Some(offer) = offer else {
        return false;
    };
    // SAFETY: a map value, which others may be writing.
    let begins = unsafe { read_volatile(&raw const (*offer).begins) };
    if begins & HELD == 0 || begins / ONCE >= OFTEN {
        return false;
    }
    let behind = (begins as u32).wrapping_sub(field!(ops.snd_una));
    if behind >> 31 != 0 {
        return false;
    }
    // What is sent for the first time begins here; what is sent again begins before.
    let ahead = (begins as u32).wrapping_sub(field!(ops.snd_nxt)) as i32;
    ahead < field!(ops.skb_len) as i32
}

/// Where a segment is in the stream: sequence number and bytes.
#[inline(always)]
fn segment(ops: *mut bpf_sock_ops) -> Option<(u32, u32)> {
    // SAFETY: the program's own context.
    let (header, end) = unsafe {
        let header = read_volatile(&raw const (*ops).__bindgen_anon_3.skb_data) as *const u8;
        let end = read_volatile(&raw const (*ops).__bindgen_anon_4.skb_data_end) as *const u8;
        (header, end)
    };
    if header.wrapping_add(HEADER) > end {
        return None;
    }
    // SAFETY: checked above.
    let (sequence, words) = unsafe {
        (
            read_volatile(header.add(4).cast::<u32>()).swap_bytes(),
            read_volatile(header.add(12)) >> 4,
        )
    };
    Some((sequence, field!(ops.skb_len).wrapping_sub(words as u32 * 4)))
}

/// Says that spanwire is there.
#[inline(always)]
fn write_offer(ops: *mut bpf_sock_ops) {
    let option = tcp_option::offer(global!(instance));
    // SAFETY: the program's own context, and as much as said.
    unsafe { bpf_store_hdr_opt(ops, option.as_ptr().cast(), OFFER, 0) };
}

/// Writes what there is to be said into a segment that has room for it.
#[inline(always)]
fn writes(ops: *mut bpf_sock_ops) {
    let (offer, stage) = known(ops);
    if field!(ops.skb_tcp_flags) & SYN != 0 {
        if says_so(ops, stage) {
            write_offer(ops);
            set_stage(offer, stage::SAID);
        }
    } else if stage == stage::ASKS {
        write_offer(ops);
        set_stage(offer, stage::ASKED);
        set_flags(ops, done_with_writes(ops) | PARSES);
    } else if stage == stage::ANSWERS {
        write_offer(ops);
        let _ = OFFERS.remove(&cookie(ops));
        set_flags(ops, field!(ops.bpf_sock_ops_cb_flags) & !WRITES);
    } else if stage == stage::KNOWN
        && let (Some((sequence, length)), Some(offer)) = (segment(ops), offer)
    {
        write_context(ops, offer, sequence, length);
    }
}

/// Writes the context of a request into the segment with its first byte.
#[inline(always)]
fn write_context(ops: *mut bpf_sock_ops, offer: *mut Offer, sequence: u32, length: u32) {
    // SAFETY: a map value, which others may be writing.
    let (begins, first, second, tail, check) = unsafe {
        (
            read_volatile(&raw const (*offer).begins),
            read_volatile(&raw const (*offer).trace[0]),
            read_volatile(&raw const (*offer).trace[1]),
            read_volatile(&raw const (*offer).tail),
            read_volatile(&raw const (*offer).check),
        )
    };
    let offset = (begins as u32).wrapping_sub(sequence);
    let is_whole = first ^ second ^ tail ^ begins as u32 as u64 == check;
    // Of a longer one, half a sequence number does not say which byte.
    if offset >= length || length > 1 << 16 || !is_whole || begins & HELD == 0 {
        return;
    }
    let option = tcp_option::context([first, second], tail);
    // SAFETY: the program's own context, and as much as said.
    let is_stored = unsafe { bpf_store_hdr_opt(ops, option.as_ptr().cast(), CONTEXT, 0) } == 0;
    if is_stored {
        if begins < ONCE {
            count(Counter::OptionsSent, 1);
        }
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*offer).begins, begins + ONCE) };
    }
}

/// A segment came that may tell of a request.
#[inline(always)]
fn parses(ops: *mut bpf_sock_ops) {
    let mut option = [SEARCHED, 0, 0, 0, 0, 0, 0];
    // SAFETY: the program's own context, and as much room as said.
    let found = unsafe { bpf_load_hdr_opt(ops, option.as_mut_ptr().cast(), CONTEXT, 0) };
    if found != CONTEXT as i64 {
        let (offer, stage) = known(ops);
        if stage == stage::ASKED && understands(ops, 0) {
            set_stage(offer, stage::KNOWN);
            set_flags(ops, field!(ops.bpf_sock_ops_cb_flags) & !PARSES | WRITES);
            count(Counter::OptionPeers, 1);
        }
        return;
    }
    let Some((sequence, length)) = segment(ops) else {
        return;
    };
    let Some(told) = tcp_option::read(&option, sequence) else {
        count(Counter::OptionsMalformed, 1);
        return;
    };
    // Of what the sender's network card has cut, the parts behind have it, too.
    if told.offset >= length {
        return;
    }
    let place = Place {
        cookie: cookie(ops),
        sequence: sequence.wrapping_add(told.offset),
        reserved: 0,
    };
    let ids = Ids {
        trace: told.trace,
        span: told.span,
        flags: told.flags,
    };
    let _ = HEARD.insert(&place, &ids, 0);
}
