//! The `spanwire` command.

use clap::Parser as _;
use spanwire::cli::{self, CheckOutput, Cli, Command, Exit, Run};
use spanwire::kernel::inspect;
use spanwire::kernel::load::{Capture, HookSet, Options, Watch};
use spanwire::{config, run};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use tracing_subscriber::EnvFilter;

fn main() -> Exit {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose, cli.quiet);
    let result = match cli.command {
        Command::Run(command) => capture(&command, cli.quiet),
        Command::Check { output } => check(output),
        Command::Config(command) => return config::command::run(&command, &environment(), &mut io::stdout(), &mut io::stderr()),
        Command::Completions { shell } => cli::completions(shell, &mut io::stdout()).map(|()| Exit::Success),
        Command::Man { command } => cli::man(&command, &mut io::stdout()).map(|()| Exit::Success),
    };
    result.unwrap_or_else(|error| {
        // `spanwire check | head`
        if error.kind() != io::ErrorKind::BrokenPipe {
            eprintln!("spanwire: {error}");
        }
        Exit::Failed
    })
}
