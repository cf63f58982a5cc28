//! spanwire and the test programs, linked statically: the guest has no library.

use crate::machine::Machine;
use crate::{setup, shell, workspace};
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where they are built: nearly all of it are libraries, which are the same for each checkout.
pub(crate) fn cargo_folder() -> PathBuf {
    workspace::test_cache().join("target")
}

/// Where they are kept.
fn folder(machine: Machine) -> PathBuf {
    workspace::target().join("guest").join(machine.target())
}

/// Files for the guest.
pub(crate) struct Programs {
    pub(crate) spanwire: PathBuf,
    pub(super) guest: PathBuf,
}

/// Builds them.
pub(crate) fn programs(machine: Machine) -> Result<Programs> {
    let shared = cargo_folder();
    fs::create_dir_all(&shared).with_context(|| format!("making {}", shared.display()))?;
    // Another checkout's have the same names.
    let lock = File::create(shared.join("lock"))?;
    lock.lock()?;
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
    let mut settings = vec!["debug=0", "strip=\"debuginfo\""];
    if !machine.is_this() {
        // Emulation is what is slow there: a faster build is worth more than a faster program.
        settings.extend(["lto=\"off\"", "codegen-units=16"]);
    }
    for setting in settings {
        cargo.args(["--config", &format!("profile.release.{setting}")]);
    }
    let target = machine.target();
    shell::run(cargo.args(["--target", target, "--target-dir"]).arg(&shared))?;
    let built = shared.join(target).join("release");
    let folder = folder(machine);
    fs::create_dir_all(&folder)?;
    let kept = |name: &str| keep(&built.join(name), folder.join(name));
    Ok(Programs {
        spanwire: kept("spanwire")?,
        guest: kept("guest")?,
    })
}

/// A copy of a program, which may run already.
fn keep(built: &Path, kept: PathBuf) -> Result<PathBuf> {
    let of = |file: &Path| -> std::io::Result<_> {
        let metadata = fs::metadata(file)?;
        Ok((metadata.len(), metadata.modified()?))
    };
    let (length, modified) = of(built)?;
    if of(&kept).is_ok_and(|kept| kept == (length, modified)) {
        return Ok(kept);
    }
    let new = kept.with_extension("new");
    fs::copy(built, &new).with_context(|| format!("copying {}", built.display()))?;
    File::options().write(true).open(&new)?.set_modified(modified)?;
    fs::rename(&new, &kept)?;
    Ok(kept)
}

/// The live tests' `peer.c`.
pub(super) fn peer(machine: Machine) -> Result<PathBuf> {
    let program = folder(machine).join("peer");
    let mut gcc = Command::new(machine.compiler());
    gcc.args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&program);
    shell::run(gcc.arg(workspace::root().join("tests/workloads/peer.c")))?;
    Ok(program)
}

/// `relay.go`, which Go builds for any machine without more.
pub(super) fn relay(machine: Machine) -> Result<PathBuf> {
    let program = folder(machine).join("relay");
    let mut go = Command::new("go");
    go.current_dir(workspace::root().join("tests/workloads"));
    go.env("GOARCH", machine.debian()).env("CGO_ENABLED", "0");
    shell::run(go.args(["build", "-o"]).arg(&program).arg("relay.go"))?;
    Ok(program)
}
