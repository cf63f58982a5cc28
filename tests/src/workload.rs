//! The programs under `tests/workloads`, built once into the cache, and the interpreters that run the others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::child;

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
    let source = file(&format!("{name}.c"))?;
    built(name, std::slice::from_ref(&source), |output| {
        let mut command = Command::new("gcc");
        command.args(["-O1", "-Wall", "-Werror", "-o"]);
        command.arg(output).arg(&source);
        command
    })
}

/// The Go program `NAME.go`, built.
///
/// # Errors
/// There is no Go, or it refuses.
pub fn go(name: &str) -> Result<PathBuf> {
    let source = file(&format!("{name}.go"))?;
    built(name, std::slice::from_ref(&source), |output| {
        let mut command = go_build(output);
        command.arg(&source).env("GO111MODULE", "off");
        command
    })
}

/// The program `NAME` of the Go module in `go`, which uses modules of others, built.
///
/// # Errors
/// There is no Go, or it refuses.
pub fn go_program(name: &str) -> Result<PathBuf> {
    go_with_modules(name, &format!("go/{name}/main.go"))
}

/// The same, linked statically: it runs where there are no libraries.
///
/// # Errors
/// There is no Go, or it refuses.
pub fn go_alone(name: &str) -> Result<PathBuf> {
    go_in_module(name, &format!("go/{name}/main.go"), &[("CGO_ENABLED", "0")])
}

/// The program of the Go module in the folder `NAME`, built.
///
/// # Errors
/// There is no Go, or it refuses.
pub fn go_module(name: &str) -> Result<PathBuf> {
    let sources = ["main.go", "go.mod", "go.sum"].map(|part| file(&format!("{name}/{part}")));
    let sources = sources.into_iter().collect::<Result<Vec<_>>>()?;
    built(name, &sources, |output| {
        let mut command = go_build(output);
        command.arg(&sources[0]);
        command.current_dir(sources[1].parent().unwrap_or(Path::new("/")));
        command
    })
}

/// The Go program of `source`, a file of `tests/workloads`, built with the modules that those in `go` are built with.
///
/// # Errors
/// There is no Go, or it refuses.
pub fn go_with_modules(name: &str, source: &str) -> Result<PathBuf> {
    go_in_module(name, source, &[])
}

fn go_in_module(name: &str, source: &str, environment: &[(&str, &str)]) -> Result<PathBuf> {
    let sources = [source, "go/go.mod", "go/go.sum"].map(file);
    let sources = sources.into_iter().collect::<Result<Vec<_>>>()?;
    built(name, &sources, |output| {
        let mut command = go_build(output);
        command.arg(&sources[0]);
        command.current_dir(sources[1].parent().unwrap_or(Path::new("/")));
        command.envs(environment.iter().copied());
        command
    })
}

fn go_build(output: &Path) -> Command {
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(output);
    command.env("GOFLAGS", "-buildvcs=false");
    command
}

/// The packages of `node/package-lock.json`, installed: what `NODE_PATH` has to be.
///
/// # Errors
/// There is no npm, or no registry.
pub fn node_modules() -> Result<PathBuf> {
    packages("node_modules", "node")
}

/// The same of `sdk/package-lock.json`: OpenTelemetry's SDK for Node.
///
/// # Errors
/// There is no npm, or no registry.
pub fn node_sdk() -> Result<PathBuf> {
    packages("node_sdk", "sdk")
}

fn packages(name: &str, folder: &str) -> Result<PathBuf> {
    let sources = ["package.json", "package-lock.json"].map(|source| file(&format!("{folder}/{source}")));
    let sources = sources.into_iter().collect::<Result<Vec<_>>>()?;
    built(name, &sources, |output| {
        // npm calls the folder as it likes.
        let mut command = Command::new("sh");
        command.args([
            "-ec",
            "mkdir $0.npm; cp $1 $2 $0.npm; cd $0.npm; npm ci --ignore-scripts --no-audit --no-fund; \
             mv node_modules $0; rm -r $0.npm",
        ]);
        command.arg(output).args(&sources);
        command
    })
}

/// The main class `CLASS` of the Maven project in `java`, compiled, in a Java that starts quickly.
///
/// # Errors
/// There is no Maven, or no registry, or it refuses.
pub fn java(class: &str) -> Result<Command> {
    Ok(main_class(&java_project()?, class, "java"))
}

fn java_project() -> Result<PathBuf> {
    let project = file("java")?;
    let files = std::fs::read_dir(&project)?.map(|entry| Ok(entry?.path()));
    let mut sources = files.collect::<Result<Vec<_>>>()?;
    sources.sort();
    built("java", &sources, |output| {
        let mut command = Command::new("mvn");
        command.args(["-q", "-B", "-ntp", "-f"]).arg(&project);
        command.arg(format!("-Doutput={}", output.display()));
        command.args(["compile", "dependency:copy-dependencies"]);
        command
    })
}

/// The same in a Java whose program is called `curl`, of which spanwire knows that it bears to be enrolled on every kernel.
///
/// # Errors
/// As above, or there is no Java.
pub fn java_as_curl(class: &str) -> Result<Command> {
    let project = java_project()?;
    let found = Command::new("sh")
        .args(["-c", "readlink -f \"$(command -v java)\""])
        .output()?;
    let java = PathBuf::from(String::from_utf8(found.stdout)?.trim());
    let home = java.ancestors().nth(2).context("a folder of Java")?.to_owned();
    let disguised = built("java_as_curl", std::slice::from_ref(&java), |output| {
        let mut command = Command::new("sh");
        // It looks for its libraries beside the folder that it is in.
        command.args(["-ec", "mkdir -p $0/bin; cp $1 $0/bin/curl; ln -s $2/lib $0/lib"]);
        command.arg(output).arg(&java).arg(&home);
        command
    })?;
    Ok(main_class(
        &project,
        class,
        &disguised.join("bin/curl").to_string_lossy(),
    ))
}

fn main_class(folder: &Path, class: &str, program: &str) -> Command {
    let mut command = child::command(program);
    command.args([
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        "-cp",
    ]);
    command.arg(format!("{0}/classes:{0}/dependency/*", folder.display()));
    command.arg(class);
    command
}

/// The program `NAME` of the package in `rust`, which uses crates of others, built.
///
/// # Errors
/// There is no Cargo, or no registry.
pub fn rust(name: &str) -> Result<PathBuf> {
    let sources = [
        "rust/Cargo.toml",
        "rust/Cargo.lock",
        "rust/src/lib.rs",
        "rust/src/bin/ledger.rs",
        "rust/src/bin/orders.rs",
        "rust/src/bin/parcels.rs",
    ];
    let sources = sources.map(file).into_iter().collect::<Result<Vec<_>>>()?;
    // The crates are kept as they were built, whatever becomes of the sources.
    let target = cache()?.join("rust");
    let programs = built("rust", &sources, |output| {
        let mut command = Command::new("cargo");
        command.args(["install", "--locked", "--debug", "--no-track", "--path"]);
        command.arg(sources[0].parent().unwrap_or(Path::new("/")));
        command.arg("--root").arg(output);
        command.env("CARGO_TARGET_DIR", &target);
        command
    })?;
    Ok(programs.join("bin").join(name))
}

static BUILDING: Mutex<()> = Mutex::new(());

/// The folder is named by the sources, the program by itself: processes are named by their program.
pub(crate) fn built(name: &str, sources: &[PathBuf], build: impl Fn(&Path) -> Command) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        std::fs::read(source)?.hash(&mut hasher);
    }
    let folder = cache()?.join(format!("built/{name}-{:016x}", hasher.finish()));
    let program = folder.join(name);
    let _one_at_a_time = BUILDING.lock();
    if !program.exists() {
        std::fs::create_dir_all(&folder)?;
        // Under another name until it is whole: an interrupted build must not be taken for a program.
        let partial = folder.join(format!("{name}.{}", std::process::id()));
        let output = build(&partial).output().context("compiler")?;
        // Maven complains on standard output.
        let said = [output.stdout, output.stderr].concat();
        let message = String::from_utf8_lossy(&said);
        ensure!(output.status.success(), "{name}: {message}");
        // A folder does not take the place of one that another process was faster with.
        std::fs::rename(&partial, &program)
            .or_else(|error| if program.exists() { Ok(()) } else { Err(error) })?;
    }
    Ok(program)
}
