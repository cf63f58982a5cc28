//! spanwire and the test programs, linked statically: the guest has no library.

use crate::machine::Machine;
use crate::{setup, shell, workspace};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// Where they are built.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("guest")
}

/// Files for the guest.
pub(crate) struct Programs {
    pub(crate) spanwire: PathBuf,
    pub(super) guest: PathBuf,
}

/// Builds them.
pub(crate) fn programs(machine: Machine) -> Result<Programs> {
    let folder = folder();
    let mut cargo = setup::cross::cargo(machine)?;
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
    let target = machine.target();
    shell::run(cargo.args(["--target", target, "--target-dir"]).arg(&folder))?;
    let built = folder.join(target).join("release");
    Ok(Programs {
        spanwire: built.join("spanwire"),
        guest: built.join("guest"),
    })
}

/// The live tests' `peer.c`.
pub(super) fn peer(machine: Machine) -> Result<PathBuf> {
    let program = folder().join(machine.target()).join("peer");
    let mut gcc = Command::new(machine.compiler());
    gcc.args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&program);
    shell::run(gcc.arg(workspace::root().join("tests/workloads/peer.c")))?;
    Ok(program)
}

/// `relay.go`, which Go builds for any machine without more.
pub(super) fn relay(machine: Machine) -> Result<PathBuf> {
    let program = folder().join(machine.target()).join("relay");
    let mut go = Command::new("go");
    go.current_dir(workspace::root().join("tests/workloads"));
    go.env("GOARCH", machine.debian()).env("CGO_ENABLED", "0");
    shell::run(go.args(["build", "-o"]).arg(&program).arg("relay.go"))?;
    Ok(program)
}
