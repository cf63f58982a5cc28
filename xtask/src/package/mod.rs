//! What is given to others: `cargo xtask package` and `cargo xtask image`, both of one static binary.

mod deb;
mod image;

use crate::kernels::build;
use crate::machine::Machine;
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
    /// The machine that it is for: this one unless another is named
    #[arg(long, value_name = "MACHINE")]
    target: Option<Machine>,
}

/// The binary, and the folder that cargo takes for its target folder.
struct Built {
    machine: Machine,
    binary: PathBuf,
    target: PathBuf,
}

/// Builds it.
fn build(options: &Build) -> Result<Built> {
    setup::kernel_object()?;
    let machine = options.target.map_or_else(Machine::this, Ok)?;
    if options.quick {
        let programs = build::programs(machine)?;
        return Ok(Built {
            machine,
            binary: programs.spanwire,
            target: build::cargo_folder(),
        });
    }
    let target = workspace::target().join("static");
    let mut cargo = setup::cross::cargo(machine)?;
    cargo.args([
        "build",
        "--release",
        "--locked",
        "-p",
        "spanwire",
        "--target",
        machine.target(),
    ]);
    shell::run(cargo.arg("--target-dir").arg(&target))?;
    Ok(Built {
        machine,
        binary: target.join(machine.target()).join("release/spanwire"),
        target,
    })
}

/// `cargo xtask build`: `target/static/TARGET/release/spanwire`.
pub(crate) fn binary(options: &Build) -> Result<()> {
    println!("{}", build(options)?.binary.display());
    Ok(())
}

/// `cargo xtask package`: `target/package/spanwire_VERSION-1_ARCHITECTURE.deb`.
pub(crate) fn package(options: &Build) -> Result<()> {
    println!("{}", packed(&build(options)?)?.display());
    Ok(())
}

fn packed(built: &Built) -> Result<PathBuf> {
    let folder = folder()?;
    if built.machine.is_this() {
        describe(&built.binary, &folder)?;
    } else {
        // It says the same here, where the other does not run.
        shell::run(setup::cargo()?.args(["build", "-p", "spanwire"]))?;
        describe(&workspace::target().join("debug/spanwire"), &folder)?;
    }
    deb::make(built.machine, &built.target, &folder)
}

/// Both, for tests.
pub(crate) struct Made {
    pub(crate) package: PathBuf,
    pub(crate) image: PathBuf,
}

/// Makes both quickly.
pub(crate) fn all() -> Result<Made> {
    let built = build(&Build {
        quick: true,
        target: None,
    })?;
    Ok(Made {
        package: packed(&built)?,
        image: image::make(built.machine, &built.binary, &folder()?)?,
    })
}

/// `cargo xtask image`: `target/package/spanwire.oci.tar`, of another machine with its name.
pub(crate) fn image(options: &Build) -> Result<()> {
    let built = build(options)?;
    let archive = image::make(built.machine, &built.binary, &folder()?)?;
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
