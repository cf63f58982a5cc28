//! A suite that is run beside others.

use super::Suite;
use crate::{shell, workspace};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How much it stands back behind the others: they wait for processors less than it does.
const NICENESS: &str = "15";

/// A suite in a process of its own, whose output is kept until it is asked for.
pub(super) struct Beside {
    process: Child,
    log: PathBuf,
}

impl Beside {
    /// Starts it.
    pub(super) fn start(suite: Suite) -> Result<Self> {
        let name = suite.to_possible_value().context("every suite has a name")?;
        let name = name.get_name();
        let log = workspace::target().join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = Command::new("nice");
        command.args(["-n", NICENESS]).arg(env::current_exe()?);
        command.args(["test", name]).env("SPANWIRE_GUESTS", "1");
        println!(
            "\n== beside what follows, until its own turn\n  $ {}",
            shell::line(&command)
        );
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let process = command.spawn().context("starting `nice`")?;
        Ok(Self { process, log })
    }

    /// Waits for its end, and shows what it said.
    pub(super) fn finish(mut self) -> Result<()> {
        let status = self.process.wait()?;
        print!("{}", String::from_utf8_lossy(&fs::read(&self.log)?));
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }
}
