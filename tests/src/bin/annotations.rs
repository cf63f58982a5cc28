//! Delays for `cargo xtask bench annotations`: of a pod that is annotated and not, `COUNT` times, milliseconds from the API server's
//! word to what is seen of it, as JSON.

use anyhow::{Context as _, Result};
use serde_json::json;
use spanwire_tests::agent::Hooks;
use spanwire_tests::flips::{self, Outcome};
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> Result<()> {
    let count = std::env::args().nth(1).context("how often?")?.parse()?;
    let outcome = flips::run(Hooks::Socket, count)?;
    println!("{}", delays(&outcome)?);
    Ok(())
}

/// Nanoseconds since the Unix epoch.
fn nanoseconds(time: SystemTime) -> Result<u64> {
    Ok(u64::try_from(time.duration_since(UNIX_EPOCH)?.as_nanos())?)
}

#[expect(clippy::cast_precision_loss, reason = "of seconds")]
fn milliseconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

fn delays(outcome: &Outcome) -> Result<serde_json::Value> {
    let mut first_span = Vec::new();
    let (mut last_span, mut last_context, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let starts: Vec<u64> = outcome.spans.values().map(|span| span.start).collect();
    let begun = |number: &usize| outcome.orders.get(*number).map(|order| order.begun);
    let with_context = outcome.contexts.iter().filter(|(_, has_context)| **has_context);
    let contexts: Vec<u64> = with_context
        .filter_map(|(number, _)| begun(number))
        .map(nanoseconds)
        .collect::<Result<_>>()?;
    let mut next: Vec<u64> = outcome
        .flips
        .iter()
        .skip(1)
        .map(|flip| nanoseconds(flip.annotates.1))
        .collect::<Result<_>>()?;
    next.push(u64::MAX);
    for (flip, next) in outcome.flips.iter().zip(next) {
        let (annotates, annotated) = (nanoseconds(flip.annotates.1)?, nanoseconds(flip.annotated.1)?);
        let removed = nanoseconds(flip.removed.1)?;
        let first = starts.iter().filter(|start| **start >= annotates).min();
        first_span.push(milliseconds(annotated, *first.context("no span")?));
        let last = |times: &[u64]| times.iter().filter(|time| **time < next).max().copied();
        last_span.push(milliseconds(removed, last(&starts).context("no span")?));
        last_context.push(milliseconds(removed, last(&contexts).context("no context")?));
        left.push(milliseconds(removed, nanoseconds(flip.left.1)?));
    }
    Ok(json!({
        "first_span": first_span, "last_span": last_span, "last_context": last_context, "nothing_enrolled": left,
    }))
}
