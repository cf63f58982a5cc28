//! The system call a hook runs in: its number, its arguments, and so the caller's buffers.

use crate::globals::{global, kernel};
pub(crate) use crate::machine::number;
use crate::machine::{Number, offset, widened};
use crate::operation::{Source, user};
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs};
use core::ptr::read_volatile;

/// What is used of `struct pt_regs`.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    /// First argument.
    pub(crate) first: u64,
    /// Second argument.
    second: u64,
    /// Third argument.
    pub(crate) third: u64,
    /// Fourth argument.
    pub(crate) fourth: u64,
    /// Number of the system call.
    pub(crate) number: u64,
}

impl Registers {
    /// Number of the system call whose registers are at this address.
    #[inline(always)]
    pub(crate) fn number_at(address: u64) -> Option<u64> {
        kernel(address, offset::NUMBER).map(widened)
    }

    /// Registers at this address.
    #[inline(always)]
    pub(crate) fn at(address: u64) -> Option<Self> {
        Some(Self {
            first: kernel(address, offset::FIRST)?,
            second: kernel(address, offset::SECOND)?,
            third: kernel(address, offset::THIRD)?,
            fourth: kernel(address, offset::FOURTH)?,
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
                    first: read(offset::FIRST),
                    second: read(offset::SECOND),
                    third: read(offset::THIRD),
                    fourth: read(offset::FOURTH),
                    number: widened(read_volatile(
                        registers.add(offset::NUMBER as usize).cast::<Number>(),
                    )),
                }
            });
        }
        Self::at(address()?)
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

/// Where the registers are of the system call that the current thread is in, at the end of its stack: `bpf_task_pt_regs`, where
/// there is none.
#[inline(always)]
fn address() -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let stack: u64 = kernel(task, global!(task_stack))?;
    Some(stack + global!(stack_registers) as u64)
}

/// Words of the registers of the system call that the current thread is in, at these offsets.
#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn saved<const N: usize>(offsets: [u32; N]) -> Option<[u64; N]> {
    let address = address()?;
    let mut words = [0; N];
    for (word, offset) in words.iter_mut().zip(offsets) {
        *word = kernel(address, offset)?;
    }
    Some(words)
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
