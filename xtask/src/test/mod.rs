//! `cargo xtask test`: every check there is, each with its time: one after the other, but for guests and replays, which meet
//! nobody and are run beside the rest.

mod beside;
mod stages;

use crate::{kernels, setup};
use anyhow::{Result, bail};
use beside::Beside;
use clap::ValueEnum;
use std::time::{Duration, Instant};

/// A part of the tests that can be asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// What needs no kernel: house rules, format, lints, licences, documentation, unit tests.
    Unit,
    /// Real servers and clients on this machine's kernel; as root.
    Live,
    /// Captures of real servers and clients; as root.
    Replay,
    /// A real cluster of one node, and spanwire in it by the shipped manifests; as root.
    Kubernetes,
    /// Capture on other kernels, under qemu.
    Kernels,
    /// The Debian package and the image, made and installed; as root, and only when it is named.
    Packages,
}

/// One check: its name, the suite it belongs to, and what it does.
type Stage = (&'static str, Suite, fn() -> Result<()>);

/// Cheap ones first: a mistake in a name should not be found after half an hour.
const STAGES: &[Stage] = &[
    ("tidy", Suite::Unit, crate::tidy::command),
    ("fmt", Suite::Unit, stages::fmt),
    ("deny", Suite::Unit, stages::deny),
    ("clippy", Suite::Unit, stages::clippy),
    (
        "clippy of the kernel object",
        Suite::Unit,
        stages::clippy_kernel_object,
    ),
    ("doc", Suite::Unit, stages::doc),
    ("unit tests", Suite::Unit, stages::unit),
    ("live tests", Suite::Live, stages::live),
    ("kubernetes", Suite::Kubernetes, stages::kubernetes),
    ("kernels", Suite::Kernels, kernels::command),
    ("replay tests", Suite::Replay, stages::replay),
    ("packages", Suite::Packages, stages::packages),
];

/// Those that are run one after the other beside the rest, where all are run.
const BESIDE: &[Suite] = &[Suite::Kernels, Suite::Replay];

/// How one stage went.
struct Outcome {
    name: &'static str,
    took: Duration,
    result: Result<()>,
}

/// Runs all stages of `suites`; where none is named, of all but the packages. One that fails does not keep the others from being
/// run.
pub(crate) fn command(suites: &[Suite]) -> Result<()> {
    let started = Instant::now();
    header("set-up");
    setup::kernel_object()?;
    setup::tests()?;
    println!("-- set-up: {:.0} s", started.elapsed().as_secs_f64());
    let all = suites.is_empty();
    let mut outcomes = Vec::new();
    let mut beside = None;
    for (name, of, run) in STAGES {
        let here = match all {
            true => *of != Suite::Packages && !BESIDE.contains(of),
            false => suites.contains(of),
        };
        if !here {
            continue;
        }
        // What is wrong with a name or a parser should be found before anybody waits for a guest.
        if all && *of == Suite::Live {
            beside = Some(Beside::start(BESIDE)?);
        }
        outcomes.push(stage(name, run));
    }
    if let Some(beside) = beside {
        outcomes.push(stage("kernels and replay tests", || beside.finish()));
    }
    println!("\n== all stages, {:.0} s", started.elapsed().as_secs_f64());
    conclude(&outcomes)
}

fn header(name: &str) {
    println!("\n== {name}");
}

fn stage(name: &'static str, run: impl FnOnce() -> Result<()>) -> Outcome {
    header(name);
    let started = Instant::now();
    let result = run();
    let took = started.elapsed();
    match &result {
        Ok(()) => println!("-- {name}: ok, {:.0} s", took.as_secs_f64()),
        Err(error) => println!("-- {name}: FAILED, {:.0} s: {error:#}", took.as_secs_f64()),
    }
    Outcome { name, took, result }
}

/// Prints one line a stage, the failed ones last; fails when one did.
fn conclude(outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes.iter().filter(|outcome| outcome.result.is_ok()) {
        println!(
            "   ok     {:>5.0} s  {}",
            outcome.took.as_secs_f64(),
            outcome.name
        );
    }
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.result.is_err())
        .collect();
    for outcome in &failed {
        println!(
            "   FAILED {:>5.0} s  {}",
            outcome.took.as_secs_f64(),
            outcome.name
        );
    }
    if !failed.is_empty() {
        let names: Vec<_> = failed.iter().map(|outcome| outcome.name).collect();
        bail!("failed: {}", names.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_failed_stage_is_named_and_fails_the_whole() {
        let outcome = |name, result| Outcome {
            name,
            took: Duration::ZERO,
            result,
        };
        assert!(conclude(&[outcome("fmt", Ok(()))]).is_ok());
        let outcomes = [
            outcome("fmt", Err(anyhow!("not formatted"))),
            outcome("doc", Ok(())),
        ];
        assert_eq!(conclude(&outcomes).unwrap_err().to_string(), "failed: fmt");
    }

    #[test]
    fn each_suite_has_stages() {
        for suite in Suite::value_variants() {
            assert!(STAGES.iter().any(|(_, of, _)| of == suite), "{suite:?}");
        }
    }
}
