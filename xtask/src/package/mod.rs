//! What is given to others: `cargo xtask package` and `cargo xtask image`, both of one static binary.

mod deb;
mod image;

use crate::kernels::build;
use crate::{setup, shell, workspace};
use anyhow::{Context as _, Result};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the binary is built.
#[derive(Args)]
pub(crate) struct Build {
    /// Without link-time optimisation and debug information, as for guests: for tests
    #[arg(long)]
    quick: bool,
}

/// The binary, and the folder that cargo takes for its target folder.
struct Built {
    binary: PathBuf,
    target: PathBuf,
}

/// Builds it.
fn build(options: &Build) -> Result<Built> {
    setup::kernel_object()?;
    if options.quick {
        let programs = build::programs()?;
        return Ok(Built {
            binary: programs.spanwire,
            target: build::folder(),
        });
    }
    let target = workspace::target().join("static");
    let mut cargo = setup::cargo()?;
    cargo.env("RUSTFLAGS", build::STATIC);
    cargo.args([
        "build",
        "--release",
        "--locked",
        "-p",
        "spanwire",
        "--target",
        build::TARGET,
    ]);
    shell::run(cargo.arg("--target-dir").arg(&target))?;
    Ok(Built {
        binary: target.join(build::TARGET).join("release/spanwire"),
        target,
    })
}

/// `cargo xtask package`: `target/package/spanwire_VERSION-1_ARCHITECTURE.deb`.
pub(crate) fn package(options: &Build) -> Result<()> {
    println!("{}", packed(&build(options)?)?.display());
    Ok(())
}

fn packed(built: &Built) -> Result<PathBuf> {
    let folder = folder()?;
    describe(&built.binary, &folder)?;
    deb::make(&built.target, &folder)
}

/// Both, for tests.
pub(crate) struct Made {
    pub(crate) package: PathBuf,
    pub(crate) image: PathBuf,
}

/// Makes both quickly.
pub(crate) fn all() -> Result<Made> {
    let built = build(&Build { quick: true })?;
    Ok(Made {
        package: packed(&built)?,
        image: image::make(&built.binary, &folder()?)?,
    })
}

/// `cargo xtask image`: `target/package/spanwire.oci.tar`.
pub(crate) fn image(options: &Build) -> Result<()> {
    let built = build(options)?;
    let archive = image::make(&built.binary, &folder()?)?;
    println!("{}", archive.display());
    Ok(())
}

/// Where the outcome is.
fn folder() -> Result<PathBuf> {
    let folder = workspace::target().join("package");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Commands with a manual page of their own.
const COMMANDS: &[&str] = &["run", "replay", "status", "services", "check", "config"];

/// What the binary tells of itself: manual pages and completions.
fn describe(binary: &Path, folder: &Path) -> Result<()> {
    let say = |arguments: &[&str], file: &Path| {
        let text = shell::output(Command::new(binary).args(arguments))?;
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    };
    let manual = folder.join("man");
    if manual.exists() {
        fs::remove_dir_all(&manual)?;
    }
    fs::create_dir_all(&manual)?;
    say(&["man"], &manual.join("spanwire.1"))?;
    for command in COMMANDS {
        say(&["man", command], &manual.join(format!("spanwire-{command}.1")))?;
    }
    for (shell, file) in [
        ("bash", "spanwire.bash"),
        ("zsh", "_spanwire"),
        ("fish", "spanwire.fish"),
    ] {
        say(&["completions", shell], &folder.join(file))?;
    }
    Ok(())
}
