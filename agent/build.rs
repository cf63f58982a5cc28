//! Builds the kernel half (agent-ebpf) and nothing else, with whichever toolchain build/toolchain.rs finds.

#[path = "build/toolchain.rs"]
mod toolchain;

use anyhow::Context as _;
use aya_build::Package;
use std::path::PathBuf;
use std::{env, fs};
use toolchain::Toolchain;

fn main() -> anyhow::Result<()> {
    for name in ["PATH", "HOME", "XDG_CACHE_HOME"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    // Whole paths, such as aya-build's, still name the old place where a checkout and its target folder were moved.
    for path in ["build", "../agent-ebpf"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let explain = "building the kernel object; `cargo xtask setup` installs what that needs";
    let toolchain = Toolchain::installed()
        .context("no compiler with the source of its core")
        .context(explain)?;
    set_environment("PATH", &toolchain.search_path()?.to_string_lossy());
    if toolchain == Toolchain::Distribution {
        set_environment("RUSTC_BOOTSTRAP", "1");
    }
    let root_dir = format!("{}/../agent-ebpf", env::var("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?);
    for (features, object) in [
        (&["bounded-loops"][..], "spanwire-bpf-bounded"),
        (&[][..], "spanwire-bpf-loop"),
    ] {
        let package = Package {
            name: "spanwire-ebpf",
            root_dir: &root_dir,
            features,
            ..Package::default()
        };
        aya_build::build_ebpf([package], aya_build::Toolchain::default()).context(explain)?;
        fs::rename(out_dir.join("spanwire-bpf"), out_dir.join(object)).context(explain)?;
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "aya-build takes its toolchain from the environment only"
)]
fn set_environment(name: &str, value: &str) {
    // SAFETY: a build script's only thread.
    unsafe { env::set_var(name, value) }
}
