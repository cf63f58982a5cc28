//! Go: which goroutine runs, and requests that one goroutine asks for and another sends.
//!
//! `Transport` of net/http has two goroutines for each connection of HTTP/1, of which one, `writeLoop`, sends. It is asked to
//! by `persistConn.roundTrip`, in the goroutine whose request it is, and for one request at a time. A probe there hands on
//! what is being handled: to the connection, for what is sent at the very byte that comes next.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::Dialogue;
use crate::context::{self, Ids, NOBODY, SEVERAL};
use crate::globals::{global, kernel};
use crate::log;
pub(crate) use crate::machine::current_goroutine as current;
use crate::machine::go::{arguments, goroutine};
use crate::machine::instruction;
use crate::maps::{HANDED, HEADS, RUNTIMES, STREAMS};
use crate::operation::{Operation, user};
use crate::process::is_watched;
use crate::syscalls;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use spanwire_ebpf::{Runtime, cause};

/// What the next request on a connection is sent for.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Handed {
    /// A request, nobody, or [`SEVERAL`].
    ids: Ids,
    /// TCP sequence number of its first byte: one that is never sent leaves nothing for another.
    at: u32,
    tgid: u32,
}

/// The head of a stream, in memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) tgid: u64,
    pub(crate) address: u64,
}

/// A stream, and the goroutine that sends on its connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    tgid: u32,
    stream: u32,
    goroutine: u64,
}

/// Number of the goroutine that started the one that runs.
#[inline(always)]
pub(crate) fn parent(runtime: &Runtime) -> Option<u64> {
    user(current()? + runtime.goroutine_parent as u64)
}

/// net/http/transport.go: `func (pc *persistConn) roundTrip(req *transportRequest) (resp *Response, err error)`
///
/// In its prologue the arguments and the goroutine are in registers (cmd/compile/abi-internal.md).
#[uprobe]
pub(crate) fn go_round_trip(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: the context of a probe is the registers.
        let registers = unsafe { &*context.regs };
        let [connection, ..] = arguments(registers);
        let _ = hand_over(connection, goroutine(registers), instruction(registers));
    }
    0
}

#[inline(always)]
fn hand_over(connection: u64, goroutine: u64, instruction: u64) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a value that does not change its shape; what is replaced under the reader's hands is as good as either.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    if runtime.connection == 0 {
        return None;
    }
    let close = instruction.wrapping_add(runtime.close as i64 as u64);
    let sock = tcp_sock(runtime, connection + runtime.connection as u64, close)?;
    let mut handed = Handed {
        ids: NOBODY,
        at: kernel(sock, global!(tcp_write_seq))?,
        tgid,
    };
    context::asked_by(runtime, tgid, goroutine, &mut handed.ids);
    log::handed(sock, handed.at, handed.ids.span);
    HANDED.insert(sock, &handed, 0).ok()
}

/// The sock of the `net.Conn` that is at an address, where that is one of TCP without anything between. `of_tcp` is where
/// `net.(*TCPConn).Close` is.
#[inline(always)]
pub(crate) fn tcp_sock(runtime: &Runtime, at: u64, of_tcp: u64) -> Option<u64> {
    /// internal/abi/iface.go: `ITab.Fun`, of `net.Conn` in alphabetical order.
    const CLOSE: u64 = 24;
    /// include/uapi/linux/in.h; not MPTCP, which has no numbers.
    const IPPROTO_TCP: u16 = 6;
    let [table, value]: [u64; 2] = user(at)?;
    // The method says of which type the value is.
    if user::<u64>(table + CLOSE)? != of_tcp {
        return None;
    }
    let descriptor: u64 = user(user::<u64>(value)? + runtime.descriptor as u64)?;
    let sock = syscalls::sock(descriptor)?;
    (kernel::<u16>(sock, global!(sock_protocol))? == IPPROTO_TCP).then_some(sock)
}

/// grpc/internal/transport/controlbuf.go: `func (c *controlBuffer) executeAndPut(f func() bool, it cbItem) (bool, error)`
#[uprobe]
pub(crate) fn go_stream_asked(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: as above.
        let registers = unsafe { &*context.regs };
        let [_, condition, _, item] = arguments(registers);
        // Of what is put in without a condition, nothing begins a stream.
        if condition != 0 {
            let _ = ask(item, goroutine(registers));
        }
    }
    0
}

#[inline(always)]
fn ask(address: u64, goroutine: u64) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: as in `hand_over`.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    let mut ids = NOBODY;
    context::asked_by(runtime, tgid, goroutine, &mut ids);
    let tgid = tgid as u64;
    // Also for nobody: the address may have been another head's.
    HEADS.insert(&Head { tgid, address }, &ids, 0).ok()
}

/// grpc/internal/transport/controlbuf.go: `func (l *loopyWriter) clientHeaderHandler(hdr *clientHeaders) error`
#[uprobe]
pub(crate) fn go_stream_begins(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: as above.
        let registers = unsafe { &*context.regs };
        let [_, head, ..] = arguments(registers);
        let _ = stream_begins(head, goroutine(registers));
    }
    0
}

/// The same, before gRPC 1.81: `func (l *loopyWriter) originateStream(str *outStream, hdr *headerFrame) error`
#[uprobe]
pub(crate) fn go_stream_begins_third(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: as above.
        let registers = unsafe { &*context.regs };
        let [_, _, head, _] = arguments(registers);
        let _ = stream_begins(head, goroutine(registers));
    }
    0
}

#[inline(always)]
fn stream_begins(address: u64, goroutine: u64) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: as in `hand_over`.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    let head = Head {
        tgid: tgid as u64,
        address,
    };
    // SAFETY: as above.
    let ids = unsafe { HEADS.get(&head) }?;
    let stream = Stream {
        tgid,
        // Its first field.
        stream: user(address)?,
        goroutine: user(goroutine + runtime.goroutine_id as u64)?,
    };
    let _ = STREAMS.insert(&stream, ids, 0);
    HEADS.remove(&head).ok()
}

/// Whether a stream that begins here was handed over, and then takes it.
#[inline(always)]
pub(crate) fn takes_stream(operation: &mut Operation, stream: u32, goroutine: u64) -> bool {
    let tgid = operation.tgid;
    let stream = Stream {
        tgid,
        stream,
        goroutine,
    };
    // SAFETY: as in `hand_over`.
    let Some(ids) = (unsafe { STREAMS.get(&stream) }) else {
        return false;
    };
    take(operation, ids);
    let _ = STREAMS.remove(&stream);
    true
}

/// Whether what is sent here was handed over, and then takes it.
#[inline(always)]
pub(crate) fn takes(operation: &mut Operation, dialogue: &Dialogue) -> bool {
    // SAFETY: as in `hand_over`.
    let Some(handed) = (unsafe { HANDED.get(operation.sock) }) else {
        return false;
    };
    if handed.at != operation.exchange.begins || handed.tgid != operation.tgid || dialogue.sequenced == 0 {
        return false;
    }
    take(operation, &handed.ids);
    let _ = HANDED.remove(operation.sock);
    true
}

#[inline(always)]
fn take(operation: &mut Operation, ids: &Ids) {
    if ids.span == SEVERAL {
        operation.exchange.cause = cause::AMBIGUOUS;
    } else if ids.span != 0 {
        operation.exchange.parent = ids.span;
        operation.exchange.ids.join(ids);
        operation.exchange.cause = cause::GOROUTINE;
    }
}
