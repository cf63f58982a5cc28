//! kprobes and uprobes by perf events: made by perf_event_open(2), gone with its descriptor, no tracefs needed.

use super::{Failure, Program, errno};
use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const IOCTL_ENABLE: libc::c_ulong = 0x2400;
const IOCTL_SET_BPF: libc::c_ulong = 0x4004_2408;
/// `perf_event_attr` as of its version 1, which has all that a probe needs.
const ATTRIBUTE_BYTES: usize = 72;
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// What to probe.
#[derive(Clone, Copy)]
pub(in crate::kernel) enum Probe<'a> {
    /// A kernel function.
    Kernel(&'a str),
    /// An offset of a file, by its path.
    User(&'a str, u64),
}

/// Attaches `program` to `probe`, where it returns if `at_return`, until the answer is dropped.
pub(in crate::kernel) fn attach_probe(
    program: &Program,
    probe: Probe<'_>,
    at_return: bool,
) -> Result<OwnedFd, Failure> {
    let (source, target, offset) = match probe {
        Probe::Kernel(function) => ("kprobe", function, 0),
        Probe::User(path, offset) => ("uprobe", path, offset),
    };
    let kind = fs::read_to_string(format!("/sys/bus/event_source/devices/{source}/type"));
    let kind: Option<u32> = kind.ok().and_then(|kind| kind.trim().parse().ok());
    let kind = kind
        .ok_or(libc::ENODEV)
        .map_err(Failure::new("looking for the perf event source"))?;
    let target = format!("{target}\0");
    // struct perf_event_attr: type 0, size 4, config 8 (bit 0: at return), config1 56 (name), config2 64 (offset)
    let mut attribute = [0_u8; ATTRIBUTE_BYTES];
    attribute[0..4].copy_from_slice(&kind.to_ne_bytes());
    attribute[4..8].copy_from_slice(&(ATTRIBUTE_BYTES as u32).to_ne_bytes());
    attribute[8..16].copy_from_slice(&u64::from(at_return).to_ne_bytes());
    attribute[56..64].copy_from_slice(&(target.as_ptr() as u64).to_ne_bytes());
    attribute[64..72].copy_from_slice(&offset.to_ne_bytes());
    // SAFETY: the attribute is as long as it says, the name in it ends with NUL, and both outlive the call.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attribute.as_ptr(),
            -1,
            0,
            -1,
            CLOSE_ON_EXEC,
        )
    };
    if event < 0 {
        return Err(Failure::new("opening a perf event")(errno()));
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    let event = unsafe { OwnedFd::from_raw_fd(event as i32) };
    for (request, argument) in [(IOCTL_SET_BPF, program.number()), (IOCTL_ENABLE, 0)] {
        // SAFETY: both requests take a number, not a pointer.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
            return Err(Failure::new("attaching to a perf event")(errno()));
        }
    }
    Ok(event)
}
