//! Each protocol by a real service and a real client of it, both watched: how much slower they are with spanwire, what a span
//! costs the agent, and what a message costs the kernel.

use super::agent::Agent;
use super::goal::Goal;
use super::programs::{self, Counting};
use super::report::{Report, Row};
use crate::{setup, shell, workspace};
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

/// What `load` of the tests knows, what it sends, and whether issue 4 has a goal for its throughput.
const LOADS: [(&str, &str, bool); 6] = [
    ("http2", "10,000 requests on 50 streams, Go", false),
    ("grpc", "10,000 calls on 50 streams, grpc-go", false),
    ("postgres", "pgbench, 8 clients", true),
    ("postgres-simple", "pgbench -S -M simple, 8 clients", true),
    ("postgres-prepared", "pgbench -S -M prepared, 8 clients", true),
    ("amqp", "20,000 messages through RabbitMQ, amqp091-go", true),
];

/// `load`, which is there until it is dropped.
pub(super) struct Load {
    child: Child,
    /// Dropped, it ends.
    orders: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
    port: String,
}

impl Load {
    pub(super) fn start(protocol: &str) -> Result<Self> {
        let mut child = Command::new(workspace::target().join("release/load"))
            .arg(protocol)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting target/release/load")?;
        let orders = child.stdin.take();
        let said = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let mut load = Self {
            child,
            orders,
            said,
            port: String::new(),
        };
        load.port = load.hear("ready ")?;
        Ok(load)
    }

    fn hear(&mut self, what: &str) -> Result<String> {
        match self.said.next().transpose()? {
            Some(line) if line.starts_with(what) => Ok(line[what.len()..].to_owned()),
            other => bail!("the load said {other:?} where {what:?} was due"),
        }
    }

    /// Seconds that one run took, and what else the client measured.
    pub(super) fn run(&mut self) -> Result<Vec<f64>> {
        writeln!(self.orders.as_mut().context("no standard input")?)?;
        let said = self.hear("done ")?;
        let numbers: Result<Vec<f64>, _> = said.split(' ').map(str::parse).collect();
        let numbers = numbers?;
        ensure!(!numbers.is_empty(), "the load measured nothing");
        Ok(numbers)
    }

    /// One run under spanwire with `options`, and what it came to.
    pub(super) fn run_watched(&mut self, options: &[&str]) -> Result<Watched> {
        let arguments = [&["--output", "none", "--port", &self.port], options].concat();
        let agent = Agent::start_or_fail(&arguments, &[])?;
        let by_socket_hooks = agent.by_socket_hooks;
        let (cpu, in_kernel) = (agent.cpu()?, programs::time_in(&agent)?);
        let measured = self.run()?;
        // What is still in the ring buffer.
        thread::sleep(Duration::from_millis(200));
        let (cpu, in_kernel) = (agent.cpu()? - cpu, programs::time_in(&agent)? - in_kernel);
        let injecting = programs::time_in_one(&agent, "spanwire_inject")?;
        let summary = agent.stop()?;
        let spans = summary.get("spans.built").copied().unwrap_or(0);
        ensure!(spans > 0, "no span was made under load: {summary:?}");
        let lost = summary.iter().filter(|(name, _)| name.contains("lost"));
        Ok(Watched {
            measured,
            cpu: per(cpu.as_secs_f64() * 1e6, spans),
            in_kernel: per(in_kernel.as_secs_f64() * 1e9, spans),
            injecting: injecting.as_secs_f64() * 1e9,
            injected: summary.get("kernel.propagation.injected").copied().unwrap_or(0),
            lost: lost.map(|(_, count)| count).sum(),
            by_socket_hooks,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.orders.take());
        // Its service ends with it.
        let _ = self.child.wait();
    }
}

/// One run with spanwire.
pub(super) struct Watched {
    /// What [`Load::run`] gives.
    pub(super) measured: Vec<f64>,
    /// Microseconds of the agent's CPU a span.
    cpu: f64,
    /// Nanoseconds in our programs a span; 0 where the kernel does not count them.
    pub(super) in_kernel: f64,
    /// Nanoseconds in all runs of the program that injects.
    pub(super) injecting: f64,
    /// Requests that a context was injected into.
    pub(super) injected: u64,
    lost: u64,
    pub(super) by_socket_hooks: bool,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a few seconds are far below 2^52"
)]
pub(super) fn per(whole: f64, spans: u64) -> f64 {
    whole / spans as f64
}

/// Installs what `load` starts, and builds it.
pub(super) fn prepare() -> Result<()> {
    setup::tests()?;
    shell::run(setup::cargo()?.args(["build", "--release", "-p", "spanwire-tests", "--bin", "load"]))
}

/// Rounds of both, each with spanwire first in every other round; then one with the kernel counting, which costs time itself.
pub(super) fn measure(rounds: usize) -> Result<Report> {
    prepare()?;
    let about =
        "a real service and client of each protocol on this host, both watched; spans are those of both"
            .to_owned();
    let mut report = Report::new("protocols", about);
    for (protocol, what, judged) in LOADS {
        let mut load = Load::start(protocol)?;
        // The first run also makes tables, queues, pages.
        load.run()?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            println!("  {protocol}: round {} of {rounds}", round + 1);
            for turn in 0..2 {
                if (turn + round) % 2 == 0 {
                    without.push(1.0 / load.run()?[0]);
                } else {
                    with.push(load.run_watched(&[])?);
                }
            }
        }
        let counting = Counting::on()?;
        let counted = load.run_watched(&[])?;
        drop(counting);
        let by_socket_hooks = with.iter().all(|run| run.by_socket_hooks);
        let goal = |goal| Some(goal).filter(|_| by_socket_hooks);
        let column = |value: fn(&Watched) -> f64| with.iter().map(value).collect::<Vec<_>>();
        let speed = column(|run| 1.0 / run.measured[0]);
        let row = Row::paired(format!("{protocol}: {what}"), "runs/s", &speed, &without);
        report.push(row.judged(goal(Goal::RatioFrom(0.95)).filter(|_| judged)));
        let row = Row::alone(format!("{protocol}: CPU a span"), "us", &column(|run| run.cpu));
        report.push(row.judged(goal(Goal::UpTo(6.0))));
        let in_kernel = format!("{protocol}: time in the kernel's programs a span");
        report.push(Row::alone(in_kernel, "ns", &[counted.in_kernel]));
        let lost: u64 = with.iter().map(|run| run.lost).sum();
        if lost > 0 {
            report.note(format!("{protocol}: {lost} losses counted"));
        }
    }
    Ok(report)
}
