//! Puts trace context into what watched processes send: `traceparent` of W3C, as a header, a field or an entry.
//!
//! A client's socket is *enrolled* once it is connected: it is put into a sockhash, and from then on each send goes by way
//! of [`spanwire_inject`] before it is queued, until the socket is found to be one that blocks ([`leave`]). That has to know where a message begins. What earlier sends came to is known
//! to the walker, which has seen them by then; within a send, [`Sending`] keeps count.
//!
//! What is injected has to be queued at once ([`has_room`]): of a send of which the kernel takes a part, it counts what was injected
//! into the rest as the application's, which then sends that many bytes twice.
//!
//! The program never corks, since a socket that is taken out of the sockhash meanwhile would lose what is corked; so what a
//! send cuts in an awkward place is left alone, and counted. It puts one context in at a time: on Linux 5.10 a second
//! `bpf_msg_push_data` in one run corrupts the message.

pub(crate) mod amqp;
pub(crate) mod carried;
pub(crate) mod carriers;
pub(crate) mod frames;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod message;
mod name;
pub(crate) mod sql;
pub(crate) mod tcp_option;
pub(crate) mod tracestate;

use crate::connection::{self, Connection, Dialogue, Half, IGNORED, Sending, UNDECIDED, enrolled};
use crate::context::{self, Ids, UNTOLD};
use crate::globals::{global, kernel};
use crate::maps::{CONNECTING, CONNECTORS, RUNTIMES, SOCKETS, count};
use crate::operation::{self, Operation};
use crate::process::is_watched;
use aya_ebpf::bindings::{sk_action, sk_msg_md};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_map_delete_elem, bpf_msg_apply_bytes, bpf_msg_cork_bytes};
use aya_ebpf::macros::{sk_msg, sock_ops};
use aya_ebpf::programs::{SkMsgContext, SockOpsContext};
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::protocol::{AMQP, HTTP1, HTTP2, POSTGRES};
use spanwire_ebpf::traceparent::hex;
use spanwire_ebpf::word::pattern;
use spanwire_ebpf::{Counter, RECEIVED, SENT, propagate};

/// Values of `bpf_sock_ops.op`, include/uapi/linux/bpf.h.
mod op {
    /// `BPF_SOCK_OPS_TCP_CONNECT_CB`: a SYN is about to be made.
    pub(super) const CONNECT: u32 = 3;
    /// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`: a connect came to its end.
    pub(super) const CONNECTED: u32 = 4;
    /// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`: a connection was accepted.
    pub(super) const ACCEPTED: u32 = 5;
    /// `BPF_SOCK_OPS_TCP_LISTEN_CB`.
    pub(super) const LISTEN: u32 = 11;
    /// `BPF_SOCK_OPS_PARSE_HDR_OPT_CB`: a segment came with an option that the kernel does not know.
    pub(super) const PARSE: u32 = 13;
    /// `BPF_SOCK_OPS_HDR_OPT_LEN_CB`: how much room is needed?
    pub(super) const LENGTH: u32 = 14;
    /// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB`: there is the header.
    pub(super) const WRITE: u32 = 15;
}

/// `BPF_WRITE_HDR_TCP_CURRENT_MSS`, an argument of [`op::LENGTH`]: somebody is about to send, in whose call this runs; there is no
/// segment yet.
const CURRENT_MSS: u32 = 1;

/// `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`: [`op::LENGTH`] and [`op::WRITE`] are asked.
const WRITES: u32 = 1 << 6;

/// A context of each kind is shorter, with a `tracestate`.
const LARGEST: u32 = 1_024;

/// A segment takes less of the send queue, beside what it carries.
const SEGMENT: u32 = 3_072;

/// What is sent is in less pieces beyond those that are full.
const SPARE: u32 = 4;

/// `O_NONBLOCK`, include/uapi/asm-generic/fcntl.h.
const O_NONBLOCK: u32 = 0o4000;

/// Into what the current process sends, contexts are injected: bits of [`spanwire_ebpf::propagate`].
#[inline(always)]
pub(crate) fn wanted() -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a value that does not change its shape.
    unsafe { RUNTIMES.get(tgid) }.map_or(0, |runtime| runtime.propagate)
}

/// Whether the context of a request is to be injected, into one of [`spanwire_ebpf::propagate`], in front of byte `at` of what is
/// about to be sent.
#[inline(always)]
fn tells(sock: u64, ids: &Ids, what: u32, at: u32) -> bool {
    wanted() & what != 0 && is_told(ids) && fits(sock, at)
}

/// Whether a context can be put in front of byte `at` of what is about to be sent.
#[inline(always)]
fn fits(sock: u64, at: u32) -> bool {
    let fits = has_room(sock, at) != 0;
    if !fits {
        count(Counter::InjectionFull, 1);
    }
    fits
}

/// 1 where the send queue is certain to take the next `count` bytes of what is about to be sent, and a context with them, as
/// `sk_stream_memory_free` and `tcp_stream_memory_free` say (include/net/{sock,tcp}.h). The socket is locked: what changes in the
/// meantime makes more room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn has_room(sock: u64, count: u32) -> u32 {
    let field = |offset: u32| kernel::<u32>(sock, offset).unwrap_or(u32::MAX);
    let count = count + LARGEST;
    let segments = count.checked_div(field(global!(tcp_mss))).unwrap_or(count) + SPARE;
    let room = field(global!(sock_send_buffer)).saturating_sub(field(global!(sock_queued)));
    if room <= count + segments * SEGMENT {
        return 0;
    }
    let mut limit = field(global!(tcp_unsent_limit));
    if limit == 0 {
        let net = kernel::<u64>(sock, global!(sock_net)).unwrap_or(0);
        limit = kernel(net, global!(net_unsent_limit)).unwrap_or(0);
    }
    let unsent = field(global!(tcp_write_seq)).wrapping_sub(field(global!(tcp_snd_nxt)));
    (unsent < limit && count < limit - unsent) as u32
}

/// Whether anybody may be told of a request's context.
#[inline(always)]
fn is_told(ids: &Ids) -> bool {
    let untold = ids.flags & UNTOLD != 0;
    if untold {
        count(Counter::InjectionUntold, 1);
    }
    !untold
}

/// A socket that connects, or listens.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Connecting {
    /// What will be injected into: bits of [`spanwire_ebpf::propagate`], or [`tcp_option::LISTENS`].
    pub(crate) wanted: u32,
    /// Whose it is.
    pub(crate) tgid: u32,
}

impl Connecting {
    /// A socket of the current process.
    #[inline(always)]
    pub(crate) fn here(wanted: u32) -> Self {
        let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        Self { wanted, tgid }
    }
}

/// A socket begins to connect.
#[inline(always)]
pub(crate) fn connects(sock: u64) {
    if global!(propagates) == 0 {
        return;
    }
    // An option is beside what is sent: any process bears it, also one of which the agent has not been told yet.
    let wanted = wanted() | global!(propagates) & propagate::TCP;
    if is_watched() && wanted != 0 {
        let _ = CONNECTING.insert(sock, Connecting::here(wanted), 0);
    } else {
        let _ = CONNECTING.remove(sock);
    }
}

/// A socket has closed. The kernel takes it out of the sockhash by itself.
#[inline(always)]
pub(crate) fn closes(sock: u64) {
    if global!(propagates) & !propagate::TCP != 0 {
        let _ = CONNECTORS.remove(sock);
    }
}

/// A connection is over.
#[inline(always)]
pub(crate) fn ends(dialogue: &Dialogue) {
    if dialogue.sending.protocol == AMQP {
        amqp::ends(&dialogue.sending);
    }
}

/// Enrols a socket that is connected now, and takes one out that blocks. The former need not run in its process.
#[sock_ops]
pub(crate) fn spanwire_enrol(context: SockOpsContext) -> u32 {
    let connects = context.op() == op::CONNECTED;
    if (connects || context.op() == op::LENGTH && context.arg(0) == CURRENT_MSS)
        && let Some(operation) = operation::claim()
    {
        // SAFETY: a map value, and this program's own until it is released.
        let operation = unsafe { &mut *operation };
        // SAFETY: the context has a sock at these points.
        let sock = number(operation, unsafe { (*context.ops).__bindgen_anon_2.sk } as u64);
        if connects {
            enrol(&context, sock);
        } else {
            leave(&context, sock);
        }
        operation.release();
    }
    1
}

#[inline(always)]
fn enrol(context: &SockOpsContext, sock: u64) {
    // SAFETY: a value that does not change its shape.
    let Some(&Connecting { wanted, tgid }) = (unsafe { CONNECTING.get(sock) }) else {
        return;
    };
    let _ = CONNECTING.remove(sock);
    if wanted & !propagate::TCP == 0 || !connection::is_of_interest(sock) {
        return;
    }
    let _ = CONNECTORS.insert(sock, tgid, 0);
    // SAFETY: the program's own context.
    let counter = match SOCKETS.update(sock, unsafe { &mut *context.ops }, 0) {
        Ok(()) => Counter::Enrolled,
        Err(_) => Counter::EnrolRefused,
    };
    count(counter, 1);
    let _ = context.set_cb_flags((context.cb_flags() | WRITES) as i32);
}

/// Takes an enrolled socket out of the sockhash whose file blocks, in the midst of its first send, which is looked at by now: the
/// kernel waits once for what such a socket is sent (`tcp_bpf_recvmsg`, net/ipv4/tcp_bpf.c), and fails with EAGAIN if what
/// comes is a signal, or room to send. From the end of the send on, its reads are TCP's own.
#[inline(always)]
fn leave(context: &SockOpsContext, sock: u64) {
    if blocks(sock) != Some(true) {
        return;
    }
    // SAFETY: a map of the program's own, and a key on the stack.
    unsafe {
        bpf_map_delete_elem(
            (&raw const SOCKETS).cast_mut().cast(),
            (&raw const sock).cast_mut().cast(),
        )
    };
    if let Some(connection) = connection::find(sock) {
        // SAFETY: a map value.
        unsafe { (*connection).dialogue.sending.enrolled = enrolled::OUT };
    }
    if !tcp_option::is_wanted() {
        let _ = context.set_cb_flags((context.cb_flags() & !WRITES) as i32);
    }
}

/// Whether whoever reads a socket waits in the kernel for what comes.
#[inline(always)]
fn blocks(sock: u64) -> Option<bool> {
    let socket = kernel::<u64>(sock, global!(sock_socket))?;
    let file = kernel::<u64>(socket, global!(socket_file))?;
    Some(kernel::<u32>(file, global!(file_flags))? & O_NONBLOCK == 0)
}

/// The number that a pointer is: what has been in a map is nothing but a number to the verifier.
#[inline(always)]
fn number(operation: &mut Operation, pointer: u64) -> u64 {
    // SAFETY: of a reference.
    unsafe {
        write_volatile(&raw mut operation.pointer, pointer);
        read_volatile(&raw const operation.pointer)
    }
}

/// Something is about to be sent on an enrolled socket.
// Inlined, since each frame counts on 5.10, also that of what the macro makes.
#[sk_msg]
#[inline(always)]
pub(crate) fn spanwire_inject(context: SkMsgContext) -> u32 {
    // Both stay set from one run into the next.
    // SAFETY: the program's own context.
    unsafe {
        bpf_msg_apply_bytes(context.msg, 0);
        bpf_msg_cork_bytes(context.msg, 0);
    }
    if is_watched()
        && let Some(operation) = operation::claim()
    {
        // SAFETY: a map value, and this program's own until it is released.
        run(context.msg, unsafe { &mut *operation });
        // SAFETY: as above.
        unsafe { (*operation).release() };
    }
    sk_action::SK_PASS
}

#[inline(always)]
fn run(context: *mut sk_msg_md, operation: &mut Operation) {
    // SAFETY: the program's own context.
    let (sock, size) = unsafe {
        let sock = (*context).__bindgen_anon_3.sk as u64;
        (number(operation, sock), (*context).size)
    };
    operation.identify(sock, SENT);
    let Some(connection) = connection::find(sock).or_else(|| connection::create(sock, SENT, 0, operation))
    else {
        return;
    };
    // SAFETY: a map value.
    let Connection { sent, dialogue, .. } = unsafe { &mut *connection };
    if dialogue.protocol == IGNORED || dialogue.sequenced == 0 || dialogue.requests_direction == RECEIVED {
        return;
    }
    let Some(sequence) = kernel::<u32>(sock, global!(tcp_write_seq)) else {
        return;
    };
    if dialogue.sending.enrolled == enrolled::OUT {
        return;
    }
    if dialogue.sending.enrolled == 0 {
        dialogue.sending.enrolled = enrolled::IN;
        if dialogue.late != 0 || sent.position != 0 {
            dialogue.sending.late = 1;
            dialogue.sending.unproven = http2::PROOF;
        }
    }
    dialogue.sending.reconcile(sequence);
    if sequence.wrapping_sub(dialogue.sending.injected) == sent.kernel_sequence {
        adopt(dialogue, sent);
    } else if sequence != dialogue.sending.next {
        // Of a send, the kernel has taken a part. What begins in the rest of it is counted when the walker finds it.
        dialogue.sending.late |= (dialogue.protocol == HTTP2) as u8;
        return;
    }
    dialogue.sending.began = sequence;
    dialogue.sending.next = sequence.wrapping_add(size);
    context::sends(dialogue);
    match dialogue.sending.protocol {
        UNDECIDED | HTTP1 => http1::run(context, operation, dialogue, size),
        HTTP2 | AMQP => frames::run(context, operation, dialogue, size),
        POSTGRES if has_queries(dialogue) => frames::run(context, operation, dialogue, size),
        _ => {}
    }
}

/// Whether contexts are put into statements, and it is certain where they are: behind a loss, what looks like a query may be
/// what COPY brings.
#[inline(always)]
fn has_queries(dialogue: &Dialogue) -> bool {
    global!(propagates) & propagate::SQL != 0 && dialogue.late == 0 && dialogue.adrift == 0
}

/// Takes over where in a message the walker is, which has seen all that was sent before.
#[inline(always)]
fn adopt(dialogue: &mut Dialogue, sent: &Half) {
    let sending = &mut dialogue.sending;
    sending.protocol = dialogue.protocol;
    match dialogue.protocol {
        UNDECIDED | HTTP1 => http1::adopt(sending, sent),
        HTTP2 | AMQP | POSTGRES => frames::adopt(sending, sent),
        _ => {}
    }
}

/// Writes a value of `traceparent`: [`traceparent::LENGTH`] bytes.
///
/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn text(to: *mut u8, ids: &Ids) {
    let put = |offset: usize, word: u64| {
        // SAFETY: the caller has room. The machines that spanwire supports need no alignment.
        unsafe { write_volatile(to.add(offset).cast::<u64>(), word) };
    };
    // What overlaps is written from the first word to the last, or from the last to the first, as its bytes need it.
    put(0, pattern(b"00-     "));
    // SAFETY: as above.
    unsafe { trace_text(to.add(3), ids) };
    put(47, pattern(b"     -0\0") | (b'0' as u64 | ids.flags & 1) << 56);
    put(35, pattern(b"-       "));
    put(36, hex(ids.span as u32));
    put(44, hex((ids.span >> 32) as u32));
}

/// Writes a trace's id: 32 bytes.
///
/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn trace_text(to: *mut u8, ids: &Ids) {
    let put = |offset: usize, word: u64| {
        // SAFETY: the caller has room. The machines that spanwire supports need no alignment.
        unsafe { write_volatile(to.add(offset).cast::<u64>(), word) };
    };
    put(0, hex(ids.trace[0] as u32));
    put(8, hex((ids.trace[0] >> 32) as u32));
    put(16, hex(ids.trace[1] as u32));
    put(24, hex((ids.trace[1] >> 32) as u32));
}

impl Sending {
    /// Takes back what the last run counted, where the kernel has not sent it: the caller comes with the same bytes again.
    #[inline(always)]
    fn reconcile(&mut self, sequence: u32) {
        let sent = sequence.wrapping_sub(self.began);
        if self.added != 0 && sent < self.added_end {
            self.injected = self.injected.wrapping_sub(self.added);
        }
        self.added = 0;
    }

    /// Notes that `count` bytes were put in, up to `end` of what is being sent.
    #[inline(always)]
    fn add(&mut self, count: u32, end: u32) {
        self.injected = self.injected.wrapping_add(count);
        self.next = self.next.wrapping_add(count);
        self.added = count;
        self.added_end = end;
    }

    /// Steps over what is left of a body or a frame; whether that was all, so that a message or a frame begins behind it.
    #[inline(always)]
    fn steps_over(&mut self, context: *mut sk_msg_md, size: u32) -> bool {
        if self.remaining >= size as u64 {
            self.remaining -= size as u64;
        } else {
            self.run_again(context, self.remaining as u32);
            self.remaining = 0;
        }
        self.remaining == 0
    }

    /// Asks for another run behind the first `count` bytes of what is being sent.
    #[inline(always)]
    fn run_again(&mut self, context: *mut sk_msg_md, count: u32) {
        // SAFETY: the program's own context.
        unsafe { bpf_msg_apply_bytes(context, count) };
        self.next = self.began.wrapping_add(count);
    }
}
