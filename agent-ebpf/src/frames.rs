//! Walks an operation's bytes frame by frame: keeps the window filled, calls the protocol's `step`, and sees to it that
//! what was not seen is counted.

use crate::connection::{self, Connection, Dialogue, HTTP1, Half, IGNORED, UNDECIDED, enrolled};
use crate::context;
use crate::emit;
use crate::framed::{self, claimed};
use crate::globals::{global, kernel};
use crate::http1;
use crate::log;
use crate::maps::{CONNECTIONS, OPERATIONS, count};
use crate::operation::{self, Filled, Operation, ROOM, Source, mark};
use crate::state;
use spanwire_ebpf::{Counter, HEAD_LIMIT, RECEIVED, SENT, kind};

/// Steps for one operation. A step takes up to 64 bytes of a head or a whole body.
#[cfg(not(feature = "bounded-loops"))]
const STEPS: u32 = 8192;
/// Steps for one part of an operation. Before Linux 5.17 the verifier looks at each of them, and remembers all branches
/// not taken, of which it bears 8192.
#[cfg(feature = "bounded-loops")]
const STEPS: u32 = 4;
/// Parts of an operation: so many times so many, of which the verifier looks at a sum.
#[cfg(feature = "bounded-loops")]
const PARTS: u32 = 64;
#[cfg(feature = "bounded-loops")]
const TIMES: u32 = 32;

/// Sends up to this length end, for all that can be seen, when they begin.
const SHORT: u64 = 16 * 1024;

/// What one step came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on.
    More,
    /// This operation is done with.
    Stop,
    /// The thread is lost: see [`http1::lost`].
    Lost,
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
    log::operation(sock, direction, bytes);
    let direction = direction as u8 & 1;
    let known = connection::find(sock);
    if let Some(connection) = known
        && is_ignored(connection)
    {
        if direction == RECEIVED {
            // SAFETY: a map value.
            context::turn(sock, unsafe { &*connection });
        }
        return 0;
    }
    let Some(operation) = operation::claim() else {
        count(Counter::GapTooLong, 1);
        log::no_slot(sock, bytes);
        return 0;
    };
    // SAFETY: a map value, and this program's own until it is released.
    let operation = unsafe { &mut *operation };
    if let Some(connection) = known.or_else(|| connection::create(sock, direction, bytes, operation))
        && !is_ignored(connection)
    {
        operation.identify(sock, direction);
        if direction == RECEIVED {
            // SAFETY: a map value.
            context::turn(sock, unsafe { &*connection });
        } else {
            // SAFETY: a map value.
            context::sends(unsafe { &(*connection).dialogue });
        }
        // SAFETY: a map value.
        follow(operation, unsafe { &mut *connection }, bytes, vectors, address);
    }
    operation.release();
    0
}

#[inline(always)]
fn is_ignored(connection: *mut Connection) -> bool {
    // SAFETY: callers pass map values.
    unsafe { (*connection).dialogue.protocol == IGNORED }
}

/// Walks the bytes of an operation on a connection of interest, and what passed unseen before them.
#[inline(always)]
fn follow(operation: &mut Operation, connection: &mut Connection, bytes: u64, vectors: u64, address: u64) {
    let Connection {
        received,
        sent,
        dialogue,
    } = connection;
    dialogue.tgid = operation.tgid;
    let half = if operation.direction == SENT as u32 {
        operation.date(dialogue.send_began, bytes <= SHORT);
        dialogue.send_began = 0;
        sent
    } else {
        operation.date(0, false);
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
}

/// Accounts for bytes that passed without a call that was seen: the kernel's own sequence number has moved on.
#[inline(always)]
fn catch_up(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half, bytes: u64) {
    let offset = if operation.direction == RECEIVED as u32 {
        global!(tcp_copied_seq)
    } else {
        global!(tcp_write_seq)
    };
    let Some(mut sequence) = kernel::<u32>(operation.sock, offset) else {
        return;
    };
    if operation.direction == SENT as u32 {
        sequence = sequence.wrapping_sub(dialogue.sending.injected);
    }
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
        // What was told by what went unseen is not known: as if it were enrolled now.
        if operation.direction == SENT as u32 && dialogue.sending.enrolled == enrolled::IN {
            dialogue.sending.enrolled = 0;
        }
        walk(operation, dialogue, half);
        half.position = start + missing as u64;
        half.kernel_sequence = half.kernel_sequence.wrapping_add(missing);
    }
}

/// Walks the operation to its end. Inlined where there are [`parts`]: calls nest no deeper than eight.
#[cfg_attr(feature = "bounded-loops", inline(always))]
#[cfg_attr(not(feature = "bounded-loops"), inline(never))]
fn walk(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> u32 {
    if !steps(operation, dialogue, half) {
        hand_on(operation, dialogue, half);
        operation.failure = Counter::GapTooLong as u32;
        let position = operation.position();
        let rest = operation.available() as u64 + operation.unread;
        http1::give_up(operation, dialogue, half, position, rest);
    }
    0
}

/// What the steps work on, for `bpf_loop`.
#[cfg(not(feature = "bounded-loops"))]
#[repr(C)]
struct Walk {
    operation: *mut Operation,
    dialogue: *mut Dialogue,
    half: *mut Half,
    finished: u64,
}

/// Steps until the last, or as many as there may be; whether the last was among them.
#[cfg(not(feature = "bounded-loops"))]
#[inline(always)]
fn steps(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> bool {
    let mut walk = Walk {
        operation,
        dialogue,
        half,
        finished: 0,
    };
    let context = core::ptr::from_mut(&mut walk).cast();
    // SAFETY: `turn` is called with this context only.
    unsafe { aya_ebpf::helpers::generated::bpf_loop(STEPS, turn as *mut core::ffi::c_void, context, 0) };
    walk.finished != 0
}

/// One turn of `bpf_loop`; 1 ends it.
#[cfg(not(feature = "bounded-loops"))]
#[inline(never)]
extern "C" fn turn(_index: u32, walk: *mut Walk) -> u64 {
    // SAFETY: made in `steps`, from references.
    let walk = unsafe { &mut *walk };
    // SAFETY: as above.
    let (operation, dialogue, half) = unsafe { (&mut *walk.operation, &mut *walk.dialogue, &mut *walk.half) };
    walk.finished = step(operation, dialogue, half) as u64;
    walk.finished
}

/// Steps until the last, or as many as there may be; whether the last was among them.
#[cfg(feature = "bounded-loops")]
#[inline(always)]
fn steps(operation: &mut Operation, _: &mut Dialogue, _: &mut Half) -> bool {
    let (sock, direction, slot) = (operation.sock, operation.direction, operation.slot);
    for _ in 0..TIMES {
        if parts(sock, direction, slot) != 0 {
            return true;
        }
    }
    false
}

/// Some parts of the walk; 1 where the last was among them. A global function, for the reason that [`operands`] gives.
#[cfg(feature = "bounded-loops")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn parts(sock: u64, direction: u32, slot: u32) -> u32 {
    for _ in 0..PARTS {
        if part(sock, direction, slot) != 0 {
            return 1;
        }
    }
    0
}

/// A part of the walk; 1 where it was the last. A global function as well.
#[cfg(feature = "bounded-loops")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn part(sock: u64, direction: u32, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, direction, slot) else {
        return 1;
    };
    for _ in 0..STEPS {
        if step(operation, dialogue, half) {
            return 1;
        }
    }
    0
}

/// What a step works on, for a global function: the verifier looks at such once and not at each call, in exchange for
/// which it gets nothing but scalars, and looks up again what its caller has.
#[inline(always)]
pub(crate) fn operands<'a>(
    sock: u64,
    direction: u32,
    slot: u32,
) -> Option<(&'a mut Operation, &'a mut Dialogue, &'a mut Half)> {
    let connection = CONNECTIONS.get_ptr_mut(sock)?;
    let operation = OPERATIONS.get_ptr_mut(slot)?;
    // SAFETY: map values; the caller's references are at rest while it waits.
    let (operation, connection) = unsafe { (&mut *operation, &mut *connection) };
    let half = if direction == SENT as u32 {
        &mut connection.sent
    } else {
        &mut connection.received
    };
    Some((operation, &mut connection.dialogue, half))
}

/// One step; whether it was the last.
#[inline(always)]
fn step(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> bool {
    let steps_over = half.state >= state::BODY && half.state <= state::SKIP;
    if operation.cursor >= operation.end && !steps_over {
        match refill(operation, dialogue, half) {
            Filled::Some => {}
            Filled::Nothing => return false,
            Filled::Unreadable => return true,
        }
    }
    let claim = if dialogue.protocol == UNDECIDED {
        // What is pending belongs to the protocol before.
        http1::flush(operation, dialogue, half);
        framed::claim(operation.sock, operation.direction, operation.slot)
    } else {
        claimed::NO
    };
    if claim == claimed::NO && dialogue.protocol == UNDECIDED && dialogue.switched != 0 {
        dialogue.protocol = IGNORED;
    }
    if dialogue.protocol == IGNORED {
        return true;
    }
    let step = if claim == claimed::NEEDS_MORE {
        http1::carry(operation, half)
    } else if framed::has(dialogue) {
        framed::step(operation, dialogue, half)
    } else {
        http1::step(operation, dialogue, half)
    };
    match step {
        Step::More if operation.cursor < operation.end || operation.unread > 0 => return false,
        Step::More => hand_on(operation, dialogue, half),
        Step::Stop => http1::flush(operation, dialogue, half),
        Step::Lost => http1::lost(operation, dialogue, half),
    }
    true
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

/// [`Operation::gather`] by way of a global function, which the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn gather(slot: u32) -> u32 {
    if let Some(operation) = OPERATIONS.get_ptr_mut(slot) {
        // SAFETY: a map value, and this program's own.
        unsafe { (*operation).gather() };
    }
    0
}

/// Puts the next bytes into the window.
#[inline(always)]
fn refill(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> Filled {
    hand_on(operation, dialogue, half);
    let filled = operation.fill(half, ROOM);
    if filled == Filled::Some && operation.vectors > 0 && (framed::has(dialogue) || half.state == state::LOST)
    {
        gather(operation.slot);
    }
    match filled {
        Filled::Some if half.state == state::COPY => {
            operation.copy_from = 0;
            operation.copy_to = 0;
            operation.marks = mark::PENDING | mark::HEAD_ENDS;
        }
        Filled::Some if http1::copies_head(half) => {
            operation.copy_from = operation.carried;
            operation.marks = mark::PENDING;
        }
        Filled::Some | Filled::Nothing => {}
        Filled::Unreadable if framed::bears_blindness(half) => return Filled::Nothing,
        Filled::Unreadable => {
            let (position, rest) = (operation.position(), operation.unread);
            http1::give_up(operation, dialogue, half, position, rest);
        }
    }
    filled
}

/// A read returned 0: the peer will send no more.
#[inline(always)]
pub(crate) fn end_of_stream(sock: u64) {
    let Some(connection) = connection::find(sock) else {
        return;
    };
    // SAFETY: a map value.
    context::turn(sock, unsafe { &*connection });
    // SAFETY: a map value.
    let Connection {
        received: half,
        dialogue,
        ..
    } = unsafe { &mut *connection };
    if dialogue.protocol != HTTP1 || half.ended != 0 {
        return;
    }
    // A read of no bytes returns 0 as well.
    if !connection::is_half_closed(sock) {
        return;
    }
    let Some(operation) = operation::claim() else {
        return;
    };
    half.ended = 1;
    // SAFETY: as in `operate`.
    let operation = unsafe { &mut *operation };
    operation.identify(sock, RECEIVED);
    operation.date(0, false);
    emit::eof(operation, dialogue, half);
    operation.release();
}
