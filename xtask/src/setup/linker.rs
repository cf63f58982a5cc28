//! bpf-linker, built with the LLVM that the compiler has: it reads the compiler's own intermediate code.

use super::toolchain::{Toolchain, tools_folder};
use super::{Done, debian, needs};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one that aya 0.14 was tried with.
pub(crate) const VERSION: &str = "0.13.0";

/// Installs bpf-linker for `toolchain` where there is none.
pub(crate) fn ensure(toolchain: Toolchain) -> Result<Done> {
    let Some(major) = missing(toolchain)? else {
        return Ok(Done::Nothing);
    };
    println!("setup: no bpf-linker for LLVM {major}, which is the compiler's");
    let mut packages = vec![format!("llvm-{major}-dev"), format!("libpolly-{major}-dev")];
    let prefix = if shell::find("apt-get").is_some() {
        packages.extend(needs::LINKER.iter().map(|need| need.package.to_owned()));
        let packages: Vec<_> = packages.iter().map(String::as_str).collect();
        debian::ensure(&packages, "LLVM's libraries, for bpf-linker")
            .with_context(|| needs::advice(Some(major)))?;
        PathBuf::from(format!("/usr/lib/llvm-{major}"))
    } else {
        llvm_elsewhere(major).with_context(|| needs::advice(Some(major)))?
    };
    println!(
        "setup: building bpf-linker (two minutes) into {}",
        tools_folder().display()
    );
    let mut cargo = Command::new("cargo");
    cargo
        .env("LLVM_PREFIX", prefix)
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"]);
    cargo.args([
        "--no-default-features",
        "--features",
        &format!("llvm-{major}"),
        "--force",
        "--root",
    ]);
    shell::run(cargo.arg(tools_folder()))?;
    Ok(Done::Installed)
}

/// The LLVM version that a linker is missing for; `None` when it is there.
pub(crate) fn missing(toolchain: Toolchain) -> Result<Option<u32>> {
    let version = shell::output(toolchain.command("rustc").arg("-vV"))?;
    let major = llvm_major(&version).context("`rustc -vV` names no LLVM version")?;
    let ours = tools_folder();
    if ours.join("bin/bpf-linker").is_file() {
        let record = fs::read_to_string(ours.join(".crates2.json")).unwrap_or_default();
        return Ok(if built_for(&record, major) {
            None
        } else {
            Some(major)
        });
    }
    // One of the user's own will do: a newer LLVM reads what an older one wrote.
    Ok(if shell::find("bpf-linker").is_some() {
        None
    } else {
        Some(major)
    })
}

/// The LLVM of a `rustc -vV`, such as 22 of `LLVM version: 22.1.8`.
fn llvm_major(version: &str) -> Option<u32> {
    let version = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version:"))?;
    version.trim().split('.').next()?.parse().ok()
}

/// Whether cargo's record of installed programs has our version with that LLVM.
fn built_for(record: &str, major: u32) -> bool {
    let Ok(record) = serde_json::from_str::<serde_json::Value>(record) else {
        return false;
    };
    let Some(installs) = record["installs"].as_object() else {
        return false;
    };
    let wanted = format!("llvm-{major}");
    installs.iter().any(|(name, install)| {
        let features = install["features"].as_array().into_iter().flatten();
        name.starts_with(&format!("bpf-linker {VERSION} "))
            && features.flat_map(|it| it.as_str()).any(|it| it == wanted)
    })
}

fn llvm_elsewhere(major: u32) -> Result<PathBuf> {
    for program in [format!("llvm-config-{major}"), "llvm-config".to_owned()] {
        let Some(config) = shell::find(&program) else {
            continue;
        };
        let version = shell::output(Command::new(&config).arg("--version"))?;
        if version.trim().split('.').next() == Some(&major.to_string()) {
            let prefix = shell::output(Command::new(&config).arg("--prefix"))?;
            return Ok(Path::new(prefix.trim()).to_owned());
        }
    }
    bail!("no llvm-config of LLVM {major}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_tells_its_llvm() {
        assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("release: 1.96.0\n"), None);
    }

    #[test]
    fn a_linker_of_another_llvm_or_version_is_not_ours() {
        let record = r#"{"installs":{"bpf-linker 0.13.0 (registry)":{"features":["llvm-22"]}}}"#;
        assert!(built_for(record, 22));
        assert!(!built_for(record, 23));
        assert!(!built_for(&record.replace("0.13.0", "0.12.0"), 22));
        assert!(!built_for("", 22));
    }
}
