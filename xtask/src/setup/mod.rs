//! `cargo xtask setup`: installs what is missing, says each step before it takes it, and takes none twice.
//!
//! Everything goes to the system's package manager or to a cache folder of our own. Defaults that the user
//! chose (rustup's toolchain, PATH, services) stay as they are.

pub(crate) mod cross;
mod debian;
pub(crate) mod deny;
mod linker;
mod needs;
mod python;
pub(crate) mod tool;
#[path = "../../../agent/build/toolchain.rs"]
pub(crate) mod toolchain;

use crate::{shell, workspace};
use anyhow::{Context as _, Result, bail};
use std::process::Command;
use std::time::Duration;
use toolchain::Toolchain;

/// How long rustup may take for a nightly with rust-src (some 100 MB).
const RUSTUP_LIMIT: Duration = Duration::from_secs(300);

/// Whether a step found something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Everything was there.
    Nothing,
    /// Something was installed.
    Installed,
}

/// `cargo xtask setup [--tests]`.
pub(crate) fn command(tests: bool) -> Result<()> {
    let mut done = kernel_object()?;
    if tests && self::tests()? == Done::Installed {
        done = Done::Installed;
    }
    match done {
        Done::Nothing => println!("setup: nothing to do"),
        Done::Installed => println!("setup: done"),
    }
    Ok(())
}

/// What building the kernel object needs: a compiler with the source of its `core`, and a linker for its LLVM.
pub(crate) fn kernel_object() -> Result<Done> {
    let mut choice = choose()?;
    if choice == Choice::Use(Toolchain::Nightly) && linker::out_of_reach(Toolchain::Nightly)?.is_some() {
        // Perhaps only by package lists that are old, or none.
        debian::update()?;
        choice = choose()?;
    }
    if choice != Choice::Use(Toolchain::Nightly) && Toolchain::installed() == Some(Toolchain::Nightly) {
        println!("setup: Debian's Rust instead of your nightly, whose LLVM apt does not offer");
    }
    let (toolchain, first) = match choice {
        Choice::Use(toolchain) => (toolchain, Done::Nothing),
        Choice::Install => (install_toolchain()?, Done::Installed),
    };
    let second = linker::ensure(toolchain)?;
    Ok(if second == Done::Nothing { first } else { second })
}

/// What the tests need beside that.
pub(crate) fn tests() -> Result<Done> {
    let mut steps = vec![debian::ensure_needs(
        needs::TESTS,
        "the servers and tools that tests run against",
    )?];
    if let Choice::Use(toolchain) = choose()? {
        steps.push(kernel_object_lints(toolchain)?);
    }
    steps.push(python::ensure(needs::PYTHON)?);
    steps.push(deny::ensure()?);
    Ok(if steps.contains(&Done::Installed) {
        Done::Installed
    } else {
        Done::Nothing
    })
}

/// What a cluster's node is made of, beside that. Kubernetes itself is built by the tests.
pub(crate) fn kubernetes() -> Result<Done> {
    debian::ensure_needs(needs::KUBERNETES, "what a node of Kubernetes is made of")
}

/// What packages and images are made and tried with.
pub(crate) fn packages() -> Result<Done> {
    debian::ensure_needs(needs::PACKAGES, "what makes images, and runs them")?;
    tool::DEB.ensure()
}

/// clippy of the compiler that builds the kernel object.
fn kernel_object_lints(toolchain: Toolchain) -> Result<Done> {
    if toolchain == Toolchain::Distribution {
        return debian::ensure_needs(needs::KERNEL_OBJECT_LINTS, "clippy for the kernel object");
    }
    let mut list = Command::new("rustup");
    list.args(["component", "list", "--toolchain", "nightly", "--installed"]);
    if has_component(&shell::output(&mut list)?, "clippy") {
        return Ok(Done::Nothing);
    }
    println!("setup: asking rustup for the nightly's clippy, for the kernel object");
    let mut add = Command::new("rustup");
    add.args(["component", "add", "--toolchain", "nightly", "clippy"]);
    println!("  $ {}", shell::line(&add));
    shell::output_within(&mut add, RUSTUP_LIMIT)?;
    Ok(Done::Installed)
}

/// Whether rustup's list of installed components, such as `clippy-x86_64-unknown-linux-gnu`, has `component`.
fn has_component(list: &str, component: &str) -> bool {
    let rests = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix(component));
    rests
        .into_iter()
        .any(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What the demo needs, and what building it needs.
pub(crate) fn demo() -> Result<Done> {
    kernel_object()?;
    debian::ensure_needs(needs::DEMO, "the servers and languages of the demo's shop")?;
    python::ensure(needs::PYTHON)
}

/// What the bench needs beside that.
pub(crate) fn bench() -> Result<Done> {
    kernel_object()?;
    debian::ensure_needs(needs::BENCH, "what the bench measures with")
}

/// What there is to build the kernel object with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// It is installed, though perhaps not its linker.
    Use(Toolchain),
    /// None that would do.
    Install,
}

/// The installed toolchain, unless it is a nightly whose linker cannot be had here while Debian's can.
fn choose() -> Result<Choice> {
    let Some(installed) = Toolchain::installed() else {
        return Ok(Choice::Install);
    };
    if installed == Toolchain::Distribution || linker::out_of_reach(installed)?.is_none() {
        return Ok(Choice::Use(installed));
    }
    let debian = debian::names(needs::DEBIAN_RUST);
    Ok(instead(debian::has(&debian), debian::have_candidates(&debian)))
}

/// Instead of a nightly whose linker cannot be had: Debian's, or, where that is not offered either, the nightly, for which
/// [`linker::ensure`] says what is missing.
fn instead(has_debian: bool, offers_debian: bool) -> Choice {
    match (has_debian, offers_debian) {
        (true, _) => Choice::Use(Toolchain::Distribution),
        (false, true) => Choice::Install,
        (false, false) => Choice::Use(Toolchain::Nightly),
    }
}

/// `cargo` in the work tree, with which the build of the kernel object finds the toolchain of [`choose`]: it looks for a
/// nightly first, so where that will not do, none is in its `PATH`. What `cargo run` has told us of ourselves is left out:
/// crates that look at it (ring) would be built again whenever a build by hand follows one by us.
pub(crate) fn cargo() -> Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    forget_description(&mut cargo);
    if toolchain()? == Toolchain::Distribution && Toolchain::installed() == Some(Toolchain::Nightly) {
        cargo.env("PATH", Toolchain::Distribution.search_path()?);
        forget_toolchain(&mut cargo);
    }
    Ok(cargo)
}

fn forget_description(cargo: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name
            .to_str()
            .is_some_and(|name| told.iter().any(|told| name.starts_with(told)))
        {
            cargo.env_remove(name);
        }
    }
}

/// This process's own toolchain, set by rustup's cargo, is not meant for another.
fn forget_toolchain(cargo: &mut Command) {
    for name in ["RUSTUP_TOOLCHAIN", "RUSTC", "CARGO"] {
        cargo.env_remove(name);
    }
}

/// The toolchain that the kernel object is built with.
pub(crate) fn toolchain() -> Result<Toolchain> {
    match choose()? {
        Choice::Use(toolchain) => Ok(toolchain),
        Choice::Install => bail!("no compiler for the kernel object: cargo xtask setup installs one"),
    }
}

/// By the distribution's packages where it has them, because they come with LLVM's; else by rustup.
fn install_toolchain() -> Result<Toolchain> {
    println!(
        "setup: installing a compiler with the source of its own core, which the kernel object is built with"
    );
    if debian::offers(&debian::names(needs::DEBIAN_RUST))? {
        println!("setup: Debian's, beside yours, which stays the default");
        debian::install(needs::DEBIAN_RUST)?;
        return Ok(Toolchain::Distribution);
    }
    if shell::find("rustup").is_none() {
        bail!(needs::advice(
            "apt offers no rustc-web here, and there is no rustup",
            None
        ));
    }
    println!("setup: asking rustup for a nightly with rust-src, beside your default toolchain");
    let mut rustup = Command::new("rustup");
    rustup.args([
        "toolchain",
        "install",
        "nightly",
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]);
    rustup.arg("--no-self-update");
    println!("  $ {}", shell::line(&rustup));
    shell::output_within(&mut rustup, RUSTUP_LIMIT)
        .with_context(|| needs::advice("rustup does not install a nightly", None))?;
    Toolchain::installed().context("the compiler was installed, but the source of its core is not there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_up_again_finds_nothing_to_do() -> Result<()> {
        // Only where it is set up: elsewhere this test would install packages.
        if Toolchain::installed()
            .is_none_or(|toolchain| linker::missing(toolchain).is_ok_and(|missing| missing.is_some()))
        {
            println!("not set up here: cargo xtask setup");
            return Ok(());
        }
        assert_eq!(kernel_object()?, Done::Nothing);
        Ok(())
    }
    #[test]
    fn debians_rust_takes_the_place_of_a_nightly_without_a_linker() {
        assert_eq!(instead(true, true), Choice::Use(Toolchain::Distribution));
        assert_eq!(instead(true, false), Choice::Use(Toolchain::Distribution));
        assert_eq!(instead(false, true), Choice::Install);
        assert_eq!(instead(false, false), Choice::Use(Toolchain::Nightly));
    }

    #[test]
    fn a_component_is_found_under_its_own_name_only() {
        let list = "cargo-x86_64-unknown-linux-gnu\nclippy-x86_64-unknown-linux-gnu\nrust-src\n";
        assert!(has_component(list, "clippy") && has_component(list, "rust-src"));
        assert!(!has_component("cargo-x86_64-unknown-linux-gnu\n", "clippy"));
        assert!(!has_component("clippyx\n", "clippy"));
    }
}
