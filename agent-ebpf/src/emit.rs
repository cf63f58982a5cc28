//! Records into the ring buffer.

use crate::connection::{Dialogue, Half, describe};
use crate::context::Ids;
use crate::framed;
#[cfg(feature = "bounded-loops")]
use crate::frames::operands;
use crate::globals::global;
use crate::maps::{EVENTS, count};
use crate::operation::{HEADER, Operation, WINDOW, mark};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use spanwire_ebpf::{Counter, Opened, Record, cause, flag, kind, sampling};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;

/// Records of one slot after which the agent is woken where the buffer fills up.
const RECORDS_A_LOOK: u32 = 16;

/// Waking the agent costs an interrupt; it comes by itself often enough unless the buffer fills up.
#[inline(always)]
fn wake() -> u64 {
    // SAFETY: the helper reads the ring buffer's counters.
    let waiting = unsafe { bpf_ringbuf_query(events(), BPF_RB_AVAIL_DATA) };
    if waiting > global!(wake_at) as u64 {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }
}

/// [`wake`], looked at once in a while.
#[inline(always)]
fn wake_sometimes(operation: &mut Operation) -> u64 {
    operation.records = operation.records.wrapping_add(1);
    if operation.records.is_multiple_of(RECORDS_A_LOOK) {
        wake()
    } else {
        BPF_RB_NO_WAKEUP
    }
}

#[inline(always)]
fn events() -> *mut core::ffi::c_void {
    (&raw const EVENTS).cast_mut().cast()
}

/// 0, unknown to the compiler, which would otherwise make of some zeroes in a row a call of `memset`, a loop over bytes.
#[inline(always)]
fn nothing() -> u64 {
    core::hint::black_box(0)
}

/// Fills in what every record of an operation has.
#[inline(always)]
fn header(record: &mut Record, operation: &Operation, dialogue: &Dialogue, half: &mut Half, kind: u8) {
    // Field by field: a whole record would be made elsewhere, and copied.
    record.kind = kind;
    record.direction = operation.direction as u8;
    record.protocol = dialogue.protocol;
    record.flags = if dialogue.requests_direction as u32 == operation.direction {
        flag::REQUEST
    } else {
        0
    };
    record.length = 0;
    record.sock = operation.sock;
    record.born = dialogue.born;
    record.time = operation.time;
    let nothing = nothing();
    record.position = nothing;
    record.wire = nothing;
    record.content = nothing;
    record.ordinal = half.ordinal;
    record.sequence = half.record_sequence;
    record.tgid = operation.tgid;
    record.tid = operation.tid;
    record.trace_id = [nothing; 2];
    record.span_id = nothing;
    record.parent = nothing;
    record.cause = nothing as u32;
    record.begins = nothing as u32;
    half.record_sequence += 1;
}

/// Puts a record of this kind into the ring buffer: what is pending in the window, the end of a message at `position`, or
/// a gap of `length` bytes from `position` on. By way of a global function, which the verifier looks at once and not in
/// every step that may come to it.
#[cfg(not(feature = "bounded-loops"))]
#[inline(always)]
pub(crate) fn record(
    kind: u8,
    operation: &mut Operation,
    dialogue: &mut Dialogue,
    half: &mut Half,
    position: u64,
    length: u64,
) -> u32 {
    operation.gap = length;
    put_record_of(kind as u32, operation, dialogue, half, position)
}

/// [`record`], for pointers that may be anyone's.
#[cfg(not(feature = "bounded-loops"))]
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put_record_of(
    kind: u32,
    operation: *mut Operation,
    dialogue: *mut Dialogue,
    half: *mut Half,
    position: u64,
) -> u32 {
    // SAFETY: of `record`'s references, or null.
    let (Some(operation), Some(dialogue), Some(half)) =
        (unsafe { (operation.as_mut(), dialogue.as_mut(), half.as_mut()) })
    else {
        return 0;
    };
    put_one(kind as u8, operation, dialogue, half, position)
}

/// The same. Before Linux 5.13 a global function takes scalars only.
#[cfg(feature = "bounded-loops")]
#[inline(always)]
pub(crate) fn record(
    kind: u8,
    operation: &mut Operation,
    _: &mut Dialogue,
    _: &mut Half,
    position: u64,
    length: u64,
) -> u32 {
    operation.gap = length;
    put_record_of(
        operation.sock,
        kind as u32,
        operation.direction,
        operation.slot,
        position,
    )
}

/// [`record`], for scalars.
#[cfg(feature = "bounded-loops")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put_record_of(
    sock: u64,
    kind: u32,
    direction: u32,
    slot: u32,
    position: u64,
) -> u32 {
    match operands(sock, direction, slot) {
        Some((operation, dialogue, half)) => put_one(kind as u8, operation, dialogue, half, position),
        None => 0,
    }
}

#[inline(always)]
fn put_one(
    kind: u8,
    operation: &mut Operation,
    dialogue: &mut Dialogue,
    half: &mut Half,
    position: u64,
) -> u32 {
    match kind {
        kind::BYTES => put_bytes(operation, dialogue, half),
        kind::END => put_end(operation, dialogue, half, position),
        _ => put_gap(operation, dialogue, half, position),
    }
}

/// Whether the trace is kept, and by what that was decided, as a record says it.
#[inline(always)]
fn decided(ids: &Ids) -> u32 {
    let kept = ids.flags & sampling::SAMPLED != 0;
    (ids.flags & sampling::DECIDED) as u32 | if kept { cause::SAMPLED } else { 0 }
}

/// Hands on what is pending in the window: bytes of a head.
#[inline(always)]
fn put_bytes(operation: &mut Operation, dialogue: &mut Dialogue, half: &mut Half) -> u32 {
    if dialogue.announced == 0 {
        opened(operation, dialogue);
    }
    let from = operation.copy_from & (WINDOW as u32 - 1);
    let mut length = operation.copy_to.wrapping_sub(from) & (2 * WINDOW as u32 - 1);
    if length > WINDOW as u32 {
        length = WINDOW as u32;
    }
    // The header goes right in front of the bytes, over what was handed on before: one copy, one record.
    // SAFETY: `from` is inside the window, in front of which there is room for a header.
    let at = unsafe { operation.header.as_mut_ptr().add(from as usize) }.cast::<Record>();
    // SAFETY: as above; unaligned stores are fine on the machines that spanwire supports.
    let record = unsafe { &mut *at };
    header(record, operation, dialogue, half, kind::BYTES);
    let marks = operation.marks;
    operation.marks = 0;
    record.length = length;
    record.position = operation.base + from as u64;
    if framed::has(dialogue) {
        record.wire = record.position.wrapping_sub(half.copied_to);
        record.content = half.content;
        half.content = 0;
    }
    half.copied_to = record.position + length as u64;
    if marks & mark::STARTS != 0 {
        record.flags |= flag::STARTS;
        if half.started != 0 {
            record.time = half.started;
        }
        half.started = 0;
    }
    if marks & mark::EXCHANGE != 0 {
        let exchange = &operation.exchange;
        record.trace_id = exchange.ids.trace;
        record.span_id = exchange.ids.span;
        record.parent = exchange.parent;
        record.cause = exchange.cause | decided(&exchange.ids);
        record.begins = exchange.begins;
        half.ordinal += framed::has(dialogue) as u32;
    }
    // The other marks have the same meaning and the same order as the flags.
    if marks & mark::HEAD_ENDS != 0 {
        record.flags |= flag::HEAD_ENDS;
    }
    if marks & mark::CUT != 0 {
        record.flags |= flag::CUT;
    }
    if marks & mark::TUNNEL != 0 {
        record.flags |= flag::TUNNEL;
    }
    if marks & mark::MESSAGE_ENDS != 0 {
        record.flags |= flag::MESSAGE_ENDS;
        record.content = operation.content;
        record.wire = operation.wire;
        half.copied_to += operation.wire;
    }
    let wake = wake_sometimes(operation);
    // SAFETY: the header and `length` bytes behind it end inside the window and its slack.
    if unsafe { bpf_ringbuf_output(events(), at.cast(), (HEADER as u32 + length) as u64, wake) } != 0 {
        count(Counter::RingFull, 1);
        if marks & mark::EXCHANGE != 0 {
            count(Counter::RequestsRingFull, 1);
        }
    }
    0
}

#[repr(C)]
struct OpenedRecord {
    record: Record,
    opened: Opened,
}

/// Reports both ends of a connection; again with the next record where there was no room.
#[inline(always)]
fn opened(operation: &Operation, dialogue: &mut Dialogue) {
    // SAFETY: a constant size.
    let room = unsafe { bpf_ringbuf_reserve(events(), size_of::<OpenedRecord>() as u64, 0) };
    if room.is_null() {
        count(Counter::RingFull, 1);
        return;
    }
    let room = room.cast::<OpenedRecord>();
    let nothing = nothing();
    // SAFETY: reserved above, and as large.
    unsafe {
        (&raw mut (*room).record).write(Record {
            kind: kind::OPENED,
            direction: operation.direction as u8,
            protocol: dialogue.protocol,
            flags: 0,
            length: size_of::<Opened>() as u32,
            sock: operation.sock,
            born: dialogue.born,
            time: operation.time,
            position: nothing,
            wire: nothing,
            content: nothing,
            ordinal: 0,
            sequence: 0,
            tgid: operation.tgid,
            tid: operation.tid,
            trace_id: [nothing; 2],
            span_id: nothing,
            parent: nothing,
            cause: nothing as u32,
            begins: nothing as u32,
        });
        describe(operation.sock, dialogue, &mut (*room).opened);
        bpf_ringbuf_submit(room.cast(), BPF_RB_NO_WAKEUP);
    }
    dialogue.announced = 1;
}

/// Puts the record that was made in the operation's header room into the ring buffer.
#[inline(always)]
fn put(operation: &mut Operation) {
    let wake = wake_sometimes(operation);
    let record = operation.header.as_mut_ptr().cast();
    // SAFETY: a whole record.
    if unsafe { bpf_ringbuf_output(events(), record, HEADER as u64, wake) } != 0 {
        count(Counter::RingFull, 1);
    }
}

/// Reports the end of a message, at `position`, whose last bytes were not copied.
#[inline(always)]
fn put_end(operation: &mut Operation, dialogue: &Dialogue, half: &mut Half, position: u64) -> u32 {
    // SAFETY: the room is as large as a record; alignment as in `bytes`.
    let record = unsafe { &mut *operation.header.as_mut_ptr().cast::<Record>() };
    header(record, operation, dialogue, half, kind::END);
    record.time = operation.end_time;
    record.position = half.copied_to;
    record.wire = position.wrapping_sub(half.copied_to);
    record.content = half.content;
    half.content = 0;
    half.copied_to = position;
    put(operation);
    0
}

/// Reports the operation's gap, from `position` on.
#[inline(always)]
fn put_gap(operation: &mut Operation, dialogue: &Dialogue, half: &mut Half, position: u64) -> u32 {
    let length = operation.gap;
    // SAFETY: as in `end`.
    let record = unsafe { &mut *operation.header.as_mut_ptr().cast::<Record>() };
    header(record, operation, dialogue, half, kind::GAP);
    record.flags = operation.failure as u8;
    record.position = position;
    record.wire = length;
    half.copied_to = position + length;
    put(operation);
    0
}

/// Reports that the peer will send no more.
#[inline(never)]
pub(crate) fn eof(operation: &mut Operation, dialogue: &Dialogue, half: &mut Half) -> u32 {
    // SAFETY: as in `end`.
    let record = unsafe { &mut *operation.header.as_mut_ptr().cast::<Record>() };
    header(record, operation, dialogue, half, kind::EOF);
    record.position = half.copied_to;
    record.wire = half.position.wrapping_sub(half.copied_to);
    record.content = half.content;
    put(operation);
    0
}

/// Puts a record that is no operation's into the ring buffer.
#[inline(always)]
fn put_record(record: &mut Record) {
    // SAFETY: a whole record.
    if unsafe {
        bpf_ringbuf_output(
            events(),
            core::ptr::from_mut(record).cast(),
            HEADER as u64,
            wake(),
        )
    } != 0
    {
        count(Counter::RingFull, 1);
    }
}

/// Reports that a socket closed, and with which error number.
#[inline(always)]
pub(crate) fn closed(sock: u64, dialogue: &Dialogue, responses: &Half, error: u8) {
    // SAFETY: the helper only reads the clock.
    let time = unsafe { bpf_ktime_get_ns() };
    let mut record = Record {
        kind: kind::CLOSED,
        direction: 1 - (dialogue.requests_direction & 1),
        protocol: dialogue.protocol,
        flags: error,
        length: 0,
        sock,
        born: dialogue.born,
        time,
        position: responses.copied_to,
        wire: responses.position.wrapping_sub(responses.copied_to),
        content: responses.content,
        ordinal: dialogue.requests,
        sequence: dialogue.responses,
        tgid: dialogue.tgid,
        tid: 0,
        trace_id: [0; 2],
        span_id: 0,
        parent: 0,
        cause: 0,
        begins: 0,
    };
    put_record(&mut record);
}

#[repr(C)]
struct ProcessRecord {
    record: Record,
    name: [u8; 16],
}

/// Reports something in a process's life, with the name of its command.
#[inline(always)]
pub(crate) fn process(kind: u8, tgid: u32, tid: u32, name: [u8; 16]) {
    // SAFETY: the helper only reads the clock.
    let time = unsafe { bpf_ktime_get_ns() };
    let record = Record {
        kind,
        direction: 0,
        protocol: 0,
        flags: 0,
        length: 16,
        sock: 0,
        born: 0,
        time,
        position: 0,
        wire: 0,
        content: 0,
        ordinal: 0,
        sequence: 0,
        tgid,
        tid,
        trace_id: [0; 2],
        span_id: 0,
        parent: 0,
        cause: 0,
        begins: 0,
    };
    let mut record = ProcessRecord { record, name };
    // SAFETY: the whole record is behind its header.
    if unsafe {
        bpf_ringbuf_output(
            events(),
            (&raw mut record).cast(),
            size_of::<ProcessRecord>() as u64,
            // A program that has just started may be over before the agent looks by itself.
            if kind == kind::EXEC {
                BPF_RB_FORCE_WAKEUP
            } else {
                wake()
            },
        )
    } != 0
    {
        count(Counter::RingFull, 1);
    }
}
