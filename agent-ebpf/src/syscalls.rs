//! Hook set 3: the return of every system call. It exists everywhere, and taxes every call of the host, so it is the
//! last resort.
//!
//! At `sys_exit` the registers still hold the arguments, so one hook sees the call, its result and the caller's buffers.

use crate::frames;
use crate::globals::{global, kernel};
use crate::operation::{Source, user};
use crate::process::is_watched;
use crate::registers::{Registers, number};
use crate::socket::{MSG_PEEK, MSG_TRUNC};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use spanwire_ebpf::{RECEIVED, SENT};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// Most messages of one `recvmmsg` or `sendmmsg` call that are looked at. On stream sockets the calls are rare.
const MESSAGES: u32 = 8;

/// include/trace/events/syscalls.h: TP_PROTO(struct pt_regs *regs, long ret)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn sys_exit(context: RawTracePointContext) -> i32 {
    if is_watched()
        && Registers::number_at(context.arg(0)).is_some_and(number::moves_bytes)
        && let Some(registers) = Registers::at(context.arg(0))
    {
        returned(&registers, context.arg(1));
    }
    0
}

#[inline(always)]
fn returned(registers: &Registers, result: i64) {
    let (direction, descriptor, flags) = match registers.number {
        number::READ | number::READV | number::PREADV2 => (RECEIVED, registers.first, 0),
        number::RECVFROM => (RECEIVED, registers.first, registers.fourth),
        number::RECVMSG => (RECEIVED, registers.first, registers.third),
        number::RECVMMSG => (RECEIVED, registers.first, registers.fourth),
        number::WRITE | number::WRITEV | number::PWRITEV2 => (SENT, registers.first, 0),
        number::SENDTO | number::SENDMSG | number::SENDMMSG => (SENT, registers.first, 0),
        number::SENDFILE => (SENT, registers.first, 0),
        // A splice has a socket at one end at most: the other is a pipe.
        number::SPLICE => return spliced(registers, result),
        _ => return,
    };
    if flags & MSG_PEEK as u64 != 0 || result < 0 {
        return;
    }
    let Some(sock) = sock(descriptor) else { return };
    if result == 0 {
        if direction == RECEIVED {
            frames::end_of_stream(sock);
        }
        return;
    }
    if registers.elements().is_some() {
        return messages(registers, sock, direction, result as u32);
    }
    let source = if flags & MSG_TRUNC as u64 != 0 {
        Source::Nowhere
    } else {
        registers.source(0)
    };
    frames::observe(sock, direction, result as u64, source);
}

/// Each message of a `recvmmsg` or `sendmmsg` call.
#[inline(always)]
fn messages(registers: &Registers, sock: u64, direction: u8, count: u32) {
    /// `mmsghdr.msg_len`, behind the `msghdr`.
    const LENGTH: u64 = 56;
    /// `struct mmsghdr`.
    const SIZE: u64 = 64;
    for element in 0..MESSAGES {
        if element >= count {
            return;
        }
        let length: u32 = user(registers.messages() + SIZE * element as u64 + LENGTH).unwrap_or(0);
        if length > 0 {
            frames::observe(sock, direction, length as u64, registers.source(element));
        }
    }
}

#[inline(always)]
fn spliced(registers: &Registers, result: i64) {
    if result <= 0 {
        return;
    }
    if let Some(sock) = sock(registers.first) {
        frames::observe(sock, RECEIVED, result as u64, Source::Nowhere);
    } else if let Some(sock) = sock(registers.third) {
        frames::observe(sock, SENT, result as u64, Source::Nowhere);
    }
}

/// From a descriptor of the current process to its sock: descriptor table, file, socket, sock.
#[inline(always)]
pub(crate) fn sock(descriptor: u64) -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { aya_ebpf::helpers::generated::bpf_get_current_task() };
    let files: u64 = kernel(task, global!(task_files))?;
    let table: u64 = kernel(files, global!(files_table))?;
    let size: u32 = kernel(table, global!(table_size))?;
    if descriptor >= size as u64 {
        return None;
    }
    let descriptors: u64 = kernel(table, global!(table_descriptors))?;
    let file: u64 = kernel(descriptors + 8 * descriptor, 0)?;
    if file == 0 {
        return None;
    }
    let inode: u64 = kernel(file, global!(file_inode))?;
    let mode: u16 = kernel(inode, global!(inode_mode))?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = kernel(file, global!(file_private))?;
    kernel::<u64>(socket, global!(socket_sock)).filter(|sock| *sock != 0)
}
