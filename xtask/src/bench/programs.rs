//! What the kernel itself counts of each BPF program: runs, and nanoseconds in them.

use super::agent::{Agent, Start};
use super::loops::Loops;
use super::report::{Report, Row};
use crate::shell;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::{self, Command};
use std::time::Duration;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Counting is switched on while this lives: it costs some 20 ns a run itself.
pub(super) struct Counting {
    before: String,
}

impl Counting {
    pub(super) fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| SWITCH.to_owned())?;
        fs::write(SWITCH, "1").with_context(|| SWITCH.to_owned())?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.before) {
            eprintln!(
                "{SWITCH} could not be set back to {}: {error}",
                self.before.trim()
            );
        }
    }
}

/// The loops of `micro`, watched, once for each hook set.
pub(super) fn measure(hooks: &[String]) -> Result<Report> {
    let about = "ns a run of each program, as the kernel counts them (its own counting included)".to_owned();
    let mut report = Report::new("programs", about);
    let counting = Counting::on()?;
    for set in hooks {
        let pid = process::id().to_string();
        match Agent::start(&["--hooks", set, "--pid", &pid, "--output", "none"], &[])? {
            Start::Ready(agent) => {
                let ours = held_by(agent.pid())?;
                Loops::new()?.measure()?;
                let all = programs()?;
                agent.stop()?;
                for program in all.as_array().into_iter().flatten() {
                    if program["id"].as_u64().is_some_and(|id| ours.contains(&id))
                        && let Some((name, runs, each)) = cost(program)
                    {
                        report.push(Row::alone(format!("{set}: {name}, {runs} runs"), "ns", &[each]));
                    }
                }
            }
            Start::Refused(said) => report.note(format!("hooks {set} do not load here: {said}")),
        }
    }
    drop(counting);
    Ok(report)
}

/// Time spent so far in the programs of an agent, as far as the kernel counts it.
pub(super) fn time_in(agent: &Agent) -> Result<Duration> {
    time_in_those(agent, |_| true)
}

/// The same, of those with one name. The kernel keeps 15 bytes of it.
pub(super) fn time_in_one(agent: &Agent, name: &str) -> Result<Duration> {
    time_in_those(agent, |found| found == &name[..name.len().min(15)])
}

fn time_in_those(agent: &Agent, is_one: impl Fn(&str) -> bool) -> Result<Duration> {
    let ours = held_by(agent.pid())?;
    let all = programs()?;
    let ours = all.as_array().into_iter().flatten().filter(|program| {
        let id = program["id"].as_u64();
        id.is_some_and(|id| ours.contains(&id)) && program["name"].as_str().is_some_and(&is_one)
    });
    let time = ours.filter_map(|program| program["run_time_ns"].as_u64()).sum();
    Ok(Duration::from_nanos(time))
}

fn programs() -> Result<Value> {
    let listed = shell::output(Command::new("bpftool").args(["prog", "show", "-j"]));
    serde_json::from_str(&listed.context("bpftool (Debian's package bpftool)")?).context("bpftool's answer")
}

/// Programs that a process holds, by its descriptors: another spanwire may come and go meanwhile.
fn held_by(pid: u32) -> Result<BTreeSet<u64>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let descriptors = fs::read_dir(&folder).with_context(|| folder.clone())?;
    let texts = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.ok()?.path()).ok());
    Ok(texts.filter_map(|text| program_id(&text)).collect())
}

/// The program of a descriptor, be it of the program or of a link to it.
fn program_id(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("prog_id:"))?
        .trim()
        .parse()
        .ok()
}

/// Name, runs, nanoseconds a run; `None` for one that never ran.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times of a few seconds are far below 2^52"
)]
fn cost(program: &Value) -> Option<(&str, u64, f64)> {
    let (runs, time) = (program["run_cnt"].as_u64()?, program["run_time_ns"].as_u64()?);
    (runs > 0).then(|| {
        (
            program["name"].as_str().unwrap_or("unnamed"),
            runs,
            time as f64 / runs as f64,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_descriptor_names_its_program() {
        assert_eq!(
            program_id("pos:\t0\nprog_type:\t17\nprog_id:\t6042\n"),
            Some(6042)
        );
        assert_eq!(program_id("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn programs_that_never_ran_have_no_cost() {
        let program = json!({"id": 3, "name": "on_send", "run_cnt": 4, "run_time_ns": 1000});
        assert_eq!(cost(&program), Some(("on_send", 4, 250.0)));
        assert_eq!(cost(&json!({"id": 3, "run_cnt": 0, "run_time_ns": 0})), None);
        assert_eq!(cost(&json!({"id": 3})), None);
    }
}
