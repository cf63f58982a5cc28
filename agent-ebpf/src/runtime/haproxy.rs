//! HAProxy: which of its streams runs.
//!
//! A thread reads from many connections before it acts on any of them. What it has read of a request becomes a *stream* at once,
//! and the stream is run later, each time that there is something to do for it. What is sent while it runs is for its request.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value, what is in a map would be copied to the stack first"
)]

use crate::context::{Ids, Key, NOBODY, SEVERAL};
use crate::maps::{HEADS, STREAMING, UNITS};
use crate::process::is_watched;
use crate::runtime::go::Head;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use spanwire_ebpf::unit::STREAM;

static NONE: Ids = NOBODY;

/// src/stream.c: `struct stream *stream_new(struct session *sess, struct stconn *sc, struct buffer *input)`
#[uretprobe]
pub(crate) fn haproxy_stream_made(context: RetProbeContext) -> u32 {
    if is_watched() {
        let thread = bpf_get_current_pid_tgid();
        let tgid = thread >> 32;
        let key = Key {
            tgid: tgid as u32,
            unit: STREAM,
            id: thread as u32 as u64,
        };
        let head = Head {
            tgid,
            address: context.ret(),
        };
        // The address may have been another's.
        let _ = HEADS.remove(&head);
        if let Some(unit) = UNITS.get_ptr_mut(&key) {
            // SAFETY: a map value.
            let unit = unsafe { &mut *unit };
            // Of several in what was read, or of what was read before, which it is is not known.
            if unit.is_fresh != 0 && unit.current.span != 0 && unit.current.span != SEVERAL {
                let _ = HEADS.insert(&head, &unit.current, 0);
            }
            unit.is_fresh = 0;
        }
    }
    0
}

/// src/stream.c: `struct task *process_stream(struct task *t, void *context, unsigned int state)`
#[uprobe]
pub(crate) fn haproxy_stream_runs(context: ProbeContext) -> u32 {
    if is_watched()
        && let Some(address) = context.arg(1)
    {
        let thread = bpf_get_current_pid_tgid();
        let head = Head {
            tgid: thread >> 32,
            address,
        };
        // SAFETY: a value that does not change its shape.
        let ids = unsafe { HEADS.get(&head) }.unwrap_or(&NONE);
        let _ = STREAMING.insert(thread, ids, 0);
    }
    0
}

/// src/tcpcheck.c: `int tcpcheck_main(struct check *check)`: whether a server is well is asked for nobody.
#[uprobe]
pub(crate) fn haproxy_check_runs(_: ProbeContext) -> u32 {
    if is_watched() {
        let _ = STREAMING.remove(bpf_get_current_pid_tgid());
    }
    0
}

/// What the stream is for that runs in the current thread.
#[inline(always)]
pub(crate) fn current<'a>() -> &'a Ids {
    // SAFETY: as above.
    unsafe { STREAMING.get(bpf_get_current_pid_tgid()) }.unwrap_or(&NONE)
}
