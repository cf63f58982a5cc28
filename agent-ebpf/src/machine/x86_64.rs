//! x86-64.

use crate::globals::{global, kernel};
use crate::operation::user;
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_get_current_task;

/// Numbers of arch/x86/entry/syscalls/syscall_64.tbl.
pub(crate) mod number {
    pub(crate) const READ: u64 = 0;
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const READV: u64 = 19;
    pub(crate) const WRITEV: u64 = 20;
    pub(crate) const SENDFILE: u64 = 40;
    pub(crate) const SENDTO: u64 = 44;
    pub(crate) const RECVFROM: u64 = 45;
    pub(crate) const SENDMSG: u64 = 46;
    pub(crate) const RECVMSG: u64 = 47;
    pub(crate) const SPLICE: u64 = 275;
    pub(crate) const RECVMMSG: u64 = 299;
    pub(crate) const SENDMMSG: u64 = 307;
    pub(crate) const PREADV2: u64 = 327;
    pub(crate) const PWRITEV2: u64 = 328;

    /// Whether the call may read from a socket or write to one.
    #[inline(always)]
    pub(crate) fn moves_bytes(number: u64) -> bool {
        matches!(
            number,
            READ | WRITE | READV | WRITEV | SENDFILE | SENDTO
                ..=RECVMSG | SPLICE | RECVMMSG | SENDMMSG | PREADV2 | PWRITEV2
        )
    }
}

/// Of `struct pt_regs` (arch/x86/include/asm/ptrace.h): where the arguments of a system call are, which stay as they are until
/// it has returned, and its number.
pub(crate) mod offset {
    /// `rdi`
    pub(crate) const FIRST: u32 = 112;
    /// `rsi`
    pub(crate) const SECOND: u32 = 104;
    /// `rdx`
    pub(crate) const THIRD: u32 = 96;
    /// `r10`
    pub(crate) const FOURTH: u32 = 56;
    /// `orig_ax`
    pub(crate) const NUMBER: u32 = 120;
}

/// The type of the number there.
pub(crate) type Number = u64;

#[inline(always)]
pub(crate) fn widened(number: Number) -> u64 {
    number
}

/// `TS_COMPAT` of `thread_info.status` (arch/x86/include/asm/thread_info.h): the thread is in a system call of 32 bits.
pub(crate) const COMPAT: u32 = 2;

/// Address of the `runtime.g` of the goroutine that runs (runtime/runtime-gdb.py, runtime/tls_amd64.s: `-8(FS)`).
#[inline(always)]
pub(crate) fn current_goroutine() -> Option<u64> {
    user(thread_pointer()?.wrapping_sub(8))
}

#[inline(always)]
fn thread_pointer() -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    kernel(task, global!(task_fsbase))
}

/// Address of the value that the current thread has for a key of `pthread_key_create`, one of the first 32: glibc has them behind
/// the thread's own address, as pairs (nptl/descr.h, `specific_1stblock`).
#[inline(always)]
pub(crate) fn thread_specific(key: u32) -> Option<u64> {
    const KEYS: u64 = 0x310;
    Some(thread_pointer()? + KEYS + key as u64 * 16 + 8)
}

/// Where a probe is.
#[inline(always)]
pub(crate) fn instruction(registers: &pt_regs) -> u64 {
    registers.rip
}

/// Go's registers at the beginning of a function (cmd/compile/abi-internal.md, "amd64 architecture").
pub(crate) mod go {
    use aya_ebpf::bindings::pt_regs;

    /// The first four words of the arguments.
    #[inline(always)]
    pub(crate) fn arguments(registers: &pt_regs) -> [u64; 4] {
        [registers.rax, registers.rbx, registers.rcx, registers.rdi]
    }

    /// Address of the `runtime.g`.
    #[inline(always)]
    pub(crate) fn goroutine(registers: &pt_regs) -> u64 {
        registers.r14
    }
}

/// The registers that a function keeps for its caller, among which `Runtime::hooks_register` tells.
#[inline(always)]
pub(crate) fn kept(registers: &pt_regs) -> [u64; 4] {
    [registers.rbx, registers.r12, registers.r13, registers.r14]
}
