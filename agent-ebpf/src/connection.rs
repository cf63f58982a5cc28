//! What is kept of a connection between two operations on its socket.

use crate::context::{self, Exchange, Ids, Serving};
use crate::globals::{global, kernel};
use crate::log;
use crate::machine::COMPAT;
use crate::maps::{ARRIVALS, CONNECTIONS, PORTS, REFUSED, count};
use crate::operation::Operation;
use crate::state;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel};
use aya_ebpf::maps::lpm_trie::Key;
use spanwire_ebpf::{CONNECTION_SIZE, Counter, Opened, RECEIVED, SENT, UNIX_PATH_MAX, family, opened};

pub(crate) use spanwire_ebpf::protocol::{HTTP1, IGNORED, UNDECIDED};

/// No direction has carried a request yet.
pub(crate) const UNKNOWN_DIRECTION: u8 = 2;

/// Bytes of an unfinished line that are kept for the next operation.
pub(crate) const CARRY: usize = 24;

/// One direction of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Half {
    /// Stream position of the next byte.
    pub(crate) position: u64,
    /// Bytes that are left of the body, the chunk or the frame.
    pub(crate) remaining: u64,
    /// Bytes of content of the message so far; whole rows that were stepped over since the last record.
    pub(crate) content: u64,
    /// The number that is being read: a content length, a chunk size. Bytes of a frame that are still to be handed on.
    pub(crate) value: u64,
    /// Position behind the last byte of the message that was copied.
    pub(crate) copied_to: u64,
    /// When the first byte of the message that is being decided on came.
    pub(crate) started: u64,
    /// The unfinished line.
    pub(crate) carry: [u64; CARRY / 8],
    /// The kernel's sequence number of `position`.
    pub(crate) kernel_sequence: u32,
    /// Number of the next record.
    pub(crate) record_sequence: u32,
    /// Bytes of the head so far.
    pub(crate) head: u32,
    /// Exchange of the message, or the next one.
    pub(crate) ordinal: u32,
    /// Length of `carry`.
    pub(crate) carried: u32,
    /// Status code of a response; of HTTP/2, the highest stream that the client has opened; of PostgreSQL, requests for
    /// encryption that the server has answered.
    pub(crate) status: u32,
    /// Elements of a `recvmmsg` or `sendmmsg` call that were seen.
    pub(crate) element: u32,
    /// Where in a message the next byte is: one of [`state`].
    pub(crate) state: u8,
    /// The protocol's own marks.
    pub(crate) marks: u8,
    /// 1 once the end of the stream was read.
    pub(crate) ended: u8,
    /// Padding, always zero.
    pub(crate) reserved: u8,
}

/// One connection, by its socket on one side.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    /// Bytes read from the socket.
    pub(crate) received: Half,
    /// Bytes written to it.
    pub(crate) sent: Half,
    /// What concerns both.
    pub(crate) dialogue: Dialogue,
}

/// What both directions of a connection have to do with each other. Each field is written from one direction only, or
/// while the connection is made, so that the two may be walked at the same time.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Dialogue {
    /// When it was first seen: with the sock's address its identity.
    pub(crate) born: u64,
    /// Inode of a Unix socket: its sock's address may be another's by now.
    pub(crate) inode: u64,
    /// When the send that is under way began.
    pub(crate) send_began: u64,
    /// One bit an exchange, by its number modulo 64: the request was HEAD. HTTP/2: the low bits of [`Names`].
    pub(crate) heads: u64,
    /// The same for CONNECT. HTTP/2: the high bits.
    pub(crate) connects: u64,
    /// Requests so far.
    pub(crate) requests: u32,
    /// Final responses so far.
    pub(crate) responses: u32,
    /// Process that used it last.
    pub(crate) tgid: u32,
    /// Protocol.
    pub(crate) protocol: u8,
    /// Direction of the requests.
    pub(crate) requests_direction: u8,
    /// 1 once the agent knows of it.
    pub(crate) announced: u8,
    /// 1 where `position` follows the kernel's own sequence numbers.
    pub(crate) sequenced: u8,
    /// 1 after a loss, until the next request: responses cannot be told apart.
    pub(crate) adrift: u8,
    /// 1 once two requests were in flight at a time.
    pub(crate) pipelined: u8,
    /// Address family.
    pub(crate) family: u16,
    /// 1 where a 32-bit process uses it.
    pub(crate) compat: u8,
    /// 1 where it was first seen in the middle.
    pub(crate) late: u8,
    /// How often the two sides have taken turns without a message that is known.
    pub(crate) turns: u16,
    /// Direction of the last turn.
    pub(crate) turn: u8,
    /// How often a PostgreSQL client asked for encryption.
    pub(crate) asked: u8,
    /// 1 once HTTP/1.1 was left for another protocol.
    pub(crate) switched: u8,
    /// What handles requests in the process, one of [`spanwire_ebpf::unit`], as of the last request.
    pub(crate) unit: u8,
    /// Direction of the operation that it was first seen in.
    pub(crate) first: u8,
    /// 1 where the request that is being received continues a trace.
    pub(crate) continues: u8,
    /// 1 where the last stream of HTTP/2 was entered into `serving`.
    pub(crate) entered: u8,
    /// 1 once it is known which goroutine reads streams of HTTP/2 here: the one that `serving` names.
    pub(crate) reader: u8,
    /// Padding, always zero.
    pub(crate) reserved: [u8; 8],
    /// Requests that were received here and are being handled.
    pub(crate) serving: Serving,
    /// Of an event loop, what the last request was sent for.
    pub(crate) purpose: Ids,
    /// What injection knows of the sends.
    pub(crate) sending: Sending,
    /// Who asks, as [`crate::flow`] has it; 0 until that is known.
    pub(crate) client: u64,
    /// Of Node.js, the turn in which the last request was answered.
    pub(crate) freed: u64,
    /// Of Node.js, the thread to which it is idle; 0 where it is in use.
    pub(crate) idle: u64,
}

/// What injection knows of the sends on a connection. Written under the socket's lock, in the order of the sends.
///
/// Sequence numbers are those of TCP, which count what was injected as well; less `injected`, they are those that the rest
/// of the kernel half knows.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sending {
    /// The request whose head is being sent: what was promised last.
    pub(crate) exchange: Exchange,
    /// Bytes that are left of the body.
    pub(crate) remaining: u64,
    /// Sequence number of its first byte, among what the application has sent.
    pub(crate) promised: u32,
    /// That of the last request whose promise was kept from here.
    pub(crate) kept: u32,
    /// How many promises are elsewhere: in their map.
    pub(crate) elsewhere: u32,
    /// How many bytes were injected so far.
    pub(crate) injected: u32,
    /// Sequence number at which the last run of the program began.
    pub(crate) began: u32,
    /// Sequence number behind what that run let pass.
    pub(crate) next: u32,
    /// How many bytes it injected, and the end of these, from `began` on.
    pub(crate) added: u32,
    pub(crate) added_end: u32,
    /// HTTP/2: the highest stream so far. AMQP: the channel of what is being published. PostgreSQL: the sequence number, less
    /// `injected`, of the last query that was looked at.
    pub(crate) stream: u32,
    /// Where in a message the next byte is: one of the protocol's own states.
    pub(crate) state: u8,
    /// The protocol's own marks.
    pub(crate) marks: u8,
    /// Whether the socket is in the sockhash: 0 until something is sent by way of it, then one of [`enrolled`].
    pub(crate) enrolled: u8,
    /// The protocol, which may be known before the walker knows it.
    pub(crate) protocol: u8,
    /// 1 where something was sent that was not looked at: before the socket was enrolled; HTTP/2: or cut.
    pub(crate) late: u8,
    /// Requests that are looked at before one is injected into, where that is so.
    pub(crate) unproven: u8,
    /// 1 once a request was promised without being enrolled: [`crate::flow`].
    pub(crate) announces: u8,
    /// 1 while a request is promised that nothing is put into.
    pub(crate) announcing: u8,
    /// 1 where a request has begun that was not promised, behind the last that was.
    pub(crate) overtaken: u8,
    /// Padding, always zero.
    pub(crate) reserved: [u8; 3],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Connection>() == CONNECTION_SIZE);
    assert!(offset_of!(Connection, dialogue.born) == spanwire_ebpf::CONNECTION_BORN);
    assert!(offset_of!(Connection, dialogue.protocol) == spanwire_ebpf::CONNECTION_PROTOCOL);
    assert!(offset_of!(Connection, dialogue.tgid) == spanwire_ebpf::CONNECTION_PROCESS);
    assert!(offset_of!(Connection, dialogue.responses) == spanwire_ebpf::CONNECTION_RESPONSES);
};

/// Values of [`Sending::enrolled`].
pub(crate) mod enrolled {
    /// It is in.
    pub(crate) const IN: u8 = 1;
    /// It was taken out, and stays out.
    pub(crate) const OUT: u8 = 2;
}

const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;

/// What is known of this very socket.
#[inline(always)]
pub(crate) fn find(sock: u64) -> Option<*mut Connection> {
    // SAFETY: a map value.
    CONNECTIONS
        .get_ptr_mut(sock)
        .filter(|connection| is_of(unsafe { &(**connection).dialogue }, sock))
}

/// Whether what is known is of this very socket: the end of a Unix socket is not seen, and its sock's address is used
/// again.
#[inline(always)]
pub(crate) fn is_of(dialogue: &Dialogue, sock: u64) -> bool {
    dialogue.family != family::UNIX || inode(sock) == Some(dialogue.inode)
}

/// Whether the peer has said that it will send no more.
#[inline(always)]
pub(crate) fn is_half_closed(sock: u64) -> bool {
    /// include/net/sock.h
    const RCV_SHUTDOWN: u8 = 1;
    kernel::<u8>(sock, global!(sock_shutdown)).unwrap_or(0) & RCV_SHUTDOWN != 0
}

/// Number of the socket's inode in sockfs: unique for as long as the socket lives.
#[inline(always)]
fn inode(sock: u64) -> Option<u64> {
    let socket: u64 = kernel(sock, global!(sock_socket))?;
    kernel(socket, global!(socket_inode))
}

/// Begins to follow a socket, on which `bytes` bytes have just passed; `None` where it is no stream socket, or there is no
/// room. The connection is made in the operation's window.
#[inline(never)]
pub(crate) fn create(
    sock: u64,
    direction: u8,
    bytes: u64,
    operation: &mut Operation,
) -> Option<*mut Connection> {
    let family: u16 = kernel(sock, global!(sock_family))?;
    let kind: u16 = kernel(sock, global!(sock_type))?;
    if kind != SOCK_STREAM {
        return None;
    }
    let protocol: u16 = kernel(sock, global!(sock_protocol))?;
    let sequenced = match (family, protocol) {
        (family::INET | family::INET6, IPPROTO_TCP) => true,
        // A multipath connection's sequence numbers are elsewhere: its bytes are counted here.
        (family::INET | family::INET6, IPPROTO_MPTCP) | (family::UNIX, _) => false,
        _ => return None,
    };
    let new = operation.window.as_mut_ptr().cast::<[u64; CONNECTION_SIZE / 8]>();
    // SAFETY: the window is larger, and nobody's yet; all zeroes are a valid connection. Word by word, for what the
    // compiler would call goes byte by byte.
    let new = unsafe {
        for word in &mut *new {
            core::ptr::write_volatile(word, 0);
        }
        &mut *new.cast::<Connection>()
    };
    // SAFETY: the helper only reads the clock.
    new.dialogue.born = unsafe { bpf_ktime_get_ns() };
    new.dialogue.family = family;
    new.dialogue.requests_direction = UNKNOWN_DIRECTION;
    new.dialogue.sequenced = sequenced as u8;
    new.dialogue.inode = inode(sock).unwrap_or(0);
    new.dialogue.unit = context::unit();
    new.dialogue.first = direction;
    new.dialogue.compat = is_compat() as u8;
    if !has_watched_port(sock, family) {
        new.dialogue.protocol = IGNORED;
    }
    if sequenced {
        let mut past = before(sock, direction, bytes)?;
        if past.late {
            // Nothing is locked: a segment that came between two of the fields made more of them than there was.
            past = before(sock, direction, bytes)?;
        }
        new.dialogue.late = past.late as u8;
        new.received.kernel_sequence = past.first_read;
        new.sent.kernel_sequence = past.first_written;
    }
    if new.dialogue.late != 0 {
        new.dialogue.adrift = 1;
        new.received.state = state::LOST;
        new.sent.state = state::LOST;
        count(Counter::JoinedLate, 1);
    }
    let late = new.dialogue.late;
    if CONNECTIONS.insert(sock, new, 0).is_err() {
        count(Counter::ConnectionsFull, 1);
        return None;
    }
    log::followed(sock, family, late);
    CONNECTIONS.get_ptr_mut(sock)
}

/// What a TCP socket has done before the operation that is under way.
struct Before {
    late: bool,
    first_read: u32,
    first_written: u32,
}

/// What is known of that; `None` where the sock cannot be read.
#[inline(always)]
fn before(sock: u64, direction: u8, bytes: u64) -> Option<Before> {
    // The counts before the numbers that follow them: what comes in between makes less of it, never more.
    let received: u64 = kernel(sock, global!(tcp_bytes_received))?;
    let acknowledged: u64 = kernel(sock, global!(tcp_bytes_acked))?;
    let expected: u32 = kernel(sock, global!(tcp_rcv_nxt))?;
    let unacknowledged: u32 = kernel(sock, global!(tcp_snd_una))?;
    let read: u32 = kernel(sock, global!(tcp_copied_seq))?;
    let written: u32 = kernel(sock, global!(tcp_write_seq))?;
    let mut read_before = received.wrapping_sub(expected.wrapping_sub(read) as u64);
    let mut written_before = acknowledged.wrapping_add(written.wrapping_sub(unacknowledged) as u64);
    // What is under way is what we are here for.
    let (mut first_read, mut first_written) = (read, written);
    if direction == RECEIVED {
        read_before = read_before.wrapping_sub(bytes);
        first_read = read.wrapping_sub(bytes as u32);
    } else {
        written_before = written_before.wrapping_sub(bytes);
        first_written = written.wrapping_sub(bytes as u32);
    }
    // A byte more than was sent where the SYN was acknowledged, and one more than was read where the FIN was read too.
    let end = is_half_closed(sock) as i64;
    let mut late = read_before as i64 > end || written_before as i64 > 1;
    // Of a connection that was seen to be accepted, it is another thread that moves the rest, and has not been seen to yet.
    if late && end == 0 && (read_before | written_before) < UNDER_WAY && has_just_arrived(sock) {
        late = false;
        if direction == RECEIVED {
            first_written = written.wrapping_sub(written_before as u32);
        } else {
            first_read = read.wrapping_sub(read_before as u32);
        }
    }
    Some(Before {
        late,
        first_read,
        first_written,
    })
}

/// Whether a connection was accepted so lately that all it has carried may be under way. One that is older carried it unwatched:
/// its process is watched since then only, as a pod is that was annotated.
#[inline(always)]
fn has_just_arrived(sock: u64) -> bool {
    let Some(arrival) = ARRIVALS.get_ptr(sock) else {
        return false;
    };
    // SAFETY: a value of one word; the helper only reads the clock.
    unsafe { bpf_ktime_get_ns().wrapping_sub(*arrival) < YOUNG }
}

/// Within this time, in nanoseconds, whoever moves the first bytes of a connection is seen to have.
const YOUNG: u64 = 1_000_000_000;

/// What a call moves that is under way is less, in bytes: a power of two.
const UNDER_WAY: u64 = 1 << 16;

/// Whether a 32-bit process is in this call: its arguments are laid out otherwise.
#[inline(always)]
fn is_compat() -> bool {
    // SAFETY: the helper only returns the current task.
    let task = unsafe { aya_ebpf::helpers::generated::bpf_get_current_task() };
    kernel::<u32>(task, global!(task_compat)).unwrap_or(0) & COMPAT != 0
}

/// Whether connections of a socket's kind and ports are watched, whoever uses it.
#[inline(always)]
pub(crate) fn is_of_interest(sock: u64) -> bool {
    let family: u16 = kernel(sock, global!(sock_family)).unwrap_or(0);
    let protocol: u16 = kernel(sock, global!(sock_protocol)).unwrap_or(0);
    protocol == IPPROTO_TCP && has_watched_port(sock, family)
}

#[inline(always)]
fn has_watched_port(sock: u64, family: u16) -> bool {
    if global!(filter_ports) == 0 {
        return true;
    }
    if family == family::UNIX {
        return false;
    }
    let local: u16 = kernel(sock, global!(sock_local_port)).unwrap_or(0);
    let remote: u16 = kernel(sock, global!(sock_remote_port)).unwrap_or(0);
    port_bit(local) || port_bit(u16::from_be(remote))
}

#[inline(always)]
fn port_bit(port: u16) -> bool {
    PORTS
        .get(port as u32 / 64)
        .is_some_and(|word| word & (1 << (port % 64)) != 0)
}

/// Fills in both ends of a connection.
#[inline(never)]
pub(crate) fn describe(sock: u64, dialogue: &Dialogue, out: &mut Opened) {
    out.family = dialogue.family;
    // Where an answer was the first that was seen, its request had been half on its way.
    let aligned = dialogue.sequenced != 0 || dialogue.first == dialogue.requests_direction;
    let client = dialogue.requests_direction == SENT;
    out.flags = (dialogue.late as u16 * opened::LATE)
        | (aligned as u16 * opened::ALIGNED)
        | (client as u16 * opened::CLIENT)
        | ((dialogue.sending.enrolled != 0) as u16 * opened::ENROLLED);
    out.inode = dialogue.inode;
    out.peer = 0;
    out.local_path_length = 0;
    out.remote_path_length = 0;
    if dialogue.family == family::UNIX {
        out.local_port = 0;
        out.remote_port = 0;
        out.local_path_length = path(sock, &mut out.local_path);
        let peer: u64 = kernel(sock, global!(unix_peer)).unwrap_or(0);
        out.peer = peer;
        if peer != 0 {
            out.remote_path_length = path(peer, &mut out.remote_path);
        }
        return;
    }
    copy(&mut out.local_port, sock, global!(sock_local_port));
    copy(&mut out.remote_port, sock, global!(sock_remote_port));
    out.remote_port = u16::from_be(out.remote_port);
    if dialogue.family == family::INET {
        if let (Some(local), Some(remote)) = (out.local.first_chunk_mut(), out.remote.first_chunk_mut()) {
            copy::<[u8; 4]>(local, sock, global!(sock_local_v4));
            copy::<[u8; 4]>(remote, sock, global!(sock_remote_v4));
        }
    } else {
        copy(&mut out.local, sock, global!(sock_local_v6));
        copy(&mut out.remote, sock, global!(sock_remote_v6));
    }
}

/// Whether what comes from the other end of a connection is refused.
#[inline(always)]
pub(crate) fn is_refused(sock: u64) -> bool {
    global!(refuses) != 0 && refuses(sock) != 0
}

/// A global function, so that its stack is its own: 1 where the other end is refused.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn refuses(sock: u64) -> u32 {
    /// The bits of an address.
    const WHOLE: u32 = 128;
    let family: u16 = kernel(sock, global!(sock_family)).unwrap_or(0);
    let address = match family {
        family::INET => kernel::<u32>(sock, global!(sock_remote_v4)).map(|v4| [0, 0, u32::to_be(0xffff), v4]),
        family::INET6 => kernel::<[u32; 4]>(sock, global!(sock_remote_v6)),
        _ => None,
    };
    let Some([a, b, c, d]) = address else {
        return 0;
    };
    let key = [WHOLE, a, b, c, d];
    // SAFETY: a key is a length and sixteen bytes.
    let key = unsafe { &*key.as_ptr().cast::<Key<[u8; 16]>>() };
    REFUSED.get(key).is_some() as u32
}

/// Reads the path a Unix socket is bound to; returns its length, 0 where it has none.
#[inline(always)]
fn path(sock: u64, out: &mut [u8; UNIX_PATH_MAX]) -> u32 {
    /// `sockaddr_un.sun_path` begins behind the family.
    const FAMILY: u32 = 2;
    let address: u64 = kernel(sock, global!(unix_address)).unwrap_or(0);
    if address == 0 {
        return 0;
    }
    let length: u32 = kernel(address, global!(unix_address_length)).unwrap_or(0);
    if length <= FAMILY || !copy(out, address, global!(unix_address_name) + FAMILY) {
        return 0;
    }
    (length - FAMILY).min(UNIX_PATH_MAX as u32)
}

/// Reads a field at a kernel address to where it is wanted, and not by way of the stack, which is small; zeroes where the
/// address is bad. Returns whether it was good.
#[inline(always)]
fn copy<T>(out: &mut T, base: u64, offset: u32) -> bool {
    let from = (base + offset as u64) as *const core::ffi::c_void;
    // SAFETY: `out` is as long as said; the helper checks the address.
    unsafe { bpf_probe_read_kernel(core::ptr::from_mut(out).cast(), size_of::<T>() as u32, from) == 0 }
}
