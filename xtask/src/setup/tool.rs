//! Tools of cargo's, built once into the cache.

use super::Done;
use super::toolchain::tools_folder;
use crate::shell;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// One of them: `cargo NAME`, which answers `--version` with its version behind its name, or alone.
pub(crate) struct Tool {
    /// Crate and program.
    pub(crate) name: &'static str,
    /// Exactly this one.
    pub(crate) version: &'static str,
    /// What it takes to build it.
    pub(crate) takes: &'static str,
}

/// Makes Debian packages.
pub(crate) const DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    takes: "two minutes",
};

impl Tool {
    /// Where it is.
    pub(crate) fn program(&self) -> PathBuf {
        tools_folder().join("bin").join(self.name)
    }

    /// Builds it where it is missing or of another version.
    pub(crate) fn ensure(&self) -> Result<Done> {
        let there = shell::output(Command::new(self.program()).arg("--version")).unwrap_or_default();
        if there.split_whitespace().last() == Some(self.version) {
            return Ok(Done::Nothing);
        }
        println!(
            "setup: building {} ({}) into {}",
            self.name,
            self.takes,
            tools_folder().display()
        );
        let mut cargo = Command::new("cargo");
        cargo.args([
            "install",
            self.name,
            "--version",
            self.version,
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
}
