//! cargo-deny, for licences and sources of dependencies: built once, into the cache.

use super::Done;
use super::toolchain::tools_folder;
use crate::shell;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

const VERSION: &str = "0.20.2";

/// Where it is.
pub(crate) fn program() -> PathBuf {
    tools_folder().join("bin/cargo-deny")
}

/// Builds it where it is missing or of another version.
pub(crate) fn ensure() -> Result<Done> {
    let there = shell::output(Command::new(program()).arg("--version")).unwrap_or_default();
    if there.trim() == format!("cargo-deny {VERSION}") {
        return Ok(Done::Nothing);
    }
    println!(
        "setup: building cargo-deny (three minutes) into {}",
        tools_folder().display()
    );
    let mut cargo = Command::new("cargo");
    cargo.args([
        "install",
        "cargo-deny",
        "--version",
        VERSION,
        "--locked",
        "--no-default-features",
        "--force",
    ]);
    // It runs for a second: what counts is the time to build it.
    for setting in ["opt-level=1", "lto=false", "codegen-units=16"] {
        cargo.args(["--config", &format!("profile.release.{setting}")]);
    }
    shell::run(cargo.arg("--root").arg(tools_folder()))?;
    Ok(Done::Installed)
}
