//! The Debian package, by cargo-deb; what is in it is said in agent/Cargo.toml.

use crate::machine::Machine;
use crate::setup::tool;
use crate::{shell, workspace};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packs what was built into `target`.
pub(super) fn make(machine: Machine, target: &Path, folder: &Path) -> Result<PathBuf> {
    tool::DEB.ensure()?;
    let mut deb = Command::new(tool::DEB.program());
    deb.current_dir(workspace::root()).env("CARGO_TARGET_DIR", target);
    deb.args([
        "--package",
        "spanwire",
        "--no-build",
        "--no-strip",
        "--target",
        machine.target(),
    ]);
    // What was written into it stays a path of this machine.
    deb.arg("--output").arg(folder).args(["--quiet"]);
    let said = shell::output(&mut deb)?;
    Ok(PathBuf::from(said.trim()))
}
