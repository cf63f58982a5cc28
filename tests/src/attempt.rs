//! A second attempt of a test that failed, where whoever runs all of them asks for it.
//!
//! Live tests share two processors with each other's services, with guests and with the kernel's own work, and one hiccup of the
//! machine would cost the whole run. That a first attempt failed is written down and shown at the end of the run, with why: it is
//! a fault, of spanwire or of the test, that is still to be found. `cargo test` alone makes no second attempt.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};

/// Names the file that first attempts which failed are written to, a line each and indented ones of why; where it is not set, there
/// is one attempt. `cargo xtask test` sets it.
const FAILED_ONCE: &str = "SPANWIRE_FAILED_ONCE";

/// Runs `test`, and once more when it fails and second attempts are asked for.
///
/// # Errors
/// The last attempt fails.
pub fn attempt(name: &str, test: impl Fn() -> Result<()>) -> Result<()> {
    match env::var_os(FAILED_ONCE) {
        Some(file) => twice(Path::new(&file), name, test),
        None => test(),
    }
}

fn twice(failed_once: &Path, name: &str, test: impl Fn() -> Result<()>) -> Result<()> {
    let first = catch_unwind(AssertUnwindSafe(&test)).unwrap_or_else(|_| Err(anyhow!("it panicked")));
    let Err(error) = first else {
        return Ok(());
    };
    let file = OpenOptions::new().create(true).append(true).open(failed_once);
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

    /// What comes of a test whose attempts end so one after the other, how many there were, and what is written of them.
    fn run(attempts: &[fn() -> Result<()>]) -> Result<(bool, usize, String)> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("failed-once");
        let number = Cell::new(0);
        let result = twice(&file, "it", || {
            number.set(number.get() + 1);
            attempts[number.get() - 1]()
        });
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        Ok((result.is_ok(), number.get(), written))
    }

    #[test]
    fn what_succeeds_is_run_once_and_what_fails_once_more() -> Result<()> {
        let fails = || Err(anyhow!("two\nlines"));
        let written = "it: two\n    lines\n";
        assert_eq!(run(&[|| Ok(())])?, (true, 1, String::new()));
        assert_eq!(run(&[fails, || Ok(())])?, (true, 2, written.to_owned()));
        assert_eq!(run(&[fails, fails])?, (false, 2, written.to_owned()));
        assert_eq!(
            run(&[|| panic!("on purpose"), || Ok(())])?,
            (true, 2, "it: it panicked\n".to_owned())
        );
        Ok(())
    }
}
