//! Set-up, tests, benches and checks of the spanwire workspace: `cargo xtask --help`.

mod apt;
mod bench;
mod demo;
mod kernels;
mod machine;
mod package;
mod run;
mod setup;
mod shell;
mod test;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, try and check spanwire.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing to build the kernel object; says each step before it does it.
    Setup {
        /// Also what the tests need: servers, qemu, a Python environment, cargo-deny.
        #[arg(long)]
        tests: bool,
    },
    /// Set up, build and start `spanwire run`, through sudo when not root.
    Run {
        /// Arguments of `spanwire run`, such as `-- --output tree --port 8080`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Show whole traces of a small shop that runs on this machine until Ctrl-C; sets up, builds and starts all of it.
    Demo(demo::Arguments),
    /// Set up for tests and run all of them, or the suites that are named.
    Test {
        /// Which parts; all but the packages when none is named.
        suites: Vec<test::Suite>,
    },
    /// Check the house rules: layers, file sizes, names.
    Tidy,
    /// Build a static binary with its kernel objects, for this machine or another, into target/static.
    Build(package::Build),
    /// Build the Debian package, of a static binary, into target/package.
    Package(package::Build),
    /// Build the container image, of a static binary and from nothing else, into target/package.
    Image(package::Build),
    /// Measure what spanwire costs, in paired and interleaved runs.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup { tests } => setup::command(tests),
        Task::Run { arguments } => run::command(&arguments),
        Task::Demo(arguments) => demo::command(&arguments),
        Task::Test { suites } => test::command(&suites),
        Task::Tidy => tidy::command(),
        Task::Build(build) => package::binary(&build),
        Task::Package(build) => package::package(&build),
        Task::Image(build) => package::image(&build),
        Task::Bench(arguments) => bench::command(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
