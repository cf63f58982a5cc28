//! What is about to be sent: a look at its bytes, and room for more.

use super::number;
use crate::maps::count;
use crate::operation::{Operation, ROOM};
use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{
    bpf_msg_pop_data, bpf_msg_pull_data, bpf_msg_push_data, bpf_probe_read_kernel,
};
use spanwire_ebpf::Counter;

/// Copies as many of `size` bytes into the operation's window as it takes; whether that was possible.
#[inline(always)]
pub(crate) fn look(context: *mut sk_msg_md, operation: &mut Operation, size: u32) -> bool {
    let length = if size as u64 > ROOM { ROOM as u32 } else { size };
    let seen = copy(context, operation, length);
    if !seen {
        count(Counter::InjectionRefused, 1);
    }
    seen
}

/// Copies `count` bytes into the window, which are at most as many as there are.
#[inline(always)]
fn copy(context: *mut sk_msg_md, operation: &mut Operation, count: u32) -> bool {
    // SAFETY: the program's own context.
    let (start, end) = unsafe {
        // What lies in one piece is not moved.
        if bpf_msg_pull_data(context, 0, count, 0) != 0 {
            return false;
        }
        let start = number(operation, (*context).__bindgen_anon_1.data as u64);
        (
            start,
            number(operation, (*context).__bindgen_anon_2.data_end as u64),
        )
    };
    if count as u64 > ROOM || end.wrapping_sub(start) < count as u64 {
        return false;
    }
    // SAFETY: the window takes as many; the helper checks the address.
    let result =
        unsafe { bpf_probe_read_kernel(operation.window.as_mut_ptr().cast(), count, start as *const _) };
    operation.cursor = 0;
    operation.carried = 0;
    operation.end = count;
    result == 0
}

/// Where `count` bytes from `at` on begin and end in memory; `None` where they cannot be had in one piece. Bounds are the caller's
/// to look at, in a way that the verifier sees.
#[inline(always)]
pub(super) fn pull(context: *mut sk_msg_md, at: u32, count: u32) -> Option<(usize, usize)> {
    // SAFETY: the program's own context.
    unsafe {
        if bpf_msg_pull_data(context, at, at.wrapping_add(count), 0) != 0 {
            return None;
        }
        Some((
            (*context).__bindgen_anon_1.data as usize,
            (*context).__bindgen_anon_2.data_end as usize,
        ))
    }
}

/// Makes one piece of all pieces that the first `count` bytes are in; where there is no memory for it, they stay as they are. What was
/// pushed is a piece of its own, with one in front of it and one behind it, and the kernel sends each by itself: where Nagle's
/// algorithm is not switched off (nginx), what is behind the first waits for its acknowledgement, which the other side may
/// delay by 40 ms.
#[inline(always)]
pub(super) fn join(context: *mut sk_msg_md, count: u32) {
    // SAFETY: the program's own context.
    unsafe { bpf_msg_pull_data(context, 0, count, 0) };
}

/// Has `write` write `COUNT` bytes over those at `at`; whether that was possible.
#[inline(always)]
pub(crate) fn rewrite<const COUNT: u32>(
    context: *mut sk_msg_md,
    at: u32,
    write: impl FnOnce(*mut u8),
) -> bool {
    // SAFETY: the program's own context, whose bounds are looked at before anything is written.
    unsafe {
        if bpf_msg_pull_data(context, at, at.wrapping_add(COUNT), 0) != 0 {
            return false;
        }
        let start = (*context).__bindgen_anon_1.data as usize;
        let end = (*context).__bindgen_anon_2.data_end as usize;
        if start + COUNT as usize > end {
            return false;
        }
        write(start as *mut u8);
    }
    true
}

/// Makes room for `COUNT` bytes at `at`, and has `write` write `WRITTEN` bytes from there on, some of which may be of what was
/// there before; whether that was possible. If not, nothing has changed.
#[inline(always)]
pub(crate) fn put<const COUNT: u32, const WRITTEN: u32>(
    context: *mut sk_msg_md,
    at: u32,
    write: impl FnOnce(*mut u8),
) -> bool {
    // SAFETY: the program's own context, whose bounds are looked at before anything is written.
    unsafe {
        if bpf_msg_push_data(context, at, COUNT, 0) != 0 {
            return false;
        }
        if rewrite::<WRITTEN>(context, at, write) {
            return true;
        }
        bpf_msg_pop_data(context, at, COUNT, 0);
    }
    false
}
