//! The system call a hook runs in: its number, its arguments, and so the caller's buffers.
//!
//! x86-64 alone so far; another machine is another module like this one.

use crate::globals::{global, kernel};
use crate::operation::{Source, user};
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs};
use core::ptr::read_volatile;

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

/// `THREAD_SIZE` without KASAN: four pages (arch/x86/include/asm/page_64_types.h). `bpf_task_pt_regs` knows better.
const THREAD_SIZE: u64 = 16 * 1024;
const PT_REGS_SIZE: u64 = 168;

/// What is used of `struct pt_regs` (arch/x86/include/asm/ptrace.h).
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    /// First argument (`rdi`).
    pub(crate) first: u64,
    /// Second argument (`rsi`).
    second: u64,
    /// Third argument (`rdx`).
    pub(crate) third: u64,
    /// Fourth argument (`r10`).
    pub(crate) fourth: u64,
    /// Number of the system call (`orig_ax`).
    pub(crate) number: u64,
}

/// Where they are in it.
mod offset {
    pub(super) const R10: u32 = 56;
    pub(super) const DX: u32 = 96;
    pub(super) const SI: u32 = 104;
    pub(super) const DI: u32 = 112;
    pub(super) const ORIG_AX: u32 = 120;
}

impl Registers {
    /// Number of the system call whose registers are at this address.
    #[inline(always)]
    pub(crate) fn number_at(address: u64) -> Option<u64> {
        kernel(address, offset::ORIG_AX)
    }

    /// Registers at this address.
    #[inline(always)]
    pub(crate) fn at(address: u64) -> Option<Self> {
        Some(Self {
            first: kernel(address, offset::DI)?,
            second: kernel(address, offset::SI)?,
            third: kernel(address, offset::DX)?,
            fourth: kernel(address, offset::R10)?,
            number: Self::number_at(address)?,
        })
    }

    /// Registers of the system call that the current thread is in.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        if global!(has_task_pt_regs) != 0 {
            // SAFETY: the helpers have no preconditions. The verifier knows what the address is of, and lets it be read.
            return Some(unsafe {
                let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
                let read = |offset: u32| read_volatile(registers.add(offset as usize).cast::<u64>());
                Self {
                    first: read(offset::DI),
                    second: read(offset::SI),
                    third: read(offset::DX),
                    fourth: read(offset::R10),
                    number: read(offset::ORIG_AX),
                }
            });
        }
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task() };
        let stack: u64 = kernel(task, global!(task_stack))?;
        Self::at(stack + THREAD_SIZE - PT_REGS_SIZE)
    }

    /// Where the caller's bytes are; `element` counts the messages of a call that takes several.
    #[inline(always)]
    pub(crate) fn source(&self, element: u32) -> Source {
        /// `struct mmsghdr`.
        const MMSGHDR: u64 = 64;
        match self.number {
            number::READ | number::WRITE | number::RECVFROM | number::SENDTO => Source::Buffer(self.second),
            number::READV | number::WRITEV | number::PREADV2 | number::PWRITEV2 => {
                Source::Vectors(self.second, self.third)
            }
            number::RECVMSG | number::SENDMSG => message(self.second),
            number::RECVMMSG | number::SENDMMSG => message(self.second + MMSGHDR * element as u64),
            _ => Source::Nowhere,
        }
    }

    /// Address of the messages of a call that takes several.
    #[inline(always)]
    pub(crate) fn messages(&self) -> u64 {
        self.second
    }

    /// Whether this is a call that takes several messages, and how many.
    #[inline(always)]
    pub(crate) fn elements(&self) -> Option<u64> {
        matches!(self.number, number::RECVMMSG | number::SENDMMSG).then(|| self.third)
    }
}

/// The buffers of a `struct user_msghdr`.
#[inline(always)]
fn message(address: u64) -> Source {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Vectors {
        address: u64,
        count: u64,
    }
    /// `msg_iov`, `msg_iovlen`.
    const VECTORS: u64 = 16;
    match user::<Vectors>(address + VECTORS) {
        Some(vectors) => Source::Vectors(vectors.address, vectors.count),
        None => Source::Nowhere,
    }
}
