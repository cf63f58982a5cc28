//! spanwire under measurement: started, waited for, looked at through /proc, ended.

use crate::workspace;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A running spanwire. Dropped, it is killed.
pub(super) struct Agent {
    child: Child,
    stderr: Receiver<String>,
    stdout: Receiver<Instant>,
    /// From its start until it said that it is attached.
    pub(super) ready_after: Duration,
    /// Whether it said that it is so by hook set `socket`, which the goals are for.
    pub(super) by_socket_hooks: bool,
    started: Instant,
}

/// How a start went.
pub(super) enum Start {
    Ready(Box<Agent>),
    /// It cannot capture here, and how it put it.
    Refused(String),
}

impl Agent {
    /// `spanwire run ARGUMENTS` with `environment`.
    pub(super) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Start> {
        // Built as this is.
        let profile = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        let binary = workspace::target().join(profile).join("spanwire");
        let started = Instant::now();
        let mut child = Command::new(&binary)
            .arg("run")
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stdout = lines(child.stdout.take().context("no standard output")?, |_| {
            Instant::now()
        });
        let stderr = lines(child.stderr.take().context("no standard error")?, |line| line);
        let mut agent = Self {
            child,
            stderr,
            stdout,
            ready_after: Duration::ZERO,
            by_socket_hooks: false,
            started,
        };
        let mut said = Vec::new();
        while started.elapsed() < READY_WITHIN {
            match agent.stderr.recv_timeout(Duration::from_millis(100)) {
                Ok(line) if line.starts_with("spanwire ready") => {
                    agent.ready_after = started.elapsed();
                    agent.by_socket_hooks = line.starts_with("spanwire ready: socket hooks");
                    return Ok(Start::Ready(Box::new(agent)));
                }
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = agent.child.wait()?;
                    // 1 is the status for a kernel or privileges that do not allow it.
                    if status.code() == Some(1) {
                        return Ok(Start::Refused(said.join("; ")));
                    }
                    bail!(
                        "spanwire ended with {status} before it was ready: {}",
                        said.join("; ")
                    );
                }
            }
        }
        bail!(
            "spanwire was not ready after {READY_WITHIN:?}: {}",
            said.join("; ")
        )
    }

    /// As [`Agent::start`], where a refusal is an error.
    pub(super) fn start_or_fail(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Box<Self>> {
        match Self::start(arguments, environment)? {
            Start::Ready(agent) => Ok(agent),
            Start::Refused(said) => bail!("spanwire cannot capture here: {said}"),
        }
    }

    /// As this host numbers it.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time it has used, user and system.
    pub(super) fn cpu(&self) -> Result<Duration> {
        // utime and stime.
        times(&format!("/proc/{}/stat", self.child.id()), 11)
    }

    /// Resident memory now, and at its highest, in MiB.
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let field = |name| mebibytes(&status, name).with_context(|| format!("{path} has no {name}"));
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// From its start to its first line on standard output, waited for until `limit`.
    pub(super) fn first_line_after(&self, limit: Duration) -> Result<Duration> {
        let at = self
            .stdout
            .recv_timeout(limit)
            .context("spanwire printed no span")?;
        Ok(at.duration_since(self.started))
    }

    /// Ends it as a user would, and gives the counters of its summary.
    pub(super) fn stop(mut self) -> Result<BTreeMap<String, u64>> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no pid")?;
        kill_process(pid, Signal::TERM).context("sending SIGTERM to spanwire")?;
        let mut said = Vec::new();
        let asked = Instant::now();
        loop {
            match self
                .stderr
                .recv_timeout(STOP_WITHIN.saturating_sub(asked.elapsed()))
            {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("spanwire still runs {STOP_WITHIN:?} after SIGTERM"),
            }
        }
        self.child.wait()?;
        Ok(summary(&said))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines<T: Send + 'static>(
    stream: impl std::io::Read + Send + 'static,
    value: impl Fn(String) -> T + Send + 'static,
) -> Receiver<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // It must be read to its end even when nobody listens any more: a full pipe would stop spanwire.
            let _ = sender.send(value(line));
        }
    });
    receiver
}

/// utime and stime, fields 14 and 15; the second field may hold spaces and parentheses.
/// CPU time of all children of this process that have been waited for.
pub(super) fn cpu_of_children() -> Result<Duration> {
    // cutime and cstime.
    times("/proc/self/stat", 13)
}

/// The sum of two times side by side in a stat file (proc_pid_stat(5)).
fn times(path: &str, first: usize) -> Result<Duration> {
    let stat = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let ticks = ticks(&stat, first).with_context(|| format!("{path} has no times: {stat}"))?;
    let a_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(Duration::from_secs_f64(ticks / f64::from(a_second)))
}

fn ticks(stat: &str, first: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    Some(fields.get(first)?.parse::<f64>().ok()? + fields.get(first + 1)?.parse::<f64>().ok()?)
}

fn mebibytes(status: &str, name: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}

/// The lines `  NAME VALUE` behind `spanwire summary`.
pub(super) fn summary(lines: &[String]) -> BTreeMap<String, u64> {
    let lines = lines
        .iter()
        .skip_while(|line| *line != "spanwire summary")
        .skip(1);
    let counters = lines.filter_map(|line| {
        let (name, value) = line.trim().rsplit_once(' ')?;
        Some((name.trim().to_owned(), value.parse().ok()?))
    });
    counters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_right() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 7 1 20";
        assert_eq!((ticks(stat, 11), ticks(stat, 13)), (Some(300.0), Some(8.0)));
        assert_eq!(mebibytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"), Some(2.0));
    }

    #[test]
    fn a_summary_is_counters_by_name() {
        let lines = [
            "a 1",
            "spanwire summary",
            "  spans.built 120",
            "  kernel.ring_full 3",
            "bye",
        ]
        .map(str::to_owned);
        let expect = BTreeMap::from([
            ("spans.built".to_owned(), 120),
            ("kernel.ring_full".to_owned(), 3),
        ]);
        assert_eq!(summary(&lines), expect);
    }
}
