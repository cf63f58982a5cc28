//! What building for another machine needs: its standard library, and a C compiler that links for it.

use super::toolchain::{Toolchain, tools_folder};
use super::{Done, debian, needs};
use crate::apt::Apt;
use crate::machine::Machine;
use crate::{shell, workspace};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long rustup may take for a standard library (some 30 MB).
const RUSTUP_LIMIT: Duration = Duration::from_secs(300);

/// Flags by which a program needs no library.
const STATIC: &str = "-C target-feature=+crt-static";

/// `cargo` in the work tree, with what makes its `--target` static programs for `machine`; installs what that takes.
pub(crate) fn cargo(machine: Machine) -> Result<Command> {
    if machine.is_this() {
        let mut cargo = super::cargo()?;
        cargo.env("RUSTFLAGS", STATIC);
        return Ok(cargo);
    }
    compiler(machine)?;
    let (mut cargo, sysroot) = with_library(machine)?;
    let mut flags = STATIC.to_owned();
    if let Some(sysroot) = sysroot {
        // It has no other library: with `--target`, build scripts do not get these flags.
        flags.push_str(&format!(" --sysroot {}", sysroot.display()));
    }
    let linker = machine.target().to_uppercase().replace('-', "_");
    cargo.env("RUSTFLAGS", flags);
    cargo.env(format!("CARGO_TARGET_{linker}_LINKER"), machine.compiler());
    Ok(cargo)
}

/// The C compiler.
pub(crate) fn compiler(machine: Machine) -> Result<Done> {
    let needs = match machine {
        _ if machine.is_this() => return Ok(Done::Nothing),
        Machine::Arm => needs::FOR_AARCH64,
        Machine::X86 => needs::FOR_X86_64,
    };
    debian::ensure_needs(needs, "a C compiler for another machine")
}

/// cargo of a compiler with the machine's standard library, and where that is, if not beside the compiler. The first of these:
/// the user's own compiler, where it has it; Debian's, with Debian's package of the same version; the user's, after rustup was
/// asked for it.
fn with_library(machine: Machine) -> Result<(Command, Option<PathBuf>)> {
    let theirs = super::cargo()?;
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace::root());
    if has_library(&mut rustc, machine) {
        return Ok((theirs, None));
    }
    if super::toolchain()? == Toolchain::Distribution {
        let mut cargo = Command::new("/usr/bin/cargo");
        cargo
            .current_dir(workspace::root())
            .env("PATH", Toolchain::Distribution.search_path()?);
        super::forget_description(&mut cargo);
        super::forget_toolchain(&mut cargo);
        if has_library(&mut Command::new("/usr/bin/rustc"), machine) {
            return Ok((cargo, None));
        }
        return Ok((cargo, Some(debians_library(machine)?)));
    }
    println!(
        "setup: asking rustup for the standard library of {}",
        machine.name()
    );
    let mut add = Command::new("rustup");
    add.current_dir(workspace::root())
        .args(["target", "add", machine.target()]);
    println!("  $ {}", shell::line(&add));
    shell::output_within(&mut add, RUSTUP_LIMIT)?;
    Ok((theirs, None))
}

/// Whether a compiler has the standard library of a machine.
fn has_library(rustc: &mut Command, machine: Machine) -> bool {
    let folder = shell::output(rustc.args(["--print", "target-libdir", "--target", machine.target()]));
    folder.is_ok_and(|folder| is_library(Path::new(folder.trim())))
}

fn is_library(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// Debian's package of the machine's standard library, unpacked as a sysroot of its own: installed, it would make this machine one
/// of two architectures.
fn debians_library(machine: Machine) -> Result<PathBuf> {
    let compiler = shell::output(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "rustc-web"]))?;
    let libraries = tools_folder().join("std");
    let unpacked = libraries.join(compiler.trim());
    let sysroot = unpacked.join("usr");
    let library = sysroot.join("lib/rustlib").join(machine.target()).join("lib");
    if is_library(&library) {
        return Ok(sysroot);
    }
    println!(
        "setup: fetching Debian's Rust standard library for {}",
        machine.name()
    );
    let apt = Apt::beside_this(&libraries.join("apt"), machine)?;
    let download = libraries.join("download");
    let package = format!("libstd-rust-web-dev={}", compiler.trim());
    let package = apt.download(&package, &download).with_context(|| {
        "no standard library of rustc-web's version: is there a newer one? (apt-get install rustc-web cargo-web rust-web-src)"
    })?;
    let contents = download.join("contents");
    shell::run_silently(Command::new("dpkg-deb").arg("-x").args([&package, &contents]))?;
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::rename(&contents, &unpacked).with_context(|| format!("moving to {}", unpacked.display()))?;
    fs::remove_dir_all(&download)?;
    if !is_library(&library) {
        bail!("Debian's package has no library in {}", library.display());
    }
    Ok(sysroot)
}
