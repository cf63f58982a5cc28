//! Child processes that cannot outlive their test: a process group of their own, killed on drop, and a signal from
//! the kernel should the test itself be killed.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Signal, getrlimit, setrlimit};

use crate::wait;

/// Lets this process, and the children that it starts from now on, have as many files open.
///
/// # Errors
/// The system allows fewer.
pub fn may_open(files: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        limit.current = Some(files);
        setrlimit(Resource::Nofile, limit).with_context(|| format!("{files} open files"))?;
    }
    Ok(())
}

/// Lines that a child wrote so far to one of its streams.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn follow(stream: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let lines = Self::default();
        let sink = lines.clone();
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                sink.0.lock().expect("no reader panics").push(text);
                line.clear();
            }
        });
        (lines, reader)
    }

    /// All lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("no reader panics").clone()
    }

    /// The first line that begins with `prefix`.
    #[must_use]
    pub fn first(&self, prefix: &str) -> Option<String> {
        let lines = self.0.lock().expect("no reader panics");
        lines.iter().find(|line| line.starts_with(prefix)).cloned()
    }
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    name: String,
    /// Standard output, line by line.
    pub stdout: Lines,
    /// Standard error, line by line.
    pub stderr: Lines,
    readers: Vec<JoinHandle<()>>,
    reaped: bool,
}

/// What a command writes, and how it ends, with `input` to read: less than a pipe holds, or the command reads before it writes.
///
/// # Errors
/// It does not start, or does not read.
pub fn fed(command: &mut Command, input: &str) -> Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn()?;
    let mut stdin = process.stdin.take().context("standard input is piped")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    Ok(process.wait_with_output()?)
}

/// A command that `Child::spawn` takes: arguments, environment and folder are added to it as to any other.
///
/// `setpriv` executes the program in its own place, so that the process id is the program's; it does what only
/// unsafe code could do here: the child gets SIGTERM when the test's thread is gone.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    ends_with_us(&mut command, "TERM");
    command.arg(program);
    command
}

/// Arguments of `setpriv`, behind which the program is to come: it gets `signal` at our end, and does not begin should that
/// have come before the kernel was asked for it.
pub(crate) fn ends_with_us(setpriv: &mut Command, signal: &str) {
    let parent = std::process::id().to_string();
    setpriv.args(["--pdeathsig", signal, "--"]);
    // Whoever starts the tests may ignore SIGHUP (nohup), and a shell cannot undo that.
    let script = r#"[ "$PPID" = "$0" ] && exec env --default-signal=HUP "$@""#;
    setpriv.args(["sh", "-c", script, &parent]);
}

/// `command`, but not before there is a file `turn`: its process is known before it begins. Its environment has to be set
/// on what this gives.
#[must_use]
pub fn held(command: &Command, turn: &Path) -> Command {
    let mut held = self::command("sh");
    held.args(["-c", r#"until [ -e "$0" ]; do sleep 0.1; done; exec "$@""#]);
    held.arg(turn).arg(command.get_program()).args(command.get_args());
    let set = command.get_envs().filter_map(|(key, value)| Some((key, value?)));
    held.envs(set);
    if let Some(directory) = command.get_current_dir() {
        held.current_dir(directory);
    }
    held
}

/// The processes that `process` has started, without theirs, once there are `count` of them.
///
/// # Errors
/// There are not so many in time.
pub fn children(process: u32, count: usize) -> Result<Vec<u32>> {
    wait::until(&format!("{count} children of {process}"), || {
        let list = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
        let children: Vec<u32> = list
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        Ok((children.len() >= count).then_some(children))
    })
}

impl Child {
    /// Starts `command` (made by [`command`]) without standard input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let name = command.get_args().skip(7).collect::<Vec<_>>().join(" ".as_ref());
        let mut process = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start setpriv (package util-linux)")?;
        let (stdout, out) = Lines::follow(process.stdout.take().context("stdout is piped")?);
        let (stderr, err) = Lines::follow(process.stderr.take().context("stderr is piped")?);
        Ok(Self {
            process,
            name: name.to_string_lossy().into_owned(),
            stdout,
            stderr,
            readers: vec![out, err],
            reaped: false,
        })
    }

    /// Process id, which is also that of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    fn group(&self) -> Result<Pid> {
        Pid::from_raw(self.pid().try_into()?).context("a child's id is positive")
    }

    /// Sends `signal` to the child alone.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.group()?, signal)
            .with_context(|| format!("signal to {}", self.name))
    }

    /// Waits for a line on standard output that begins with `prefix`, and gives what follows.
    ///
    /// # Errors
    /// The child ended, or wrote none in time.
    pub fn line(&mut self, prefix: &str) -> Result<String> {
        let lines = self.stdout.clone();
        self.wait_line(&lines, prefix)
    }

    /// The same on standard error.
    ///
    /// # Errors
    /// As [`Child::line`].
    pub fn error_line(&mut self, prefix: &str) -> Result<String> {
        let lines = self.stderr.clone();
        self.wait_line(&lines, prefix)
    }

    fn wait_line(&mut self, lines: &Lines, prefix: &str) -> Result<String> {
        let what = format!("`{prefix}` from {}", self.name);
        let found = wait::until(&what, || {
            if let Some(line) = lines.first(prefix) {
                return Ok(Some(line));
            }
            match self.process.try_wait()? {
                // Its last lines may still be on their way through the reader's thread.
                Some(status) => {
                    self.join_readers();
                    let line = lines.first(prefix);
                    if line.is_none() {
                        bail!("{} ended with {status}:\n{}", self.name, self.text());
                    }
                    Ok(line)
                }
                None => Ok(None),
            }
        });
        let line = found.with_context(|| self.text())?;
        Ok(line[prefix.len()..].trim().to_owned())
    }

    /// Fails when the child has ended.
    ///
    /// # Errors
    /// It has; the message says how, and what it wrote.
    pub fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            self.join_readers();
            bail!("{} ended with {status}:\n{}", self.name, self.text());
        }
        Ok(())
    }

    /// Waits until the child has ended by itself, and all it wrote is read.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_within(wait::LIMIT)
    }

    fn wait_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("end of {}", self.name);
        let status =
            wait::within(limit, &what, || Ok(self.process.try_wait()?)).with_context(|| self.text())?;
        self.join_readers();
        Ok(status)
    }

    /// Waits for the end, which must be a success, and gives the lines of standard output.
    ///
    /// # Errors
    /// It failed, or did not end in time.
    pub fn succeed(self) -> Result<Vec<String>> {
        self.succeed_within(wait::LIMIT)
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// It failed, or did not end in time.
    pub fn succeed_within(mut self, limit: Duration) -> Result<Vec<String>> {
        let status = self.wait_within(limit)?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}", self.name, self.text());
        }
        Ok(self.stdout.all())
    }

    /// Everything it wrote, for a message.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = self.stdout.all();
        lines.extend(self.stderr.all());
        lines.join("\n")
    }

    /// What is left of the group would keep the pipes open for ever.
    fn join_readers(&mut self) {
        self.kill_group();
        self.reaped = true;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    /// Once the child is reaped and its group killed, the number may be another's.
    fn kill_group(&self) {
        if self.reaped {
            return;
        }
        if let Ok(group) = self.group() {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group();
        let _ = self.process.wait();
    }
}
