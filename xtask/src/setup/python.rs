//! The Python environment of the live tests' workloads.

use super::Done;
use crate::{shell, workspace};
use anyhow::{Context as _, Result};
use std::fs;
use std::process::Command;

/// Makes `venv` in the test cache with exactly `packages`, or leaves it when it has them.
pub(crate) fn ensure(packages: &[&str]) -> Result<Done> {
    let folder = workspace::test_cache().join("venv");
    // Written last: an environment that was left half made has none.
    let record = folder.join("spanwire-packages");
    let wanted = packages.join("\n");
    if fs::read_to_string(&record).is_ok_and(|found| found == wanted) && folder.join("bin/python").exists() {
        return Ok(Done::Nothing);
    }
    println!(
        "setup: Python packages for test workloads into {}",
        folder.display()
    );
    // The system's own interpreter, because one from a version manager may be gone tomorrow.
    shell::run(
        Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    let mut pip = Command::new(folder.join("bin/pip"));
    shell::run(
        pip.args(["install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
    )?;
    fs::write(&record, wanted).with_context(|| format!("writing {}", record.display()))?;
    Ok(Done::Installed)
}
