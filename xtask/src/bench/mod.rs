//! `cargo xtask bench`: what spanwire costs, and how many of its traces are right.
//!
//! Every number of a cost comes from pairs: without and with, in turn, in the same minute, so that a machine that gets slower
//! in between slows both. Shown are medians and the middle half of the rounds; a JSON file beside the table has the
//! same. All load is on loopback, and bounded in count and time.

mod agent;
mod annotations;
mod causality;
mod collector;
mod goal;
mod injection;
mod load;
mod loops;
mod memory;
mod micro;
mod nginx;
mod outage;
mod overhead;
mod programs;
mod protocols;
mod replay;
mod report;
mod sink;
mod spread;
mod tail;

use crate::{run, setup, shell, workspace};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which parts; all when none is named.
    parts: Vec<Part>,
    /// Rounds of each pair.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Hook sets to compare in `micro`; one that does not load here is left out, and said.
    #[arg(long, value_delimiter = ',', default_value = "socket,trampoline,syscall")]
    hooks: Vec<String>,
    /// Requests a second in `outage` (500 where nothing is said) and in `memory` (10,000).
    #[arg(long)]
    rate: Option<u32>,
    /// Seconds of each run of `outage`, and of `memory`.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// What happens beside the collector's absence in `outage`; each in turn where nothing is named.
    #[arg(long, value_delimiter = ',')]
    plans: Vec<outage::Plan>,
    /// How often a pod is annotated in `annotations`.
    #[arg(long, default_value_t = 20)]
    flips: usize,
    /// Runtimes to load in `causality`; all when none is named.
    #[arg(long, value_delimiter = ',')]
    runtimes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nanoseconds a call adds to: no socket, an unwatched one, a watched one; and those of tail sampling a span.
    Micro,
    /// Run-time statistics of the kernel's programs.
    Programs,
    /// nginx: throughput when saturated, and latency at a fixed rate.
    Nginx,
    /// The agent itself: CPU a span, memory, time to the first span.
    Agent,
    /// HTTP/2, gRPC, PostgreSQL, AMQP: throughput, CPU a span, time in the kernel a span.
    Protocols,
    /// Contexts put into requests: throughput, latency and time in the kernel, against capture alone.
    Injection,
    /// A collector that is away, with a kill and a full disk in between: every span is received or counted.
    Outage,
    /// The agent's memory under a steady load.
    Memory,
    /// Captures: bytes a second of CPU.
    Replay,
    /// Requests of each runtime whose trees are known: how many come out right, at 1 to 200 at a time.
    Causality,
    /// A pod's annotation: how soon it is followed, both ways.
    Annotations,
}

/// Measures what was asked for, prints tables, and writes `target/bench/*.json`.
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    // These are not about costs: they run as this is built.
    let as_built = [Part::Outage, Part::Annotations];
    let length = Duration::from_secs(arguments.seconds);
    let is_counted = !arguments.parts.is_empty() && arguments.parts.iter().all(|it| as_built.contains(it));
    if cfg!(debug_assertions) && !is_counted {
        return again_optimised();
    }
    if !shell::is_root() {
        bail!("spanwire loads programs into the kernel: run the bench as root");
    }
    if arguments.rounds < 3 {
        bail!(
            "--rounds {}: a median and a spread need at least 3",
            arguments.rounds
        );
    }
    setup::bench()?;
    if cfg!(debug_assertions) {
        shell::run(setup::cargo()?.args(["build", "--quiet", "-p", "spanwire"]))?;
    } else {
        run::build()?;
    }
    for part in Part::value_variants() {
        if !arguments.parts.is_empty() && !arguments.parts.contains(part) {
            continue;
        }
        let folder = workspace::target().join("bench");
        let report = match part {
            Part::Causality => {
                let table = causality::measure(&arguments.runtimes)?;
                table.print();
                table.write(&folder)?;
                continue;
            }
            Part::Outage => {
                let rate = arguments.rate.unwrap_or(500);
                outage::measure(&arguments.plans, rate, length, &folder)?;
                continue;
            }
            Part::Micro => micro::measure(&arguments.hooks, arguments.rounds)?,
            Part::Programs => programs::measure(&arguments.hooks)?,
            Part::Nginx => nginx::measure(arguments.rounds)?,
            Part::Agent => overhead::measure(arguments.rounds)?,
            Part::Protocols => protocols::measure(arguments.rounds)?,
            Part::Injection => injection::measure(arguments.rounds)?,
            Part::Memory => memory::measure(arguments.rate.unwrap_or(10_000), length)?,
            Part::Replay => replay::measure(arguments.rounds)?,
            Part::Annotations => annotations::measure(arguments.flips)?,
        };
        report.print();
        report.write(&folder)?;
    }
    Ok(())
}

/// Loops and load generator are part of this program, and it is usually built without optimisation.
fn again_optimised() -> Result<()> {
    let mut cargo = setup::cargo()?;
    cargo.args(["run", "--release", "--quiet", "-p", "xtask", "--"]);
    let error = cargo.args(std::env::args_os().skip(1)).exec();
    Err(error).context("starting cargo")
}
