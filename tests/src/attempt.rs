//! A second attempt of a test that failed, where whoever runs all of them asks for it.
//!
//! Live tests share two processors with each other's services, with guests and with the kernel's own work, and one hiccup of the
//! machine would cost the whole run. That a first attempt failed is written down and shown at the end of the run, with why: it is
//! a fault, of spanwire or of the test, that is still to be found. `cargo test` alone makes no second attempt.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context as _, Result, anyhow};

/// Names the file that first attempts which failed are written to, a line each and indented ones of why; where it is not set, there
/// is one attempt. `cargo xtask test` sets it.
const FAILED_ONCE: &str = "SPANWIRE_FAILED_ONCE";

/// Runs `test`, and once more when it fails and second attempts are asked for.
///
/// # Errors
/// The last attempt fails.
pub fn attempt(name: &str, test: impl Fn() -> Result<()>) -> Result<()> {
    let Some(file) = env::var_os(FAILED_ONCE) else {
        return test();
    };
    let first = catch_unwind(AssertUnwindSafe(&test)).unwrap_or_else(|_| Err(anyhow!("it panicked")));
    let Err(error) = first else {
        return Ok(());
    };
    let file = OpenOptions::new().create(true).append(true).open(file);
    let why = format!("{error:#}").replace('\n', "\n    ");
    writeln!(file.context(FAILED_ONCE)?, "{name}: {why}")?;
    eprintln!("{name} failed, and is run again: {error:?}");
    test()
}

/// Each of these functions as a test that may be attempted twice.
#[macro_export]
macro_rules! live {
    ($($name:ident),+ $(,)?) => {
        mod live {
            $(#[test] fn $name() -> anyhow::Result<()> {
                $crate::attempt::attempt(concat!(module_path!(), "::", stringify!($name)), super::$name)
            })+
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Whether `SPANWIRE_FAILED_ONCE` is set while unit tests are run is not up to them.
    #[test]
    fn what_succeeds_is_run_once() -> Result<()> {
        let runs = Cell::new(0);
        attempt("it", || {
            runs.set(runs.get() + 1);
            Ok(())
        })?;
        assert_eq!(runs.get(), 1);
        Ok(())
    }
}
