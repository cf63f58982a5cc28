//! What handles one request at a time in a process: its unit of execution, by its runtime.

use super::runtime::Family;
use super::{Identity, go, haproxy};
use spanwire_ebpf::{Runtime, unit};

/// Servers whose event loop acts on what it has just read, and on nothing else.
const EVENT_LOOPS: [&str; 1] = ["nginx"];

/// Servers that give each request a thread or a process of its own.
const THREADS: [&str; 4] = ["postgres", "apache2", "httpd", "php-fpm"];

/// What the kernel half has to know of a process.
pub(super) fn of(identity: &Identity) -> Runtime {
    let name = identity.executable_name();
    let runtime = identity.runtime.as_ref();
    if let Some(runtime) = runtime.filter(|runtime| runtime.name == "go") {
        return go::runtime(runtime.version.as_deref().unwrap_or_default());
    }
    let unit = match Family::of(name) {
        // One thread runs the event loop, where there is one; it handles several requests, and is seen to. Where its tasks
        // can be followed, `execution` says so.
        Family::Python | Family::PyPy | Family::Ruby | Family::Perl | Family::Php | Family::Node => {
            unit::THREAD
        }
        // Threads carry what is not theirs: virtual threads, event loops beside each other, schedulers.
        Family::Java | Family::DotNet | Family::Erlang => unit::UNKNOWN,
        Family::Native if EVENT_LOOPS.contains(&name) => unit::EVENT,
        // Where its streams cannot be followed.
        Family::Native if name == haproxy::EXECUTABLE => unit::LOOP,
        Family::Native if THREADS.iter().any(|server| name.starts_with(server)) => unit::THREAD,
        Family::Native | Family::Shell | Family::MultiCall => unit::PROCESS,
    };
    Runtime {
        unit,
        ..Runtime::default()
    }
}
