//! Whether a trace is kept: decided where it begins, by the threshold of its service.

use crate::maps::{RUNTIMES, THRESHOLDS};
use spanwire_ebpf::sampling;

/// What is put into the flags of a trace that begins in a process; `low` are the last eight bytes of its id.
#[inline(always)]
pub(crate) fn decides(tgid: u32, low: u64) -> u64 {
    // SAFETY: a value that does not change its shape.
    let slot = unsafe { RUNTIMES.get(tgid) }.map_or(0, |runtime| runtime.sampling);
    sampling::decide(THRESHOLDS.get(slot).map_or(0, |word| *word), slot, low)
}

/// What becomes in a process of the flags that a trace comes with from elsewhere. A global function: what it needs is not on the
/// stack of those that call it, which on 5.10 is full.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn decides_again(tgid: u32, low: u64, flags: u64) -> u64 {
    if THRESHOLDS.get(0).is_some_and(|word| sampling::is_alone(*word)) {
        flags & !sampling::SAMPLED | decides(tgid, low)
    } else {
        flags
    }
}
