//! Builds the kernel half (agent-ebpf) and nothing else.
//!
//! Two toolchains can do it, and the one that is there is taken: a rustup nightly with the rust-src component,
//! or Debian's rustc-web set (see `cargo xtask setup`), whose cargo is then used without rustup.

use anyhow::Context as _;
use aya_build::{Package, Toolchain};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> anyhow::Result<()> {
    for name in ["PATH", "SPANWIRE_BPF_TOOLCHAIN"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let mut path: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    if let Some(tools) = tools_folder() {
        path.insert(0, tools.join("bin"));
    }
    if !nightly_has_rust_src() && Path::new("/usr/src").is_dir() && debian_has_rust_src() {
        path.retain(|folder| !folder.join("rustup").exists());
        path.insert(0, PathBuf::from("/usr/bin"));
        set_environment("RUSTC_BOOTSTRAP", "1");
    }
    set_environment("PATH", &env::join_paths(path)?.to_string_lossy());
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-ebpf");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?);
    let explain = "building the kernel object; `cargo xtask setup` installs what that needs";
    for (features, object) in [(&["bounded-loops"][..], "spanwire-bpf-bounded"), (&[][..], "spanwire-bpf-loop")] {
        let package = Package { name: "spanwire-ebpf", root_dir, features, ..Package::default() };
        aya_build::build_ebpf([package], Toolchain::default()).context(explain)?;
        fs::rename(out_dir.join("spanwire-bpf"), out_dir.join(object)).context(explain)?;
    }
    Ok(())
}

/// Where `cargo xtask setup` puts bpf-linker.
fn tools_folder() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("spanwire/tools"))
}

fn nightly_has_rust_src() -> bool {
    let sysroot = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output();
    sysroot.is_ok_and(|sysroot| {
        let library = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned() + "/lib/rustlib/src/rust/library";
        sysroot.status.success() && Path::new(&library).join("Cargo.lock").exists()
    })
}

fn debian_has_rust_src() -> bool {
    let sysroot = Command::new("/usr/bin/rustc").args(["--print", "sysroot"]).output();
    sysroot.is_ok_and(|sysroot| {
        let library = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned() + "/lib/rustlib/src/rust/library";
        Path::new(&library).join("core").exists()
    })
}

#[expect(unsafe_code, reason = "aya-build takes its toolchain from the environment only")]
fn set_environment(name: &str, value: &str) {
    // SAFETY: a build script's only thread.
    unsafe { env::set_var(name, value) }
}
