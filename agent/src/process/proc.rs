//! One process out of procfs.

use super::root::Root;
use super::watch::Asks;
use super::{
    Container, Containers, Declared, Identity, Loaded, Pod, Pods, cgroup, container, containers, listening,
    name, runtime,
};
use procfs::ProcError;
use procfs::process::{MMapPath, Process, Stat};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More than any argument list that says something about a name; the kernel's own limit is megabytes.
const MAX_ARGUMENTS: u64 = 64 << 10;
/// Environments are read up to here.
const MAX_ENVIRONMENT: u64 = 4 << 20;
/// include/linux/sched.h: the process is shutting down, and gives up its memory before it is a zombie.
const PF_EXITING: u32 = 0x4;
/// /etc/passwd is read if it is not longer.
const MAX_PASSWD: usize = 256 << 10;

/// A mounted procfs.
#[derive(Clone, Debug)]
pub struct Proc {
    path: PathBuf,
    pods: Option<Arc<Pods>>,
    containers: Option<Arc<Containers>>,
    files: Arc<container::Files>,
    listening: Arc<listening::Tables>,
}

/// What a filter looks at.
#[derive(Clone, PartialEq, Eq)]
pub struct Glance {
    /// Process id on the host.
    pub pid: u32,
    /// Its executable, in its own mount namespace; `None` where we may not look.
    pub executable: Option<PathBuf>,
    /// File name of the executable; the kernel's short name where that is not known.
    pub name: String,
    /// The container it is in, where that was asked for.
    pub container: Option<Container>,
    /// More of its container is about to be told.
    pub is_container_awaited: bool,
    /// The pod of Kubernetes it is in, where that is known.
    pub pod: Option<Arc<Pod>>,
    /// Its control groups are those of a pod, known or not.
    pub is_in_pod: bool,
    /// Its arguments, joined by spaces, where that was asked for. They may hold secrets.
    pub command_line: Option<String>,
    /// The units of systemd it is in, innermost first, where that was asked for.
    pub units: Vec<String>,
    /// The ports it listens on, of those that were asked for.
    pub ports: Vec<u16>,
}

impl fmt::Debug for Glance {
    /// Without the command line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Glance");
        shown
            .field("pid", &self.pid)
            .field("executable", &self.executable);
        shown
            .field("name", &self.name)
            .field("container", &self.container);
        shown.field("pod", &self.pod).field("units", &self.units);
        shown.field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// Why nothing is known of a process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It ended before it was read; `comm` is left of a zombie.
    #[error("process {pid} is gone")]
    Gone {
        /// The process.
        pid: u32,
        /// The kernel's short name of it, if it is a zombie.
        comm: Option<String>,
    },
    /// It is there, and we may not look.
    #[error("process {pid} cannot be read: {reason}")]
    Refused {
        /// The process.
        pid: u32,
        /// What the kernel said.
        reason: String,
    },
}

impl Proc {
    /// The host's own.
    #[must_use]
    pub fn host() -> Self {
        Self::at("/proc")
    }

    /// The one that is mounted (or, in a test, made) at `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            pods: None,
            containers: None,
            files: Arc::default(),
            listening: Arc::default(),
        }
    }

    /// Says of processes in which of `pods` they are.
    #[must_use]
    pub fn knowing(self, pods: Arc<Pods>) -> Self {
        Self {
            pods: Some(pods),
            ..self
        }
    }

    /// Has engines asked for the containers that processes are in.
    #[must_use]
    pub fn asking(self, containers: Arc<Containers>) -> Self {
        Self {
            containers: Some(containers),
            ..self
        }
    }

    /// A process has begun to listen.
    pub fn note_listening(&self) {
        self.listening.forget();
    }

    /// Processes that there are now, in no order.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// Whether the process is there, be it as a zombie.
    #[must_use]
    pub fn has(&self, pid: u32) -> bool {
        self.path.join(pid.to_string()).exists()
    }

    /// Reads of a process what filters look at, in a hundredth of the time that all takes: a program that has just
    /// started may be over in a millisecond. `None` where it is already.
    #[must_use]
    pub fn glance(&self, pid: u32, asks: &Asks) -> Option<Glance> {
        let (folder, process) = self.open(pid).ok()?;
        let executable = process.exe().ok().map(|path| without_deleted(&path));
        let file_name = executable.as_deref().and_then(file_name).map(str::to_owned);
        let cgroups = match asks.container || asks.units || self.pods.is_some() {
            true => cgroups(&process),
            false => Vec::new(),
        };
        let container = match asks.container {
            true => self.container(&cgroups, self.root().as_ref()),
            false => None,
        };
        Some(Glance {
            pid,
            name: match file_name {
                Some(name) => name,
                None => process.stat().ok()?.comm,
            },
            executable,
            is_container_awaited: container.as_ref().is_some_and(|found| found.is_awaited),
            container: container.map(|found| found.container),
            pod: self.pod(&cgroups),
            is_in_pod: cgroup::pod_uid(&cgroups).is_some(),
            command_line: asks.command_line.then(|| arguments(&process).join(" ")),
            units: match asks.units {
                true => cgroup::units(&cgroups),
                false => Vec::new(),
            },
            ports: match asks.ports.is_empty() {
                true => Vec::new(),
                false => self.listening.ports(&folder, &asks.ports),
            },
        })
    }

    /// Reads a process.
    ///
    /// # Errors
    /// It has ended, or we have no right to read even what is public.
    pub fn identity(&self, pid: u32) -> Result<Identity, Unreadable> {
        let first = Process::new_with_root(self.path.join(pid.to_string()));
        let stat = first.and_then(|first| first.stat());
        let stat = stat.map_err(|error| unreadable(pid, &error))?;
        // All below is read through one descriptor, and so of one process even when its id is used again.
        let (_, process) = self.open(pid).map_err(|error| unreadable(pid, &error))?;
        goes_on(&process, pid, &stat.comm)?;
        let executable = process.exe().ok().map(|path| without_deleted(&path));
        let arguments = arguments(&process);
        let root = root(&process);
        let directory = process.cwd().ok().map(|path| without_deleted(&path));
        let program = executable
            .clone()
            .or_else(|| arguments.first().map(PathBuf::from));
        let file_name = program.as_deref().and_then(file_name).unwrap_or(&stat.comm);
        let family = runtime::Family::of(file_name);
        let cgroups = cgroups(&process);
        let host = self.root();
        let name = name::infer(&name::Invocation {
            executable: file_name,
            family,
            arguments: &arguments,
            directory: directory.as_deref(),
            root: root.as_ref(),
        });
        let (declared, mut sdk) = environment(&process);
        arguments.iter().for_each(|argument| sdk.note_argument(argument));
        // Of one that gave up its memory meanwhile, some of this was read as empty, and not refused.
        goes_on(&process, pid, &stat.comm)?;
        Ok(Identity {
            pid,
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            start: stat.starttime,
            owner: owner(&process, root.as_ref()),
            runtime: runtime::describe(family, executable.as_deref(), root.as_ref(), || {
                process.open_relative("exe").ok()
            }),
            container: self
                .container(&cgroups, host.as_ref())
                .map(|found| found.container),
            pod: self.pod(&cgroups),
            unit: cgroup::unit(&cgroups, file_name),
            name,
            declared,
            sdk,
            comm: stat.comm,
            executable,
        })
    }

    /// A process, with its folder: where its first thread has ended, that of one that goes on, since what is the process's (its
    /// executable, its memory, its descriptors) is shown by those alone.
    fn open(&self, pid: u32) -> Result<(PathBuf, Process), ProcError> {
        let folder = self.path.join(pid.to_string());
        let first = Process::new_with_root(folder.clone())?;
        // Threads of the kernel have no executable either.
        if matches!(first.exe(), Err(ProcError::NotFound(_)))
            && is_over(&first.stat()?)
            && let Some(thread) = living_thread(&folder)
        {
            return Ok(thread);
        }
        Ok((folder, first))
    }

    fn pod(&self, cgroups: &[String]) -> Option<Arc<Pod>> {
        self.pods.as_ref()?.find(cgroups)
    }

    fn container(&self, cgroups: &[String], root: Option<&Root>) -> Option<container::Found> {
        let sources = container::Sources {
            root,
            files: &self.files,
            told: self.containers.as_deref(),
        };
        container::find(cgroups, sources)
    }

    /// Processes of pods and containers that have changed since this was last asked, and whether anything is to be read anew: not
    /// of a pod that is gone, nor of a container that nobody knows.
    #[must_use]
    pub fn changed(&self) -> Vec<(u32, bool)> {
        let pods = self.pods.as_ref().map(|pods| pods.take_changed());
        let pods = pods.unwrap_or_default();
        let containers = self.containers.as_ref().map(|it| it.take_changed());
        let containers = containers.unwrap_or_default();
        if pods.is_empty() && containers.is_empty() {
            return Vec::new();
        }
        let pids = self.pids().into_iter();
        pids.filter_map(|pid| {
            let (_, process) = self.open(pid).ok()?;
            let groups = cgroups(&process);
            let by_pod = pods.concern(&groups);
            let by_container = containers::concern(&containers, &groups);
            Some((pid, by_pod.max(by_container)?))
        })
        .collect()
    }

    /// The executable of a process; `None` where that is gone, or we may not look.
    pub(super) fn executable(&self, pid: u32) -> Option<File> {
        let (folder, _) = self.open(pid).ok()?;
        File::open(folder.join("exe")).ok()
    }

    /// The first library of a process whose name begins so, with its name; `None` where there is none yet.
    pub(super) fn library(&self, pid: u32, begin: &str) -> Option<(String, File)> {
        let (_, process) = self.open(pid).ok()?;
        let maps = process.maps().ok()?;
        let path = maps.into_iter().find_map(|map| match map.pathname {
            MMapPath::Path(path) if file_name(&path)?.starts_with(begin) => Some(path),
            _ => None,
        })?;
        let file = root(&process)?.open(&path)?;
        Some((file_name(&path)?.to_owned(), file))
    }

    /// The root of a process.
    pub(super) fn root_of(&self, pid: u32) -> Option<Root> {
        let (_, process) = self.open(pid).ok()?;
        root(&process)
    }

    /// Files in the memory of a process, each once, in the order of addresses, `most` at most.
    pub(super) fn mapped(&self, pid: u32, most: usize) -> Vec<PathBuf> {
        let process = self.open(pid);
        let maps = process.and_then(|(_, process)| process.maps()).ok();
        let mut files: Vec<PathBuf> = Vec::new();
        for map in maps.into_iter().flatten() {
            if let MMapPath::Path(path) = map.pathname
                && files.last() != Some(&path)
                && files.len() < most
            {
                files.push(path);
            }
        }
        files
    }

    /// The host's root: that of its first process, so that it is found from within a container as well.
    pub(super) fn root(&self) -> Option<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty()).ok();
        let first = open(&self.path.join("1/root"));
        // Without the right to look there, ours is most likely the same.
        first
            .or_else(|| {
                if self.path == Path::new("/proc") {
                    open(Path::new("/"))
                } else {
                    None
                }
            })
            .map(Root::new)
    }

    /// A setting of the kernel, such as `kernel/hostname`.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path.join("sys").join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

/// Whether a thread is about to end, or has, and is there for its parent to ask: the first one of a process as long as others go on, too.
const fn is_over(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') || stat.flags & PF_EXITING != 0
}

fn goes_on(process: &Process, pid: u32, comm: &str) -> Result<(), Unreadable> {
    match process.stat() {
        Ok(stat) if !is_over(&stat) => Ok(()),
        _ => Err(Unreadable::Gone {
            pid,
            comm: Some(comm.to_owned()),
        }),
    }
}

/// A thread that goes on in a process with this folder.
fn living_thread(folder: &Path) -> Option<(PathBuf, Process)> {
    let threads = std::fs::read_dir(folder.join("task")).ok()?.flatten();
    let mut threads = threads.filter_map(|thread| {
        let thread = Process::new_with_root(thread.path()).map(|process| (thread.path(), process));
        thread.ok()
    });
    threads.find(|(_, thread)| thread.stat().is_ok_and(|stat| !is_over(&stat)))
}

fn unreadable(pid: u32, error: &ProcError) -> Unreadable {
    match error {
        ProcError::PermissionDenied(_) => Unreadable::Refused {
            pid,
            reason: error.to_string(),
        },
        _ => Unreadable::Gone { pid, comm: None },
    }
}

/// The kernel appends this to the path of a file that was removed, as an update of a running program does.
fn without_deleted(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    OsStr::from_bytes(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)).into()
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)
}

fn cgroups(process: &Process) -> Vec<String> {
    let groups = process
        .cgroups()
        .map(|groups| groups.0.into_iter().map(|group| group.pathname).collect());
    groups.unwrap_or_default()
}

fn root(process: &Process) -> Option<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    process.open_relative_flags("root", flags).ok().map(Root::new)
}

fn arguments(process: &Process) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = process
        .open_relative("cmdline")
        .map(|file| file.take(MAX_ARGUMENTS).read_to_end(&mut bytes));
    if !matches!(read, Ok(Ok(_))) {
        return Vec::new();
    }
    // A process that writes its title over its arguments leaves a tail of NULs.
    let parts = bytes
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned());
    let mut parts: Vec<String> = parts.collect();
    while parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts
}

/// One variable at a time passes through memory; what the few that count say stays.
fn environment(process: &Process) -> (Declared, Loaded) {
    let (mut declared, mut sdk) = (Declared::default(), Loaded::default());
    let Ok(file) = process.open_relative("environ") else {
        return (declared, sdk);
    };
    let mut reader = BufReader::new(file.take(MAX_ENVIRONMENT));
    let mut variable = Vec::new();
    while reader.read_until(0, &mut variable).is_ok_and(|length| length > 0) {
        let text = variable.strip_suffix(b"\0").unwrap_or(&variable);
        if let Some((name, value)) = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.split_once('='))
        {
            declared.note(name, value);
            sdk.note(name, value);
        }
        variable.clear();
    }
    (declared, sdk)
}

/// `Uid:` of proc_pid_status(5) has the real, effective, saved and file system user.
fn owner(process: &Process, root: Option<&Root>) -> Option<String> {
    let mut status = String::new();
    process
        .open_relative("status")
        .ok()?
        .take(16 << 10)
        .read_to_string(&mut status)
        .ok()?;
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .nth(1)?;
    let passwd = root?.text(Path::new("/etc/passwd"), MAX_PASSWD)?;
    let owner = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    owner.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
