//! What the kernel half has to know of how a process handles requests: read once of each program, whichever processes run it.

use super::probe::{FileId, Probe, Probed};
use super::{Identity, Proc, go, haproxy, node, python, unit};
use spanwire_ebpf::Runtime;
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

/// Programs that are remembered.
const REMEMBERED: usize = 1_024;

/// Whether places in CPython, Node.js and HAProxy are found by what their code looks like, which is known of x86-64 alone.
pub(super) const READS_CODE: bool = cfg!(target_arch = "x86_64");

/// What is not followed in programs for this machine, in words for its user; `None` where all of it is.
#[must_use]
pub fn unfollowed() -> Option<&'static str> {
    const WHAT: &str = "tasks of Python, callbacks of Node.js and streams of HAProxy are followed on x86-64 alone: where several \
                        requests are handled at a time there, what is sent for them has no parent";
    (!READS_CODE).then_some(WHAT)
}

/// How a process handles requests.
#[derive(Clone, Debug)]
pub struct Execution {
    /// What handles one request at a time, and where it is found.
    pub runtime: Runtime,
    /// Where more of that is seen.
    pub probed: Option<Probed>,
    /// Nothing more will be known: a program that has just started may have a library to come.
    pub(super) is_final: bool,
}

/// Programs that were looked at.
#[derive(Debug)]
pub(super) struct Programs {
    known: HashMap<FileId, Option<(Runtime, Probed)>>,
    /// Whether they may be probed.
    pub(super) are_probed: bool,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            are_probed: true,
        }
    }
}

impl Programs {
    /// How a process handles requests.
    pub(super) fn execution(&mut self, proc: &Proc, identity: &Identity) -> Execution {
        let pid = identity.pid;
        let found = match identity.runtime.as_ref() {
            _ if !self.are_probed => None,
            Some(program) if program.name == "go" => {
                let version = program.version.as_deref().unwrap_or_default();
                let executable = proc.executable(pid);
                executable.and_then(|file| self.look(file, |file| go::hand_overs(version, file)))
            }
            Some(program) if program.name == "cpython" => self.python(proc, identity),
            Some(program) if program.name == "nodejs" => self.node(proc, identity),
            _ if identity.executable_name() == haproxy::EXECUTABLE => {
                let executable = proc.executable(pid);
                executable.and_then(|file| self.look(file, haproxy::streams))
            }
            _ => None,
        };
        match found {
            Some((runtime, probed)) => Execution {
                runtime,
                probed: Some(probed),
                is_final: true,
            },
            None => Execution {
                runtime: unit::of(identity),
                probed: None,
                is_final: !self.are_probed
                    || identity
                        .runtime
                        .as_ref()
                        .is_none_or(|program| !matches!(program.name, "cpython" | "nodejs")),
            },
        }
    }

    /// The interpreter is in the executable, or in a library.
    fn python(&mut self, proc: &Proc, identity: &Identity) -> Option<(Runtime, Probed)> {
        let executable = proc.executable(identity.pid)?;
        let name = identity.executable_name();
        let found = self.look(executable, |file| python::contexts(name, file));
        found.or_else(|| {
            let (name, library) = proc.library(identity.pid, python::LIBRARY)?;
            self.look(library, |file| python::contexts(&name, file))
        })
    }

    /// In the executable as well, or in a library.
    fn node(&mut self, proc: &Proc, identity: &Identity) -> Option<(Runtime, Probed)> {
        let executable = proc.executable(identity.pid)?;
        let found = self.look(executable, node::callbacks);
        found.or_else(|| {
            let (_, library) = proc.library(identity.pid, node::LIBRARY)?;
            self.look(library, node::callbacks)
        })
    }

    /// What `find` finds in a file, or what it found there before.
    fn look(
        &mut self,
        file: File,
        find: impl FnOnce(File) -> Option<(Runtime, Vec<Probe>)>,
    ) -> Option<(Runtime, Probed)> {
        let id = FileId::from(&file.metadata().ok()?);
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let found = file.try_clone().ok().and_then(find);
        let found = found.map(|(runtime, probes)| {
            let probed = Probed {
                id,
                file: Arc::new(file),
                probes: probes.into(),
            };
            (runtime, probed)
        });
        if self.known.len() >= REMEMBERED {
            // Files are held open: what is asked for again is read again.
            self.known.clear();
        }
        self.known.insert(id, found.clone());
        found
    }
}
