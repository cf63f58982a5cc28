//! Where a spool is: a directory that nobody else can have a hand in.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Who may do what with a directory, and with a file: its owner alone.
const DIRECTORY: u32 = 0o700;
const FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It is a link, or no directory.
    #[error(
        "the spool {} is a link or no directory: name a directory itself (spans are kept in it)",
        path.display()
    )]
    NoDirectory {
        /// As it was given.
        path: PathBuf,
    },
    /// Somebody else could change what is in it.
    #[error(
        "the spool {} {problem}: give it to the user that spanwire runs as (uid {user}), with mode 0700",
        path.display()
    )]
    NotOurs {
        /// As it was given.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// Who we are.
        user: u32,
    },
    /// Another process uses it.
    #[error("the spool {} is in use by another spanwire: give each one a directory of its own", path.display())]
    InUse {
        /// As it was given.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot use the spool {}: {source}", path.display())]
    System {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A directory with one folder for each endpoint, locked for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
    /// The kernel gives the lock up when we die, however that comes.
    _lock: File,
}

impl Directory {
    /// Opens it, makes it where it is missing, and locks it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, SpoolError> {
        let system = |source| SpoolError::System {
            path: path.to_owned(),
            source,
        };
        match DirBuilder::new().recursive(true).mode(DIRECTORY).create(path) {
            // What is there and no directory is told of below.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(system(error)),
            _ => {}
        }
        let descriptor = directory(CWD, path, path)?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let lock =
            rustix::fs::openat(&descriptor, "lock", flags, FILE).map_err(|error| system(error.into()))?;
        let lock = File::from(lock);
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SpoolError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(system(error)),
        }
        Ok(Arc::new(Self {
            descriptor,
            path: path.to_owned(),
            _lock: lock,
        }))
    }

    /// The folder of that name, made where it is missing.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn folder(self: &Arc<Self>, name: &str) -> Result<Folder, SpoolError> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.descriptor, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                let source = error.into();
                return Err(SpoolError::System { path, source });
            }
        }
        let descriptor = directory(self.descriptor.as_fd(), Path::new(name), &path)?;
        Ok(Folder {
            descriptor,
            path,
            _directory: Arc::clone(self),
        })
    }

    /// Folders with files in them that are not among `known`: what is in them is not sent.
    pub(crate) fn left_alone(&self, known: &[String]) -> Vec<PathBuf> {
        let Ok(entries) = Dir::read_from(&self.descriptor) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        names
            .filter(|name| !name.starts_with('.') && name != "lock" && !known.contains(name))
            .filter(|name| {
                let folder = directory(self.descriptor.as_fd(), Path::new(name), Path::new(name));
                folder.is_ok_and(|folder| {
                    Dir::read_from(&folder).is_ok_and(|entries| entries.flatten().count() > 2)
                })
            })
            .map(|name| self.path.join(name))
            .collect()
    }
}

/// Opens a directory, and looks whose it is behind that, so that nobody can put another one in its place.
fn directory(within: impl std::os::fd::AsFd, name: &Path, path: &Path) -> Result<OwnedFd, SpoolError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let found = rustix::fs::openat(within, name, flags, Mode::empty());
    let descriptor = match found {
        Ok(descriptor) => descriptor,
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let path = path.to_owned();
            return Err(SpoolError::NoDirectory { path });
        }
        Err(error) => {
            return Err(SpoolError::System {
                path: path.to_owned(),
                source: error.into(),
            });
        }
    };
    let stat = rustix::fs::fstat(&descriptor).map_err(|error| SpoolError::System {
        path: path.to_owned(),
        source: error.into(),
    })?;
    match problem(&stat) {
        None => Ok(descriptor),
        Some(problem) => Err(SpoolError::NotOurs {
            path: path.to_owned(),
            problem,
            user: geteuid().as_raw(),
        }),
    }
}

/// Why others may have a hand in it.
fn problem(stat: &Stat) -> Option<String> {
    let mode = stat.st_mode & 0o7777;
    if stat.st_uid != geteuid().as_raw() {
        return Some(format!("belongs to uid {}", stat.st_uid));
    }
    // Files in it are for their owner alone.
    (mode & 0o022 != 0).then(|| format!("can be changed by others (mode {mode:04o})"))
}

/// One endpoint's files. All that is done in it goes by its descriptor, and never follows a link.
#[derive(Debug)]
pub(super) struct Folder {
    descriptor: OwnedFd,
    pub(super) path: PathBuf,
    _directory: Arc<Directory>,
}

/// What segments are called.
const SUFFIX: &str = ".spool";

fn name(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

impl Folder {
    /// Numbers of the segments that are there, lowest first.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.strip_suffix(SUFFIX));
            numbers.extend(number.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens a segment, and says how large it is.
    ///
    /// # Errors
    /// Those of opening; what is no file of ours is one.
    pub(super) fn open(&self, number: u64) -> io::Result<(File, u64)> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.descriptor, name(number), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || stat.st_uid != geteuid().as_raw() || stat.st_nlink != 1 {
            return Err(io::Error::other("it is no file of ours"));
        }
        Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// Makes a segment.
    ///
    /// # Errors
    /// Those of making a file.
    pub(super) fn create(&self, number: u64) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.descriptor, name(number), flags, FILE)?.into())
    }

    /// Removes a segment.
    ///
    /// # Errors
    /// Those of removing a file.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.descriptor,
            name(number),
            AtFlags::empty(),
        )?)
    }

    /// Makes sure that files made and removed stay so when the power fails.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }
}
