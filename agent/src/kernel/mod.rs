//! The kernel, as far as the agent meets it: the only user of aya and the only place for `unsafe`.

mod bpf;
pub mod btf;
pub mod cgroup;
pub mod clock;
mod diagnostics;
pub mod events;
pub mod header_option;
pub mod inspect;
pub mod load;
pub mod offsets;
mod probes;
pub mod propagation;
pub mod ring;
mod room;
pub mod sockhash;
