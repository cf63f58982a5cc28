//! Processes that were asked for, each read once.

use super::annotation::Wishes;
use super::execution::Programs;
use super::sdk::{self, Evidence};
use super::seen::Seen;
use super::watch::Own;
use super::{Execution, Host, Identity, Policy, Proc, Runtimes, Unreadable, resource};
use crate::protocol::Protocol;
use crate::span::{OwnRules, Resource};
use globset::GlobMatcher;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Ended processes that are remembered for their last spans.
const REMEMBERED: usize = 4_096;
/// A program that may still load its interpreter is looked at so often: at its start, and at its first connections.
const READINGS: u8 = 4;
/// From this many on, processes whose end was never told are looked for.
const SWEEP: usize = 16_384;

/// Resources by process. Each process is read at most once in its life, and once more after each exec, when it is first
/// asked for.
#[derive(Debug)]
pub struct Table {
    proc: Proc,
    host: Host,
    shared: Vec<(String, String)>,
    labels: Arc<[GlobMatcher]>,
    runtimes: Option<Runtimes>,
    propagation: Policy,
    loaded: u32,
    sdk: sdk::Rules,
    entries: HashMap<u32, Entry>,
    programs: Programs,
    /// Ended processes in order, with the life that ended.
    ended: VecDeque<(u32, u64)>,
    lives: u64,
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    /// Tells one process from a later one with the same id.
    life: u64,
    /// Who forked it (process and life), as long as it runs its parent's program.
    copy_of: Option<(u32, u64)>,
    comm: Option<String>,
    ended: bool,
    /// It was seen to export spans.
    exports: bool,
    /// It makes spans itself; absent until that is asked.
    is_instrumented: Option<bool>,
    /// How often it may still be asked for what handles requests in it.
    left: u8,
    /// What holds for it alone.
    own: Option<Arc<Own>>,
    seen: Seen,
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    identity: Option<Arc<Identity>>,
    resource: Arc<Resource>,
}

impl Table {
    /// A table of the processes of `proc`, with `shared` attributes for all.
    #[must_use]
    pub fn new(proc: Proc, shared: Vec<(String, String)>) -> Self {
        let host = Host::read(&proc);
        Self {
            proc,
            host,
            shared,
            labels: Arc::default(),
            runtimes: None,
            propagation: Policy::default(),
            loaded: 0,
            sdk: sdk::Rules::default(),
            entries: HashMap::new(),
            programs: Programs::default(),
            ended: VecDeque::new(),
            lives: 0,
            sweep_at: SWEEP,
        }
    }

    /// Lets contexts be injected: after `propagation` where a process has no rule of its own, and else into `loaded` protocols
    /// at most.
    #[must_use]
    pub fn propagating(self, propagation: Policy, loaded: u32) -> Self {
        Self {
            propagation,
            loaded,
            ..self
        }
    }

    /// Makes attributes of those labels of containers that one of `labels` fits.
    #[must_use]
    pub fn labelling(self, labels: Arc<[GlobMatcher]>) -> Self {
        Self { labels, ..self }
    }

    /// Has versions of language runtimes looked for that take long to find out.
    #[must_use]
    pub fn looking(self, runtimes: Runtimes) -> Self {
        Self {
            runtimes: Some(runtimes),
            ..self
        }
    }

    /// Takes in what was found of language runtimes.
    pub fn follow_runtimes(&mut self) {
        let found = self.runtimes.as_ref().map(Runtimes::take);
        for (identity, runtime) in found.into_iter().flatten() {
            let entry = self.entries.get_mut(&identity.pid);
            let known = entry.and_then(|entry| entry.known.as_mut());
            // Of another program that the process runs by now, something else is found.
            let is_it = |known: &&mut Known| {
                known
                    .identity
                    .as_ref()
                    .is_some_and(|it| Arc::ptr_eq(it, &identity))
            };
            if let Some(known) = known.filter(is_it) {
                let Resource { pid, own, .. } = *known.resource;
                known.resource = Arc::new(Resource {
                    pid,
                    attributes: resource::running(&known.resource.attributes, &runtime),
                    own,
                });
            }
        }
    }

    /// Has functions of runtimes probed, or not.
    #[must_use]
    pub fn probing(mut self, probes: bool) -> Self {
        self.programs.are_probed = probes;
        self
    }

    /// Leaves to services what they make spans of themselves.
    #[must_use]
    pub fn leaving(self, sdk: sdk::Rules) -> Self {
        Self { sdk, ..self }
    }

    /// The same from now on, also to those of which it was decided before.
    pub fn leave(&mut self, sdk: sdk::Rules) {
        self.sdk = sdk;
        for entry in self.entries.values_mut() {
            entry.is_instrumented = None;
        }
    }

    /// Where processes are read from.
    #[must_use]
    pub const fn proc(&self) -> &Proc {
        &self.proc
    }

    /// The resource of a process, always the same one for the same life of it.
    pub fn resource(&mut self, pid: u32) -> Arc<Resource> {
        self.known(pid).resource
    }

    /// Whether nothing more will be known of how a process handles requests.
    #[must_use]
    pub fn is_read(&self, pid: u32) -> bool {
        self.entries.get(&pid).is_some_and(|entry| entry.left == 0)
    }

    /// Reads a process while it lives; what handles requests in it, the first time that this is asked, and again while more
    /// may come to be known.
    pub fn read(&mut self, pid: u32) -> Option<Execution> {
        let known = self.known(pid);
        let entry = self.entries.get_mut(&pid)?;
        entry.left = entry.left.checked_sub(1)?;
        let identity = known.identity?;
        let mut execution = self.programs.execution(&self.proc, &identity);
        if execution.is_final {
            entry.left = 0;
        }
        execution.runtime.propagate = self.policy(pid).of(&identity);
        Some(execution)
    }

    /// A process's pod or container is another than it was: it is read anew when it is next asked for, with what it was seen to do.
    pub fn on_place(&mut self, pid: u32) {
        if let Some(entry) = self.entries.get_mut(&pid).filter(|entry| !entry.ended) {
            entry.known = None;
            entry.is_instrumented = None;
            entry.left = READINGS;
        }
    }

    /// A process is not watched any more. What handles requests in it is told again if it ever is.
    pub fn on_unwatched(&mut self, pid: u32) {
        if let Some(entry) = self.entries.get_mut(&pid) {
            entry.left = READINGS;
        }
    }

    /// Into which protocols contexts are injected that a process sends: bits of [`spanwire_ebpf::propagate`].
    pub fn propagates(&mut self, pid: u32) -> u32 {
        let identity = self.known(pid).identity;
        identity.map_or(0, |identity| self.policy(pid).of(&identity))
    }

    /// The same, where anything is injected, before the process is [read](Self::read): to look through a large program for the
    /// first time takes longer than it may take until its first request.
    pub fn propagates_at_first(&mut self, pid: u32) -> Option<u32> {
        let protocols = self.propagates(pid);
        let is_first = self.entries.get(&pid)?.left == READINGS;
        (is_first && protocols != 0).then_some(protocols)
    }

    /// What holds for a process alone, from now on. What was known of it is read again where that is something else.
    pub fn follow(&mut self, pid: u32, own: Option<Arc<Own>>) {
        let entry = match self.entries.get_mut(&pid) {
            // What is still to come of it was done under what held then.
            Some(entry) if entry.ended => return,
            Some(entry) => entry,
            None if own.is_none() => return,
            None => self.begin(pid),
        };
        if entry.own != own {
            entry.own = own;
            entry.known = None;
            entry.is_instrumented = None;
            entry.left = READINGS;
        }
    }

    /// An exchange of a process was seen; see [`Seen::note`].
    pub fn saw(&mut self, pid: u32, protocol: Protocol, is_server: bool, port: Option<u16>) {
        if let Some(entry) = self.entries.get_mut(&pid) {
            entry.seen.note(protocol, is_server, port);
        }
    }

    /// What processes that have not ended were seen to speak, or nothing as yet.
    #[must_use]
    pub fn seen(&self) -> HashMap<u32, Seen> {
        let running = self.entries.iter().filter(|(_, entry)| !entry.ended);
        running.map(|(pid, entry)| (*pid, entry.seen.clone())).collect()
    }

    /// A table of the same host after the same rules, of which nothing is known yet but who exports spans.
    #[must_use]
    pub fn afresh(&self) -> Self {
        let mut table = Self::new(self.proc.clone(), self.shared.clone())
            .propagating(self.propagation, self.loaded)
            .labelling(Arc::clone(&self.labels))
            .leaving(self.sdk.clone());
        for (pid, entry) in self
            .entries
            .iter()
            .filter(|(_, entry)| entry.exports && !entry.ended)
        {
            table.begin(*pid).exports = entry.exports;
        }
        table
    }

    /// What is known of a process; `None` where it cannot be read.
    pub fn identity(&mut self, pid: u32) -> Option<Arc<Identity>> {
        self.known(pid).identity
    }

    /// Whether a process makes spans itself.
    pub fn makes_spans(&mut self, pid: u32) -> bool {
        let known = self.known(pid);
        let exports = self.entries.get(&pid).is_some_and(|entry| entry.exports);
        let service = known.resource.service_name();
        self.sdk
            .evidence(service, known.identity.as_deref(), exports)
            .is_some()
    }

    /// Into what contexts may be injected at all, as bits of [`spanwire_ebpf::propagate`].
    #[must_use]
    pub const fn loaded(&self) -> u32 {
        self.loaded
    }

    /// Whether the kernel answers FIONREAD on an enrolled socket with 0.
    #[must_use]
    pub const fn breaks_fionread(&self) -> bool {
        self.propagation.breaks_fionread
    }

    /// Whether contexts are injected into nothing where a process has no rule of its own.
    #[must_use]
    pub const fn propagates_none(&self) -> bool {
        self.propagation.protocols == 0
    }

    /// Whether a process was forked while it was known, and runs its parent's program.
    #[must_use]
    pub fn is_copy(&self, pid: u32) -> bool {
        self.entries
            .get(&pid)
            .is_some_and(|entry| entry.copy_of.is_some())
    }

    fn own(&self, pid: u32) -> Option<&Own> {
        self.entries.get(&pid)?.own.as_deref()
    }

    /// Whether contexts are injected into what a process sends: of protocols that were not loaded, never.
    fn policy(&self, pid: u32) -> Policy {
        match self.own(pid).and_then(|own| own.propagate) {
            Some(protocols) => Policy {
                protocols: protocols & self.loaded,
                ..self.propagation
            },
            None => self.propagation,
        }
    }

    /// Whether a process makes spans itself of what a protocol (its number in records) carries.
    pub fn covers(&mut self, pid: u32, protocol: u8) -> bool {
        self.sdk.cover(protocol) && self.is_instrumented(pid)
    }

    /// Whether [`Table::on_export`] changes anything.
    #[must_use]
    pub const fn heeds_exports(&self) -> bool {
        self.sdk.detects()
    }

    /// A process exports spans of its own.
    pub fn on_export(&mut self, pid: u32) {
        if let Some(entry) = self.entries.get_mut(&pid)
            && !std::mem::replace(&mut entry.exports, true)
        {
            entry.is_instrumented = None;
        }
    }

    fn is_instrumented(&mut self, pid: u32) -> bool {
        if let Some(is_instrumented) = self.entries.get(&pid).and_then(|entry| entry.is_instrumented) {
            return is_instrumented;
        }
        let known = self.known(pid);
        let Some(entry) = self.entries.get_mut(&pid) else {
            return false;
        };
        let service = known.resource.service_name();
        let evidence = self
            .sdk
            .evidence(service, known.identity.as_deref(), entry.exports);
        if let Some(evidence) = evidence {
            let why = match evidence {
                Evidence::Configured => "by the configuration",
                Evidence::Loaded => "it is started with an OpenTelemetry SDK",
                Evidence::Exports => "it exports traces",
            };
            tracing::info!(
                "{service} (process {pid}) makes spans itself, {why}: what it covers is left to it"
            );
        }
        *entry.is_instrumented.insert(evidence.is_some())
    }

    /// How many processes there are in each state.
    #[must_use]
    pub fn states(&self) -> Vec<(&'static str, u64)> {
        let mut states = ["heard_of", "read", "unreadable", "instrumented", "ended"].map(|state| (state, 0));
        for entry in self.entries.values() {
            let state = match (&entry.known, entry.is_instrumented) {
                _ if entry.ended => 4,
                (_, Some(true)) => 3,
                (Some(Known { identity: None, .. }), _) => 2,
                (Some(_), _) => 1,
                (None, _) => 0,
            };
            states[state].1 += 1;
        }
        states.to_vec()
    }

    /// Whether anything is known of a process, be it only that it was forked.
    #[must_use]
    pub fn has(&self, pid: u32) -> bool {
        self.entries.contains_key(&pid)
    }

    /// A process was forked. This also ends what the table believes of an earlier process with the id `child`.
    pub fn on_fork(&mut self, parent: u32, child: u32) {
        let (life, comm, own) = match self.entries.get(&parent) {
            Some(entry) => (entry.life, entry.comm.clone(), entry.own.clone()),
            None => (self.begin(parent).life, None, None),
        };
        let entry = self.begin(child);
        entry.copy_of = Some((parent, life));
        entry.own = own;
        entry.comm = comm;
        self.sweep();
    }

    /// A process runs another program now.
    pub fn on_exec(&mut self, pid: u32) {
        self.begin(pid);
        self.sweep();
    }

    /// A process (not only a thread of it) has ended. It is remembered until 4,096 others have ended after it.
    pub fn on_exit(&mut self, pid: u32) {
        let Some(entry) = self.entries.get_mut(&pid) else {
            return;
        };
        if !std::mem::replace(&mut entry.ended, true) {
            self.ended.push_back((pid, entry.life));
        }
        while self.ended.len() > REMEMBERED {
            self.forget_oldest();
        }
    }

    /// The kernel's short name of a process, as an event had it: what is left when the process is gone before it is read.
    pub fn note_comm(&mut self, pid: u32, comm: &str) {
        let entry = match self.entries.get_mut(&pid) {
            Some(entry) => entry,
            None => self.begin(pid),
        };
        entry.comm = Some(comm.to_owned());
    }

    fn begin(&mut self, pid: u32) -> &mut Entry {
        self.lives += 1;
        let entry = Entry {
            life: self.lives,
            copy_of: None,
            comm: None,
            ended: false,
            exports: false,
            is_instrumented: None,
            left: READINGS,
            own: None,
            seen: Seen::default(),
            known: None,
        };
        self.entries.entry(pid).insert_entry(entry).into_mut()
    }

    fn known(&mut self, pid: u32) -> Known {
        let (copy_of, comm) = match self.entries.get(&pid) {
            Some(Entry {
                known: Some(known), ..
            }) => return known.clone(),
            Some(entry) => (entry.copy_of, entry.comm.clone()),
            None => (None, None),
        };
        let known = match self.proc.identity(pid) {
            Ok(identity) => self.complete(identity),
            Err(error) => self.incomplete(pid, copy_of, comm, &error),
        };
        let known = self.selected(pid, known);
        let entry = match self.entries.get_mut(&pid) {
            Some(entry) => entry,
            None => self.begin(pid),
        };
        entry.known = Some(known.clone());
        if let (Some(runtimes), Some(identity)) = (&self.runtimes, &known.identity) {
            runtimes.ask(identity);
        }
        known
    }

    /// What spanwire's owner gave to a process's selection goes before what its own owner says, in annotations or in its environment,
    /// and that before what is found.
    fn selected(&self, pid: u32, known: Known) -> Known {
        let Some(own) = self.own(pid) else {
            return known;
        };
        let attributes = match &own.service_name {
            Some(name) => resource::named(&known.resource.attributes, name),
            None => known.resource.attributes.clone(),
        };
        let rules = OwnRules {
            sample: own.sample.or(known.resource.own.sample),
            redaction: own.redaction,
        };
        Known {
            resource: Arc::new(Resource {
                pid,
                attributes,
                own: rules,
            }),
            ..known
        }
    }

    fn complete(&self, identity: Identity) -> Known {
        let mut attributes = resource::attributes(&identity, &self.host, &self.shared);
        resource::label(&mut attributes, identity.container.as_ref(), &self.labels);
        let wishes = identity.pod.as_deref().map(Wishes::of).unwrap_or_default();
        let own = OwnRules {
            sample: wishes.sample,
            ..OwnRules::default()
        };
        Known {
            resource: Arc::new(Resource {
                own,
                pid: identity.pid,
                attributes,
            }),
            identity: Some(Arc::new(identity)),
        }
    }

    /// A child that never ran a program of its own is what its parent is.
    fn incomplete(
        &mut self,
        pid: u32,
        copy_of: Option<(u32, u64)>,
        comm: Option<String>,
        error: &Unreadable,
    ) -> Known {
        let left = match error {
            Unreadable::Gone { comm, .. } => comm.clone(),
            Unreadable::Refused { .. } => None,
        };
        let attributes = match copy_of.and_then(|(parent, life)| self.original(parent, life)) {
            Some(parent) => {
                let mut attributes = resource::of_child(pid, &parent, &self.host, &self.shared);
                resource::label(&mut attributes, parent.container.as_ref(), &self.labels);
                attributes
            }
            None => resource::of_event(pid, left.or(comm).as_deref(), &self.host, &self.shared),
        };
        Known {
            identity: None,
            resource: Arc::new(Resource {
                own: OwnRules::default(),
                pid,
                attributes,
            }),
        }
    }

    /// The process that forked, if it still runs the program that it ran then.
    fn original(&mut self, pid: u32, life: u64) -> Option<Arc<Identity>> {
        let entry = self.entries.get(&pid).filter(|entry| entry.life == life)?;
        if let Some(known) = &entry.known {
            return known.identity.clone();
        }
        let known = self.complete(self.proc.identity(pid).ok()?);
        let known = self.selected(pid, known);
        let identity = known.identity.clone();
        self.entries.get_mut(&pid)?.known = Some(known);
        identity
    }

    fn forget_oldest(&mut self) {
        let Some((pid, life)) = self.ended.pop_front() else {
            return;
        };
        if self.entries.get(&pid).is_some_and(|entry| entry.life == life) {
            self.entries.remove(&pid);
        }
    }

    /// An event of an end may be lost: what is no longer there has ended, too.
    fn sweep(&mut self) {
        if self.entries.len() < self.sweep_at {
            return;
        }
        let gone: Vec<u32> = self
            .entries
            .iter()
            .filter(|(pid, entry)| !entry.ended && !self.proc.has(**pid))
            .map(|(pid, _)| *pid)
            .collect();
        for pid in gone {
            self.on_exit(pid);
        }
        self.sweep_at = SWEEP.max(2 * self.entries.len());
    }
}

#[cfg(test)]
mod tests;
