//! Hook set 1: tracepoints of the socket layer. Nothing is paid by who does not use a socket.

use crate::connection::{self, Connection, HTTP1, Half, IGNORED};
use crate::context;
use crate::emit;
use crate::flow;
use crate::frames;
use crate::globals::{global, kernel};
use crate::maps::{ARRIVALS, CONNECTIONS, HANDED, count};
use crate::operation::{self, Source};
use crate::process::{self, is_watched};
use crate::propagate;
use crate::registers::Registers;
use crate::state;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanwire_ebpf::{Counter, RECEIVED, SENT};

/// `MSG_PEEK`, include/linux/socket.h.
pub(crate) const MSG_PEEK: u32 = 2;
/// `MSG_TRUNC`: on TCP, bytes are thrown away instead of copied.
pub(crate) const MSG_TRUNC: u32 = 0x20;

/// include/trace/events/sock.h: TP_PROTO(struct sock *sk, int ret, int flags)
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub(crate) fn sock_send_length(context: RawTracePointContext) -> i32 {
    if is_watched() {
        after(context.arg(0), SENT, context.arg(1), 0);
    }
    0
}

/// include/trace/events/sock.h: TP_PROTO(struct sock *sk, int ret, int flags)
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub(crate) fn sock_recv_length(context: RawTracePointContext) -> i32 {
    if is_watched() {
        after(context.arg(0), RECEIVED, context.arg(1), context.arg(2));
    }
    0
}

/// include/trace/events/tcp.h: TP_PROTO(const struct sock *sk, const struct msghdr *msg, const struct sk_buff *skb,
/// int size_goal). Before the bytes can be anywhere else: the time that a send began.
#[raw_tracepoint(tracepoint = "tcp_sendmsg_locked")]
pub(crate) fn tcp_sendmsg_locked(context: RawTracePointContext) -> i32 {
    if is_watched() {
        before_send(context.arg(0));
    }
    0
}

/// Notes when a send on a connection of interest began.
#[inline(always)]
pub(crate) fn before_send(sock: u64) {
    let Some(connection) = connection::find(sock).or_else(|| begin(sock)) else {
        return;
    };
    // SAFETY: a map value.
    let Connection { sent, dialogue, .. } = unsafe { &mut *connection };
    if global!(propagates) != 0 && dialogue.send_began == 0 && flow::may_begin(dialogue, sent) {
        flow::announce(sock, connection);
    }
    // SAFETY: as above.
    let Connection { sent, dialogue, .. } = unsafe { &mut *connection };
    if dialogue.protocol != IGNORED
        && dialogue.send_began == 0
        && (sent.state <= state::CODING || sent.state > state::SKIP)
    {
        // SAFETY: the helper only reads the clock.
        dialogue.send_began = unsafe { bpf_ktime_get_ns() };
    }
}

/// Begins to follow a socket on which a send begins: nothing is queued yet.
#[inline(always)]
fn begin(sock: u64) -> Option<*mut Connection> {
    let operation = operation::claim()?;
    // SAFETY: a map value, and this program's own until it is released.
    let operation = unsafe { &mut *operation };
    let connection = connection::create(sock, SENT, 0, operation);
    operation.release();
    connection
}

/// A call on a socket is over, with this result.
#[inline(always)]
pub(crate) fn after(sock: u64, direction: u8, result: i32, flags: u32) {
    if flags & MSG_PEEK != 0 {
        return;
    }
    let Some(registers) = Registers::current() else {
        return;
    };
    let element = match registers.elements() {
        Some(elements) => next_element(sock, direction, elements, result > 0),
        None => 0,
    };
    if result <= 0 {
        if result == 0 && direction == RECEIVED {
            frames::end_of_stream(sock);
        }
        return;
    }
    let source = if flags & MSG_TRUNC != 0 {
        Source::Nowhere
    } else {
        registers.source(element)
    };
    frames::observe(sock, direction, result as u64, source);
}

/// Which message of a `sendmmsg` or `recvmmsg` call this is. The hook runs once for each; the last one, or an error, ends
/// the call.
#[inline(always)]
fn next_element(sock: u64, direction: u8, elements: u64, fine: bool) -> u32 {
    let Some(connection) = CONNECTIONS.get_ptr_mut(sock) else {
        return 0;
    };
    // SAFETY: a map value.
    let Connection { received, sent, .. } = unsafe { &mut *connection };
    let half = if direction == SENT { sent } else { received };
    let element = half.element;
    half.element = if fine && (element as u64 + 1) < elements {
        element + 1
    } else {
        0
    };
    element
}

/// Whether more went one way than any hook has shown: by splice or io_uring, say. A FIN goes unseen, too, and has a sequence
/// number of its own.
#[inline(always)]
fn went_unseen(sock: u64, half: &Half, sequence: u32, injected: u32) -> bool {
    let Some(sequence) = kernel::<u32>(sock, sequence) else {
        return false;
    };
    let unseen = sequence.wrapping_sub(injected).wrapping_sub(half.kernel_sequence);
    unseen > 1 && unseen >> 31 == 0
}

/// States of a TCP socket, include/net/tcp_states.h.
const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_FIN_WAIT1: u32 = 4;
const TCP_CLOSE: u32 = 7;
const TCP_LAST_ACK: u32 = 9;
const TCP_LISTEN: u32 = 10;

/// include/trace/events/sock.h: TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state(context: RawTracePointContext) -> i32 {
    let new: u32 = context.arg(2);
    let sock: u64 = context.arg(0);
    if matches!(new, TCP_SYN_SENT | TCP_SYN_RECV) {
        // What was still tried on the socket that had this address before, behind its close, is not of this one.
        let _ = CONNECTIONS.remove(sock);
        let _ = HANDED.remove(sock);
    }
    if new == TCP_SYN_RECV {
        // SAFETY: the helper only reads the clock.
        let now = unsafe { bpf_ktime_get_ns() };
        let _ = ARRIVALS.insert(sock, now, 0);
    }
    if new == TCP_SYN_SENT {
        context::connects(sock);
        propagate::connects(sock);
    }
    if new == TCP_LISTEN {
        propagate::tcp_option::listens(sock);
        process::listens();
    }
    if matches!(new, TCP_FIN_WAIT1 | TCP_LAST_ACK) {
        // No more will be written here: what has no answer by now gets none.
        context::answered(sock);
    }
    if new != TCP_CLOSE {
        return 0;
    }
    propagate::closes(sock);
    let Some(connection) = CONNECTIONS.get_ptr_mut(sock) else {
        return 0;
    };
    // SAFETY: a map value.
    let Connection {
        received,
        sent,
        dialogue,
    } = unsafe { &mut *connection };
    propagate::ends(dialogue);
    if dialogue.announced != 0 {
        // A tunnel is not followed to its end.
        if dialogue.sequenced != 0 && dialogue.protocol != IGNORED {
            let read = went_unseen(sock, received, global!(tcp_copied_seq), 0);
            let written = went_unseen(sock, sent, global!(tcp_write_seq), dialogue.sending.injected);
            if read || written {
                count(Counter::GapUnseen, 1);
            }
            // What went unseen may well be the responses.
            let answers = if dialogue.requests_direction == SENT {
                read
            } else {
                written
            };
            if answers && dialogue.protocol == HTTP1 {
                dialogue.responses = dialogue.requests;
            }
        }
        let error: u32 = kernel(sock, global!(sock_error)).unwrap_or(0);
        let responses = if dialogue.requests_direction == RECEIVED {
            sent
        } else {
            received
        };
        emit::closed(sock, dialogue, responses, error as u8);
        context::ends(sock, dialogue);
    }
    let _ = CONNECTIONS.remove(sock);
    0
}
