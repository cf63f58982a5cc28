//! The programs under `tests/workloads`, built once into the cache, and the interpreters that run the others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Python of the distribution, without packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// A file of `tests/workloads`.
///
/// # Errors
/// It is not there.
pub fn file(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(name);
    ensure!(path.exists(), "no {}", path.display());
    Ok(path)
}

/// Where test parts are kept between runs: `$XDG_CACHE_HOME/spanwire-tests`.
///
/// # Errors
/// There is no home folder.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|base| !base.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("spanwire-tests"))
}

/// A program of the virtual environment that `cargo xtask test` sets up, such as `python` or `gunicorn`.
///
/// # Errors
/// It was not set up.
pub fn environment(program: &str) -> Result<PathBuf> {
    let path = cache()?.join("venv/bin").join(program);
    ensure!(
        path.exists(),
        "no {}: `cargo xtask test live` makes it",
        path.display()
    );
    Ok(path)
}

/// The C program `NAME.c`, built.
///
/// # Errors
/// There is no compiler, or it refuses.
pub fn c(name: &str) -> Result<PathBuf> {
    built(name, "c", |source, output| {
        let mut command = Command::new("gcc");
        command
            .args(["-O1", "-Wall", "-Werror", "-o"])
            .arg(output)
            .arg(source);
        command
    })
}

/// The Go program `NAME.go`, built.
///
/// # Errors
/// There is no Go, or it refuses.
pub fn go(name: &str) -> Result<PathBuf> {
    built(name, "go", |source, output| {
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(output).arg(source);
        command
            .env("GOFLAGS", "-buildvcs=false")
            .env("GO111MODULE", "off");
        command
    })
}

/// The folder is named by the source, the program by itself: processes are named by their program.
fn built(name: &str, language: &str, build: impl Fn(&Path, &Path) -> Command) -> Result<PathBuf> {
    let source = file(&format!("{name}.{language}"))?;
    let mut hasher = DefaultHasher::new();
    std::fs::read(&source)?.hash(&mut hasher);
    let folder = cache()?.join(format!("built/{name}-{:016x}", hasher.finish()));
    let program = folder.join(name);
    if !program.exists() {
        std::fs::create_dir_all(&folder)?;
        // Under another name until it is whole: an interrupted build must not be taken for a program.
        let partial = folder.join(format!("{name}.{}", std::process::id()));
        let output = build(&source, &partial).output().context("compiler")?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{}: {message}", source.display());
        std::fs::rename(&partial, &program)?;
    }
    Ok(program)
}
