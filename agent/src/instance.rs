//! One spanwire a host: two would see everything twice, and each would trace the other's exports.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the lock is. The kernel gives it up when its holder dies, however that comes.
const LOCK: &str = "/run/spanwire.lock";

/// Where it is of a service that cannot write there (`RuntimeDirectory=spanwire`).
const OF_SERVICE: &str = "/run/spanwire/spanwire.lock";

/// The socket's name.
const SOCKET: &str = "spanwire.sock";

/// Whoever may open the file may lock it, and so keep spanwire from starting: that is for its owner alone.
const MODE: u32 = 0o600;

/// Why this spanwire must not run.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// Another one does.
    #[error("another spanwire already runs on this host{}; stop it first", owner(*.0))]
    Running(Option<u32>),
    /// It cannot be told.
    #[error(
        "cannot lock {}, by which spanwire makes sure that it is alone on this host: {source}; make it writable, or give \
         the systemd unit RuntimeDirectory=spanwire",
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
pub struct Instance(#[expect(dead_code, reason = "kept for their locks, which end with them")] Vec<File>);

impl Instance {
    /// Becomes the only one.
    ///
    /// # Errors
    /// Where another one is, or where it cannot be told.
    pub fn claim() -> Result<Self, InstanceError> {
        let own = path(std::env::var_os("RUNTIME_DIRECTORY").as_deref());
        Self::claim_at(&own, &[LOCK, OF_SERVICE].map(Path::new))
    }

    /// The lock at `path`, and those of `others` whose folders are there: who goes by the host's, and who goes by a service's (or
    /// runs in a container that has its folder) see each other.
    fn claim_at(path: &Path, others: &[&Path]) -> Result<Self, InstanceError> {
        let failed = |source| InstanceError::Lock {
            path: path.to_owned(),
            source,
        };
        let mut held = vec![lock(open(path).map_err(failed)?, path)?];
        for other in others.iter().filter(|other| **other != path) {
            // Where there is no such folder, or it is not ours to look at, there is nobody to be told by it.
            if let Ok(file) = open(other).or_else(|_| File::open(other)) {
                held.push(lock(file, other)?);
            }
        }
        Ok(Self(held))
    }
}

/// Locks the file that is open, and writes there who we are where it can be written.
fn lock(mut file: File, path: &Path) -> Result<File, InstanceError> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(InstanceError::Running(pid(&mut file))),
        Err(TryLockError::Error(source)) => {
            return Err(InstanceError::Lock {
                path: path.to_owned(),
                source,
            });
        }
    }
    // Only for the message of who comes next.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Who holds the lock, as it has written there.
fn pid(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    let _ = file.read_to_string(&mut pid);
    pid.trim().parse().ok()
}

/// Where the running spanwire is asked how it goes: beside its lock.
#[must_use]
pub fn socket() -> PathBuf {
    let lock = path(std::env::var_os("RUNTIME_DIRECTORY").as_deref());
    lock.with_file_name(SOCKET)
}

/// Whether [`Instance::claim`] would fail for anything but another spanwire. Takes no lock, so that none that starts
/// at this moment is kept from it, and makes no file.
///
/// # Errors
/// Where the file cannot be opened, or made.
pub fn probe() -> Result<PathBuf, InstanceError> {
    let path = path(std::env::var_os("RUNTIME_DIRECTORY").as_deref());
    match is_writable(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(InstanceError::Lock { path, source }),
    }
}

/// The host's lock, or where that cannot be written the service's own, in the folder that systemd makes for it
/// (systemd.exec(5), `RuntimeDirectory=`: a list with colons).
fn path(runtime_directory: Option<&OsStr>) -> PathBuf {
    let lock = PathBuf::from(LOCK);
    let own = runtime_directory
        .and_then(|list| list.as_bytes().split(|byte| *byte == b':').next())
        .filter(|first| !first.is_empty());
    match own {
        Some(own) if is_writable(&lock).is_err() => Path::new(OsStr::from_bytes(own)).join("spanwire.lock"),
        _ => lock,
    }
}

/// Whether the file can be written, or made where there is none.
fn is_writable(path: &Path) -> io::Result<()> {
    let may_write = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
    match (may_write(path), path.parent()) {
        (Err(rustix::io::Errno::NOENT), Some(folder)) => Ok(may_write(folder)?),
        (tried, _) => Ok(tried?),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.mode() & 0o777 != MODE && metadata.uid() == geteuid().as_raw() {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_of_the_first_until_that_is_gone() {
        let path = std::env::temp_dir().join(format!("spanwire-instance-{}", std::process::id()));
        let first = Instance::claim_at(&path, &[]).expect("the first");
        let error = Instance::claim_at(&path, &[]).expect_err("the second");
        assert_eq!(
            error.to_string(),
            format!(
                "another spanwire already runs on this host (pid {}); stop it first",
                std::process::id()
            )
        );
        drop(first);
        Instance::claim_at(&path, &[]).expect("after the first");
        let _ = std::fs::remove_file(path);
    }

    #[test]
    fn a_service_with_a_lock_of_its_own_and_the_hosts_keep_each_other_out() {
        let folder = std::env::temp_dir().join(format!("spanwire-instance-two-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [host, service] = ["host.lock", "service.lock"].map(|name| folder.join(name));
        let both = [host.as_path(), service.as_path()];
        let running = |tried: Result<Instance, InstanceError>| {
            let error = tried.expect_err("the second");
            assert!(
                matches!(error, InstanceError::Running(Some(pid)) if pid == std::process::id()),
                "{error}"
            );
        };
        let of_host =
            Instance::claim_at(&host, &both).expect("the host's, of which the service's is not made yet");
        running(Instance::claim_at(&service, &both));
        drop(of_host);
        let of_service = Instance::claim_at(&service, &both).expect("the service's");
        running(Instance::claim_at(&host, &both));
        drop(of_service);
        Instance::claim_at(&host, &both).expect("after both");
        let _ = std::fs::remove_dir_all(folder);
    }

    #[test]
    fn nobody_else_can_open_the_lock_whatever_it_was_made_with() {
        let path = std::env::temp_dir().join(format!("spanwire-instance-mode-{}", std::process::id()));
        for before in [None, Some(0o644), Some(0o666)] {
            if let Some(mode) = before {
                std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            let _instance = Instance::claim_at(&path, &[]).unwrap();
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600, "{before:?}");
        }
        let _ = std::fs::remove_file(path);
    }
}
