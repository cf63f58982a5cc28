//! What each stage of the tests runs.

use super::failed_once;
use crate::kernels::build;
use crate::machine::Machine;
use crate::{package, setup, shell, workspace};
use anyhow::{Context as _, Result};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

/// The stages whose tests are attempted twice: they share the machine with guests, servers and clusters.
pub(super) const LIVE: &str = "live tests";
pub(super) const CLUSTER: &str = "kubernetes";

/// Everything but the kernel object, which is a program for another machine.
const HOST: &[&str] = &["--workspace", "--exclude", "spanwire-ebpf"];

fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut command = setup::cargo()?;
    command.args(arguments);
    Ok(command)
}

/// With whatever formatter is there: it builds nothing.
pub(crate) fn fmt() -> Result<()> {
    for manifest in ["Cargo.toml", "tests/workloads/rust/Cargo.toml"] {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(workspace::root());
        shell::run(cargo.args(["fmt", "--all", "--check", "--manifest-path", manifest]))?;
    }
    Ok(())
}

/// Without advisories: their database is a git repository that a build machine may not reach.
pub(crate) fn deny() -> Result<()> {
    let mut deny = Command::new(setup::deny::program());
    deny.current_dir(workspace::root())
        .args(["--locked", "check", "--hide-inclusion-graph"]);
    shell::run(deny.args(["licenses", "bans", "sources"]))
}

pub(crate) fn clippy() -> Result<()> {
    shell::run(
        cargo(&["clippy", "--all-targets"])?
            .args(HOST)
            .args(["--", "-D", "warnings"]),
    )?;
    shell::run(&mut cargo(&[
        "clippy",
        "-p",
        "spanwire-ebpf",
        "--lib",
        "--",
        "-D",
        "warnings",
    ])?)
}

/// With the compiler, target and flags that build it; once for each of the two objects, and for each machine.
pub(crate) fn clippy_kernel_object() -> Result<()> {
    let toolchain = setup::toolchain()?;
    for (machine, features) in [
        (Machine::X86, ""),
        (Machine::X86, "bounded-loops"),
        (Machine::Arm, ""),
    ] {
        // By its own name: `cargo clippy` prefers the proxy in ~/.cargo/bin, which is another toolchain's.
        let mut cargo = toolchain.command("cargo-clippy");
        cargo
            .current_dir(workspace::root())
            .env("PATH", toolchain.search_path()?);
        // This process's own toolchain, set by rustup's cargo, is not meant for that one.
        cargo
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTC")
            .env_remove("CARGO");
        let flags = format!("--cfg=bpf_target_arch=\"{}\"\x1f-Dwarnings", machine.name());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags).arg("clippy");
        cargo.args([
            "-p",
            "spanwire-ebpf",
            "--bins",
            "--release",
            "--target",
            "bpfel-unknown-none",
        ]);
        cargo.args(["-Z", "build-std=core", "--features", features, "--target-dir"]);
        shell::run(cargo.arg(workspace::target().join("kernel-object")))?;
    }
    Ok(())
}

pub(crate) fn doc() -> Result<()> {
    let flags = "-D warnings";
    shell::run(
        cargo(&["doc", "--no-deps", "--document-private-items"])?
            .args(HOST)
            .env("RUSTDOCFLAGS", flags),
    )?;
    shell::run(cargo(&["doc", "--no-deps", "-p", "spanwire-ebpf", "--lib"])?.env("RUSTDOCFLAGS", flags))
}

pub(crate) fn unit() -> Result<()> {
    shell::run(&mut cargo(&[
        "test",
        "-p",
        "spanwire",
        "-p",
        "xtask",
        "--no-fail-fast",
    ])?)?;
    shell::run(&mut cargo(&[
        "test",
        "-p",
        "spanwire-ebpf",
        "-p",
        "spanwire-tests",
        "--lib",
        "--bin",
        "guest",
    ])?)
}

/// Captures are read by the static build. They are made as root, side by side.
pub(crate) fn replay() -> Result<()> {
    shell::run(&mut against_static(|name| name.starts_with("replay"))?)
}

/// As root, against the static build; one at a time, because each watches the host.
pub(crate) fn live() -> Result<()> {
    let is_of_others =
        |name: &str| name.starts_with("replay") || name.starts_with("ship") || KUBERNETES.contains(&name);
    let mut tests = against_static(|name| !is_of_others(name))?;
    failed_once::run(LIVE, tests.args(["--", "--test-threads=1"]))
}

/// Those that take the programs of Kubernetes: minutes to build, the first time.
const KUBERNETES: &[&str] = &["kubernetes", "manifests", "pods"];

/// As root, against the static build.
pub(crate) fn kubernetes() -> Result<()> {
    setup::kubernetes()?;
    let mut tests = against_static(|name| KUBERNETES.contains(&name))?;
    failed_once::run(CLUSTER, tests.args(["--", "--test-threads=1"]))
}

/// The package and the image, of the static binary that guests get, and what becomes of them where they are installed.
pub(crate) fn packages() -> Result<()> {
    setup::packages()?;
    let made = package::all()?;
    let mut tests = as_root(&["test", "-p", "spanwire-tests", "--no-fail-fast"])?;
    for name in ["ship_package", "ship_container"] {
        tests.args(["--test", name]);
    }
    tests
        .env("SPANWIRE_DEB", made.package)
        .env("SPANWIRE_IMAGE", made.image);
    shell::run(tests.args(["--", "--test-threads=1"]))
}

/// Those files of `tests/tests` whose names are `wanted`, as root. With the binary that guests, package and image get, too, so that
/// all of it is built once.
fn against_static(wanted: impl Fn(&str) -> bool) -> Result<Command> {
    let spanwire = build::programs(Machine::this()?)?.spanwire;
    let mut tests = as_root(&["test", "-p", "spanwire-tests", "--no-fail-fast"])?;
    for entry in fs::read_dir(workspace::root().join("tests/tests"))? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        if let Some(name) = file.strip_suffix(".rs").filter(|name| wanted(name)) {
            tests.args(["--test", name]);
        }
    }
    tests.env("SPANWIRE_BIN", spanwire);
    Ok(tests)
}

/// cargo with arguments that have it run tests: built as who we are, run as root.
fn as_root(arguments: &[&str]) -> Result<Command> {
    let mut tests = cargo(arguments)?;
    if !shell::is_root() {
        // No file in the work tree becomes root's.
        let host = host_triple()?.to_uppercase().replace('-', "_");
        let mut runner = OsString::from("sudo -E env PATH=");
        runner.push(env::var_os("PATH").unwrap_or_default());
        tests.env(format!("CARGO_TARGET_{host}_RUNNER"), runner);
    }
    Ok(tests)
}

fn host_triple() -> Result<String> {
    let version = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
