//! The test that runs inside a virtual machine, on another kernel: `cargo xtask test kernels` boots it.
//!
//! It runs real clients and servers, first without spanwire, to know that this guest's network works, then under
//! each hook set that the kernel takes, and compares the spans with the requests it made. The kernel's command line
//! says which hook sets must load there: `spanwire.must=trampoline,syscall`. Where it says `spanwire.brief`, other
//! sets are left out, and so are proxies and options of TCP: guests take their time.
//!
//! One line an assertion, `ok …` or `FAIL …`; at the end `N passed, N failed`.

mod agent;
mod carried;
mod goroutines;
mod http;
mod options;
mod propagation;
mod proxies;
mod spans;
mod syscalls;
mod workload;

use agent::{Agent, Start};
use anyhow::{Context as _, Result};
use std::process::{Command, ExitCode};
use std::{env, fs};
use workload::{Before, Made, Waits};

/// Every set that `spanwire run --hooks` knows.
const HOOK_SETS: &[&str] = &["socket", "trampoline", "syscall"];

/// How often assertions are tried that fail where the kernel has skipped a hook.
const ATTEMPTS: usize = 3;

/// What was asserted.
#[derive(Default)]
struct Verdict {
    assertions: Vec<(String, Result<()>)>,
}

impl Verdict {
    fn assert(&mut self, what: &str, result: Result<()>) {
        self.assertions.push((what.to_owned(), result));
    }

    fn failed(&self) -> usize {
        self.assertions
            .iter()
            .filter(|(_, result)| result.is_err())
            .count()
    }

    /// Asserts what this does, and says it. Where the kernel has skipped a hook, one having been preempted on that processor, what
    /// follows is anybody's guess: one read may have had several requests. It is counted, and emulated it happens a hundred times as
    /// often; then nothing is shown, and all is tried again.
    fn try_until_no_hook_is_skipped(&mut self, attempt: impl Fn(&mut Self)) {
        for number in 1..=ATTEMPTS {
            let before = agent::skipped();
            let mut tried = Self::default();
            attempt(&mut tried);
            let skipped = agent::skipped() - before;
            if number == ATTEMPTS || tried.failed() == 0 || skipped == 0 {
                tried.say();
                self.assertions.append(&mut tried.assertions);
                return;
            }
            println!(
                "     again: {} failed, the kernel having skipped {skipped} hooks",
                tried.failed()
            );
        }
    }

    fn say(&self) {
        for (what, result) in &self.assertions {
            match result {
                Ok(()) => println!("ok   {what}"),
                Err(error) => println!("FAIL {what}: {error:#}"),
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [role, address, path] = arguments.as_slice() {
        let result = match role.as_str() {
            "serve" => workload::serve(address, path),
            "ask" => propagation::ask(address),
            "pass" => carried::pass(address, path),
            _ => Err(anyhow::anyhow!("no such role")),
        };
        return match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("guest {role}: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let mut verdict = Verdict::default();
    verdict.assert("this guest's own network", workload::run("bare").map(drop));
    verdict.assert("spanwire check", check());
    verdict.say();
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let must = must_load(&command_line);
    let is_brief = is_brief(&command_line);
    for set in HOOK_SETS {
        let must_load = must.iter().any(|name| name == set);
        if must_load || !is_brief {
            verdict.try_until_no_hook_is_skipped(|verdict| hook_set(set, must_load, verdict));
        }
    }
    verdict.try_until_no_hook_is_skipped(propagation::assert);
    verdict.try_until_no_hook_is_skipped(goroutines::assert);
    if !is_brief {
        verdict.try_until_no_hook_is_skipped(proxies::assert);
        verdict.try_until_no_hook_is_skipped(options::assert);
    }
    let failed = verdict.failed();
    println!("{} passed, {failed} failed", verdict.assertions.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The names of `spanwire.must=…` on the kernel's command line.
fn must_load(command_line: &str) -> Vec<String> {
    let names = command_line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("spanwire.must="));
    names
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_brief(command_line: &str) -> bool {
    command_line
        .split_whitespace()
        .any(|word| word == "spanwire.brief")
}

/// Its whole answer goes to the log: it is the record of what this kernel can do.
fn check() -> Result<()> {
    let answer = Command::new(agent::BINARY)
        .arg("check")
        .output()
        .context("starting spanwire")?;
    for line in String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).lines() {
        println!("     check: {line}");
    }
    anyhow::ensure!(
        answer.status.success(),
        "ended with {}, so it calls capture impossible here",
        answer.status
    );
    Ok(())
}

fn hook_set(set: &str, must_load: bool, verdict: &mut Verdict) {
    let before = [Waits::InRead, Waits::InPeek].map(Before::open);
    let agent = match Agent::start(set) {
        Ok(Start::Ready(agent)) => agent,
        Ok(Start::Refused(said)) if !must_load => {
            println!("     hooks {set}: do not load on this kernel, and need not: {said}");
            return;
        }
        Ok(Start::Refused(said)) => {
            return verdict.assert(
                &format!("hooks {set}: load"),
                Err(anyhow::anyhow!("refused: {said}")),
            );
        }
        Err(error) => return verdict.assert(&format!("hooks {set}: start"), Err(error)),
    };
    verdict.assert(&format!("hooks {set}: load"), Ok(()));
    let requests = requests(set, before);
    let ended = agent.stop();
    match (requests, ended) {
        (Ok(requests), Ok(ended)) => spans::compare(set, &requests, &ended, verdict),
        (requests, ended) => {
            verdict.assert(&format!("hooks {set}: workload"), requests.map(drop));
            verdict.assert(&format!("hooks {set}: ends when it is told to"), ended.map(drop));
        }
    }
}

/// On connections from before its start, then on new ones.
fn requests(set: &str, before: [Result<Before>; 2]) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for connection in before {
        made.extend(
            connection
                .and_then(|connection| connection.run(set))
                .context("a connection from before")?,
        );
    }
    made.extend(workload::run(set)?);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_fails_is_tried_again_where_a_hook_was_skipped() {
        let times = Cell::new(0);
        let tried = |skipped: u64, failing: u32| {
            times.set(0);
            let mut verdict = Verdict::default();
            verdict.try_until_no_hook_is_skipped(|verdict| {
                times.set(times.get() + 1);
                agent::skip(skipped);
                let fails = times.get() <= failing;
                verdict.assert(
                    "it",
                    if fails {
                        Err(anyhow::anyhow!("not"))
                    } else {
                        Ok(())
                    },
                );
            });
            assert_eq!(verdict.assertions.len(), 1);
            (times.get(), verdict.failed())
        };
        assert_eq!(tried(0, 9), (1, 1), "nothing was skipped");
        assert_eq!(tried(1, 0), (1, 0), "it is right all the same");
        assert_eq!(tried(1, 2), (3, 0));
        assert_eq!(tried(1, 9), (3, 1), "not without end");
    }

    #[test]
    fn what_must_load_and_what_is_left_out_is_read_from_the_command_line() {
        assert_eq!(
            must_load("console=ttyS0 spanwire.must=socket,syscall quiet\n"),
            ["socket", "syscall"]
        );
        assert!(must_load("console=ttyS0 spanwire.must=").is_empty());
        assert!(is_brief("quiet spanwire.brief\n") && !is_brief("quiet spanwire.must=socket"));
    }
}
