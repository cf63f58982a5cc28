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

/// Counts assertions, and says each.
#[derive(Default)]
struct Verdict {
    passed: usize,
    failed: usize,
}

impl Verdict {
    fn assert(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {what}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL {what}: {error:#}");
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
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let must = must_load(&command_line);
    let is_brief = is_brief(&command_line);
    for set in HOOK_SETS {
        let must_load = must.iter().any(|name| name == set);
        if must_load || !is_brief {
            hook_set(set, must_load, &mut verdict);
        }
    }
    propagation::assert(&mut verdict);
    goroutines::assert(&mut verdict);
    if !is_brief {
        proxies::assert(&mut verdict);
        options::assert(&mut verdict);
    }
    println!("{} passed, {} failed", verdict.passed, verdict.failed);
    if verdict.failed == 0 {
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
