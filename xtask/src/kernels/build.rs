//! spanwire and the test programs, linked statically: the guest has no library.

use crate::{setup, shell, workspace};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it runs on. Named, flags hold for it alone and not for build scripts.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Flags by which a program needs no library.
pub(crate) const STATIC: &str = "-C target-feature=+crt-static";

/// Where they are built.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("guest")
}

/// Files for the guest.
pub(crate) struct Programs {
    pub(crate) spanwire: PathBuf,
    pub(super) guest: PathBuf,
    pub(super) peer: PathBuf,
}

/// Builds them.
pub(crate) fn programs() -> Result<Programs> {
    let folder = folder();
    let mut cargo = setup::cargo()?;
    cargo.env("RUSTFLAGS", STATIC);
    cargo.args([
        "build",
        "--release",
        "-p",
        "spanwire",
        "-p",
        "spanwire-tests",
        "--bin",
        "spanwire",
        "--bin",
        "guest",
    ]);
    // Emulation is what is slow here: a faster build is worth more than a faster program.
    for setting in [
        "lto=\"off\"",
        "codegen-units=16",
        "debug=0",
        "strip=\"debuginfo\"",
    ] {
        cargo.args(["--config", &format!("profile.release.{setting}")]);
    }
    shell::run(cargo.args(["--target", TARGET, "--target-dir"]).arg(&folder))?;
    let built = folder.join(TARGET).join("release");
    Ok(Programs {
        spanwire: built.join("spanwire"),
        guest: built.join("guest"),
        peer: peer(&folder)?,
    })
}

/// The live tests' `peer.c`.
fn peer(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("peer");
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&program);
    shell::run(gcc.arg(workspace::root().join("tests/workloads/peer.c")))?;
    Ok(program)
}
