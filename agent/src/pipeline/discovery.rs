//! Which processes are watched: decided at their start, where they begin to listen, and again once in a while.

use super::Stages;
use crate::kernel::clock::Clock;
use crate::process::watch::Decision;
use crate::process::{Policy, Proc};
use crate::services::{Injection, Survey};
use spanwire_ebpf::propagate;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Processes that are looked at again between two sweeps, which are a second apart.
const LOOKED_AT: usize = 32;

/// Most enrolled sockets that are asked for: each takes a system call.
const ENROLLED: usize = 8_192;

/// Processes that begin to listen are looked at together, so often at most: to find out on what ports takes milliseconds.
const LISTENERS: Duration = Duration::from_millis(100);

/// From the beginning of one round to that of the next, at least.
const ROUND: Duration = Duration::from_secs(10);

/// Processes that are looked at again, some at a time: what they listen on, the container they are in and its labels change, and
/// an event may be lost.
#[derive(Debug, Default)]
pub(super) struct Round {
    left: Vec<u32>,
    began: Option<Instant>,
    /// When those were listed, on the monotonic clock in nanoseconds.
    listed: u64,
}

impl Round {
    /// The next ones, of which all is known that the kernel half told until they were listed: `told` says until when that is. Of one
    /// that was forked a moment before, it is not known yet whose copy it is.
    fn next(&mut self, proc: &Proc, told: u64) -> Vec<u32> {
        if self.left.is_empty() && self.began.is_none_or(|began| began.elapsed() >= ROUND) {
            self.began = Some(Instant::now());
            self.left = proc.pids();
            self.listed = Clock::now().monotonic();
        }
        if told <= self.listed {
            return Vec::new();
        }
        self.left.split_off(self.left.len().saturating_sub(LOOKED_AT))
    }
}

/// What anybody on the host, or in the cluster, may have happen, and takes its time, is done so often at most.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    last: Option<Instant>,
}

impl Pace {
    pub(super) const fn new(every: Duration) -> Self {
        Self { every, last: None }
    }

    /// Whether it is time; then, the next time is later.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= self.every);
        if is_due {
            self.last = Some(Instant::now());
        }
        is_due
    }
}

/// Processes that have begun to listen.
#[derive(Debug)]
pub(super) struct Listeners {
    pids: HashSet<u32>,
    pace: Pace,
}

impl Listeners {
    pub(super) fn note(&mut self, pid: u32) {
        self.pids.insert(pid);
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            pids: HashSet::new(),
            pace: Pace::new(LISTENERS),
        }
    }
}

impl Stages {
    /// Whether it is decided here which processes are watched.
    pub(super) fn decides(&self) -> bool {
        self.filter.is_selective() && !self.descendants_only
    }

    /// Tells the kernel half whether a process is watched. Whether it is now, and was not.
    pub(super) fn decide(&mut self, pid: u32) -> bool {
        let watched = self.wants(pid);
        let changed = self.set_watched(pid, watched);
        match watched {
            true => self.read(pid),
            false => self.leave_alone(pid),
        }
        watched && changed
    }

    /// Asks for the connections of processes to be enrolled by which requests are sent, those that are not. Whoever was watched
    /// before may have some that were left, and of which nothing says again that they are there.
    pub(super) fn enrol_again(&mut self, pids: &HashSet<u32>) {
        if pids.is_empty() || self.processes.loaded() & !propagate::TCP == 0 {
            return;
        }
        let clients: Vec<_> = self.table.clients(pids).collect();
        if clients.is_empty() {
            return;
        }
        let enrolled = self.capture.propagation().socks(ENROLLED);
        for (connection, pid, inode, protocol) in clients {
            if !enrolled.contains(&connection.sock)
                && self.processes.propagates(pid) & Policy::late(protocol) != 0
            {
                self.capture.propagation().enrol(pid, connection, inode);
            }
        }
    }

    /// Whether a process is to be watched, and then by what rules of its own. Of one that is not, what is still to come is told by
    /// those that held.
    fn wants(&mut self, pid: u32) -> bool {
        let process = self.processes.proc().glance(pid, self.filter.asks());
        let decision = process.map(|process| self.filter.decide(&process));
        let Some(decision) = decision.filter(Decision::is_watched) else {
            return false;
        };
        self.processes.follow(pid, decision.own);
        true
    }

    /// Watches a copy of a process that is watched. The kernel half has done so, but where a neighbour's bit was written at that
    /// moment: bits are written by the word.
    pub(super) fn watch_with(&mut self, parent: u32, pid: u32) {
        if self.decides() && self.capture.watched(&[parent, pid]).into_iter().eq([parent]) {
            self.set_watched(pid, true);
        }
    }

    /// Whether that is another answer than before.
    fn set_watched(&mut self, pid: u32, watched: bool) -> bool {
        self.capture.set_watched(pid, watched).unwrap_or_else(|error| {
            let what = if watched { "watch" } else { "leave alone" };
            tracing::warn!("cannot {what} process {pid}: {error}");
            false
        })
    }

    /// Has the kernel half tell who begins to listen where that decides of anything: it is told of each process of the host.
    pub(super) fn heed_listeners(&mut self) {
        let asks = self.decides() && !self.filter.asks().ports.is_empty();
        if let Err(error) = self.capture.ask_who_listens(asks) {
            tracing::warn!("cannot ask who begins to listen: {error}");
        }
    }

    /// Whether nothing but its end decides of a process: children of one that was named by its number are watched for that.
    pub(super) fn is_decided(&self, pid: u32) -> bool {
        self.filter.names_processes() && self.processes.is_copy(pid)
    }

    /// Processes have begun to listen, on which ports their own files say.
    pub(super) fn on_listen(&mut self, listeners: &mut Listeners) {
        if listeners.pids.is_empty() || !listeners.pace.is_due() {
            return;
        }
        let pids = std::mem::take(&mut listeners.pids);
        if !self.decides() || self.filter.asks().ports.is_empty() {
            return;
        }
        self.processes.proc().note_listening();
        self.decide_all(pids);
    }

    /// Decides again of some processes.
    pub(super) fn reconsider(&mut self, round: &mut Round, told: u64) {
        if !self.decides() {
            return;
        }
        let pids = round.next(self.processes.proc(), told);
        self.decide_all(pids);
    }

    /// Decides of processes again.
    fn decide_all(&mut self, pids: impl IntoIterator<Item = u32>) {
        let mut begun = HashSet::new();
        for pid in pids {
            if !self.is_decided(pid) && self.decide(pid) {
                begun.insert(pid);
            }
        }
        self.enrol_again(&begun);
    }

    /// What is known of the processes that are watched, and whose connections are enrolled.
    pub(super) fn survey(&mut self) -> Survey {
        let enrolled = self.capture.propagation().socks(ENROLLED);
        let mut connections = HashMap::<u32, (u64, u64)>::new();
        let mut unused = enrolled.clone();
        for (sock, pid) in self.table.owners() {
            let (all, those) = connections.entry(pid).or_default();
            *all += 1;
            *those += u64::from(enrolled.contains(&sock));
            unused.remove(&sock);
        }
        // Those that have carried nothing yet.
        for pid in unused.into_iter().filter_map(|sock| self.capture.connector(sock)) {
            let (all, those) = connections.entry(pid).or_default();
            *all += 1;
            *those += 1;
        }
        let pids = self.processes.proc().pids();
        let loaded = self.processes.loaded();
        let refused = self.capture.propagation().refusal().map(ToOwned::to_owned);
        // Where options of TCP remain, they are beside what is sent, and need no socket to be enrolled.
        let restrained = self.restraint.clone().filter(|_| loaded & !propagate::TCP == 0);
        let refusal = refused
            .or(restrained)
            .filter(|_| loaded == 0 || loaded & !propagate::TCP != 0);
        Survey {
            table: self.processes.afresh(),
            filter: self.filter.clone(),
            descendants_only: self.descendants_only,
            watched: self.capture.watched(&pids),
            seen: self.processes.seen(),
            connections,
            injection: Injection {
                loaded,
                refusal,
                breaks_fionread: self.processes.breaks_fionread(),
            },
        }
    }

    /// Watches whom the filter wants from now on. Whoever is watched before and afterwards is at each moment between.
    pub(super) fn watch_others(&mut self) {
        if self.descendants_only {
            return;
        }
        self.heed_listeners();
        let proc = self.processes.proc().clone();
        let running: HashSet<u32> = proc.pids().into_iter().collect();
        let mut wanted = HashSet::new();
        for pid in &running {
            if self.wants(*pid) {
                wanted.insert(*pid);
            }
        }
        let everything = !self.filter.is_selective();
        if let Err(error) = self.capture.watch(everything, &wanted, std::process::id()) {
            tracing::warn!("cannot change which processes are watched: {error}");
        }
        if self.filter.is_selective() {
            for pid in running.difference(&wanted) {
                self.leave_alone(*pid);
            }
        }
        for pid in &wanted {
            self.read(*pid);
        }
        self.enrol_again(&wanted);
        // Forks that were watched with their parents until that was written.
        for pid in proc.pids().into_iter().filter(|pid| !running.contains(pid)) {
            if self.decides() {
                self.decide(pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_waits_for_what_was_told_before_it_began() {
        let mut round = Round::default();
        let proc = Proc::host();
        assert_eq!(round.next(&proc, 1), Vec::<u32>::new());
        assert_eq!(round.next(&proc, round.listed), Vec::<u32>::new());
        assert!(!round.next(&proc, round.listed + 1).is_empty());
    }
}
