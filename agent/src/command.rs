//! The command after `--`: started, told of the signals that are meant for it, and waited for.

use crate::cli::Exit;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use tokio::process::{Child, Command};

/// The command does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}: {source}", program.display())]
pub struct StartError {
    program: OsString,
    source: io::Error,
}

impl StartError {
    /// As env(1), timeout(1) and shells have it: 127 where there is no such program, 126 where it cannot be executed.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.source.kind() {
            io::ErrorKind::NotFound => Exit::Command(127),
            _ => Exit::Command(126),
        }
    }
}

/// The running command, or none.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Starts `command`, where there is one.
    ///
    /// # Errors
    /// It is not there, or cannot be executed.
    pub fn start(command: &[OsString]) -> Result<Self, StartError> {
        let Some((program, arguments)) = command.split_first() else {
            return Ok(Self(None));
        };
        let child = Command::new(program).args(arguments).spawn();
        child.map(|child| Self(Some(child))).map_err(|source| StartError {
            program: program.clone(),
            source,
        })
    }

    /// Waits for its end; without a command, for ever.
    ///
    /// # Errors
    /// The system does not tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.0 {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Sends it `signal`; false where there is nobody to take it.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        let pid = self.pid();
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Whether there is a command that has not been waited for.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.pid().is_some()
    }

    fn pid(&self) -> Option<Pid> {
        let pid = self.0.as_ref()?.id()?;
        Pid::from_raw(pid.try_into().ok()?)
    }
}
