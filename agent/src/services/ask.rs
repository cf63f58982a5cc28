//! Asks the running spanwire for its services.

use super::Services;
use crate::cli::Exit;
use crate::config::Listen;
use crate::status::{self, StatusError, Target};
use std::io::{self, Write};

/// Runs `spanwire services`: what it is told goes to `out`, what is wrong to `err`.
///
/// # Errors
/// `out` or `err` cannot be written to.
pub fn run(
    address: Option<Listen>,
    all: bool,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    match ask(&Target::of(address), all) {
        Ok(services) if json => {
            serde_json::to_writer_pretty(&mut *out, &services)?;
            writeln!(out)?;
            Ok(Exit::Success)
        }
        Ok(services) => {
            out.write_all(services.text().as_bytes())?;
            Ok(Exit::Success)
        }
        Err(error) => {
            writeln!(err, "spanwire: {error}")?;
            Ok(error.exit())
        }
    }
}

fn ask(target: &Target, all: bool) -> Result<Services, StatusError> {
    let answer = status::ask(target, if all { "/services?all" } else { "/services" })?;
    if !answer.is_ok {
        return Err(StatusError::Untold {
            address: answer.address,
            said: answer.body.trim().to_owned(),
        });
    }
    serde_json::from_str(&answer.body).map_err(|_| StatusError::Stranger(answer.address))
}
