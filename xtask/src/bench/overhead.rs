//! The agent's own cost: CPU a span, memory, and how soon it is there.

use super::agent::Agent;
use super::goal::Goal;
use super::load::{Load, run};
use super::nginx::Nginx;
use super::report::{Report, Row};
use super::sink::Sink;
use anyhow::{Context as _, Result, ensure};
use std::thread;
use std::time::Duration;

/// Both sides of each request are on this host: twice as many spans.
const RATE: u32 = 4000;
const LENGTH: Duration = Duration::from_secs(5);

/// What one round found.
#[derive(Default)]
struct Rounds {
    ready: Vec<f64>,
    first_span: Vec<f64>,
    idle: Vec<f64>,
    peak: Vec<f64>,
    silent: Vec<f64>,
    /// As `silent`, without metrics of requests.
    unmeasured: Vec<f64>,
    exporting: Vec<f64>,
    /// As `exporting`, but no trace is kept.
    unsampled: Vec<f64>,
    lost: Vec<f64>,
    /// Whether one was by another hook set than `socket`, which the goals are for.
    by_other_hooks: bool,
}

/// Rounds of: a start under load, a load without export, the same without metrics of requests, a load with export to a sink on this host, the same
/// with no trace kept.
pub(super) fn measure(rounds: usize) -> Result<Report> {
    let about = format!(
        "{RATE} requests a second for {} s on 16 connections, client and server traced",
        LENGTH.as_secs()
    );
    let mut report = Report::new("agent", about);
    let nginx = Nginx::start()?;
    let sink = Sink::start()?;
    let export = sink.environment();
    let mut found = Rounds::default();
    for round in 0..rounds {
        println!("  agent: round {} of {rounds}", round + 1);
        start(&nginx, &mut found)?;
        let silent = under_load(&nginx, &[], &mut found)?;
        found.silent.push(silent);
        let unmeasured = under_load(&nginx, &[("SPANWIRE_METRICS_REQUESTS", "false")], &mut found)?;
        found.unmeasured.push(unmeasured);
        let exporting = under_load(&nginx, &export, &mut found)?;
        found.exporting.push(exporting);
        let sampler = ("OTEL_TRACES_SAMPLER", "always_off");
        let unsampled = under_load(&nginx, &[&export[..], &[sampler]].concat(), &mut found)?;
        found.unsampled.push(unsampled);
    }
    ensure!(
        sink.requests() > 0,
        "nothing arrived at the sink, so the export was not measured"
    );
    let rows = [
        ("CPU a span, not exported", "us", &found.silent, Some(6.0)),
        (
            "CPU a span, exported over OTLP/HTTP",
            "us",
            &found.exporting,
            Some(6.0),
        ),
        ("resident memory when ready", "MiB", &found.idle, Some(64.0)),
        ("resident memory, peak under load", "MiB", &found.peak, Some(64.0)),
        ("start to ready", "ms", &found.ready, None),
        ("start to first span", "ms", &found.first_span, Some(1000.0)),
        ("spans lost of those due", "%", &found.lost, None),
    ];
    let what = "CPU a span, with and without metrics of requests".to_owned();
    report.push(Row::paired(what, "us", &found.silent, &found.unmeasured));
    let what = "CPU a span that is not kept, and of one that is exported".to_owned();
    report.push(Row::paired(what, "us", &found.unsampled, &found.exporting));
    for (what, unit, values, most) in rows {
        let goal = most.filter(|_| !found.by_other_hooks).map(Goal::UpTo);
        report.push(Row::alone(what.to_owned(), unit, values).judged(goal));
    }
    Ok(report)
}

/// Started while requests are under way, until the first span is out.
fn start(nginx: &Nginx, found: &mut Rounds) -> Result<()> {
    let load = Load {
        port: nginx.port,
        rate: 500,
        connections: 4,
        length: LENGTH,
    };
    let requests = thread::spawn(move || run(load));
    let agent = Agent::start_or_fail(&["--output", "otlp-json", "--port", &nginx.port.to_string()], &[])?;
    found.by_other_hooks |= !agent.by_socket_hooks;
    found.ready.push(agent.ready_after.as_secs_f64() * 1e3);
    let first = agent.first_line_after(LENGTH)?;
    found.first_span.push(first.as_secs_f64() * 1e3);
    agent.stop()?;
    requests.join().ok().context("the load died")??;
    Ok(())
}

/// Microseconds of CPU a span.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a few seconds are far below 2^52"
)]
fn under_load(nginx: &Nginx, environment: &[(&str, &str)], found: &mut Rounds) -> Result<f64> {
    let agent = Agent::start_or_fail(
        &["--output", "none", "--port", &nginx.port.to_string()],
        environment,
    )?;
    found.by_other_hooks |= !agent.by_socket_hooks;
    let (idle, _) = agent.memory()?;
    found.idle.push(idle);
    let before = agent.cpu()?;
    let load = Load {
        port: nginx.port,
        rate: RATE,
        connections: 16,
        length: LENGTH,
    };
    let requests = run(load)?.count();
    // The last batch is still to be made and sent: OTEL_BSP_SCHEDULE_DELAY is 5 s, and shutting down flushes it.
    thread::sleep(Duration::from_millis(200));
    let used = agent.cpu()? - before;
    found.peak.push(agent.memory()?.1);
    let summary = agent.stop()?;
    let count = |name| summary.get(name).copied().unwrap_or(0);
    let spans = count("spans.built") + count("spans.unsampled");
    ensure!(spans > 0, "no span was made under load");
    found
        .lost
        .push(100.0 - 100.0 * spans as f64 / (2 * requests) as f64);
    Ok(used.as_secs_f64() * 1e6 / spans as f64)
}
