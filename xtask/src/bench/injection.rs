//! What it costs to put a context into each request, against capture alone: a real client of each protocol whose sockets are
//! enrolled on every kernel, and a real service.

use super::goal::Goal;
use super::programs::Counting;
use super::protocols::{self, Load, per};
use super::report::{Report, Row};
use anyhow::{Result, ensure};

/// What `load` of the tests knows, and what it sends.
const LOADS: [(&str, &str); 4] = [
    ("http1", "20,000 requests on 16 connections, Go, to nginx"),
    ("http2", "10,000 requests on 50 streams, Go"),
    ("grpc", "10,000 calls on 50 streams, grpc-go"),
    ("amqp", "20,000 messages through RabbitMQ, amqp091-go"),
];

const INJECTING: [&str; 2] = ["--propagate", "http1,http2,amqp"];

/// What is measured behind the seconds of a run where `load` keeps to a rate.
const LATENCIES: [(&str, Option<Goal>); 3] = [
    ("latency p50 at 2,000 requests/s", None),
    ("latency p95 at 2,000 requests/s", Some(Goal::RatioUpTo(1.02))),
    ("latency p99 at 2,000 requests/s", None),
];

/// Rounds of both, each the other way round than the one before; then one of each with the kernel counting, which costs time
/// itself.
pub(super) fn measure(rounds: usize) -> Result<Report> {
    protocols::prepare()?;
    let about = "with: contexts are injected; without: capture alone".to_owned();
    let mut report = Report::new("injection", about);
    for (protocol, what) in LOADS {
        let mut load = Load::start(protocol)?;
        // The first run also makes queues and pages.
        load.run()?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let mut by_socket_hooks = true;
        for round in 0..rounds {
            println!("  {protocol}: round {} of {rounds}", round + 1);
            for turn in 0..2 {
                let injects = (turn + round) % 2 == 0;
                let run = load.run_watched(if injects { &INJECTING } else { &[] })?;
                by_socket_hooks &= run.by_socket_hooks;
                ensure!(
                    injects == (run.injected > 0),
                    "{protocol}: {} contexts were injected",
                    run.injected
                );
                if injects { &mut with } else { &mut without }.push(run.measured);
            }
        }
        let goal = |goal: Option<Goal>| goal.filter(|_| by_socket_hooks);
        let column = |runs: &[Vec<f64>], place: usize| runs.iter().map(|run| run[place]).collect::<Vec<_>>();
        let speed = |runs: &[Vec<f64>]| runs.iter().map(|run| 1.0 / run[0]).collect::<Vec<_>>();
        report.push(Row::paired(
            format!("{protocol}: {what}"),
            "runs/s",
            &speed(&with),
            &speed(&without),
        ));
        for place in 1..with[0].len() {
            let (what, judged) = LATENCIES[place - 1];
            let row = Row::paired(
                format!("{protocol}: {what}"),
                "us",
                &column(&with, place),
                &column(&without, place),
            );
            report.push(row.judged(goal(judged)));
        }
        let counting = Counting::on()?;
        let capture = load.run_watched(&[])?;
        let counted = load.run_watched(&INJECTING)?;
        drop(counting);
        let row = Row::alone(
            format!("{protocol}: in the program that injects, a request"),
            "ns",
            &[per(counted.injecting, counted.injected)],
        );
        report.push(row.judged(goal(Some(Goal::UpTo(1000.0)))));
        report.push(Row::paired(
            format!("{protocol}: in all of the kernel's programs, a span"),
            "ns",
            &[counted.in_kernel],
            &[capture.in_kernel],
        ));
    }
    Ok(report)
}
