//! `cargo xtask run`: set-up, release build, `spanwire run`.

use crate::{setup, shell, workspace};
use anyhow::Result;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Builds and becomes `spanwire run ARGUMENTS`; comes back only with an error.
pub(crate) fn command(arguments: &[String]) -> Result<()> {
    setup::kernel_object()?;
    build()?;
    let binary = workspace::target().join("release/spanwire");
    let mut command = if shell::is_root() {
        Command::new(&binary)
    } else {
        println!("spanwire loads programs into the kernel, which only root may do: through sudo");
        // -E: the OTEL_* variables that say where traces go.
        let mut sudo = Command::new("sudo");
        sudo.arg("-E").arg(&binary);
        sudo
    };
    command.arg("run").args(arguments);
    println!("  $ {}", shell::line(&command));
    Err(anyhow::Error::new(command.exec()).context(format!("starting `{}`", shell::line(&command))))
}

/// The release build of spanwire, at `target/release/spanwire`.
pub(crate) fn build() -> Result<()> {
    shell::run(setup::cargo()?.args(["build", "--release", "-p", "spanwire"]))
}
