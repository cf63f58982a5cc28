//! The Python environment of the live tests' workloads.

use super::Done;
use crate::{shell, workspace};
use anyhow::{Context as _, Result};
use std::fs;
use std::process::Command;

/// Makes `venv` in the test cache with exactly `packages`, or leaves it when it has them. Where only some are missing they are
/// added: tests may be running.
pub(crate) fn ensure(packages: &[&str]) -> Result<Done> {
    let folder = workspace::test_cache().join("venv");
    // Written last: an environment that was left half made has none.
    let record = folder.join("spanwire-packages");
    let wanted = packages.join("\n");
    let found = fs::read_to_string(&record).unwrap_or_default();
    let is_there = folder.join("bin/python").exists();
    if found == wanted && is_there {
        return Ok(Done::Nothing);
    }
    println!(
        "setup: Python packages for test workloads into {}",
        folder.display()
    );
    if !is_there || !lacks_only(&found, packages) {
        // The system's own interpreter, because one from a version manager may be gone tomorrow.
        shell::run(
            Command::new("/usr/bin/python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
        )?;
    }
    let mut pip = Command::new(folder.join("bin/pip"));
    shell::run(
        pip.args(["install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
    )?;
    fs::write(&record, wanted).with_context(|| format!("writing {}", record.display()))?;
    Ok(Done::Installed)
}

/// Whether an environment with the packages of `record` has none but `packages`.
fn lacks_only(record: &str, packages: &[&str]) -> bool {
    !record.is_empty() && record.lines().all(|package| packages.contains(&package))
}

#[cfg(test)]
mod tests {
    use super::lacks_only;

    #[test]
    fn an_environment_is_made_anew_when_a_package_or_its_version_is_to_go() {
        assert!(lacks_only("a==1\nb==2", &["a==1", "c==3", "b==2"]));
        assert!(!lacks_only("a==1\nb==2", &["a==1"]));
        assert!(!lacks_only("a==1", &["a==2"]));
        assert!(!lacks_only("", &["a==1"]));
    }
}
