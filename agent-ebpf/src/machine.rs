//! What differs between machines: the numbers of system calls, and where the registers of a thread are.
//!
//! The machine is the one that the object is built for (`bpf_target_arch`, which agent/build.rs sets), since BPF's own is the
//! same for all. What one of them does not have refuses to compile.

#[cfg(bpf_target_arch = "aarch64")]
mod aarch64;
#[cfg(bpf_target_arch = "x86_64")]
mod x86_64;

#[cfg(bpf_target_arch = "aarch64")]
pub(crate) use aarch64::*;
#[cfg(bpf_target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(any(bpf_target_arch = "aarch64", bpf_target_arch = "x86_64")))]
compile_error!("agent-ebpf/src/machine has no module for this machine");
