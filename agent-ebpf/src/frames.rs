//! Walks an operation's bytes frame by frame: keeps the window filled, calls the protocol's `step`, and sees to it that
//! what was not seen is counted.

use crate::connection::{self, Connection, Dialogue, HTTP1, Half};
use crate::emit;
use crate::globals::{global, kernel};
use crate::http1::{self, Step, state};
use crate::maps::{CONNECTIONS, OPERATION, count};
use crate::operation::{Filled, Operation, ROOM, Source, mark};
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use spanwire_ebpf::{Counter, HEAD_LIMIT, RECEIVED, SENT, kind};

/// Steps for one operation. A step takes up to 32 bytes of a head or a whole body.
#[cfg(not(feature = "bounded-loops"))]
const STEPS: u32 = 8192;
/// Steps for one part of an operation. Before Linux 5.17 the verifier looks at each of them, and remembers all branches
/// not taken, of which it bears 8192.
#[cfg(feature = "bounded-loops")]
const STEPS: u32 = 4;
/// Parts of an operation.
#[cfg(feature = "bounded-loops")]
const PARTS: u32 = 2048;

/// Bytes that are looked at where it is open whether an operation is of interest.
const GLANCE: u64 = 32;

/// Sends up to this length end, for all that can be seen, when they begin.
const SHORT: u64 = 16 * 1024;

/// What the steps work on, for `bpf_loop`.
#[repr(C)]
struct Walk {
    operation: *mut Operation,
    dialogue: *mut Dialogue,
    half: *mut Half,
    finished: u64,
}

/// A read or write on a stream socket of a watched process is over.
///
/// `bytes` is how many, above 0.
#[inline(always)]
pub(crate) fn observe(sock: u64, direction: u8, bytes: u64, source: Source) {
    let (vectors, address) = match source {
        Source::Buffer(address) => (BUFFER, address),
        Source::Vectors(address, count) => (if count < BUFFER { count } else { BUFFER - 1 }, address),
        Source::Nowhere => (0, 0),
    };
    operate(sock, direction as u32, bytes, vectors, address);
}

/// In place of a number of `iovec`s: the address is that of the only buffer.
const BUFFER: u64 = 1 << 20;

/// [`observe`], for scalars: a global function, which the verifier looks at once and not at each call.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn operate(sock: u64, direction: u32, bytes: u64, vectors: u64, address: u64) -> u32 {
    let direction = direction as u8 & 1;
    let Some(connection) = connection::of(sock, direction, bytes) else {
        return 0;
    };
    let Some(operation) = OPERATION.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: map values; this CPU's own operation, unless one that was interrupted has it.
    let (operation, connection) = unsafe { (&mut *operation, &mut *connection) };
    if operation.busy != 0 {
        count(Counter::GapTooLong, 1);
        return 0;
    }
    operation.busy = 1;
    // SAFETY: the helpers only read.
    let (id, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    operation.sock = sock;
    operation.tgid = (id >> 32) as u32;
    operation.tid = id as u32;
    operation.direction = direction as u32;
    operation.time = now;
    operation.end_time = now;
    let Connection {
        received,
        sent,
        dialogue,
    } = connection;
    dialogue.tgid = operation.tgid;
    let half = if direction == SENT {
        if dialogue.send_began != 0 {
            operation.time = dialogue.send_began;
            if bytes <= SHORT {
                operation.end_time = operation.time;
            }
            dialogue.send_began = 0;
        }
        sent
    } else {
        received
    };
    if dialogue.sequenced != 0 {
        catch_up(operation, dialogue, half, bytes);
    }
    let start = half.position;
    operation.begin(bytes, start);
    if dialogue.compat != 0 {
        operation.nowhere = Counter::GapCompat as u32;
    } else if vectors == BUFFER {
        operation.read_from(address, bytes);
    } else {
        operation.read_from_vectors(address, vectors);
    }
    walk(operation, dialogue, half);
    half.position = start + bytes;
    half.kernel_sequence = half.kernel_sequence.wrapping_add(bytes as u32);
    operation.busy = 0;
    0
}

/// Accounts for bytes that passed without a call that was seen: the kernel's own sequence number has moved on.
#[inline(always)]
fn catch_up(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half, bytes: u64) {
    let offset = if operation.direction == RECEIVED as u32 {
        global!(tcp_copied_seq)
    } else {
        global!(tcp_write_seq)
    };
    let Some(sequence) = kernel::<u32>(operation.sock, offset) else {
        return;
    };
    let mut missing = sequence
        .wrapping_sub(bytes as u32)
        .wrapping_sub(half.kernel_sequence);
    // The peer's FIN has a sequence number of its own, and is read with the last bytes in front of it.
    if missing != 0 && operation.direction == RECEIVED as u32 && connection::is_half_closed(operation.sock) {
        missing -= 1;
    }
    // Backwards: another thread's call on the same socket was seen before this one, and its bytes with it.
    if missing != 0 && missing >> 31 == 0 {
        let start = half.position;
        operation.begin(missing as u64, start);
        operation.nowhere = Counter::GapUnseen as u32;
        walk(operation, dialogue, half);
        half.position = start + missing as u64;
        half.kernel_sequence = half.kernel_sequence.wrapping_add(missing);
    }
}

/// Walks the operation to its end.
#[inline(never)]
fn walk(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> u32 {
    let mut walk = Walk {
        operation,
        dialogue,
        half,
        finished: 0,
    };
    steps(&mut walk);
    // SAFETY: made from references above.
    let (operation, dialogue, half) = unsafe { (&mut *walk.operation, &mut *walk.dialogue, &mut *walk.half) };
    if walk.finished == 0 {
        hand_on(operation, dialogue, half);
        operation.failure = Counter::GapTooLong as u32;
        let position = operation.position();
        let rest = operation.available() as u64 + operation.unread;
        http1::give_up(operation, dialogue, half, position, rest);
    }
    0
}

#[cfg(not(feature = "bounded-loops"))]
#[inline(always)]
fn steps(walk: &mut Walk) {
    let callback = one_step as *mut core::ffi::c_void;
    // SAFETY: the callback is called with this context only.
    unsafe { aya_ebpf::helpers::generated::bpf_loop(STEPS, callback, core::ptr::from_mut(walk).cast(), 0) };
}

#[cfg(feature = "bounded-loops")]
#[inline(always)]
fn steps(walk: &mut Walk) {
    // SAFETY: made from references in `walk`.
    let (sock, direction) = unsafe { ((*walk.operation).sock, (*walk.operation).direction) };
    for _ in 0..PARTS {
        if part(sock, direction) != 0 {
            walk.finished = 1;
            break;
        }
    }
}

/// A part of the walk; 1 where it was the last. A global function, which the verifier looks at once and not in each turn
/// of the loop; that is why it looks up again what its caller has.
#[cfg(feature = "bounded-loops")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn part(sock: u64, direction: u32) -> u32 {
    let Some(connection) = CONNECTIONS.get_ptr_mut(sock) else {
        return 1;
    };
    let Some(operation) = OPERATION.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: map values.
    let Connection {
        received,
        sent,
        dialogue,
    } = unsafe { &mut *connection };
    let half = if direction == SENT as u32 { sent } else { received };
    let mut walk = Walk {
        operation,
        dialogue,
        half,
        finished: 0,
    };
    for index in 0..STEPS {
        if one_step(index, &mut walk) != 0 {
            return 1;
        }
    }
    0
}

/// One step; 1 where it was the last.
#[cfg_attr(not(feature = "bounded-loops"), inline(never))]
#[cfg_attr(feature = "bounded-loops", inline(always))]
extern "C" fn one_step(_index: u32, walk: *mut Walk) -> u64 {
    // SAFETY: made in `walk`, from references.
    let walk = unsafe { &mut *walk };
    // SAFETY: as above.
    let (operation, dialogue, half) = unsafe { (&mut *walk.operation, &mut *walk.dialogue, &mut *walk.half) };
    let done = match http1::step(operation, dialogue, half) {
        Step::More => false,
        Step::Refill => refill(operation, dialogue, half),
        Step::Stop => {
            http1::flush(operation, dialogue, half);
            true
        }
    };
    walk.finished = done as u64;
    done as u64
}

/// Hands on what the window holds of a head.
#[inline(always)]
fn hand_on(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) {
    if operation.marks & mark::PENDING == 0 {
        return;
    }
    if operation.marks & mark::HEAD_ENDS == 0 {
        operation.copy_to = operation.end;
        half.head += operation.end - operation.copy_from;
        if half.head > HEAD_LIMIT {
            operation.marks |= mark::CUT;
            http1::cut(half);
        }
    }
    emit::record(kind::BYTES, operation, dialogue, half, 0, 0);
}

/// Puts the next bytes into the window; `true` where there are none.
#[inline(always)]
fn refill(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> bool {
    hand_on(operation, dialogue, half);
    if operation.unread == 0 {
        return true;
    }
    let room = if half.state == state::LOST { GLANCE } else { ROOM };
    match operation.fill(half, room) {
        Filled::Some if http1::copies_head(half) => {
            operation.copy_from = operation.carried;
            operation.marks = mark::PENDING;
        }
        Filled::Some | Filled::Nothing => {}
        Filled::Unreadable => {
            let (position, rest) = (operation.position(), operation.unread);
            http1::give_up(operation, dialogue, half, position, rest);
            return true;
        }
    }
    false
}

/// A read returned 0: the peer will send no more.
#[inline(always)]
pub(crate) fn end_of_stream(sock: u64) {
    let Some(connection) = CONNECTIONS.get_ptr_mut(sock) else {
        return;
    };
    // SAFETY: a map value.
    let Connection {
        received: half,
        dialogue,
        ..
    } = unsafe { &mut *connection };
    if dialogue.protocol != HTTP1 || half.ended != 0 || !connection::is_of(dialogue, sock) {
        return;
    }
    // A read of no bytes returns 0 as well.
    if !connection::is_half_closed(sock) {
        return;
    }
    half.ended = 1;
    let Some(operation) = OPERATION.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as in `observe`.
    let operation = unsafe { &mut *operation };
    if operation.busy != 0 {
        return;
    }
    // SAFETY: the helpers only read.
    let (id, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    operation.sock = sock;
    operation.tgid = (id >> 32) as u32;
    operation.tid = id as u32;
    operation.direction = RECEIVED as u32;
    operation.time = now;
    emit::eof(operation, dialogue, half);
}
