//! 64-bit ARM.

use crate::operation::user;
use crate::registers::saved;
use aya_ebpf::bindings::pt_regs;

/// Numbers of include/uapi/asm-generic/unistd.h.
pub(crate) mod number {
    pub(crate) const READ: u64 = 63;
    pub(crate) const WRITE: u64 = 64;
    pub(crate) const READV: u64 = 65;
    pub(crate) const WRITEV: u64 = 66;
    pub(crate) const SENDFILE: u64 = 71;
    pub(crate) const SPLICE: u64 = 76;
    pub(crate) const SENDTO: u64 = 206;
    pub(crate) const RECVFROM: u64 = 207;
    pub(crate) const SENDMSG: u64 = 211;
    pub(crate) const RECVMSG: u64 = 212;
    pub(crate) const RECVMMSG: u64 = 243;
    pub(crate) const SENDMMSG: u64 = 269;
    pub(crate) const PREADV2: u64 = 286;
    pub(crate) const PWRITEV2: u64 = 287;

    /// Whether the call may read from a socket or write to one.
    #[inline(always)]
    pub(crate) fn moves_bytes(number: u64) -> bool {
        matches!(
            number,
            READ..=WRITEV
                | SENDFILE
                | SPLICE
                | SENDTO
                ..=RECVFROM | SENDMSG..=RECVMSG | RECVMMSG | SENDMMSG | PREADV2..=PWRITEV2
        )
    }
}

/// Of `struct pt_regs` (arch/arm64/include/asm/ptrace.h): where the arguments of a system call are, which stay as they are until
/// it has returned, and its number.
pub(crate) mod offset {
    /// `orig_x0`: in `regs[0]` is the result, once there is one.
    pub(crate) const FIRST: u32 = 272;
    /// `regs[1]`
    pub(crate) const SECOND: u32 = 8;
    /// `regs[2]`
    pub(crate) const THIRD: u32 = 16;
    /// `regs[3]`
    pub(crate) const FOURTH: u32 = 24;
    /// `syscallno`
    pub(crate) const NUMBER: u32 = 280;
    /// `regs[28]`
    pub(super) const GOROUTINE: u32 = 224;
    /// `sp`
    pub(super) const STACK: u32 = 248;
}

/// The type of the number there.
pub(crate) type Number = u32;

#[inline(always)]
pub(crate) fn widened(number: Number) -> u64 {
    number as u64
}

/// `_TIF_32BIT` of `thread_info.flags` (arch/arm64/include/asm/thread_info.h): the process is one of 32 bits.
pub(crate) const COMPAT: u32 = 1 << 22;

/// Address of the `runtime.g` of the goroutine that runs: R28 (cmd/compile/abi-internal.md), which code in C may use for
/// anything. So it is one only where the thread is on the stack that it begins with (runtime/runtime2.go, `g.stack`).
#[inline(always)]
pub(crate) fn current_goroutine() -> Option<u64> {
    let [goroutine, stack] = saved([offset::GOROUTINE, offset::STACK])?;
    let [low, high]: [u64; 2] = user(goroutine)?;
    (low <= stack && stack <= high).then_some(goroutine)
}

/// Address of the value that the current thread has for a key of `pthread_key_create`: glibc has it in front of the thread
/// pointer, by a size that changes, so nothing here looks for one (agent/src/process/python.rs).
#[inline(always)]
pub(crate) fn thread_specific(_: u32) -> Option<u64> {
    None
}

/// Where a probe is.
#[inline(always)]
pub(crate) fn instruction(registers: &pt_regs) -> u64 {
    registers.pc
}

/// Go's registers at the beginning of a function (cmd/compile/abi-internal.md, "arm64 architecture").
pub(crate) mod go {
    use aya_ebpf::bindings::pt_regs;

    /// The first four words of the arguments.
    #[inline(always)]
    pub(crate) fn arguments(registers: &pt_regs) -> [u64; 4] {
        let [first, second, third, fourth, ..] = registers.regs;
        [first, second, third, fourth]
    }

    /// Address of the `runtime.g`.
    #[inline(always)]
    pub(crate) fn goroutine(registers: &pt_regs) -> u64 {
        registers.regs[28]
    }
}

/// The registers that a function keeps for its caller, among which `Runtime::hooks_register` would tell: Node.js is not looked
/// at here (agent/src/process/node.rs).
#[inline(always)]
pub(crate) fn kept(_: &pt_regs) -> [u64; 4] {
    [0; 4]
}
