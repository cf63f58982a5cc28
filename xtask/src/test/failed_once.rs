//! Live tests that failed and, attempted once more, did not: allowed in small number, never unseen.

use crate::{shell, workspace};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

/// What the tests' `attempt.rs` writes first attempts to that failed.
const VARIABLE: &str = "SPANWIRE_FAILED_ONCE";

/// How many of one stage may fail once: beyond that it is no hiccup of the machine.
const AT_MOST: usize = 3;

/// Runs the tests of `stage` with a second attempt for each; fails when they do, or when too many needed it.
pub(super) fn run(stage: &str, tests: &mut Command) -> Result<()> {
    let file = file(stage);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", file.display()));
        }
        _ => (),
    }
    shell::run(tests.env(VARIABLE, &file))?;
    match tests_of(&of(stage)?) {
        0..=AT_MOST => Ok(()),
        many => bail!("{many} tests failed at their first attempt, of which at most {AT_MOST} may"),
    }
}

/// Shows which tests of `stage` failed once in its last run, and why.
pub(super) fn show(stage: &str) -> Result<()> {
    let of = of(stage)?;
    if !of.is_empty() {
        println!(
            "\n== {stage}: {} failed once; it is to be found why",
            tests_of(&of)
        );
        print!("{of}");
    }
    Ok(())
}

fn file(stage: &str) -> PathBuf {
    workspace::target().join(format!("failed-once-{}.log", stage.replace(' ', "-")))
}

fn of(stage: &str) -> Result<String> {
    let file = file(stage);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("reading {}", file.display())),
    }
}

/// What is said of why is indented.
fn tests_of(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with(' ')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_counts_once_however_long_its_complaint_is() {
        assert_eq!(tests_of(""), 0);
        assert_eq!(
            tests_of("a::one: 2 spans\n    of 3\n    {}\nb::two: stalled\n"),
            2
        );
    }
}
