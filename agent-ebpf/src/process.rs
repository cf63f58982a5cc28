//! Which processes are watched, and what becomes of them.

use crate::emit;
use crate::globals::{global, kernel};
use crate::maps::{PROCESSES, QUESTIONS, RUNTIMES, add};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanwire_ebpf::{kind, question};

/// Whether the current process is watched: the first question of every hook.
#[inline(always)]
pub(crate) fn is_watched() -> bool {
    bit((bpf_get_current_pid_tgid() >> 32) as u32)
}

#[inline(always)]
fn bit(tgid: u32) -> bool {
    PROCESSES
        .get(tgid / 64)
        .is_some_and(|word| word & (1 << (tgid % 64)) != 0)
}

#[inline(always)]
fn set_bit(tgid: u32, watched: bool) {
    let Some(word) = PROCESSES.get_ptr_mut(tgid / 64) else {
        return;
    };
    let mask = 1u64 << (tgid % 64);
    // SAFETY: a map value.
    let set = unsafe { *word } & mask != 0;
    // Neighbours in the same word may be born at the same time on another CPU.
    if watched && !set {
        add(word, mask);
    } else if !watched && set {
        add(word, mask.wrapping_neg());
    }
}

/// include/trace/events/sched.h: TP_PROTO(struct task_struct *parent, struct task_struct *child)
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn process_fork(context: RawTracePointContext) -> i32 {
    let (parent, child): (u64, u64) = (context.arg(0), context.arg(1));
    let tgid: u32 = kernel(child, global!(task_tgid)).unwrap_or(0);
    let pid: u32 = kernel(child, global!(task_pid)).unwrap_or(0);
    let parent: u32 = kernel(parent, global!(task_tgid)).unwrap_or(0);
    // A thread is no new process.
    if pid == tgid {
        let ours = global!(parent_of_watched) != 0 && parent == global!(parent_of_watched);
        let watched = ours || bit(parent);
        set_bit(tgid, watched);
        if watched {
            // SAFETY: a copy of what does not change its shape.
            if let Some(runtime) = unsafe { RUNTIMES.get(parent) } {
                let _ = RUNTIMES.insert(tgid, runtime, 0);
            }
            emit::process(
                kind::FORK,
                tgid,
                parent,
                bpf_get_current_comm().unwrap_or_default(),
            );
        }
    }
    0
}

/// include/trace/events/sched.h: TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn process_exec(context: RawTracePointContext) -> i32 {
    let tgid: u32 = kernel(context.arg(0), global!(task_tgid)).unwrap_or(0);
    let _ = RUNTIMES.remove(tgid);
    emit::process(kind::EXEC, tgid, tgid, bpf_get_current_comm().unwrap_or_default());
    0
}

/// include/trace/events/sched.h: TP_PROTO(struct task_struct *p), later with a second argument `bool group_dead`
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn process_exit(context: RawTracePointContext) -> i32 {
    let task: u64 = context.arg(0);
    let tgid: u32 = kernel(task, global!(task_tgid)).unwrap_or(0);
    if bit(tgid) && is_last_thread(task) {
        let _ = RUNTIMES.remove(tgid);
        emit::process(kind::EXIT, tgid, tgid, bpf_get_current_comm().unwrap_or_default());
    }
    0
}

/// The current process listens from now on. It may be one that is watched for that.
#[inline(always)]
pub(crate) fn listens() {
    if QUESTIONS.get(question::LISTENS).is_none_or(|asked| *asked == 0) {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    emit::process(
        kind::LISTENS,
        tgid,
        tgid,
        bpf_get_current_comm().unwrap_or_default(),
    );
}

/// Whether no other thread of the process is left: this one was taken off the count before (`do_exit`, kernel/exit.c).
#[inline(always)]
fn is_last_thread(task: u64) -> bool {
    let signal: u64 = kernel(task, global!(task_signal)).unwrap_or(0);
    kernel::<u32>(signal, global!(signal_live)) == Some(0)
}
