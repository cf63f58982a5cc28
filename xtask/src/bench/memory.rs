//! The agent's memory under a steady load: does it stay where it is?

use super::agent::Agent;
use super::goal::Goal;
use super::load::{Load, run};
use super::nginx::Nginx;
use super::report::{Report, Row};
use super::sink::Sink;
use anyhow::{Context as _, Result, ensure};
use std::thread;
use std::time::Duration;

const CONNECTIONS: u32 = 32;
/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A load of `rate` requests a second for `length`, whose client and server are traced, exported to a sink on this host.
pub(super) fn measure(rate: u32, length: Duration) -> Result<Report> {
    let about = format!(
        "{rate} requests a second for {} s on {CONNECTIONS} connections, client and server traced, exported over OTLP/HTTP",
        length.as_secs()
    );
    let mut report = Report::new("memory", about);
    let nginx = Nginx::start()?;
    let sink = Sink::start()?;
    let agent = Agent::start_or_fail(
        &["--output", "none", "--port", &nginx.port.to_string()],
        &sink.environment(),
    )?;
    let load = Load {
        port: nginx.port,
        rate,
        connections: CONNECTIONS,
        length,
    };
    let requests = thread::spawn(move || run(load));
    let mut resident = Vec::new();
    while !requests.is_finished() {
        resident.push(agent.memory()?.0);
        thread::sleep(EVERY);
    }
    let requests = requests.join().ok().context("the load died")??.count();
    let peak = agent.memory()?.1;
    let by_socket_hooks = agent.by_socket_hooks;
    let summary = agent.stop()?;
    ensure!(
        resident.len() >= 8 && sink.requests() > 0,
        "{} looks and {} batches are too few",
        resident.len(),
        sink.requests()
    );
    let quarter = resident.len() / 4;
    let (second, last) = (
        &resident[quarter..2 * quarter],
        &resident[resident.len() - quarter..],
    );
    let made = summary.get("spans.built").copied().unwrap_or(0);
    let losses = summary.iter().filter(|(name, _)| name.starts_with("lost."));
    println!(
        "  {requests} requests, {made} spans, losses: {:?}",
        losses.collect::<Vec<_>>()
    );
    let goal = |goal: Goal| Some(goal).filter(|_| by_socket_hooks);
    let flat = Row::paired(
        "resident memory, last quarter to second".to_owned(),
        "MiB",
        last,
        second,
    );
    report.push(flat.judged(goal(Goal::RatioUpTo(1.02))));
    let most = Row::alone("resident memory, peak".to_owned(), "MiB", &[peak]);
    report.push(most.judged(goal(Goal::UpTo(64.0))));
    Ok(report)
}
