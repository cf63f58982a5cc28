//! Machines that spanwire is built for.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use std::env;

/// One of them, by the name that Rust and the kernel have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Machine {
    #[value(name = "x86_64")]
    X86,
    #[value(name = "aarch64")]
    Arm,
}

impl Machine {
    /// The one that this program runs on.
    pub(crate) fn this() -> Result<Self> {
        let machines = Self::value_variants().iter().copied();
        let found = machines
            .into_iter()
            .find(|machine| machine.name() == env::consts::ARCH);
        found.with_context(|| format!("spanwire is not built for this machine, {}", env::consts::ARCH))
    }

    pub(crate) fn is_this(self) -> bool {
        self.name() == env::consts::ARCH
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// Rust's target.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-gnu",
            Self::Arm => "aarch64-unknown-linux-gnu",
        }
    }

    /// Its name in Debian, Go and container images.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// The C compiler that makes programs for it on this machine, which links them, too.
    pub(crate) fn compiler(self) -> &'static str {
        match self {
            _ if self.is_this() => "gcc",
            Self::X86 => "x86_64-linux-gnu-gcc",
            Self::Arm => "aarch64-linux-gnu-gcc",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_the_one_that_its_name_says() -> Result<()> {
        assert_eq!(Machine::this()?.name(), env::consts::ARCH);
        assert!(Machine::this()?.is_this());
        Ok(())
    }
}
