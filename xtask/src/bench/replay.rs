//! `spanwire replay`: how much of a capture it reads a second of CPU.

use super::agent;
use super::goal::Goal;
use super::nginx::Nginx;
use super::report::{Report, Row};
use crate::{shell, workspace};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const SECONDS: u64 = 3;

/// Pages of [`Nginx`], and how long they are.
const PAGES: [(&str, &str); 2] = [("", "200 B"), ("page", "4,000 B")];

/// A capture of wrk at nginx for each size of a page, each replayed `rounds` times.
pub(super) fn measure(rounds: usize) -> Result<Report> {
    let about =
        format!("captures of nginx and wrk with 16 connections for {SECONDS} s, by tcpdump on loopback");
    let mut report = Report::new("replay", about);
    let nginx = Nginx::start()?;
    let binary = workspace::target().join("release/spanwire");
    for (page, length) in PAGES {
        let file = nginx.folder.join("capture.pcap");
        capture(&nginx, page, &file)?;
        let megabytes = fs::metadata(&file)?.len() as f64 / 1e6;
        let (mut speeds, mut costs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            println!("  replay of {length}: round {} of {rounds}", round + 1);
            let before = agent::cpu_of_children()?;
            let mut replay = Command::new(&binary);
            replay.args(["replay", "--output", "none", "--stats"]).arg(&file);
            let done = replay.output().context("replaying")?;
            let cpu = (agent::cpu_of_children()? - before).as_secs_f64();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            ensure!(done.status.success(), "replay: {said}");
            let lines: Vec<_> = said.lines().map(str::to_owned).collect();
            let spans = agent::summary(&lines).get("spans.built").copied().unwrap_or(0);
            ensure!(spans > 1000, "no load was captured: {said}");
            speeds.push(megabytes / cpu);
            costs.push(cpu * 1e6 / spans as f64);
        }
        let row = Row::alone(format!("{length}: capture a second of CPU"), "MB/s", &speeds);
        report.push(row.judged(Some(Goal::From(200.0))));
        report.push(Row::alone(format!("{length}: CPU a span"), "us", &costs));
    }
    Ok(report)
}

/// Writes what goes over nginx's port while wrk asks for `page` to `file`.
fn capture(nginx: &Nginx, page: &str, file: &Path) -> Result<()> {
    let program = shell::find("tcpdump").context("no tcpdump: cargo xtask setup --tests")?;
    let mut tcpdump = Command::new(program)
        .args(["-i", "lo", "-s", "0", "-B", "65536", "-Z", "root", "-w"])
        .arg(file)
        .args(["port", &nginx.port.to_string()])
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(tcpdump.stderr.take().context("no standard error")?).lines();
    let begun = said.any(|line| line.is_ok_and(|line| line.contains("listening on")));
    ensure!(begun, "tcpdump does not begin");
    let url = format!("http://127.0.0.1:{}/{page}", nginx.port);
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "1", "-c", "16", "-d", &format!("{SECONDS}s"), &url]);
    let load = shell::output(&mut wrk);
    let pid = Pid::from_raw(i32::try_from(tcpdump.id())?).context("no pid")?;
    kill_process(pid, Signal::INT)?;
    let status = tcpdump.wait()?;
    ensure!(status.success(), "tcpdump: {status}");
    load.map(|_| ())
}
