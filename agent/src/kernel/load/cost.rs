//! What the kernel half costs, and how full its maps are.

use super::Capture;
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::Program;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

/// Reads what programs cost, and how full maps are.
impl Capture {
    /// How often the kernel skipped a hook: the same program was being run for a task that had been
    /// preempted on that processor.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        let programs = self.ebpf.iter().flat_map(Ebpf::programs);
        self.skipped + programs.filter_map(|(_, program)| skips(program)).sum::<u64>()
    }

    /// How often each program ran and for how long; empty where the kernel does not count that, and never did.
    #[must_use]
    pub fn programs(&self) -> Vec<Runs> {
        let programs = self.ebpf.iter().flat_map(Ebpf::programs);
        programs
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                (info.run_count() > 0).then(|| Runs {
                    program: name.to_owned(),
                    count: info.run_count(),
                    time: info.run_time(),
                })
            })
            .collect()
    }

    /// Entries of each map and how many fit. Takes a system call an entry.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, u64, u64); 3] {
        /// Where entries come and go meanwhile, the kernel may begin again: it ends all the same.
        fn count<T>(keys: impl Iterator<Item = T>, most: u32) -> u64 {
            keys.take(most as usize).count() as u64
        }
        let [connections, runtimes, sockets] = self.capacities;
        [
            (
                "kernel.connections",
                count(self.connections.keys(), connections),
                connections.into(),
            ),
            (
                "kernel.runtimes",
                count(self.runtimes.keys(), runtimes),
                runtimes.into(),
            ),
            (
                "kernel.sockets",
                self.propagation.enrolled(sockets),
                sockets.into(),
            ),
        ]
    }
}

/// What a program in the kernel has cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Its name.
    pub program: String,
    /// How often it ran.
    pub count: u64,
    /// How long all runs took.
    pub time: Duration,
}

/// Has the kernel measure what BPF programs cost, all of the host, until the descriptor is closed (5.8; about 20 ns a run).
///
/// # Errors
/// The kernel refuses.
pub fn measure_programs() -> Result<OwnedFd, aya::sys::SyscallError> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime)
}

/// How often a program was skipped, as the kernel shows since 5.12 (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c); `None`
/// where it is not loaded.
pub(super) fn skips(program: &Program) -> Option<u64> {
    let descriptor = program.fd().ok()?.as_fd().as_raw_fd();
    let shown = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    let count = shown
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?;
    count.trim().parse().ok()
}

/// Most entries of a map.
pub(super) fn capacity(ebpf: &Ebpf, name: &str) -> u32 {
    let descriptor = ebpf.map(name).and_then(|map| match map {
        Map::LruHashMap(map) | Map::HashMap(map) | Map::SockHash(map) => map.info().ok(),
        _ => None,
    });
    descriptor.map_or(0, |info| info.max_entries())
}
