//! `spanwire replay`, and what it says.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::agent;
use crate::span::{self, Span};

/// `spanwire replay ARGUMENTS`, with `input` on standard input.
///
/// # Errors
/// It does not start.
pub fn replay(arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut command = Command::new(agent::binary()?);
    command.arg("replay").args(arguments);
    agent::forget_settings(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    let input = input.to_vec();
    // One that fails early does not read to the end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output()?;
    writer.join().ok().context("no writer panics")?;
    Ok(output)
}

/// What a capture gives as OTLP/JSON, and what is said of it; it has to be read to its end.
///
/// # Errors
/// It is not.
pub fn read(capture: &[u8]) -> Result<(String, String)> {
    read_with(&[], capture)
}

/// The same with `options`.
///
/// # Errors
/// As [`read`].
pub fn read_with(options: &[&str], capture: &[u8]) -> Result<(String, String)> {
    let arguments = [&["--output", "otlp-json", "--stats", "-"], options].concat();
    let output = replay(&arguments, capture)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok((String::from_utf8(output.stdout)?, said))
}

/// The spans of lines of OTLP/JSON.
///
/// # Errors
/// They are something else.
pub fn spans(lines: &str) -> Result<Vec<Span>> {
    let spans: Result<Vec<_>> = lines.lines().map(span::from_json).collect();
    Ok(spans?.into_iter().flatten().collect())
}

/// Value of a counter in a summary.
#[must_use]
pub fn count(said: &str, counter: &str) -> u64 {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(counter));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

/// Whether both have the same, in any order.
///
/// # Errors
/// They have not; the message says the difference.
pub fn same<T: Ord + std::fmt::Debug>(mut found: Vec<T>, mut expected: Vec<T>) -> Result<()> {
    found.sort();
    expected.sort();
    if found == expected {
        return Ok(());
    }
    let only = |these: &[T], those: &[T]| {
        let differ = |it: &&T| {
            let count = |all: &[T]| all.iter().filter(|other| other == it).count();
            count(these) > count(those)
        };
        these
            .iter()
            .filter(differ)
            .map(|it| format!("{it:?}"))
            .collect::<Vec<_>>()
    };
    let [made_up, missing] = [only(&found, &expected), only(&expected, &found)];
    bail!(
        "{} instead of {}; too many: {made_up:#?}; too few: {missing:#?}",
        found.len(),
        expected.len()
    )
}
