//! HAProxy: where the kernel half sees its streams made and run.

use super::elf::Sections;
use super::execution;
use super::probe::{Place, Probe};
use spanwire_ebpf::{Runtime, unit};
use std::fs::File;

/// Its executable.
pub(super) const EXECUTABLE: &str = "haproxy";

/// What the kernel half has to know of the executable, and where it sees streams; `None` where it has no names of functions.
pub(super) fn streams(file: File) -> Option<(Runtime, Vec<Probe>)> {
    execution::READS_CODE.then_some(())?;
    let sections = Sections::read(file)?;
    let functions = sections.exported(["stream_new", "process_stream", "tcpcheck_main"])?;
    let places = [
        Place::HaProxyStreamMade,
        Place::HaProxyStreamRuns,
        Place::HaProxyCheckRuns,
    ];
    let probes = places.into_iter().zip(functions).map(|(place, function)| {
        let function = function?;
        // A `push`, which is emulated.
        matches!(*sections.at(function, 2)?, [0x50..=0x57, _] | [0x41, 0x50..=0x57]).then_some(())?;
        let offset = sections.offset(function)?;
        Some(Probe { place, offset })
    });
    let runtime = Runtime {
        unit: unit::STREAM,
        ..Runtime::default()
    };
    Some((runtime, probes.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_not_haproxy() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(streams(file).is_none());
    }
}
