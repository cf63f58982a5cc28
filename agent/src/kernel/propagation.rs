//! Sockets whose sends contexts are injected into: which are enrolled, and how.
//!
//! The kernel half enrols a socket when its connect is over. What was connected before is enrolled from here: a copy of the
//! descriptor is taken from the process, and put into the sockhash.

use super::cgroup;
use super::events::ConnectionId;
use aya::maps::{MapData, MapError, SockHash};
use aya::programs::{CgroupAttachMode, ProgramError, SkMsg, SockOps};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// `BPF_NOEXIST`: what is there stays.
const NEW: u64 = 1;

/// The sockets that are enrolled. The kernel takes out those that close; all are out when spanwire ends, however it does.
pub struct Propagation {
    sockets: SockHash<MapData, u64>,
    refusal: Option<String>,
    refused_options: Option<String>,
    /// Sockets to be enrolled, by process: their inode and their sock.
    waiting: BTreeMap<u32, BTreeMap<u64, u64>>,
}

impl Propagation {
    pub(super) const fn new(sockets: SockHash<MapData, u64>) -> Self {
        Self {
            sockets,
            refusal: None,
            refused_options: None,
            waiting: BTreeMap::new(),
        }
    }

    /// Notes why nothing will be injected.
    pub(super) fn refuse(&mut self, refusal: String) {
        self.refusal.get_or_insert(refusal);
    }

    /// Why nothing can be injected; `None` where it can, or was not asked for.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Notes why options of TCP will carry nothing, or not both ways.
    pub(super) fn refuse_options(&mut self, refusal: String) {
        self.refused_options.get_or_insert(refusal);
    }

    /// Why options of TCP carry nothing, or not both ways; `None` where they do, or that was not asked for.
    #[must_use]
    pub fn refused_options(&self) -> Option<&str> {
        self.refused_options.as_deref()
    }

    /// From now on what enrolled sockets send goes by way of the program.
    pub(super) fn attach(&self, program: &mut SkMsg) -> Result<(), ProgramError> {
        program.attach(self.sockets.fd()).map(drop)
    }

    /// Asks for a socket of a process to be enrolled with the next [`Self::enrol_waiting`].
    pub fn enrol(&mut self, pid: u32, connection: ConnectionId, inode: u64) {
        if self.refusal.is_none() {
            self.waiting
                .entry(pid)
                .or_default()
                .insert(inode, connection.sock);
        }
    }

    /// Enrols what was asked for; returns how many sockets that were.
    pub fn enrol_waiting(&mut self) -> u64 {
        let mut count = 0;
        for (pid, wanted) in std::mem::take(&mut self.waiting) {
            match descriptors(pid, &wanted) {
                Ok(found) => {
                    for (sock, descriptor) in found {
                        match self.sockets.insert(sock, descriptor.as_raw_fd(), NEW) {
                            Ok(()) => count += 1,
                            Err(error) => {
                                tracing::debug!("cannot enrol a socket of process {pid}: {error}");
                            }
                        }
                    }
                }
                Err(error) => tracing::debug!("cannot take descriptors of process {pid}: {error}"),
            }
        }
        count
    }

    /// Sockets that are enrolled, counted up to `most`.
    pub(super) fn enrolled(&self, most: u32) -> u64 {
        self.sockets.keys().take(most as usize).count() as u64
    }

    /// Socks that are enrolled, `most` of them at most.
    #[must_use]
    pub fn socks(&self, most: usize) -> HashSet<u64> {
        self.sockets.keys().take(most).filter_map(Result::ok).collect()
    }

    /// Takes out the sockets of which `stays` says no. Returns how many.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn withdraw(&mut self, stays: impl Fn(u64) -> bool) -> Result<u64, MapError> {
        let keys = self.sockets.keys().collect::<Result<Vec<_>, _>>()?;
        let mut count = 0;
        for sock in keys {
            // It may have closed in the meantime.
            if !stays(sock) && self.sockets.remove(&sock).is_ok() {
                count += 1;
            }
        }
        Ok(count)
    }
}

/// From now on TCP asks the program.
pub(super) fn watch_connects(program: &mut SockOps) -> Result<(), ProgramError> {
    let no_cgroup = |error: io::Error| ProgramError::IOError(error);
    let root = cgroup::root().map_err(|error| no_cgroup(io::Error::other(error)))?;
    let root = File::open(root.path).map_err(no_cgroup)?;
    // The kernel lets several programs be attached by links; the other mode's flag it refuses with one.
    program.attach(root, CgroupAttachMode::Single).map(drop)
}

/// Copies of a process's descriptors of sockets with these inodes, each with the inode's value.
fn descriptors(pid: u32, wanted: &BTreeMap<u64, u64>) -> io::Result<Vec<(u64, OwnedFd)>> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(number, PidfdFlags::empty())?;
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let name = entry.file_name();
        let (Some(descriptor), Ok(target)) = (
            name.to_str().and_then(|name| name.parse::<RawFd>().ok()),
            fs::read_link(entry.path()),
        ) else {
            continue;
        };
        let Some(sock) = target
            .to_str()
            .and_then(inode)
            .and_then(|inode| wanted.get(&inode))
        else {
            continue;
        };
        let copy = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty())?;
        // It may have become another's in between. Of one that blocks only the kernel half could say when it has to leave.
        let is_it = wanted.get(&rustix::fs::fstat(&copy)?.st_ino) == Some(sock);
        if is_it && rustix::fs::fcntl_getfl(&copy)?.contains(OFlags::NONBLOCK) {
            found.push((*sock, copy));
        }
        if found.len() == wanted.len() {
            break;
        }
    }
    Ok(found)
}

/// `socket:[INODE]`, as /proc shows a socket.
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
