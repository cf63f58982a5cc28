//! Which request a request is sent for: ids, and what each unit of execution is handling at the moment.
//!
//! A *unit* is what handles one request at a time: a thread, a process of one thread, a goroutine. It is entered when a
//! request begins to be read, and left when its response has been written. A request that a unit sends is for the one that
//! it handles; where it handles more than one, nobody can tell, and nothing is claimed. An *event loop* that is known to
//! act on what it has just read is asked for that instead, whatever else it handles.
//!
//! A unit adds up the ids of what it handles. While that is one request, the sum is its id: no list is needed, and
//! addition is the atomic operation that every kernel's BPF has.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::{self, Connection, Dialogue, enrolled};
use crate::decision::{decides, decides_again};
use crate::flow;
use crate::frames::operands;
use crate::globals::{global, kernel};
use crate::maps::{CONNECTIONS, OPERATIONS, ORIGINS, RUNTIMES, UNITS, add, count};
use crate::operation::{Operation, user};
use crate::promise;
use crate::propagate::tcp_option;
use crate::runtime::{go, haproxy, node, python};
use crate::stream::POOLED;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_prandom_u32};
use core::ptr::{read_volatile, write_volatile};
use spanwire_ebpf::protocol::{AMQP, HTTP1, HTTP2, POSTGRES};
use spanwire_ebpf::unit::{CONTEXT, EVENT, GOROUTINE, LOOP, NODE, PROCESS, STREAM, THREAD};
use spanwire_ebpf::{Counter, RECEIVED, Runtime, SENT, cause, propagate};

/// A span and its trace; all zero where there is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) trace: [u64; 2],
    pub(crate) span: u64,
    /// The trace's flags (W3C Trace Context, section 3.2.2.5), and by what it was decided that it is kept: [`sampling`].
    pub(crate) flags: u64,
}

pub(crate) const NOBODY: Ids = Ids {
    trace: [0; 2],
    span: 0,
    flags: 0,
};

/// What is known of an exchange from its beginning.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    /// Its span.
    pub(crate) ids: Ids,
    /// Span that it is sent for.
    pub(crate) parent: u64,
    /// [`spanwire_ebpf::Record::begins`].
    pub(crate) begins: u32,
    /// [`spanwire_ebpf::Record::cause`].
    pub(crate) cause: u32,
}

/// Beside the flags: which trace it is was read in the request itself.
pub(crate) const READ: u64 = 1 << 32;

/// Beside the flags: the request names its trace in a way that is read in the agent alone, so which it is is not known here.
/// Nobody is told.
pub(crate) const UNTOLD: u64 = 1 << 40;

/// In place of a span: of several requests, nobody can tell which.
pub(crate) const SEVERAL: u64 = u64::MAX;

impl Exchange {
    /// Becomes `other`, as [`Ids::set`] does it.
    #[inline(always)]
    pub(crate) fn set(&mut self, other: &Self) {
        self.ids.set(&other.ids);
        self.parent = other.parent;
        self.begins = other.begins;
        self.cause = other.cause;
    }
}

impl Ids {
    /// Becomes `other`. Word by word, since the compiler would call a function for it, which goes byte by byte.
    #[inline(always)]
    pub(crate) fn set(&mut self, other: &Self) {
        // SAFETY: of references.
        unsafe {
            write_volatile(&raw mut self.trace[0], read_volatile(&raw const other.trace[0]));
            write_volatile(&raw mut self.trace[1], read_volatile(&raw const other.trace[1]));
            write_volatile(&raw mut self.span, read_volatile(&raw const other.span));
            write_volatile(&raw mut self.flags, read_volatile(&raw const other.flags));
        }
    }

    /// Becomes part of the trace of `other`.
    #[inline(always)]
    pub(crate) fn join(&mut self, other: &Self) {
        // SAFETY: as above.
        unsafe {
            write_volatile(&raw mut self.trace[0], read_volatile(&raw const other.trace[0]));
            write_volatile(&raw mut self.trace[1], read_volatile(&raw const other.trace[1]));
            write_volatile(&raw mut self.flags, read_volatile(&raw const other.flags));
        }
    }

    /// Becomes the ids of nobody, or of [`SEVERAL`].
    #[inline(always)]
    pub(crate) fn clear(&mut self, span: u64) {
        // SAFETY: as above.
        unsafe {
            write_volatile(&raw mut self.trace[0], 0);
            write_volatile(&raw mut self.trace[1], 0);
            write_volatile(&raw mut self.span, span);
            write_volatile(&raw mut self.flags, 0);
        }
    }
}

/// A unit of execution.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) tgid: u32,
    /// One of [`spanwire_ebpf::unit`].
    pub(crate) unit: u32,
    /// Thread, goroutine or context.
    pub(crate) id: u64,
}

/// What a unit handles.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    /// How many requests.
    pub(crate) requests: u64,
    /// Sum of their ids, each word for itself.
    pub(crate) sum: Ids,
    /// Address of the sock on which the only one was received; 0 where there were more at a time since there were none.
    sock: u64,
    /// 1 once there was more than one at a time; or [`POOLED`].
    ///
    /// [`POOLED`]: crate::stream::POOLED
    pub(crate) shared: u64,
    /// Of an event loop, the request of which it has read something since it last read from another connection; of a thread
    /// with Python, the one that it has read outside of any context since it last left one.
    pub(crate) current: Ids,
    /// Of a thread with Python, 1 once it was seen to leave a context.
    pub(crate) leaves: u64,
    /// Of HAProxy, 1 where nothing was made of `current` yet.
    pub(crate) is_fresh: u64,
}

/// A unit that handles nothing.
static IDLE: Unit = Unit {
    requests: 0,
    sum: NOBODY,
    sock: 0,
    shared: 0,
    current: NOBODY,
    leaves: 0,
    is_fresh: 0,
};

/// Added to a unit's requests, and never taken off: it has been seen to handle several at a time in a way that is not
/// followed.
const MANY: u64 = 1 << 32;

/// The requests that were received on one connection and have not been answered.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Serving {
    /// How many.
    pub(crate) requests: u64,
    /// Sum of their ids.
    pub(crate) sum: Ids,
    /// Who handles them.
    pub(crate) by: Key,
}

/// Eight random bytes, not all zero: the next of the slot's own sequence (SplitMix64, Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014), which begins at a random place. A helper call costs as much as all of it.
#[inline(always)]
fn random(operation: &mut Operation) -> u64 {
    if operation.random == 0 {
        // SAFETY: the helper has no preconditions.
        let (high, low) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32()) };
        operation.random = ((high as u64) << 32) | (low as u64 & 0xffff_ffff);
    }
    operation.random = operation.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = operation.random;
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ (mixed >> 31);
    if mixed == 0 { 1 } else { mixed }
}

/// An exchange begins at the operation's cursor.
#[inline(always)]
pub(crate) fn begins(sock: u64, direction: u32, slot: u32) {
    let known = global!(propagates) != 0;
    if known && direction == RECEIVED as u32 {
        flow::hears(sock, slot);
        if tcp_option::is_wanted() {
            tcp_option::hears(sock, slot);
        }
    }
    mints(slot);
    let promised = exchange_begins(sock, direction, slot);
    if known && direction == SENT as u32 && promised == 0 {
        flow::tells(sock, slot);
        if tcp_option::is_wanted() {
            tcp_option::goes_without(sock);
        }
    }
}

/// Makes the ids of the exchange that begins at the operation's cursor, and says what it is part of; 1 where it was promised. A
/// global function, for the reason that [`operands`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exchange_begins(sock: u64, direction: u32, slot: u32) -> u32 {
    let Some((operation, dialogue, half)) = operands(sock, direction, slot) else {
        return 0;
    };
    // All of the operation's positions are relative to where it began.
    let offset = operation.position().wrapping_sub(half.position);
    let sequence = half.kernel_sequence.wrapping_add(offset as u32);
    operation.exchange.begins = sequence;
    if direction == SENT as u32 && dialogue.sending.enrolled | dialogue.sending.announces != 0 {
        let is_promised = promise::keep(operation, &mut dialogue.sending, sequence);
        if dialogue.sending.enrolled != 0 && is_unseen(operation, dialogue, sequence, is_promised) {
            let is_out = dialogue.sending.enrolled == enrolled::OUT;
            let (out, unseen) = (Counter::InjectionBlocking, Counter::InjectionUnseen);
            count(if is_out { out } else { unseen }, 1);
        }
        if is_promised {
            return 1;
        }
        dialogue.sending.overtaken = 1;
        operation.exchange.begins = sequence.wrapping_add(dialogue.sending.injected);
    }
    begin(operation, dialogue, direction, half.ordinal);
    0
}

/// Whether the exchange that begins with byte `sequence` of the connection was not looked at when it was sent, and one like it
/// would be. It may have been promised for this host alone.
#[inline(always)]
fn is_unseen(operation: &Operation, dialogue: &Dialogue, sequence: u32, is_promised: bool) -> bool {
    let is_told = operation.exchange.cause & cause::TOLD != 0 || operation.exchange.ids.flags & UNTOLD != 0;
    if is_promised && (dialogue.sending.enrolled == enrolled::IN || is_told) {
        return false;
    }
    match dialogue.protocol {
        HTTP1 | HTTP2 | AMQP => true,
        POSTGRES => {
            global!(propagates) & propagate::SQL != 0
                && operation.byte(operation.cursor) == b'Q'
                && dialogue.sending.stream != sequence
        }
        _ => false,
    }
}

/// Makes the trace of the exchange that begins, unless it has one, and decides whether it is kept. A global function of its own,
/// since behind [`exchange_begins`] there is no room on the stack of 5.10 for what looking it up takes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn mints(slot: u32) -> u32 {
    let Some(operation) = OPERATIONS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: a map value, and this program's own.
    let operation = unsafe { &mut *operation };
    let tgid = operation.tgid;
    if operation.heard == 0 {
        operation.exchange.ids.trace[0] = random(operation);
        operation.exchange.ids.trace[1] = random(operation);
        operation.exchange.ids.flags = decides(tgid, operation.exchange.ids.trace[1]);
    } else if operation.heard == tcp_option::REMOTE {
        let Ids { trace, flags, .. } = &mut operation.exchange.ids;
        *flags = decides_again(tgid, trace[1], *flags);
    }
    0
}

/// Makes the ids that are the exchange's own, and finds what it is part of. Callers have called [`mints`].
#[inline(always)]
pub(crate) fn begin(operation: &mut Operation, dialogue: &mut Dialogue, direction: u32, stream: u32) {
    operation.exchange.ids.span = random(operation);
    operation.exchange.cause = cause::REMOTE;
    if operation.heard != tcp_option::REMOTE {
        operation.exchange.parent = 0;
        operation.exchange.cause = cause::NONE;
    }
    operation.heard = 0;
    // SAFETY: a value that does not change its shape; what is replaced under the reader's hands is as good as either.
    let Some(runtime) = (unsafe { RUNTIMES.get(operation.tgid) }) else {
        return;
    };
    dialogue.unit = runtime.unit as u8;
    if direction == RECEIVED as u32 {
        dialogue.continues = 0;
        received(operation, dialogue, runtime);
    } else {
        sent(operation, dialogue, runtime, stream);
    }
}

/// What handles requests in the current process.
#[inline(always)]
pub(crate) fn unit() -> u8 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: as above.
    unsafe { RUNTIMES.get(tgid) }.map_or(0, |runtime| runtime.unit as u8)
}

/// The unit that runs.
#[inline(always)]
fn current(runtime: &Runtime, tgid: u32, tid: u32) -> Option<Key> {
    let unit = runtime.unit;
    let id = match unit {
        THREAD | LOOP | EVENT | NODE | STREAM => tid as u64,
        // Where it runs in a context, that is asked for instead.
        CONTEXT => {
            let unit = THREAD;
            return Some(Key {
                tgid,
                unit,
                id: tid as u64,
            });
        }
        PROCESS if has_one_thread() => tid as u64,
        GOROUTINE => user(go::current()? + runtime.goroutine_id as u64)?,
        _ => return None,
    };
    Some(Key { tgid, unit, id })
}

#[inline(always)]
fn has_one_thread() -> bool {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let signal: u64 = kernel(task, global!(task_signal)).unwrap_or(0);
    kernel::<u32>(signal, global!(signal_threads)) == Some(1)
}

/// A request was received.
#[inline(always)]
fn received(operation: &mut Operation, dialogue: &mut Dialogue, runtime: &Runtime) {
    let Some(mut key) = current(runtime, operation.tgid, operation.tid) else {
        return;
    };
    let is_stream = dialogue.protocol == HTTP2;
    dialogue.entered = 0;
    if is_stream && key.unit == GOROUTINE {
        // Others than the one that reads handle them: [`crate::stream`].
        return;
    }
    if key.unit == GOROUTINE && go::parent(runtime) == Some(dialogue.serving.by.id) {
        // While a handler runs, net/http has another goroutine read ahead: it may see how the next request begins.
        key.id = dialogue.serving.by.id;
    }
    if runtime.unit == CONTEXT && dialogue.protocol != AMQP {
        key = python::receives(runtime, operation, &dialogue.serving.by);
    } else if runtime.unit == CONTEXT && python::current(runtime, operation.tgid).is_some() {
        // Several are read at once, and handed to tasks that are there already.
        return;
    }
    let Some(unit) = unit_of(&key) else { return };
    // SAFETY: a map value.
    let unit = unsafe { &mut *unit };
    if matches!(key.unit, EVENT | STREAM) {
        unit.is_fresh = 1;
        // More than one in what was read at once: which of them it is about to act on cannot be told.
        if unit.current.span == 0 {
            unit.current.set(&operation.exchange.ids);
        } else {
            unit.current.clear(SEVERAL);
        }
    }
    if key.unit == NODE && dialogue.protocol != HTTP2 {
        node::receives(&operation.exchange.ids);
    }
    if is_stream && key.unit != CONTEXT {
        // A thread that reads for others, or an event loop that handles them side by side.
        if !matches!(key.unit, EVENT | STREAM) {
            add(&raw mut unit.requests, MANY);
        }
        return;
    }
    dialogue.entered = is_stream as u8;
    if unit.requests == 1 && unit.sock != 0 && unit.sock != operation.sock && is_gone(unit.sock) {
        unit.requests = 0;
        unit.sum.clear(0);
    }
    let serving = &mut dialogue.serving;
    // A backend answers one at a time, whatever is in its queue.
    if dialogue.protocol == POSTGRES || serving.by.id != key.id {
        leave(serving);
    }
    serving.by = key;
    // Of several, whose connection is there in the end is not known: that one is gone may be another's.
    unit.sock = if unit.requests == 0 { operation.sock } else { 0 };
    unit.shared |= (unit.requests != 0) as u64;
    enter(
        &raw mut serving.requests,
        &raw mut serving.sum,
        1,
        &operation.exchange.ids,
    );
    enter(
        &raw mut unit.requests,
        &raw mut unit.sum,
        1,
        &operation.exchange.ids,
    );
}

/// Whether a connection is over: no hook shows the end of a Unix socket.
#[inline(always)]
fn is_gone(sock: u64) -> bool {
    connection::find(sock).is_none()
}

#[inline(always)]
pub(crate) fn unit_of(key: &Key) -> Option<*mut Unit> {
    if let Some(unit) = UNITS.get_ptr_mut(key) {
        return Some(unit);
    }
    UNITS.insert(key, &IDLE, 0).ok()?;
    UNITS.get_ptr_mut(key)
}

/// Adds to what is handled, or takes off it by adding the negative.
#[inline(always)]
fn enter(requests: *mut u64, sum: *mut Ids, count: u64, ids: &Ids) {
    // SAFETY: callers pass fields of map values.
    let (first, second, span, flags) = unsafe {
        (
            &raw mut (*sum).trace[0],
            &raw mut (*sum).trace[1],
            &raw mut (*sum).span,
            &raw mut (*sum).flags,
        )
    };
    add(first, ids.trace[0]);
    add(second, ids.trace[1]);
    add(span, ids.span);
    add(flags, ids.flags);
    add(requests, count);
}

/// What a connection has received is answered, or will not be.
#[inline(always)]
pub(crate) fn leave(serving: &mut Serving) {
    let count = serving.requests;
    if count == 0 {
        return;
    }
    serving.requests = 0;
    if serving.by.unit == NODE {
        node::leaves(serving);
    }
    if let Some(unit) = UNITS.get_ptr_mut(&serving.by) {
        // SAFETY: a map value.
        let unit = unsafe { &mut *unit };
        if unit.current.span == serving.sum.span {
            unit.current.clear(0);
        }
        // Fewer: it made room for others in the meantime, and is another.
        if unit.requests as u32 as u64 >= count {
            negate(&mut serving.sum);
            enter(
                &raw mut unit.requests,
                &raw mut unit.sum,
                count.wrapping_neg(),
                &serving.sum,
            );
        }
    }
    serving.sum.clear(0);
}

/// One of the requests that a connection has received is answered; its ids are changed.
#[inline(always)]
pub(crate) fn leave_one(serving: &mut Serving, ids: &mut Ids) {
    if serving.requests == 0 {
        return;
    }
    negate(ids);
    enter(&raw mut serving.requests, &raw mut serving.sum, u64::MAX, ids);
    if let Some(unit) = UNITS.get_ptr_mut(&serving.by) {
        // SAFETY: a map value.
        let unit = unsafe { &mut *unit };
        if unit.requests as u32 != 0 {
            enter(&raw mut unit.requests, &raw mut unit.sum, u64::MAX, ids);
        }
    }
}

/// Makes of ids what takes them off a sum.
#[inline(always)]
fn negate(ids: &mut Ids) {
    let Ids { trace, span, flags } = ids;
    trace[0] = trace[0].wrapping_neg();
    trace[1] = trace[1].wrapping_neg();
    *span = span.wrapping_neg();
    *flags = flags.wrapping_neg();
}

/// The only answer that is due on a connection is sent. A global function, as [`answered`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn answers(sock: u64) -> u32 {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(sock) {
        // SAFETY: a map value.
        let serving = unsafe { &(*connection).dialogue.serving };
        if serving.by.unit == NODE {
            node::answers(serving);
        }
    }
    answered(sock)
}

/// What was asked on a connection is answered. A global function, as [`answered`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn is_answered(sock: u64) -> u32 {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(sock) {
        // SAFETY: a map value.
        let dialogue = unsafe { &mut (*connection).dialogue };
        if dialogue.unit == NODE as u8 {
            node::freed(sock, dialogue);
        }
    }
    0
}

/// Something is about to be sent on a connection, or was: what that is for may have to be known.
#[inline(always)]
pub(crate) fn sends(dialogue: &Dialogue) {
    if dialogue.unit == NODE as u8 {
        node::node_asks();
    }
}

/// A connection is over.
#[inline(always)]
pub(crate) fn ends(sock: u64, dialogue: &mut Dialogue) {
    leave(&mut dialogue.serving);
    node::is_used(sock, dialogue);
}

/// [`leave`], as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn answered(sock: u64) -> u32 {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(sock) {
        // SAFETY: a map value.
        let Dialogue { serving, unit, .. } = unsafe { &mut (*connection).dialogue };
        let learned = if *unit == CONTEXT as u8 {
            python::answers(sock, serving)
        } else {
            None
        };
        leave(serving);
        if let Some(id) = learned {
            serving.by.unit = CONTEXT;
            serving.by.id = id;
        }
    }
    0
}

/// A request is sent.
#[inline(always)]
fn sent(operation: &mut Operation, dialogue: &mut Dialogue, runtime: &Runtime, stream: u32) {
    let Some(key) = current(runtime, operation.tgid, operation.tid) else {
        return;
    };
    if matches!(key.unit, EVENT | STREAM) {
        sent_by_loop(operation, dialogue, &key);
        return;
    }
    if runtime.unit == CONTEXT && python::sends(operation, dialogue, runtime) {
        return;
    }
    if key.unit == NODE {
        sent_by_node(operation, dialogue, &key);
        return;
    }
    if key.unit == GOROUTINE {
        let taken = if dialogue.protocol == HTTP2 {
            go::takes_stream(operation, stream, key.id)
        } else {
            go::takes(operation, dialogue)
        };
        if taken {
            return;
        }
    }
    let unit = if key.unit == GOROUTINE {
        go::current().and_then(|goroutine| of_goroutine(runtime, key.tgid, goroutine))
    } else {
        UNITS.get_ptr_mut(&key)
    };
    let Some(unit) = unit else { return };
    // SAFETY: a map value.
    let unit = unsafe { &*unit };
    if unit.requests == 1 {
        operation.exchange.parent = unit.sum.span;
        operation.exchange.ids.join(&unit.sum);
        operation.exchange.cause = if key.unit == GOROUTINE {
            cause::GOROUTINE
        } else if key.unit == LOOP || unit.shared != 0 {
            cause::EVENT
        } else {
            cause::THREAD
        };
    } else if unit.requests != 0 {
        operation.exchange.cause = cause::AMBIGUOUS;
    }
}

/// A thread of Node.js sends a request.
#[inline(always)]
fn sent_by_node(operation: &mut Operation, dialogue: &mut Dialogue, key: &Key) {
    let Some(unit) = UNITS.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: a map value.
    let unit = unsafe { &*unit };
    if unit.requests > 1 {
        return node::sends(operation, dialogue, unit.requests);
    }
    node::sends_alone(operation.sock, dialogue, &unit.sum);
    if unit.requests == 1 {
        operation.exchange.parent = unit.sum.span;
        operation.exchange.ids.join(&unit.sum);
        operation.exchange.cause = cause::EVENT;
    }
}

/// What a goroutine handles, or the one that started it.
#[inline(always)]
fn of_goroutine(runtime: &Runtime, tgid: u32, goroutine: u64) -> Option<*mut Unit> {
    let unit = GOROUTINE;
    let id = user(goroutine + runtime.goroutine_id as u64)?;
    UNITS
        .get_ptr_mut(&Key { tgid, unit, id })
        .filter(|unit| is_busy(*unit))
        .or_else(|| {
            let id = user(goroutine + runtime.goroutine_parent as u64)?;
            UNITS
                .get_ptr_mut(&Key { tgid, unit, id })
                .filter(|unit| !is_pooled(*unit))
        })
}

/// What a goroutine would send a request for: a request, nobody, or [`SEVERAL`].
#[inline(always)]
pub(crate) fn asked_by(runtime: &Runtime, tgid: u32, goroutine: u64, ids: &mut Ids) {
    ids.clear(0);
    let Some(unit) = of_goroutine(runtime, tgid, goroutine) else {
        return;
    };
    // SAFETY: a map value.
    let unit = unsafe { &*unit };
    if unit.requests == 1 {
        ids.set(&unit.sum);
    } else if unit.requests != 0 {
        ids.clear(SEVERAL);
    }
}

#[inline(always)]
fn is_busy(unit: *mut Unit) -> bool {
    // SAFETY: callers pass map values.
    unsafe { (*unit).requests != 0 }
}

#[inline(always)]
fn is_pooled(unit: *mut Unit) -> bool {
    // SAFETY: as above.
    unsafe { (*unit).shared & POOLED != 0 }
}

/// An event loop sends a request: the first on a connection for what it was opened for, each other for what was just read.
#[inline(always)]
fn sent_by_loop(operation: &mut Operation, dialogue: &mut Dialogue, key: &Key) {
    let purpose = &mut dialogue.purpose;
    purpose.clear(0);
    // SAFETY: as in `exchange_begins`.
    if let Some(origin) = unsafe { ORIGINS.get(operation.sock) } {
        purpose.set(origin);
        let _ = ORIGINS.remove(operation.sock);
    }
    if purpose.span == 0
        && let Some(unit) = UNITS.get_ptr_mut(key)
    {
        if key.unit == STREAM {
            purpose.set(haproxy::current());
        } else {
            // SAFETY: a map value.
            purpose.set(unsafe { &(*unit).current });
        }
    }
    if purpose.span == SEVERAL {
        operation.exchange.cause = cause::AMBIGUOUS;
        purpose.clear(0);
    } else if purpose.span != 0 {
        operation.exchange.parent = purpose.span;
        operation.exchange.ids.join(purpose);
        operation.exchange.cause = cause::EVENT;
    }
}

/// The event loop that the current thread is.
#[inline(always)]
pub(crate) fn event_loop(unit: u8) -> Key {
    let id = bpf_get_current_pid_tgid();
    Key {
        tgid: (id >> 32) as u32,
        unit: unit as u32,
        id: id as u32 as u64,
    }
}

/// Something was read on a connection, or its end: an event loop acts on that next.
#[inline(always)]
pub(crate) fn turn(sock: u64, connection: &Connection) {
    if connection.dialogue.unit == NODE as u8 {
        node::turn(sock, &connection.dialogue);
    }
    let Dialogue {
        unit,
        serving,
        purpose,
        ..
    } = &connection.dialogue;
    if *unit != EVENT as u8 && *unit != STREAM as u8 {
        return;
    }
    let key = event_loop(*unit);
    if let Some(unit) = UNITS.get_ptr_mut(&key) {
        // SAFETY: a map value.
        let Unit {
            current, is_fresh, ..
        } = unsafe { &mut *unit };
        if serving.requests == 1 {
            current.set(&serving.sum);
            *is_fresh = 1;
        } else {
            current.set(purpose);
            *is_fresh = 0;
        }
    }
}

/// A socket begins to connect, in the turn of who wants it.
#[inline(always)]
pub(crate) fn connects(sock: u64) {
    let unit = unit();
    if unit == NODE as u8 {
        node::connects(sock);
    }
    if unit == STREAM as u8 {
        let _ = ORIGINS.insert(sock, haproxy::current(), 0);
    }
    if unit != EVENT as u8 {
        return;
    }
    let key = event_loop(unit);
    if let Some(unit) = UNITS.get_ptr_mut(&key) {
        // SAFETY: a map value.
        let _ = ORIGINS.insert(sock, unsafe { &(*unit).current }, 0);
    }
}
