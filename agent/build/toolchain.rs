//! Which Rust toolchain compiles the kernel half: read by agent/build.rs, which uses it, and by
//! `cargo xtask setup`, which installs what is missing, so that the two never disagree.
//!
//! The bpf target comes without a compiled `core`, so the source of exactly the compiler's own `core` is needed.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A toolchain that can build `core` for the bpf target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// rustup's nightly with its rust-src component.
    Nightly,
    /// The compiler in /usr/bin with its source beside it: Debian's rustc-web, cargo-web and rust-web-src.
    /// It is a stable one, and unlocked with `RUSTC_BOOTSTRAP`.
    Distribution,
}

impl Toolchain {
    /// The one that is there; the nightly first, because a user who has it chose it.
    pub(crate) fn installed() -> Option<Self> {
        [Self::Nightly, Self::Distribution]
            .into_iter()
            .find(|toolchain| toolchain.has_core_source())
    }

    /// A command that runs `program` (`cargo`, `rustc`) of this toolchain.
    pub(crate) fn command(self, program: &str) -> Command {
        match self {
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", program]);
                command
            }
            Self::Distribution => {
                let mut command = Command::new(Path::new("/usr/bin").join(program));
                command.env("RUSTC_BOOTSTRAP", "1");
                command
            }
        }
    }

    /// Value of `PATH` under which `cargo` and `rustc` are this toolchain's and bpf-linker is found.
    pub(crate) fn search_path(self) -> Result<OsString, env::JoinPathsError> {
        let mut path: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        if self == Self::Distribution {
            // aya-build asks for a nightly wherever it finds rustup.
            path.retain(|folder| !folder.join("rustup").exists());
            path.insert(0, PathBuf::from("/usr/bin"));
        }
        path.insert(0, tools_folder().join("bin"));
        env::join_paths(path)
    }

    fn has_core_source(self) -> bool {
        let sysroot = self.command("rustc").args(["--print", "sysroot"]).output();
        sysroot.is_ok_and(|sysroot| {
            let folder = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
            sysroot.status.success()
                && folder
                    .join("lib/rustlib/src/rust/library/core/src/lib.rs")
                    .exists()
        })
    }
}

/// Where `cargo xtask setup` puts the build's tools: a cache, so that a fresh clone finds them.
pub(crate) fn tools_folder() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| OsString::from("/root")));
    cache
        .unwrap_or_else(|| home().join(".cache"))
        .join("spanwire/tools")
}
