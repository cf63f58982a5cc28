//! What handles one request at a time in a process: its unit of execution, by its runtime.

use super::Identity;
use super::runtime::Family;
use spanwire_ebpf::{Runtime, unit};

/// Servers whose event loop acts on what it has just read, and on nothing else.
const EVENT_LOOPS: [&str; 2] = ["nginx", "haproxy"];

/// Servers that give each request a thread or a process of its own.
const THREADS: [&str; 4] = ["postgres", "apache2", "httpd", "php-fpm"];

/// What the kernel half has to know of a process.
pub(super) fn of(identity: &Identity) -> Runtime {
    let name = identity.executable_name();
    let go = identity.runtime.as_ref().filter(|runtime| runtime.name == "go");
    if let Some(go) = go {
        return goroutine(go.version.as_deref().unwrap_or_default());
    }
    let unit = match Family::of(name) {
        // One thread runs the event loop, where there is one; it handles several requests, and is seen to.
        Family::Python | Family::PyPy | Family::Ruby | Family::Perl | Family::Php | Family::Node => {
            unit::THREAD
        }
        // Threads carry what is not theirs: virtual threads, event loops beside each other, schedulers.
        Family::Java | Family::DotNet | Family::Erlang => unit::UNKNOWN,
        Family::Native if EVENT_LOOPS.contains(&name) => unit::EVENT,
        Family::Native if THREADS.iter().any(|server| name.starts_with(server)) => unit::THREAD,
        Family::Native | Family::Shell | Family::MultiCall => unit::PROCESS,
    };
    Runtime {
        unit,
        ..Runtime::default()
    }
}

/// Go's goroutine, where `runtime.g` (runtime/runtime2.go) is known: measured with Go 1.26.
fn goroutine(version: &str) -> Runtime {
    let minor = version
        .strip_prefix("go1.")
        .and_then(|rest| rest.split('.').next());
    match minor {
        Some("26") => Runtime {
            unit: unit::GOROUTINE,
            goroutine_id: 152,
            goroutine_parent: 280,
            ..Runtime::default()
        },
        _ => Runtime::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goroutines_are_found_where_they_were_measured() {
        assert_eq!(goroutine("go1.26.8").unit, unit::GOROUTINE);
        assert_eq!(goroutine("go1.26").unit, unit::GOROUTINE);
        for version in ["go1.2", "go1.25.1", "go1.261", "devel", ""] {
            assert_eq!(goroutine(version).unit, unit::UNKNOWN, "{version}");
        }
    }
}
