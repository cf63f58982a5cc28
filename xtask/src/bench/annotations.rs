//! How soon an annotation of a pod is followed, both ways.

use super::goal::Goal;
use super::report::{Report, Row};
use crate::{setup, shell, workspace};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::process::Command;

/// Milliseconds: the promise of issue 7.
const PROMISE: f64 = 2_000.0;

/// What `annotations` says: milliseconds, each time that a pod was annotated and that was taken back.
#[derive(Deserialize)]
struct Delays {
    first_span: Vec<f64>,
    last_span: Vec<f64>,
    last_context: Vec<f64>,
    nothing_enrolled: Vec<f64>,
}

/// Annotates `count` times.
pub(super) fn measure(count: usize) -> Result<Report> {
    setup::tests()?;
    shell::run(setup::cargo()?.args([
        "build",
        "--release",
        "-p",
        "spanwire-tests",
        "--bin",
        "annotations",
    ]))?;
    let built = workspace::target().join(if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    });
    let mut command = Command::new(built.join("annotations"));
    command
        .env("SPANWIRE_BIN", built.join("spanwire"))
        .arg(count.to_string());
    let said = shell::output(&mut command)?;
    let delays: Delays = serde_json::from_str(&said).context("what annotations said")?;
    let mut report = Report::new(
        "annotations",
        format!(
            "a pod that is asked each 100 ms, annotated and not {count} times, with a real API server; from its answer"
        ),
    );
    for (what, values) in [
        ("annotated, to the first span", &delays.first_span),
        ("taken back, to the last span", &delays.last_span),
        ("taken back, to the last context injected", &delays.last_context),
        (
            "taken back, until nothing is enrolled, and that was told",
            &delays.nothing_enrolled,
        ),
    ] {
        report.push(Row::alone(what.to_owned(), "ms", values));
        let most = values.iter().copied().fold(0.0, f64::max);
        report.push(
            Row::alone(format!("  at most, of {count}"), "ms", &[most]).judged(Some(Goal::UpTo(PROMISE))),
        );
    }
    Ok(report)
}
