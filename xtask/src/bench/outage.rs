//! What an outage of the collector costs: every span that was made is received, counted as lost, or still in the spool.
//!
//! The collector is away from a fifth of the time to four fifths. Once nothing else happens, once spanwire is killed in the
//! middle, once the disk of the spool is small.
//!
//! **What a kill leaves unknown.** The counters of the one that was killed are gone, and so is what it had in memory. What it had
//! stored is what the next one finds. So of the spans of both: received before the kill, found in the spool, and made since, less
//! what is counted as lost since, is received, each of them; and what the requests should have made beyond that is no more than
//! the queue, and what passed while no spanwire was there.

use super::agent::Agent;
use super::collector::Collector;
use super::load::{Load, run};
use super::nginx::Nginx;
use super::report::write_json;
use crate::workspace;
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: u32 = 8;
/// `OTEL_BSP_SCHEDULE_DELAY`: as long as a span waits at most to be stored.
const SCHEDULE_DELAY: Duration = Duration::from_secs(1);
/// `OTEL_BSP_MAX_QUEUE_SIZE`.
const QUEUE: u64 = 2048;
/// How long nothing may come until all is taken to have come: longer than an attempt that is not answered (10 s) and the wait behind it
/// (5 s).
const QUIET: Duration = Duration::from_secs(20);
/// A disk that an outage of seconds fills.
const SMALL_DISK: &str = "64k";

/// What happens beside the outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Plan {
    /// Nothing.
    Outage,
    /// spanwire is killed in the middle, and started again.
    Kill,
    /// The disk of the spool is small.
    FullDisk,
}

/// What one run came to, in spans where nothing else is said.
#[derive(Debug, Serialize)]
struct Outcome {
    plan: Plan,
    requests: u64,
    /// Of the one that was running last.
    made: u64,
    found: u64,
    received: u64,
    received_before_the_kill: u64,
    received_again: u64,
    lost: u64,
    left: u64,
    /// Made, or due, and neither received nor counted: only a kill may leave some.
    unknown: u64,
    summary: BTreeMap<String, u64>,
}

/// Runs these plans, all where none is named, and says what came of them.
///
/// # Errors
/// A span is not accounted for, or one was lost that the spool had room for.
pub(super) fn measure(plans: &[Plan], rate: u32, length: Duration, folder: &Path) -> Result<()> {
    let mut outcomes = Vec::new();
    let is_meant = |plan: &Plan| plans.is_empty() || plans.contains(plan);
    for plan in Plan::value_variants().iter().copied().filter(is_meant) {
        println!(
            "outage: {plan:?}, {rate} requests a second for {} s",
            length.as_secs()
        );
        let outcome = outage(plan, rate, length)?;
        println!(
            "  {} requests, {} spans made and {} found, {} received ({} before the kill, {} again), {} lost and counted, {} \
             left, {} unknown",
            outcome.requests,
            outcome.made,
            outcome.found,
            outcome.received,
            outcome.received_before_the_kill,
            outcome.received_again,
            outcome.lost,
            outcome.left,
            outcome.unknown,
        );
        outcomes.push(outcome);
    }
    write_json(folder, "outage", &outcomes)?;
    outcomes.iter().try_for_each(|outcome| judge(outcome, rate))
}

fn judge(outcome: &Outcome, rate: u32) -> Result<()> {
    let Outcome {
        made,
        found,
        received,
        lost,
        left,
        ..
    } = *outcome;
    let of_the_last = received - outcome.received_before_the_kill;
    ensure!(
        made + found == of_the_last + lost + left,
        "{:?}: {made} made + {found} found are not {of_the_last} received + {lost} lost + {left} left: {:?}",
        outcome.plan,
        outcome.summary
    );
    match outcome.plan {
        Plan::Outage => ensure!(
            lost == 0 && left == 0,
            "{lost} spans lost and {left} left with room in the spool"
        ),
        Plan::FullDisk => ensure!(lost > 0, "the disk was not full: a longer run fills it"),
        Plan::Kill => {
            ensure!(
                lost == 0 && left == 0,
                "{lost} spans lost and {left} left with room in the spool"
            );
            ensure!(found > 0, "nothing was in the spool after the kill");
            // Two spans a request; five seconds for the next start.
            let most = u64::from(rate) * 2 * (SCHEDULE_DELAY.as_secs() + 5) + QUEUE;
            ensure!(
                outcome.unknown <= most,
                "{} spans are unknown, above {most}",
                outcome.unknown
            );
        }
    }
    Ok(())
}

fn outage(plan: Plan, rate: u32, length: Duration) -> Result<Outcome> {
    let nginx = Nginx::start()?;
    let collector = Collector::start()?;
    let folder = Folder::new(plan)?;
    let start = || {
        let endpoint = format!("http://127.0.0.1:{}", collector.port);
        let spool = folder.path.join("spool").display().to_string();
        let delay = SCHEDULE_DELAY.as_millis().to_string();
        Agent::start_or_fail(
            &["--output", "none", "--port", &nginx.port.to_string()],
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
                ("OTEL_BSP_SCHEDULE_DELAY", &delay),
                ("OTEL_BSP_MAX_QUEUE_SIZE", &QUEUE.to_string()),
                ("SPANWIRE_SPOOL", &spool),
            ],
        )
    };
    let mut agent = start()?;
    let load = Load {
        port: nginx.port,
        rate,
        connections: CONNECTIONS,
        length,
    };
    let begin = Instant::now();
    let requests = thread::spawn(move || run(load));
    let wait = |share: f64| thread::sleep(length.mul_f64(share).saturating_sub(begin.elapsed()));
    wait(0.2);
    collector.leave();
    wait(0.5);
    let mut before = 0;
    if plan == Plan::Kill {
        before = collector.received().0;
        // SIGKILL.
        drop(agent);
        agent = start()?;
    }
    wait(0.8);
    collector.come_back();
    let requests = requests.join().ok().context("the load died")??.count();
    settle(&collector);
    let summary = agent.stop()?;
    let (received, again) = collector.received();
    let counter = |name: &str| summary.get(name).copied().unwrap_or_default();
    let lost = summary
        .iter()
        .filter(|(name, _)| name.starts_with("lost.spans."))
        .map(|(_, count)| count)
        .sum();
    let (made, found) = (counter("spans.built"), counter("spool.spans.found"));
    let due = match plan {
        Plan::Kill => 2 * requests as u64,
        Plan::Outage | Plan::FullDisk => made,
    };
    Ok(Outcome {
        plan,
        requests: requests as u64,
        made,
        found,
        received: received as u64,
        received_before_the_kill: before as u64,
        received_again: again as u64,
        lost,
        left: counter("spool.spans.left"),
        unknown: due.saturating_sub(before as u64 + found + made),
        summary,
    })
}

/// Waits until no more spans come.
fn settle(collector: &Collector) {
    let (mut last, mut since) = (collector.received(), Instant::now());
    while since.elapsed() < QUIET {
        thread::sleep(Duration::from_millis(50));
        let now = collector.received();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

/// Where the spool is; gone when dropped.
struct Folder {
    path: PathBuf,
    is_mounted: bool,
}

impl Folder {
    fn new(plan: Plan) -> Result<Self> {
        let path = workspace::target().join(format!("outage-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        let is_mounted = plan == Plan::FullDisk;
        if is_mounted {
            let size = format!("size={SMALL_DISK},mode=0700");
            let mut mount = Command::new("mount");
            let status = mount
                .args(["-t", "tmpfs", "-o", &size, "spanwire-bench"])
                .arg(&path)
                .status()?;
            ensure!(status.success(), "mounting a small disk: {status}");
        }
        Ok(Self { path, is_mounted })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}
