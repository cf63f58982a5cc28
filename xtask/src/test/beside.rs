//! Suites that are run beside others.

use super::Suite;
use crate::{kernels, shell, workspace};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How much it stands back behind the others: they wait for processors less than it does.
const NICENESS: &str = "15";

/// Suites in a process of their own, whose output is kept until it is asked for.
pub(super) struct Beside {
    process: Child,
    log: PathBuf,
}

impl Beside {
    /// Starts them.
    pub(super) fn start(suites: &[Suite]) -> Result<Self> {
        let values = suites.iter().filter_map(Suite::to_possible_value);
        let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
        let log = workspace::target().join("beside.log");
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = Command::new("nice");
        command.args(["-n", NICENESS]).arg(env::current_exe()?);
        command
            .arg("test")
            .args(names)
            .env("SPANWIRE_GUESTS", kernels::BESIDE);
        println!(
            "\n== beside what follows, until its own turn\n  $ {}",
            shell::line(&command)
        );
        command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file);
        let process = command.spawn().context("starting `nice`")?;
        Ok(Self { process, log })
    }

    /// Waits for their end, and shows what they said.
    pub(super) fn finish(mut self) -> Result<()> {
        // Which closes its standard input.
        let status = self.process.wait()?;
        print!("{}", String::from_utf8_lossy(&fs::read(&self.log)?));
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }
}
