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
    let prefix = if shell::find("apt-get").is_some() {
        let llvm = llvm_packages(major);
        let mut packages: Vec<_> = llvm.iter().map(String::as_str).collect();
        packages.extend(debian::names(needs::LINKER));
        debian::ensure(&packages, "LLVM's libraries, for bpf-linker").with_context(|| {
            needs::advice(
                &format!("apt does not install {}", packages.join(" ")),
                Some(major),
            )
        })?;
        PathBuf::from(format!("/usr/lib/llvm-{major}"))
    } else {
        llvm_elsewhere(major)
            .with_context(|| needs::advice("set-up knows no package manager but apt", Some(major)))?
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
    let Some(theirs) = shell::find("bpf-linker") else {
        return Ok(Some(major));
    };
    Ok(reads(llvm_of(&theirs), major))
}

/// The LLVM that a linker for `toolchain` is missing for and that apt's package lists do not know; `None` when one is there
/// or can be built, and where there is no apt that could offer another compiler.
pub(crate) fn out_of_reach(toolchain: Toolchain) -> Result<Option<u32>> {
    let Some(major) = missing(toolchain)? else {
        return Ok(None);
    };
    let packages = llvm_packages(major);
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    let offered = shell::find("apt-get").is_none() || debian::have_candidates(&packages);
    Ok((!offered).then_some(major))
}

fn llvm_packages(major: u32) -> [String; 2] {
    [format!("llvm-{major}-dev"), format!("libpolly-{major}-dev")]
}

/// The compiler's LLVM when a linker of the user's own cannot read what it writes: a newer LLVM reads what an older one
/// wrote, and one that does not tell which it is is given the benefit of the doubt.
fn reads(theirs: Option<u32>, major: u32) -> Option<u32> {
    theirs.filter(|theirs| *theirs < major).map(|_| major)
}

/// The LLVM of a linker: from cargo's record beside it, or else from the name of the library that it loads.
fn llvm_of(linker: &Path) -> Option<u32> {
    let record = linker
        .ancestors()
        .nth(2)
        .and_then(|root| fs::read_to_string(root.join(".crates2.json")).ok());
    record
        .and_then(|record| recorded_llvm(&record))
        .or_else(|| loaded_llvm(&fs::read(linker).ok()?))
}

/// 22 of the feature `llvm-22` in cargo's record of installed programs.
fn recorded_llvm(record: &str) -> Option<u32> {
    let record: serde_json::Value = serde_json::from_str(record).ok()?;
    let mut installs = record["installs"].as_object()?.iter();
    let (_, linker) = installs.find(|(name, _)| name.starts_with("bpf-linker "))?;
    let features = linker["features"].as_array()?.iter().filter_map(|it| it.as_str());
    features
        .filter_map(|feature| feature.strip_prefix("llvm-")?.parse().ok())
        .max()
}

/// 22 of `libLLVM.so.22.1`, or 18 of the older `libLLVM-18.so.1`, among the names in a program.
fn loaded_llvm(program: &[u8]) -> Option<u32> {
    ["libLLVM.so.", "libLLVM-"].into_iter().find_map(|name| {
        let start = program
            .windows(name.len())
            .position(|window| window == name.as_bytes())?;
        let number = program[start + name.len()..].iter().take(3);
        let digits = number.map_while(|byte| char::from(*byte).to_digit(10));
        let major = digits.fold(0, |major, digit| major * 10 + digit);
        (major > 0).then_some(major)
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

    #[test]
    fn a_linker_of_the_users_own_must_not_be_older_than_the_compiler() {
        assert_eq!(reads(Some(22), 22), None);
        assert_eq!(reads(Some(23), 22), None, "a newer one reads it");
        assert_eq!(reads(Some(21), 22), Some(22));
        assert_eq!(reads(None, 22), None, "nobody knows");
    }

    #[test]
    fn a_linker_tells_its_llvm_by_its_record_or_its_library() {
        let record = r#"{"installs":{"bpf-linker 0.13.0 (registry)":{"features":["llvm-21"]},"other 1.0.0 (registry)":{}}}"#;
        assert_eq!(recorded_llvm(record), Some(21));
        assert_eq!(recorded_llvm(&record.replace("llvm-21", "default")), None);
        assert_eq!(recorded_llvm(r#"{"installs":{}}"#), None);
        assert_eq!(loaded_llvm(b"\0libc.so.6\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(loaded_llvm(b"\0libLLVM-18.so.1\0"), Some(18));
        assert_eq!(loaded_llvm(b"\0libLLVM-"), None);
        assert_eq!(loaded_llvm(b"static"), None);
    }
}
