//! `cargo xtask setup`: installs what is missing, says each step before it takes it, and takes none twice.
//!
//! Everything goes to the system's package manager or to a cache folder of our own. Defaults that the user
//! chose (rustup's toolchain, PATH, services) stay as they are.

mod debian;
pub(crate) mod deny;
mod linker;
mod needs;
mod python;
#[path = "../../../agent/build/toolchain.rs"]
pub(crate) mod toolchain;

use crate::shell;
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
    let (toolchain, first) = match Toolchain::installed() {
        Some(toolchain) => (toolchain, Done::Nothing),
        None => (install_toolchain()?, Done::Installed),
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
    if Toolchain::installed() == Some(Toolchain::Distribution) {
        steps.push(debian::ensure_needs(
            needs::KERNEL_OBJECT_LINTS,
            "clippy for the kernel object",
        )?);
    }
    steps.push(python::ensure(needs::PYTHON)?);
    steps.push(deny::ensure()?);
    Ok(if steps.contains(&Done::Installed) {
        Done::Installed
    } else {
        Done::Nothing
    })
}

/// What the bench needs beside that.
pub(crate) fn bench() -> Result<Done> {
    kernel_object()?;
    debian::ensure_needs(needs::BENCH, "what the bench measures with")
}

/// By the distribution's packages where it has them, because they come with LLVM's; else by rustup.
fn install_toolchain() -> Result<Toolchain> {
    println!("setup: no compiler here has the source of its own core, which the kernel object is built with");
    if debian::offers(needs::DEBIAN_RUST)? {
        println!("setup: installing Debian's, beside yours, which stays the default");
        debian::install(needs::DEBIAN_RUST)?;
    } else if shell::find("rustup").is_some() {
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
        shell::output_within(&mut rustup, RUSTUP_LIMIT).context(needs::advice(None))?;
    } else {
        bail!(needs::advice(None));
    }
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
}
