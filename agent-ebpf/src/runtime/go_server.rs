//! Go: which goroutine handles which stream of HTTP/2 that a service receives.
//!
//! One goroutine reads a connection, and each stream is handled by another. gRPC's server starts that from the one that reads,
//! or gives the stream to one of its workers; what comes with the preface was read by yet another before. net/http's server, and
//! that of golang.org/x/net, starts it from the goroutine that serves the connection, which has started the one that reads.
//! Goroutines' numbers are not used again, so who started whom tells the connection, whatever it is wrapped in; and what is there
//! at the place of a stream's number proves itself by being one that was read there, and that nobody handles yet.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::context::Key;
use crate::machine::go::{arguments, goroutine};
use crate::machine::instruction;
use crate::maps::{READERS, RUNTIMES};
use crate::operation::user;
use crate::process::is_watched;
use crate::runtime::go;
use crate::stream::{self, Handler, Reader, reader};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use spanwire_ebpf::Runtime;
use spanwire_ebpf::unit::GOROUTINE;

/// grpc/internal/transport/http2_server.go: `http2Server.conn`
const TRANSPORT_CONNECTION: u64 = 16;
/// grpc/internal/transport/transport.go, as of 1.80: `Stream.id`. Before, it is the first field, of a stream that is a
/// pointer's before 1.69.
const STREAM_ID: u64 = 108;
/// net/http/h2_bundle.go, `http2stream`: its connection comes first, then its number.
const HTTP_STREAM_ID: u64 = 8;

/// grpc/server.go: `func (s *Server) handleStream(t transport.ServerTransport, stream *transport.ServerStream)`
///
/// In its prologue the arguments and the goroutine are in registers (cmd/compile/abi-internal.md).
#[uprobe]
pub(crate) fn go_stream_handled(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: the context of a probe is the registers.
        let registers = unsafe { &*context.regs };
        let [_, _, transport, stream] = arguments(registers);
        let _ = handles_call(stream, transport, goroutine(registers), instruction(registers));
    }
    0
}

/// grpc/internal/transport/http2_server.go: `func (t *http2Server) HandleStreams(ctx context.Context, handle func(*ServerStream))`
///
/// It is run by a goroutine of its own, which was started by the one that has read the preface: and all that came with that.
#[uprobe]
pub(crate) fn go_streams_read(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: as above.
        let _ = goes_on(goroutine(unsafe { &*context.regs }));
    }
    0
}

#[inline(always)]
fn goes_on(goroutine: u64) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: as above.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    let first = user(goroutine + runtime.goroutine_parent as u64)?;
    read_by(tgid, first, reader::READS)?;
    let reader = Reader {
        tgid,
        role: reader::GOES_ON,
        goroutine: user(goroutine + runtime.goroutine_id as u64)?,
    };
    READERS.insert(&reader, first, 0).ok()
}

#[inline(always)]
fn handles_call(address: u64, transport: u64, goroutine: u64, instruction: u64) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a value that does not change its shape; what is replaced under the reader's hands is as good as either.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    let by = goroutine_key(runtime, tgid, goroutine)?;
    let number = number_of_call(address)?;
    let parent = user(goroutine + runtime.goroutine_parent as u64)?;
    if let Some(sock) = read_by(tgid, parent, reader::READS)
        && stream::handled(sock, number, &by, Handler::OfReader(parent)).is_some()
    {
        return Some(());
    }
    if let Some(first) = read_by(tgid, parent, reader::GOES_ON)
        && let Some(sock) = read_by(tgid, first, reader::READS)
    {
        return stream::handled(sock, number, &by, Handler::OfReader(first));
    }
    // A worker's parent is anyone.
    if runtime.close_stream == 0 {
        return None;
    }
    let close = instruction.wrapping_add(runtime.close_stream as i64 as u64);
    let sock = go::tcp_sock(runtime, transport + TRANSPORT_CONNECTION, close)?;
    stream::handled(sock, number, &by, Handler::Pooled)
}

/// The number of a stream of gRPC, which is odd. A pointer is even.
#[inline(always)]
fn number_of_call(address: u64) -> Option<u32> {
    let first: u64 = user(address)?;
    if first & 1 != 0 {
        return Some(first as u32);
    }
    let behind: u32 = user(first)?;
    if behind & 1 != 0 {
        return Some(behind);
    }
    user(address + STREAM_ID)
}

/// net/http/h2_bundle.go: `func (sc *http2serverConn) runHandler(rw *http2responseWriter, req *Request, handler func(...))`;
/// golang.org/x/net/http2/server.go has the same.
#[uprobe]
pub(crate) fn go_handler_runs(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: as above.
        let registers = unsafe { &*context.regs };
        let [connection, writer, ..] = arguments(registers);
        let _ = handles_request(connection, writer, goroutine(registers));
    }
    0
}

#[inline(always)]
fn handles_request(connection: u64, writer: u64, goroutine: u64) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: as above.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    let by = goroutine_key(runtime, tgid, goroutine)?;
    // `responseWriter.rws`, `responseWriterState.stream`.
    let address: u64 = user(user::<u64>(writer)?)?;
    if user::<u64>(address)? != connection {
        return None;
    }
    let number: u32 = user(address + HTTP_STREAM_ID)?;
    let parent = user(goroutine + runtime.goroutine_parent as u64)?;
    // What is behind the preface may have been read with it, by net/http and in the goroutine that goes on to serve.
    let sock = read_by(tgid, parent, reader::STARTED).or_else(|| read_by(tgid, parent, reader::READS))?;
    stream::handled(sock, number, &by, Handler::OfServer(parent))
}

/// What is known of a goroutine that has this to do with reading a connection: one of [`mod@reader`].
#[inline(always)]
fn read_by(tgid: u32, goroutine: u64, role: u32) -> Option<u64> {
    let reader = Reader {
        tgid,
        role,
        goroutine,
    };
    // SAFETY: a value of one word.
    unsafe { READERS.get(&reader) }.copied()
}

#[inline(always)]
fn goroutine_key(runtime: &Runtime, tgid: u32, goroutine: u64) -> Option<Key> {
    let id = user(goroutine + runtime.goroutine_id as u64)?;
    let unit = GOROUTINE;
    Some(Key { tgid, unit, id })
}
