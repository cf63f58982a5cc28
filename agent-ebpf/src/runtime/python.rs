//! CPython: the context (PEP 567) that runs, and which context was begun for which request.
//!
//! A task of asyncio runs in a context of its own, which is a copy of the one that it was begun in. `PyContext_CopyCurrent`
//! makes that copy; a probe of its return sees both. What is begun while a request is handled is for that request, for as
//! long as it goes on.
//!
//! Bytes are not read by the task that handles them, but by the event loop, in a context which it keeps for the connection.
//! What the two have in common is that both come from the context in which the connection was accepted. So it is that
//! context, the *family*, that is given what is received: its oldest that is younger than the connection. A context that was
//! begun for no request belongs to the contexts that it comes from.
//!
//! uvloop reads outside of any context, and calls the protocol then, in one that all connections may share. What is begun in
//! there is for what was just read; `PyContext_Exit` ends it. Elsewhere that function is not called.
//!
//! Where the family is not that of the task which answers, the next request of the connection is given to that task's.
//!
//! The address of a context is another's soon after, which may come from nowhere (`Context()`). So each is known by when it was
//! made, and forgotten when it is freed.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::connection::Dialogue;
use crate::context::{self, Ids, Key, NOBODY, SEVERAL, Serving, Unit};
use crate::log;
use crate::machine;
use crate::maps::{ARRIVALS, CONTEXTS, RUNTIMES, UNITS};
use crate::operation::{Operation, user};
use crate::process::is_watched;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use core::ptr::write_volatile;
use spanwire_ebpf::protocol::AMQP;
use spanwire_ebpf::unit::{CONTEXT, THREAD};
use spanwire_ebpf::{Runtime, cause};

/// `PyObject.ob_type`
const TYPE: u64 = 8;
/// `PyContext.ctx_entered` (Include/internal/pycore_context.h)
const ENTERED: u64 = 40;
/// Keys of threads whose values are looked for.
const KEY_LIMIT: u32 = 32;

/// Where a context is.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Place {
    tgid: u64,
    address: u64,
}

/// A context.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Context {
    /// When it was made, in nanoseconds: with its process what it is known by, since one thread at a time makes one.
    id: u64,
    /// The contexts that it comes from, where it was not begun for a request: the nearest first; 0 where there are no more.
    ancestors: [u64; 3],
    /// The request that it was begun for: nobody's, or of [`SEVERAL`].
    purpose: Ids,
}

/// A context that was there before it was watched.
static UNKNOWN: Context = Context {
    id: 0,
    ancestors: [0; 3],
    purpose: NOBODY,
};

/// Of several requests, nobody can tell which.
static ONE_OF_SEVERAL: Ids = Ids {
    trace: [0; 2],
    span: SEVERAL,
    flags: 0,
};

/// Python/context.c: `PyObject *PyContext_CopyCurrent(void)`
#[uretprobe]
pub(crate) fn python_context_copied(context: RetProbeContext) -> u32 {
    if is_watched() {
        let _ = copied(context.ret());
    }
    0
}

#[inline(always)]
fn copied(address: u64) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    let tgid = (id >> 32) as u32;
    let runtime = RUNTIMES.get_ptr_mut(tgid)?;
    // SAFETY: a map value, which is replaced by its like.
    let runtime = unsafe { &mut *runtime };
    if runtime.context == 0 || address == 0 {
        return None;
    }
    let kind: u64 = user(address + TYPE)?;
    if kind != context_type(runtime) {
        // SAFETY: a signed distance between two places of one file.
        let key: u32 = user(kind.wrapping_add(runtime.key_distance as i64 as u64))?;
        runtime.key = key;
        runtime.context_type = [kind as u32, (kind >> 32) as u32];
    }
    let mut copy = Context {
        // SAFETY: the helper only reads the clock.
        id: unsafe { bpf_ktime_get_ns() },
        ancestors: [0; 3],
        purpose: NOBODY,
    };
    let thread = thread(id);
    let read = just_read(&thread);
    match current(runtime, tgid) {
        Some(parent) => {
            if let Some(read) = read {
                // SAFETY: in a map value.
                copy.purpose.set(unsafe { &*read });
            }
            // SAFETY: a value that does not change its shape.
            let parent = unsafe { CONTEXTS.get(&parent) };
            if copy.purpose.span == 0
                && let Some(parent) = parent
            {
                if let Some(request) = parent.handles(tgid) {
                    copy.purpose.set(request);
                } else {
                    copy.ancestors = [parent.id, parent.ancestors[0], parent.ancestors[1]];
                }
            }
        }
        // A thread that handles one request at a time, and begins something for it.
        None if read.is_none() => {
            if let Some(request) = requests_of(&thread) {
                copy.purpose.set(request);
            }
        }
        None => {}
    }
    let place = Place {
        tgid: tgid as u64,
        address,
    };
    log::copied(address, copy.id, copy.ancestors[0], copy.purpose.span);
    CONTEXTS.insert(&place, &copy, 0).ok()
}

/// The current thread.
#[inline(always)]
fn thread(id: u64) -> Key {
    Key {
        tgid: (id >> 32) as u32,
        unit: THREAD,
        id: id as u32 as u64,
    }
}

/// What a thread has read since it left a context; `None` where it is not known to leave any.
#[inline(always)]
fn just_read(thread: &Key) -> Option<*const Ids> {
    let unit = UNITS.get_ptr_mut(thread)?;
    // SAFETY: a map value.
    let Unit { leaves, current, .. } = unsafe { &*unit };
    (*leaves != 0).then_some(&raw const *current)
}

/// Python/context.c: `static void context_tp_dealloc(PyContext *self)`
#[uprobe]
pub(crate) fn python_context_freed(context: ProbeContext) -> u32 {
    if is_watched()
        && let Some(address) = context.arg(0)
    {
        let place = Place {
            tgid: bpf_get_current_pid_tgid() >> 32,
            address,
        };
        let _ = CONTEXTS.remove(&place);
    }
    0
}

/// Python/context.c: `int PyContext_Exit(PyObject *octx)`
#[uprobe]
pub(crate) fn python_context_left(_: ProbeContext) -> u32 {
    if is_watched()
        && let Some(unit) = context::unit_of(&thread(bpf_get_current_pid_tgid()))
    {
        // SAFETY: a map value.
        let unit = unsafe { &mut *unit };
        unit.leaves = 1;
        unit.current.clear(0);
    }
    0
}

#[inline(always)]
fn context_type(runtime: &Runtime) -> u64 {
    runtime.context_type[0] as u64 | ((runtime.context_type[1] as u64) << 32)
}

/// The context that runs in the current thread, where one was entered: a thread without has one, too, once it asks for it.
#[inline(always)]
pub(crate) fn current(runtime: &Runtime, tgid: u32) -> Option<Place> {
    let kind = context_type(runtime);
    if kind == 0 || runtime.key >= KEY_LIMIT {
        return None;
    }
    let thread: u64 = user(machine::thread_specific(runtime.key)?)?;
    let address: u64 = user(thread + runtime.context as u64)?;
    if address == 0 || user::<u64>(address + TYPE)? != kind || user::<u32>(address + ENTERED)? != 1 {
        return None;
    }
    Some(Place {
        tgid: tgid as u64,
        address,
    })
}

impl Context {
    /// The request that it handles, or [`ONE_OF_SEVERAL`].
    #[inline(always)]
    fn handles(&self, tgid: u32) -> Option<&Ids> {
        if self.purpose.span != 0 {
            return Some(&self.purpose);
        }
        let unit = CONTEXT;
        let [first, second, third] = self.ancestors;
        for id in [self.id, first, second, third] {
            if id == 0 {
                return None;
            }
            let request = requests_of(&Key { tgid, unit, id });
            if request.is_some() {
                return request;
            }
        }
        None
    }

    /// The context that it and all others of a connection come from: its oldest that is younger than the connection.
    #[inline(always)]
    fn family(&self, sock: u64) -> u64 {
        // SAFETY: a value of one word.
        let Some(arrival) = (unsafe { ARRIVALS.get(sock) }) else {
            return self.id;
        };
        let [first, second, _] = self.ancestors;
        if first <= *arrival {
            self.id
        } else if second <= *arrival {
            first
        } else {
            second
        }
    }
}

/// The request that a unit handles, or [`ONE_OF_SEVERAL`].
#[inline(always)]
fn requests_of<'a>(key: &Key) -> Option<&'a Ids> {
    let unit = UNITS.get_ptr_mut(key)?;
    // SAFETY: a map value.
    let Unit { requests, sum, .. } = unsafe { &*unit };
    match *requests {
        0 => None,
        1 => Some(sum),
        _ => Some(&ONE_OF_SEVERAL),
    }
}

/// A request is received, on a connection that was served by this before: which unit handles it.
#[inline(always)]
pub(crate) fn receives(runtime: &Runtime, operation: &Operation, served_by: &Key) -> Key {
    let (tgid, unit) = (operation.tgid, CONTEXT);
    let is_known = served_by.unit == CONTEXT && served_by.tgid == tgid;
    if let Some(place) = current(runtime, tgid) {
        let family = if is_known { served_by.id } else { 0 };
        let id = receives_in(&place, operation.sock, family);
        return Key { tgid, unit, id };
    }
    let unit = THREAD;
    let id = operation.tid as u64;
    let thread = Key { tgid, unit, id };
    if let Some(unit) = context::unit_of(&thread) {
        // SAFETY: a map value.
        let current = unsafe { &mut (*unit).current };
        // More than one in what was read at once: which of them it is about to act on cannot be told.
        if current.span == 0 {
            current.set(&operation.exchange.ids);
        } else {
            current.clear(SEVERAL);
        }
    }
    if is_known { *served_by } else { thread }
}

/// The same, for one that is received in a context. `known` is the family of the connection, where it has one.
#[inline(always)]
fn receives_in(place: &Place, sock: u64, known: u64) -> u64 {
    let Some(context) = context_at(place) else {
        return 0;
    };
    // SAFETY: a map value.
    let context = unsafe { &mut *context };
    let family = if known != 0 { known } else { context.family(sock) };
    // What the loop reads in is the connection's from now on, whatever it was made for.
    context.purpose.clear(0);
    // Word by word, since the compiler would call a function for it.
    // SAFETY: of references.
    unsafe {
        write_volatile(&raw mut context.ancestors[0], family);
        write_volatile(&raw mut context.ancestors[1], 0);
        write_volatile(&raw mut context.ancestors[2], 0);
    }
    family
}

/// The context at a place, which may have been there before it was watched.
#[inline(always)]
fn context_at(place: &Place) -> Option<*mut Context> {
    if let Some(context) = CONTEXTS.get_ptr_mut(place) {
        return Some(context);
    }
    CONTEXTS.insert(place, &UNKNOWN, 0).ok()?;
    let context = CONTEXTS.get_ptr_mut(place)?;
    // SAFETY: a map value, and the helper only reads the clock.
    unsafe { (*context).id = bpf_ktime_get_ns() };
    Some(context)
}

/// A connection is answered: the unit that is to handle its next request, where that is not known yet.
#[inline(always)]
pub(crate) fn answers(sock: u64, serving: &Serving) -> Option<u64> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if serving.requests != 1 || serving.by.tgid != tgid {
        return None;
    }
    // SAFETY: a value that does not change its shape.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    let context = context_at(&current(runtime, tgid)?)?;
    // SAFETY: a map value.
    let context = unsafe { &*context };
    context.handles(tgid).is_none().then(|| context.family(sock))
}

/// Whether a request is sent in a context that is known, and then says for which.
#[inline(always)]
pub(crate) fn sends(operation: &mut Operation, dialogue: &Dialogue, runtime: &Runtime) -> bool {
    let Some(place) = current(runtime, operation.tgid) else {
        return false;
    };
    // SAFETY: a value that does not change its shape.
    let Some(context) = (unsafe { CONTEXTS.get(&place) }) else {
        // One that was there before: it is for its thread's request, unless that has many contexts.
        return just_read(&thread(bpf_get_current_pid_tgid())).is_some();
    };
    // Clients of AMQP have a task that sends for all others.
    if dialogue.protocol == AMQP {
        return true;
    }
    match context.handles(operation.tgid) {
        Some(request) if request.span == SEVERAL => operation.exchange.cause = cause::AMBIGUOUS,
        Some(request) => {
            operation.exchange.parent = request.span;
            operation.exchange.ids.join(request);
            operation.exchange.cause = cause::TASK;
        }
        None => {}
    }
    true
}
