//! The kernel half of spanwire: hooks that see what goes through stream sockets, and a walker that hands on the heads
//! of messages and counts the rest.
//!
//! In reading order: `globals` and `maps`; a hook set (`socket`, `trampoline` or `syscalls`) finds the sock, the
//! direction and, through `registers` (of a `machine`), the caller's buffers; `frames` walks them with `http1` or `framed`, on what
//! `connection` remembers and `operation` holds; `context` says what a request is sent for, `decision` whether its trace is
//! kept, `stream` the same as `context` of HTTP/2's streams,
//! `runtime` what runtimes hand over within a process; `extract` and `flow` say which trace a request continues,
//! `promise` that of one which is about to be sent, and `propagate` tells others; `emit` writes records. `process` says who is watched, `log` what happens.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "core::sync::atomic has no addition for the bpf target"
    )
)]

#[cfg(target_arch = "bpf")]
mod connection;
#[cfg(target_arch = "bpf")]
mod context;
#[cfg(target_arch = "bpf")]
mod decision;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod extract;
#[cfg(target_arch = "bpf")]
mod flow;
#[cfg(target_arch = "bpf")]
mod framed;
#[cfg(target_arch = "bpf")]
mod frames;
#[cfg(target_arch = "bpf")]
mod globals;
#[cfg(target_arch = "bpf")]
mod http1;
#[cfg(target_arch = "bpf")]
mod log;
#[cfg(target_arch = "bpf")]
mod machine;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod operation;
#[cfg(target_arch = "bpf")]
mod process;
#[cfg(target_arch = "bpf")]
mod promise;
#[cfg(target_arch = "bpf")]
mod propagate;
#[cfg(target_arch = "bpf")]
mod registers;
#[cfg(target_arch = "bpf")]
mod runtime;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod state;
#[cfg(target_arch = "bpf")]
mod stream;
#[cfg(target_arch = "bpf")]
mod syscalls;
#[cfg(target_arch = "bpf")]
mod trampoline;

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
