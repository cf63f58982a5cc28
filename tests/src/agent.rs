//! spanwire as a child process: started, waited for until it is ready, stopped, its summary read.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::child::{self, Child};
use crate::summary::Summary;
use crate::wait;

/// The hook sets that a test forces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// Socket tracepoints.
    Socket,
    /// Raw tracepoints on every system call.
    Syscall,
}

impl Hooks {
    /// Value of `--hooks`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Syscall => "syscall",
        }
    }

    /// How many calls are made at a time: one, and fifty; see [`Hooks::share`].
    #[must_use]
    pub const fn concurrency(self) -> &'static [usize] {
        match self {
            Self::Socket => &[1, 50],
            Self::Syscall => &[50],
        }
    }

    /// How much of a load of `count` there is: all under the set that is taken here by itself; a tenth under the other, whose
    /// hooks are others and whose programs behind them are the same.
    #[must_use]
    pub const fn share(self, count: usize) -> usize {
        match self {
            Self::Socket => count,
            Self::Syscall => count / 10,
        }
    }
}

/// The function of this name in the module around, which takes [`Hooks`], as a test under those.
#[macro_export]
macro_rules! under {
    ($hooks:ident, $name:ident) => {
        #[test]
        fn $name() -> anyhow::Result<()> {
            let name = concat!(module_path!(), "::", stringify!($name));
            $crate::attempt::attempt(name, || super::$name($crate::agent::Hooks::$hooks))
        }
    };
}

/// Each of these functions, which take [`Hooks`], as a test under each hook set that this machine must have.
#[macro_export]
macro_rules! under_both_hook_sets {
    ($($name:ident),+ $(,)?) => {
        mod socket {
            $($crate::under!(Socket, $name);)+
        }
        mod syscall {
            $($crate::under!(Syscall, $name);)+
        }
    };
}

/// Each of these functions, which take [`Hooks`], as a test under the hook set that is taken here by itself: for what depends
/// on what was read, not on how.
#[macro_export]
macro_rules! under_one_hook_set {
    ($($name:ident),+ $(,)?) => {
        mod one {
            $($crate::under!(Socket, $name);)+
        }
    };
}

/// What spanwire is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    flags: Vec<OsString>,
    environment: Vec<(String, String)>,
    command: Vec<OsString>,
    wrapper: Vec<String>,
}

impl Options {
    /// `spanwire run` that forces `hooks` and prints nothing.
    #[must_use]
    pub fn run(hooks: Hooks) -> Self {
        Self::bare(["run", "--output", "none", "--hooks", hooks.name()])
    }

    /// Exactly these arguments.
    #[must_use]
    pub fn bare<const N: usize>(flags: [&str; N]) -> Self {
        Self {
            flags: flags.map(OsString::from).to_vec(),
            ..Self::default()
        }
    }

    /// One more argument.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// `--port`
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.flag("--port").flag(port.to_string())
    }

    /// `--pid`
    #[must_use]
    pub fn pid(self, pid: u32) -> Self {
        self.flag("--pid").flag(pid.to_string())
    }

    /// An environment variable.
    #[must_use]
    pub fn environment(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((key.to_owned(), value.into()));
        self
    }

    /// `-- COMMAND ARGS`
    #[must_use]
    pub fn command(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// A program that executes spanwire, such as `setpriv` with what it shall take away.
    #[must_use]
    pub fn through<const N: usize>(mut self, wrapper: [&str; N]) -> Self {
        self.wrapper = wrapper.map(str::to_owned).to_vec();
        self
    }

    fn spawn(&self) -> Result<Child> {
        let binary = binary()?;
        let mut command = match self.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = child::command(program);
                command.args(arguments).arg(&binary);
                command
            }
            None => child::command(binary.to_str().context("path in UTF-8")?),
        };
        command.args(&self.flags);
        if !self.command.is_empty() {
            command.arg("--").args(&self.command);
        }
        forget_settings(&mut command);
        // What is learnt depends on what was asked before; a test that is about routes says so.
        command.env("SPANWIRE_LEARN_ROUTES", "false");
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        Child::spawn(command)
    }
}

/// Keeps from `command` what would configure spanwire, and is meant for the tests or for whoever runs them.
pub(crate) fn forget_settings(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let text = key.to_string_lossy();
        if text.starts_with("OTEL_") || text.starts_with("SPANWIRE_") || text == "NOTIFY_SOCKET" {
            command.env_remove(&key);
        }
    }
}

/// The binary under test: `SPANWIRE_BIN`, else the release build of this workspace, else its debug build.
///
/// # Errors
/// There is none of them.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SPANWIRE_BIN") {
        return Ok(std::path::absolute(path)?);
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    ["release", "debug"]
        .map(|profile| target.join(profile).join("spanwire"))
        .into_iter()
        .find(|path| path.exists())
        .context("no spanwire: `cargo build --release -p spanwire`, or set SPANWIRE_BIN")
}

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    /// Exit status; 128 + n for signal n.
    pub status: i32,
    /// The summary, where there was one.
    pub summary: Option<Summary>,
    /// Lines of standard output.
    pub stdout: Vec<String>,
    /// Lines of standard error.
    pub stderr: Vec<String>,
}

impl Finished {
    fn of(mut child: Child) -> Result<Self> {
        let status = child.wait()?;
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        let stderr = child.stderr.all();
        Ok(Self {
            status: code.context("a status or a signal")?,
            summary: Summary::parse(&stderr),
            stdout: child.stdout.all(),
            stderr,
        })
    }

    /// Standard error as one text.
    #[must_use]
    pub fn message(&self) -> String {
        self.stderr.join("\n")
    }
}

/// The right to run spanwire, of which there is one on a machine.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits for it.
    ///
    /// # Errors
    /// The file that is locked for it cannot be.
    pub fn take() -> Result<Self> {
        let lock = File::create(std::env::temp_dir().join("spanwire-tests.lock"))?;
        lock.lock()?;
        Ok(Self { _lock: lock })
    }
}

/// A spanwire that is ready, the only one that tests of this machine run, but for those beside it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    _turn: Option<Turn>,
}

impl Agent {
    /// Starts it and waits until everything is attached.
    ///
    /// # Errors
    /// It ended before it was ready, or never was.
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_in(Turn::take()?, options)
    }

    /// The same in a turn that was taken before.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_in(turn: Turn, options: &Options) -> Result<Self> {
        // Somebody may be trying out a spanwire by hand on the machine that runs the tests: wait for its end.
        let child = wait::until("end of another spanwire", || {
            let mut child = options.spawn()?;
            match child.error_line("spanwire ready") {
                Ok(_) => Ok(Some(child)),
                Err(_) if child.wait()?.code() == Some(ANOTHER_RUNS) => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        Ok(Self {
            child,
            _turn: Some(turn),
        })
    }

    /// Starts another beside this one, as on another host: with a lock of its own. What each watches is to be said by filters.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_beside(&self, options: &Options) -> Result<Self> {
        const OWN_LOCK: &str = r#"mount -t tmpfs none /run && exec "$@""#;
        let options = options
            .clone()
            .through(["unshare", "--mount", "sh", "-c", OWN_LOCK, "sh"]);
        let mut child = options.spawn()?;
        child.error_line("spanwire ready")?;
        Ok(Self { child, _turn: None })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Lines of standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.child.stdout.all()
    }

    /// Lines of standard error so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.child.stderr.all()
    }

    /// Sends a signal and lets it run on.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.child.signal(signal)
    }

    /// SIGTERM, drain, summary.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(self) -> Result<Finished> {
        self.interrupt(Signal::TERM)
    }

    /// The same with any signal.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn interrupt(self, signal: Signal) -> Result<Finished> {
        self.child.signal(signal)?;
        Finished::of(self.child)
    }

    /// Waits for the end of a run that ends by itself (`-- COMMAND`).
    ///
    /// # Errors
    /// It does not end in time.
    pub fn finish(self) -> Result<Finished> {
        Finished::of(self.child)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It was gone already.
    pub fn kill(self) -> Result<()> {
        let finished = self.interrupt(Signal::KILL)?;
        if finished.status != 128 + Signal::KILL.as_raw() {
            bail!("ended before it was killed: {}", finished.message());
        }
        Ok(())
    }
}

/// Exit status of a spanwire that finds another one running.
pub const ANOTHER_RUNS: i32 = 3;

/// Runs spanwire to an end that it comes to by itself.
///
/// # Errors
/// It does not end in time.
pub fn attempt(options: &Options) -> Result<Finished> {
    wait::until("end of another spanwire", || {
        let finished = attempt_beside(options)?;
        Ok((finished.status != ANOTHER_RUNS).then_some(finished))
    })
}

/// The same without waiting until another spanwire is gone.
///
/// # Errors
/// It does not end in time.
pub fn attempt_beside(options: &Options) -> Result<Finished> {
    Finished::of(options.spawn()?)
}
