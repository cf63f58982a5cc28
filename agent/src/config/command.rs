//! `spanwire config check | print | schema`.

use super::environment::Environment;
use super::{Error, File, layer::Layer, read, resolve};
use crate::cli::{ConfigCommand, Exit};
use std::io::{self, Write};

/// Runs a `config` command: what was asked for goes to `out`, what is wrong to `err`.
///
/// # Errors
/// `out` or `err` cannot be written to.
pub fn run(
    command: &ConfigCommand,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    match command {
        ConfigCommand::Check { file } => match check(file) {
            Ok(warnings) => {
                for warning in warnings {
                    writeln!(err, "warning: {warning}")?;
                }
                writeln!(out, "{}: ok", file.display())?;
                Ok(Exit::Success)
            }
            Err(error) => refuse(&error, err),
        },
        ConfigCommand::Print { settings } => {
            match read(settings.config.as_deref(), environment, settings.layer()) {
                Ok(resolved) => {
                    for warning in &resolved.warnings {
                        writeln!(err, "warning: {warning}")?;
                    }
                    out.write_all(resolved.yaml().as_bytes())?;
                    Ok(Exit::Success)
                }
                Err(error) => refuse(&error, err),
            }
        }
        ConfigCommand::Schema => {
            serde_json::to_writer_pretty(&mut *out, &schemars::schema_for!(Layer))?;
            writeln!(out)?;
            Ok(Exit::Success)
        }
    }
}

/// The file alone: what the environment of the checker says is another matter.
fn check(path: &std::path::Path) -> Result<Vec<super::Warning>, Error> {
    let file = File::read(path)?;
    Ok(resolve(Some(&file), &Environment::new(), Layer::default())?.warnings)
}

fn refuse(error: &Error, err: &mut dyn Write) -> io::Result<Exit> {
    writeln!(err, "error: {error}")?;
    Ok(Exit::Usage)
}
