//! One spanwire a host: two would see everything twice, and each would trace the other's exports.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the lock is. The kernel gives it up when its holder dies, however that comes.
pub const LOCK: &str = "/run/spanwire.lock";

/// Why this spanwire must not run.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// Another one does.
    #[error("another spanwire already runs on this host{}; stop it first", owner(*.0))]
    Running(Option<u32>),
    /// It cannot be told.
    #[error(
        "cannot lock {}, by which spanwire makes sure that it is alone on this host: {source}; make it writable",
        path.display()
    )]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Proof of being the only one, for as long as it is kept.
#[derive(Debug)]
pub struct Instance(#[expect(dead_code, reason = "kept for its lock, which ends with it")] File);

impl Instance {
    /// Becomes the only one, by the lock at `path`.
    ///
    /// # Errors
    /// Where another one is, or where it cannot be told.
    pub fn claim(path: &Path) -> Result<Self, InstanceError> {
        let failed = |source| InstanceError::Lock {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                return Err(InstanceError::Running(pid.trim().parse().ok()));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Only for the message above.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_of_the_first_until_that_is_gone() {
        let path = std::env::temp_dir().join(format!("spanwire-instance-{}", std::process::id()));
        let first = Instance::claim(&path).expect("the first");
        let error = Instance::claim(&path).expect_err("the second");
        assert_eq!(
            error.to_string(),
            format!(
                "another spanwire already runs on this host (pid {}); stop it first",
                std::process::id()
            )
        );
        drop(first);
        Instance::claim(&path).expect("after the first");
        let _ = std::fs::remove_file(path);
    }
}
