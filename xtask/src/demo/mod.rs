//! `cargo xtask demo`: a small shop under spanwire, with customers, on this machine.
//!
//! It sets up, builds, and becomes `shop` (tests/src/bin/shop.rs), as root: that opens the shop and ends it.

use crate::{run, setup, shell, workspace};
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// How long it runs, and what spanwire is told beside.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// End by itself after so many seconds; else with Ctrl-C.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// More arguments of `spanwire run`, such as `-- --output otlp-json`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Sets up, builds, and opens the shop; comes back only with an error.
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    setup::demo()?;
    run::build()?;
    shell::run(setup::cargo()?.args(["build", "--release", "-p", "spanwire-tests", "--bin", "shop"]))?;
    let release = workspace::target().join("release");
    let shop = release.join("shop");
    let cache = workspace::test_cache();
    let cache = cache.parent().unwrap_or(Path::new("/"));
    // As who we are: nothing in the cache becomes root's.
    shell::run(Command::new(&shop).arg("prepare").env("XDG_CACHE_HOME", cache))?;
    let mut command = if shell::is_root() {
        Command::new(&shop)
    } else {
        println!("spanwire loads programs into the kernel, which only root may do: through sudo");
        let mut sudo = Command::new("sudo");
        // -E: the OTEL_* variables that say where traces go.
        sudo.args(["-E", "env"]);
        for (name, value) in [
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("XDG_CACHE_HOME", cache.as_os_str().to_owned()),
        ] {
            let mut setting = OsString::from(name);
            setting.push("=");
            setting.push(value);
            sudo.arg(setting);
        }
        sudo.arg(&shop);
        sudo
    };
    command.env("XDG_CACHE_HOME", cache);
    command.arg("run").arg(release.join("spanwire"));
    command.args(
        arguments
            .seconds
            .iter()
            .flat_map(|seconds| ["--for".to_owned(), seconds.to_string()]),
    );
    if !arguments.arguments.is_empty() {
        command.arg("--").args(&arguments.arguments);
    }
    println!("  $ {}", shell::line(&command));
    Err(command.exec()).with_context(|| format!("starting {}", shop.display()))
}
