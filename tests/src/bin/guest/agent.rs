//! spanwire as a child process.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use spanwire_tests::summary::Summary;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where the initramfs has it.
pub(crate) const BINARY: &str = "/bin/spanwire";

/// Emulated, a verifier takes its time, and the emulation may stand back behind other tests.
const READY_WITHIN: Duration = Duration::from_secs(900);

/// It promises 5 s; emulated, it may take longer, and to hang is what is looked for here.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Hooks that the kernel has skipped in the life of all that have ended, one having been preempted on that processor.
static SKIPPED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn skipped() -> u64 {
    SKIPPED.load(Ordering::Relaxed)
}

pub(crate) fn skip(count: u64) {
    SKIPPED.fetch_add(count, Ordering::Relaxed);
}

/// A running spanwire.
pub(crate) struct Agent {
    /// What it said before it was ready.
    pub(crate) said: Vec<String>,
    child: Child,
    output: JoinHandle<String>,
    complaints: Receiver<String>,
}

/// What it said in its life.
pub(crate) struct Ended {
    /// Spans as OTLP/JSON, a request a line.
    pub(crate) output: String,
    pub(crate) summary: Summary,
}

/// How a start went.
pub(crate) enum Start {
    /// It is attached.
    Ready(Agent),
    /// It says that it cannot capture here, and how it put it.
    Refused(String),
}

impl Agent {
    /// Starts it with one hook set and waits until it is attached or has ended.
    pub(crate) fn start(hooks: &str) -> Result<Start> {
        Self::start_with(hooks, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(hooks: &str, flags: &[&str]) -> Result<Start> {
        Self::start_as(Command::new(BINARY), hooks, flags)
    }

    /// The same with these in its environment.
    pub(crate) fn start_in(environment: &[(&str, &str)], flags: &[&str]) -> Result<Start> {
        let mut command = Command::new(BINARY);
        command.envs(environment.iter().copied());
        Self::start_as(command, "auto", flags)
    }

    /// The same beside one that runs, as on another host: with a lock of its own.
    pub(crate) fn start_beside(flags: &[&str]) -> Result<Start> {
        const OWN_LOCK: &str = r#"/bin/busybox mount -t tmpfs run /run && exec "$@""#;
        let mut command = Command::new("/bin/busybox");
        command.args([
            "unshare",
            "-m",
            "/bin/busybox",
            "sh",
            "-c",
            OWN_LOCK,
            "sh",
            BINARY,
        ]);
        Self::start_as(command, "auto", flags)
    }

    fn start_as(mut command: Command, hooks: &str, flags: &[&str]) -> Result<Start> {
        let mut child = command
            .args(["run", "--hooks", hooks, "--output", "otlp-json"])
            .args(flags)
            .env("SPANWIRE_LEARN_ROUTES", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting spanwire")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        let output = thread::spawn(move || {
            let mut bytes = Vec::new();
            // What came before an error is what there is to compare.
            let _ = stdout.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stderr = BufReader::new(child.stderr.take().context("no standard error")?);
        let (sender, complaints) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                println!("     spanwire: {line}");
                // Nobody listens any more once it is stopped.
                let _ = sender.send(line);
            }
        });
        let mut agent = Self {
            said: Vec::new(),
            child,
            output,
            complaints,
        };
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            match agent.complaints.recv_timeout(Duration::from_millis(200)) {
                Ok(line) if line.starts_with("spanwire ready") => return Ok(Start::Ready(agent)),
                Ok(line) => agent.said.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = agent.wait(STOP_WITHIN)?;
                    let said = agent.said.join("; ");
                    // 1 is the status for a kernel or privileges that do not allow it.
                    if status.code() == Some(1) {
                        return Ok(Start::Refused(said));
                    }
                    bail!("ended with {status} before it was ready: {said}");
                }
            }
        }
        agent.child.kill().context("ending spanwire")?;
        bail!("not ready after {READY_WITHIN:?}: {}", agent.said.join("; "))
    }

    /// Tells it to end, and gives what it printed.
    pub(crate) fn stop(mut self) -> Result<Ended> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no pid")?;
        kill_process(pid, Signal::TERM).context("sending SIGTERM to spanwire")?;
        let status = self.wait(STOP_WITHIN)?;
        let output = self.output.join().ok().context("the reader of its output died")?;
        anyhow::ensure!(status.success(), "ended with {status} after SIGTERM");
        let said: Vec<_> = self.complaints.iter().collect();
        let summary = Summary::parse(&said).context("it printed no summary")?;
        skip(summary.value("kernel.lost.hooks.preempted"));
        Ok(Ended { output, summary })
    }

    fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > limit {
                self.child.kill().context("ending spanwire")?;
                bail!("still running after {limit:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
