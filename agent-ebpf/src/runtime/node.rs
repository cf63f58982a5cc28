//! Node.js: whose turn it is in an event loop that runs JavaScript.
//!
//! libuv reads from a connection and runs all that follows from it, ticks and microtasks included, before it reads again. So
//! what is sent in between is for what was read. All that native code calls goes through `InternalCallbackScope`, of which a
//! probe sees the beginning: where nothing was read before it, it is a file, a name or a timer that is done.
//!
//! Whose that is, the *async ids* say (lib/internal/async_hooks.js): four numbers that say which resource's callback runs,
//! which one made that, and how many there are. They grow by one a resource, so what was made in a turn has the numbers
//! between those at its beginning and at its end. Timers and immediates are run by JavaScript itself, one after another in one
//! callback, and microtasks between them: there the number is seen where a timer resolves a promise, and what microtasks make
//! is between those at their beginning and at their end.
//!
//! What has been read may also free a connection for another request that waits, or let it go on. So
//! - what is sent on a connection that was answered in the very same turn is nobody's, where several requests are open: who
//!   waits for one gets that. Nobody waits where another connection to the same place has been idle,
//! - whether turns are a request's own is seen where it is answered: in its own turn, or in another's. Nothing is claimed
//!   before that was right for a while with about as many open: who waits for whom is seen under load alone.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::Dialogue;
use crate::context::{Ids, NOBODY, SEVERAL, Serving};
use crate::globals::{global, kernel};
use crate::machine;
use crate::maps::{FIRED, IDLE, LOOPS, OPEN, ORIGINS, RUNTIMES, SEGMENTS, TRUST, UNITS, add};
use crate::operation::{Operation, user};
use crate::process::is_watched;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use core::ptr::write_volatile;
use spanwire_ebpf::protocol::{HTTP1, POSTGRES};
use spanwire_ebpf::unit::NODE;
use spanwire_ebpf::{cause, family};

/// `AsyncHooks::async_id_fields_`, its memory (src/env.h): the same from Node 18 to 24.
const FIELDS: u64 = 0x98;

/// Segments of a thread that are remembered: a power of two.
const REMEMBERED: u64 = 1 << SEARCH;
const SEARCH: u32 = 12;
/// So many threads' are. Others overwrite them, which is seen.
const THREADS: u64 = 16;
/// Of all.
pub(crate) const SEGMENT_COUNT: u32 = (REMEMBERED * THREADS) as u32;

/// How many answers in a row have to be sent in the turn of their own request, before what turns say is believed.
const ENOUGH: u64 = 16;
/// Four times as many after each that was not, of so many.
const DOUBT: u64 = 8;
/// Or so many times as many, with fewer requests open.
const FEWER: u64 = 24;

/// Kinds of turns.
mod kind {
    /// Of one callback, for one request.
    pub(super) const ONE: u64 = 0;
    /// Timers, or immediates, each for itself.
    pub(super) const MANY: u64 = 1;
}

/// What [`node_asks`] answers.
mod found {
    /// It cannot be told.
    pub(super) const SEVERAL: u32 = 2;
    /// [`Loop::who`](super::Loop::who).
    pub(super) const ONE: u32 = 1;
    /// Nobody that is known.
    pub(super) const NOBODY: u32 = 0;
}

/// A thread that runs JavaScript.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Loop {
    /// Address of its `AsyncHooks`.
    hooks: u64,
    /// Address of the async ids: of what runs, of what made that, and how many there are, as floating point numbers.
    ids: u64,
    /// Their values as they were last read.
    now: [u64; 3],
    /// Async id of what native code has called.
    callback: u64,
    /// One of [`kind`].
    kind: u64,
    /// The number of async ids when the current segment began.
    since: u64,
    /// How many segments are remembered.
    segments: u64,
    /// Number of the turn.
    turn: u64,
    /// The turn in which what runs was asked for.
    origin: u64,
    /// 1 where something was read that nothing was called for yet.
    fresh: u64,
    /// What was read: a request, nobody, or [`SEVERAL`].
    next: Ids,
    /// Whose turn it is; of timers, whose microtasks run.
    current: Ids,
    /// Whose promise timers have resolved since microtasks last ran, and [`Loop::origin`] of that.
    resolved: Ids,
    resolved_origin: u64,
    /// What [`node_asks`] has answered, whom it has found, and [`Loop::origin`] of that.
    found: u32,
    /// Padding, always zero.
    reserved: u32,
    who: Ids,
    who_origin: u64,
    /// The async id that is looked for among those that were called.
    key: Place,
}

/// A loop that has done nothing yet.
static NEW: Loop = Loop {
    hooks: 0,
    ids: 0,
    now: [0; 3],
    callback: 0,
    kind: kind::ONE,
    since: 0,
    segments: 0,
    turn: 1,
    origin: 1,
    fresh: 0,
    next: NOBODY,
    current: NOBODY,
    resolved: NOBODY,
    resolved_origin: 0,
    found: found::NOBODY,
    reserved: 0,
    who: NOBODY,
    who_origin: 0,
    key: Place { thread: 0, number: 0 },
};

/// Something of a thread, by its number there.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Place {
    thread: u64,
    number: u64,
}

/// What was made at a stretch, all of it for one request.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    /// Whose it is, and its number there.
    place: Place,
    /// The async ids: those above the first, up to the last.
    first: u64,
    last: u64,
    turn: u64,
    ids: Ids,
}

/// How answers have borne out whose turns were whose, of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Trust {
    /// Answers in a row that were sent in their own request's turn, by [`load`].
    right: [u64; LOADS],
    /// Answers that were not.
    wrong: u64,
}

/// No answer was seen.
static UNTRIED: Trust = Trust {
    right: [0; LOADS],
    wrong: 0,
};

/// How many powers of four of requests that are open at a time.
const LOADS: usize = 4;

/// The power of four below how many are open.
#[inline(always)]
fn load(open: u64) -> usize {
    (open >= 4) as usize + (open >= 16) as usize + (open >= 64) as usize
}

/// `number` as a floating point number (IEEE 754, binary64) that is whole and not negative; 0 where it is not.
#[inline(always)]
fn whole(number: u64) -> u64 {
    let exponent = (number >> 52).wrapping_sub(1023);
    if exponent > 52 {
        return 0;
    }
    ((number & 0xf_ffff_ffff_ffff) | (1 << 52)) >> (52 - exponent)
}

/// Where a segment of a thread is.
#[inline(always)]
fn index(thread: u64, number: u64) -> u32 {
    ((thread % THREADS) * REMEMBERED + number % REMEMBERED) as u32
}

#[inline(always)]
fn loop_of<'a>(thread: u64) -> Option<&'a mut Loop> {
    // SAFETY: a map value, and the current thread's own.
    LOOPS.get_ptr_mut(thread).map(|it| unsafe { &mut *it })
}

#[inline(always)]
fn current_loop<'a>() -> Option<&'a mut Loop> {
    let thread = bpf_get_current_pid_tgid();
    if let Some(known) = loop_of(thread) {
        return Some(known);
    }
    LOOPS.insert(thread, &NEW, 0).ok()?;
    loop_of(thread)
}

#[inline(always)]
fn is_open(span: u64) -> bool {
    span != SEVERAL && OPEN.get_ptr(span).is_some()
}

impl Loop {
    /// Reads the async ids.
    #[inline(always)]
    fn look(&mut self) -> bool {
        if self.ids == 0 {
            return false;
        }
        let Some([running, maker, count]) = user::<[u64; 3]>(self.ids) else {
            return false;
        };
        // Word by word, since the compiler would call a function for it.
        // SAFETY: of references.
        unsafe {
            write_volatile(&raw mut self.now[0], whole(running));
            write_volatile(&raw mut self.now[1], whole(maker));
            write_volatile(&raw mut self.now[2], whole(count));
        }
        true
    }

    /// What was made since then is all for one request, and what is made from now on may be for another.
    #[inline(always)]
    fn record(&mut self, thread: u64) {
        let (first, last) = (self.since, self.now[2]);
        self.since = last;
        if last <= first || self.current.span == 0 || self.current.span == SEVERAL {
            return;
        }
        let number = self.segments;
        if let Some(segment) = SEGMENTS.get_ptr_mut(index(thread, number)) {
            // SAFETY: a map value. Word by word, since the compiler would call a function for it.
            unsafe {
                write_volatile(&raw mut (*segment).place.thread, thread);
                write_volatile(&raw mut (*segment).place.number, number);
                write_volatile(&raw mut (*segment).first, first);
                write_volatile(&raw mut (*segment).last, last);
                write_volatile(&raw mut (*segment).turn, self.turn);
                (*segment).ids.set(&self.current);
            }
        }
        self.segments += 1;
    }

    /// In which segment a resource was made.
    #[inline(always)]
    fn find<'a>(&mut self, thread: u64, id: u64) -> Option<&'a Segment> {
        let mut at = self.segments.saturating_sub(REMEMBERED);
        for step in 0..SEARCH {
            let further = at + (REMEMBERED >> (step + 1));
            if further < self.segments
                && let Some(segment) = SEGMENTS.get(index(thread, further))
                && segment.first < id
            {
                at = further;
            }
        }
        let segment = SEGMENTS.get(index(thread, at))?;
        let is_its_own = segment.place.thread == thread && segment.place.number == at;
        let holds = segment.first < id && id <= segment.last;
        (is_its_own && holds && is_open(segment.ids.span)).then_some(segment)
    }

    #[inline(always)]
    fn is(&mut self, segment: &Segment) -> u32 {
        self.who.set(&segment.ids);
        self.who_origin = segment.turn;
        found::ONE
    }

    #[inline(always)]
    fn is_current(&mut self) -> u32 {
        if self.current.span == SEVERAL {
            return found::SEVERAL;
        }
        if !is_open(self.current.span) {
            return found::NOBODY;
        }
        self.who.set(&self.current);
        self.who_origin = self.origin;
        found::ONE
    }

    /// Whose JavaScript runs, by the async ids as they were last read.
    #[inline(always)]
    fn asks(&mut self, thread: u64) -> u32 {
        let [running, maker, _] = self.now;
        if running == 0 || running == self.callback {
            return self.is_current();
        }
        let recent = running > self.since;
        // Made by microtasks, or by what was called.
        let own = maker == 0 || maker == self.callback || (maker > self.since && self.kind == kind::ONE);
        if recent && own {
            return self.is_current();
        }
        let id = if recent { maker } else { running };
        if id > self.since {
            return found::SEVERAL;
        }
        let segment = self.find(thread, id);
        if self.kind == kind::ONE {
            // A resource may live long and be used by others than who made it, or say for whom it was kept.
            return match segment {
                Some(segment) if segment.ids.span != self.current.span => found::SEVERAL,
                _ => self.is_current(),
            };
        }
        match segment {
            Some(segment) => self.is(segment),
            None => self.was_made_by(thread, maker),
        }
    }

    /// For whom is what this has made.
    #[inline(always)]
    fn was_made_by(&mut self, thread: u64, maker: u64) -> u32 {
        if maker == 0 || maker > self.since {
            return found::NOBODY;
        }
        match self.find(thread, maker) {
            Some(segment) => self.is(segment),
            None => found::NOBODY,
        }
    }
}

/// Whose JavaScript runs in the current thread: one of [`found`], which [`Loop::found`] is from then on. A global function, which
/// the verifier looks at once; whoever has no room for it on the stack is called by who has asked.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn node_asks() -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(current) = loop_of(thread) else {
        return found::NOBODY;
    };
    current.found = if current.look() {
        current.asks(thread)
    } else {
        found::NOBODY
    };
    current.found
}

/// Where the async ids are: `AsyncHooks::push_async_context`, past where it has written them. Its own address is in a register
/// that is kept over calls.
#[uprobe]
pub(crate) fn node_callback_begins(context: ProbeContext) -> u32 {
    if is_watched() {
        // SAFETY: the context of a probe is the registers.
        let _ = callback_begins(machine::kept(unsafe { &*context.regs }));
    }
    0
}

#[inline(always)]
fn callback_begins(registers: [u64; 4]) -> Option<()> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: a value that does not change its shape; what is replaced under the reader's hands is as good as either.
    let runtime = unsafe { RUNTIMES.get((thread >> 32) as u32) }?;
    if runtime.unit != NODE {
        return None;
    }
    let [first, second, third, fourth] = registers;
    let hooks = match runtime.hooks_register {
        0 => first,
        1 => second,
        2 => third,
        _ => fourth,
    };
    // Within another: of the same turn.
    if user::<u64>(hooks + runtime.hooks_depth as u64)? != 1 {
        return None;
    }
    let current = current_loop()?;
    if current.hooks != hooks {
        current.ids = user(hooks + FIELDS)?;
        current.hooks = hooks;
    }
    if !current.look() {
        return None;
    }
    let [callback, maker, count] = current.now;
    if current.kind == kind::ONE {
        current.record(thread);
    }
    current.since = count;
    if callback == 0 {
        current.turn += 1;
        current.origin = current.turn;
        current.kind = kind::MANY;
        current.current.clear(0);
        current.resolved.clear(0);
    } else if current.fresh != 0 {
        current.fresh = 0;
        current.turn += 1;
        current.origin = current.turn;
        current.kind = kind::ONE;
        let next = &raw const current.next;
        // SAFETY: another field.
        current.current.set(unsafe { &*next });
    } else if callback != current.callback || current.kind != kind::ONE {
        current.turn += 1;
        current.origin = current.turn;
        current.kind = kind::ONE;
        current.current.clear(0);
        current.key.thread = thread;
        current.key.number = callback;
        // What calls again and again is nobody's: who made it is not always who it is for.
        if FIRED.get_ptr(&current.key).is_none() {
            let _ = FIRED.insert(&current.key, &1, 0);
            let segment = current.find(thread, callback);
            let found = match segment {
                Some(segment) => current.is(segment),
                None => current.was_made_by(thread, maker),
            };
            if found == found::ONE {
                let who = &raw const current.who;
                // SAFETY: another field.
                current.current.set(unsafe { &*who });
                current.origin = current.who_origin;
            }
        }
    }
    current.callback = callback;
    Some(())
}

/// deps/v8/src/execution/microtask-queue.cc, `int MicrotaskQueue::RunMicrotasks(Isolate* isolate)`: where it has some to run.
#[uprobe]
pub(crate) fn node_microtasks_begin(_: ProbeContext) -> u32 {
    if is_watched() {
        let thread = bpf_get_current_pid_tgid();
        if let Some(current) = loop_of(thread)
            && current.kind == kind::MANY
            && current.look()
        {
            current.since = current.now[2];
            let resolved = &raw const current.resolved;
            // SAFETY: another field.
            current.current.set(unsafe { &*resolved });
            current.origin = current.resolved_origin;
            current.resolved.clear(0);
        }
    }
    0
}

/// The same, where all have run.
#[uprobe]
pub(crate) fn node_microtasks_end(_: ProbeContext) -> u32 {
    if is_watched() {
        let thread = bpf_get_current_pid_tgid();
        if let Some(current) = loop_of(thread)
            && current.kind == kind::MANY
            && current.look()
        {
            current.record(thread);
            current.current.clear(0);
        }
    }
    0
}

/// deps/v8/src/builtins/promise-constructor.tq, promise-abstract-operations.tq: `PromiseCapabilityDefaultResolve`, what
/// `new Promise` hands to its function.
#[uprobe]
pub(crate) fn node_promise_resolved(_: ProbeContext) -> u32 {
    if is_watched() {
        let thread = bpf_get_current_pid_tgid();
        if let Some(current) = loop_of(thread)
            && current.kind == kind::MANY
            && current.look()
            && current.now[0] != 0
        {
            let found = current.asks(thread);
            let (who, resolved) = (&raw const current.who, current.resolved.span);
            if found != found::ONE || (resolved != 0 && resolved != current.who.span) {
                current.resolved.clear(SEVERAL);
            } else if resolved == 0 {
                // SAFETY: another field.
                current.resolved.set(unsafe { &*who });
                current.resolved_origin = current.who_origin;
            }
        }
    }
    0
}

/// Something was read on a connection, or its end.
#[inline(always)]
pub(crate) fn turn(sock: u64, dialogue: &Dialogue) {
    let Some(current) = current_loop() else {
        return;
    };
    current.fresh = 1;
    let Dialogue { serving, purpose, .. } = dialogue;
    if serving.requests == 1 {
        current.next.set(&serving.sum);
    } else if !matches!(dialogue.protocol, HTTP1 | POSTGRES) {
        current.next.clear(0);
    } else if purpose.span != 0 {
        current.next.set(purpose);
        // SAFETY: a value that does not change its shape.
    } else if let Some(origin) = unsafe { ORIGINS.get(sock) } {
        current.next.set(origin);
    } else {
        current.next.clear(0);
    }
}

/// A request was received.
#[inline(always)]
pub(crate) fn receives(ids: &Ids) {
    let _ = OPEN.insert(ids.span, &1, 0);
    if let Some(current) = current_loop() {
        // More than one in what was read at once: which of them is acted on cannot be told.
        if current.next.span == 0 {
            current.next.set(ids);
        } else {
            current.next.clear(SEVERAL);
        }
    }
}

/// What was just read is part of another trace than the one that was minted.
#[inline(always)]
pub(crate) fn joins(ids: &Ids) {
    if let Some(current) = loop_of(bpf_get_current_pid_tgid())
        && current.next.span == ids.span
    {
        current.next.join(ids);
    }
}

/// A socket begins to connect.
#[inline(always)]
pub(crate) fn connects(sock: u64) {
    let found = node_asks();
    if let Some(current) = loop_of(bpf_get_current_pid_tgid()) {
        if found != found::ONE {
            current.who.clear(SEVERAL);
        }
        let _ = ORIGINS.insert(sock, &current.who, 0);
    }
}

/// A request is sent, where several are open: whether it can be told for which. [`node_asks`] was called.
#[inline(always)]
pub(crate) fn sends(operation: &mut Operation, dialogue: &mut Dialogue, open: u64) {
    let are_others_idle = is_used(operation.sock, dialogue);
    let purpose = &mut dialogue.purpose;
    purpose.clear(0);
    operation.exchange.cause = cause::AMBIGUOUS;
    // SAFETY: as in `turn`.
    if let Some(origin) = unsafe { ORIGINS.get(operation.sock) } {
        if is_open(origin.span) {
            purpose.set(origin);
        }
        let _ = ORIGINS.remove(operation.sock);
    } else if let Some(current) = loop_of(bpf_get_current_pid_tgid())
        && current.found == found::ONE
    {
        let is_fresh = dialogue.freed == current.turn || dialogue.freed == current.who_origin;
        // What hands connections over does so before microtasks run, or lets those go on that waited.
        if !is_fresh || (current.kind == kind::ONE && current.now[0] == 0 && are_others_idle) {
            purpose.set(&current.who);
        }
    }
    if !matches!(dialogue.protocol, HTTP1 | POSTGRES) {
        purpose.clear(0);
    }
    if purpose.span != 0 && is_trusted(operation.tgid, open) {
        operation.exchange.parent = purpose.span;
        operation.exchange.ids.join(purpose);
        operation.exchange.cause = cause::EVENT;
    }
}

/// A request is sent, where one is open or none is: so it is for that.
#[inline(always)]
pub(crate) fn sends_alone(sock: u64, dialogue: &mut Dialogue, ids: &Ids) {
    is_used(sock, dialogue);
    let _ = ORIGINS.remove(sock);
    dialogue.purpose.clear(0);
    if matches!(dialogue.protocol, HTTP1 | POSTGRES) {
        dialogue.purpose.set(ids);
    }
}

#[inline(always)]
fn is_trusted(tgid: u32, open: u64) -> bool {
    let Some(trust) = TRUST.get_ptr(tgid) else {
        return false;
    };
    // SAFETY: a map value.
    let Trust { right, wrong } = unsafe { &*trust };
    let enough = ENOUGH << (if *wrong < DOUBT { 2 * wrong } else { 2 * DOUBT });
    let [alone, few, some, many] = *right;
    let (below, here, above) = match load(open) {
        0 => (0, alone, few.max(some).max(many)),
        1 => (alone, few, some.max(many)),
        2 => (few, some, many),
        _ => (some, many, 0),
    };
    here >= enough || above >= enough || below >= FEWER * enough
}

/// Where a connection leads to, from which thread.
#[inline(always)]
fn place(sock: u64, thread: u64) -> Place {
    let port: u16 = kernel(sock, global!(sock_remote_port)).unwrap_or(0);
    let mut number = (port as u64) << 32;
    if kernel(sock, global!(sock_family)) == Some(family::INET) {
        number |= kernel::<u32>(sock, global!(sock_remote_v4)).unwrap_or(0) as u64;
    } else {
        let [high, low]: [u64; 2] = kernel(sock, global!(sock_remote_v6)).unwrap_or([0; 2]);
        number ^= high.rotate_left(16) ^ low;
    }
    Place { thread, number }
}

/// A connection is not idle any more; whether others to the same place are.
#[inline(always)]
pub(crate) fn is_used(sock: u64, dialogue: &mut Dialogue) -> bool {
    if dialogue.idle == 0 {
        return false;
    }
    let place = place(sock, dialogue.idle);
    dialogue.idle = 0;
    let Some(count) = IDLE.get_ptr_mut(&place) else {
        return false;
    };
    add(count, u64::MAX);
    // SAFETY: a map value.
    let left = unsafe { *count };
    // Its count began anew while it was idle.
    left != 0 && left >> 63 == 0
}

/// A connection is idle until something is sent on it.
#[inline(always)]
fn is_idle(sock: u64, dialogue: &mut Dialogue, thread: u64) {
    // The end of a Unix socket is not seen.
    if dialogue.idle != 0 || dialogue.family == family::UNIX {
        return;
    }
    let place = place(sock, thread);
    dialogue.idle = thread;
    if let Some(count) = IDLE.get_ptr_mut(&place) {
        add(count, 1);
    } else {
        let _ = IDLE.insert(&place, &1, 0);
    }
}

/// What was sent on a connection is answered: who waits for one gets it.
#[inline(always)]
pub(crate) fn freed(sock: u64, dialogue: &mut Dialogue) {
    dialogue.purpose.clear(0);
    let thread = bpf_get_current_pid_tgid();
    is_idle(sock, dialogue, thread);
    if let Some(current) = loop_of(thread) {
        // It was read, and is not acted on yet.
        dialogue.freed = current.turn + current.fresh;
    }
}

/// The answer to the only request that was received on a connection is sent: in the turn of its own request, or in another's.
/// [`node_asks`] was called.
#[inline(always)]
pub(crate) fn answers(serving: &Serving) {
    let Serving { requests, sum, by } = serving;
    let (tgid, thread) = (by.tgid, bpf_get_current_pid_tgid());
    // SAFETY: a map value.
    let open = UNITS.get_ptr(by).map_or(0, |unit| unsafe { (*unit).requests });
    if *requests != 1 || thread != (tgid as u64) << 32 | by.id || open <= 1 {
        return;
    }
    let Some(current) = loop_of(thread) else { return };
    if current.found != found::ONE {
        return;
    }
    if TRUST.get_ptr(tgid).is_none() {
        let _ = TRUST.insert(tgid, &UNTRIED, 0);
    }
    if let Some(trust) = TRUST.get_ptr_mut(tgid) {
        // SAFETY: a map value.
        let trust = unsafe { &mut *trust };
        if current.who.span == sum.span {
            trust.right[load(open)] += 1;
        } else {
            trust.wrong += 1;
            for right in &mut trust.right {
                // SAFETY: of a reference; else the compiler would call a function for it.
                unsafe { write_volatile(right, 0) };
            }
        }
    }
}

/// A request is answered, or will not be.
#[inline(always)]
pub(crate) fn leaves(serving: &Serving) {
    let _ = OPEN.remove(serving.sum.span);
}
