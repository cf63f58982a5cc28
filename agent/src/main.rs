//! The `spanwire` command.

use clap::Parser as _;
use spanwire::cli::{self, CheckOutput, Cli, Command, Exit, Replay, Run};
use spanwire::config::Resolved;
use spanwire::config::environment::Environment;
use spanwire::kernel::inspect;
use spanwire::kernel::load::{Capture, HookSet};
use spanwire::reload::Origin;
use spanwire::{config, replay, run, services, status};
use std::io::{self, IsTerminal as _, Write as _};
use tracing_subscriber::EnvFilter;

fn main() -> Exit {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose, cli.quiet);
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let result = match cli.command {
        Command::Run(command) => capture(&command, &environment, cli.quiet),
        Command::Replay(command) => replay(&command, &environment, cli.quiet),
        Command::Services { all, json, address } => {
            services::ask::run(address, all, json, &mut io::stdout(), &mut io::stderr())
        }
        Command::Status { address } => status::run(address, &mut io::stdout(), &mut io::stderr()),
        Command::Check { output } => check(output),
        Command::Config(command) => config::run(&command, &environment, &mut io::stdout(), &mut io::stderr()),
        Command::Completions { shell } => cli::completions(shell, &mut io::stdout()).map(|()| Exit::Success),
        Command::Man { command } => cli::man(&command, &mut io::stdout(), &mut io::stderr()),
    };
    result.unwrap_or_else(|error| {
        // `spanwire check | head` is no failure of ours.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Exit::Success;
        }
        eprintln!("spanwire: {error}");
        Exit::Failed
    })
}

fn capture(command: &Run, environment: &Environment, quiet: bool) -> io::Result<Exit> {
    let settings = &command.settings;
    let origin = Origin {
        path: settings.config.clone(),
        environment: environment.clone(),
        flags: settings.layer(),
    };
    let Some(resolved) = read(&origin) else {
        return Ok(Exit::Usage);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(run::run(resolved, origin, command, quiet));
    // What still waits for a dead endpoint is not waited for.
    runtime.shutdown_background();
    Ok(ended.unwrap_or_else(|error| {
        eprintln!("spanwire: {error}");
        error.exit()
    }))
}

fn replay(command: &Replay, environment: &Environment, quiet: bool) -> io::Result<Exit> {
    let origin = Origin {
        path: command.config.clone(),
        environment: environment.clone(),
        flags: command.layer(),
    };
    let Some(resolved) = read(&origin) else {
        return Ok(Exit::Usage);
    };
    Ok(
        replay::run(command, &resolved.config, quiet).unwrap_or_else(|error| {
            if error.exit() != Exit::Success {
                eprintln!("spanwire: {error}");
            }
            error.exit()
        }),
    )
}

/// The configuration; `None` where it is wrong, which has been said then.
fn read(origin: &Origin) -> Option<Resolved> {
    match origin.read() {
        Ok(resolved) => {
            for warning in &resolved.warnings {
                tracing::warn!("{warning}");
            }
            Some(resolved)
        }
        Err(error) => {
            eprintln!("spanwire: {error}");
            None
        }
    }
}

fn check(output: CheckOutput) -> io::Result<Exit> {
    let hook_sets = match inspect::missing_privileges() {
        None => Capture::try_all(),
        Some(missing) => HookSet::ALL
            .iter()
            .map(|set| (set.to_string(), Err(format!("not permitted: {missing}"))))
            .collect(),
    };
    let report = inspect::report(&inspect::Options { hook_sets });
    let mut out = io::stdout().lock();
    match output {
        CheckOutput::Text => report.write_text(&mut out, io::stdout().is_terminal())?,
        CheckOutput::Json => {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        }
    }
    Ok(if report.capture_can_run() {
        Exit::Success
    } else {
        Exit::CannotCapture
    })
}

/// Warnings and errors, more with `-v`, `RUST_LOG` before both.
fn log_to_stderr(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info,spanwire=debug",
        (false, _) => "debug,aya=info,aya_obj=info,spanwire=trace",
    };
    // What `--kernel-log` lets through in the kernel is wanted here.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},spanwire_bpf=trace")));
    // It writes out the answers that it cannot read, and pods have secrets in them.
    let filter = match "kube_client=off".parse() {
        Ok(silent) => filter.add_directive(silent),
        Err(_) => filter,
    };
    let color = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(color)
        .with_target(false)
        .init();
}
