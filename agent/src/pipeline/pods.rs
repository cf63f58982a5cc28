//! Pods and containers that change while their processes run, and who is asked in a cluster.

use super::Stages;
use crate::connection::{Address, Endpoints};
use crate::kernel::clock::Clock;
use crate::span::{Attribute, Span, Value, semconv};
use std::collections::HashSet;

/// Processes whose pod or container has changed, and whether more is known of that now, until it is decided of them.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pids: Vec<(u32, bool)>,
    /// When those were listed, on the monotonic clock in nanoseconds.
    listed: u64,
}

impl Moved {
    /// Adds those that have just been listed, and takes those that can be decided of. Where it `matters` whose copy a process is,
    /// that is after the kernel half's records were read until they were listed: `told` says until when that is.
    fn ready(&mut self, changed: Vec<(u32, bool)>, matters: bool, told: u64) -> Vec<(u32, bool)> {
        let mut ready = match matters && told <= self.listed {
            true => Vec::new(),
            false => std::mem::take(&mut self.pids),
        };
        if !matters {
            ready.extend(changed);
        } else if !changed.is_empty() {
            self.pids.extend(changed);
            self.listed = Clock::now().monotonic();
        }
        ready
    }
}

impl Stages {
    /// Takes in what was found of processes since they were read, and decides again of those of pods and containers that have
    /// changed. Those of a pod that is gone keep its name for what is still to come of them. `told` says until when the kernel half's
    /// records were read.
    pub(super) fn follow_places(&mut self, moved: &mut Moved, told: u64) {
        self.processes.follow_runtimes();
        let listed = self.processes.proc().changed();
        let ready = moved.ready(listed, self.filter.names_processes(), told);
        // More may be injected now, too.
        let mut changed = HashSet::new();
        for (pid, anew) in ready {
            if anew {
                self.processes.on_place(pid);
                changed.insert(pid);
            }
            if self.decides() && !self.is_decided(pid) {
                self.decide(pid);
            } else if anew && self.processes.has(pid) {
                self.read(pid);
            }
        }
        if !changed.is_empty() {
            changed = self.capture.watched(&changed.into_iter().collect::<Vec<_>>());
        }
        self.enrol_again(&changed);
    }

    /// Nothing is kept for a process that is not watched: what it sends goes as it comes, and its sockets leave the sockhash with
    /// the next sweep.
    pub(super) fn leave_alone(&mut self, pid: u32) {
        self.capture.clear_runtime(pid);
        self.processes.on_unwatched(pid);
    }

    /// Says of a client's span whom it asks, where a cluster knows that of the address.
    pub(super) fn name_peer(&self, span: &mut Span, endpoints: &Endpoints) {
        let Address::Ip(address) = &endpoints.remote else {
            return;
        };
        let Some(peer) = self.peers.at(address.ip()) else {
            return;
        };
        for (key, text) in [
            (semconv::SERVICE_PEER_NAME, &peer.name),
            (semconv::SERVICE_PEER_NAMESPACE, &peer.namespace),
        ] {
            span.attributes.push(Attribute {
                key: key.into(),
                value: Value::Text(text.into()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_wait_for_what_was_told_until_they_were_listed_where_it_matters_whose_copies_they_are() {
        let mut moved = Moved::default();
        assert_eq!(moved.ready(vec![(1, true)], false, 0), [(1, true)]);
        assert_eq!(moved.ready(vec![(2, true)], true, 0), []);
        let listed = moved.listed;
        assert_eq!(moved.ready(vec![(3, false)], true, listed), []);
        assert!(moved.listed >= listed);
        // However often there are more, they go with what is read next.
        assert_eq!(
            moved.ready(vec![(4, true)], true, moved.listed + 1),
            [(2, true), (3, false)]
        );
        assert_eq!(moved.ready(vec![], true, moved.listed + 1), [(4, true)]);
        assert_eq!(moved.ready(vec![], true, u64::MAX), []);
        // A configuration that was read again names none any more.
        assert_eq!(moved.ready(vec![(5, true)], true, 0), []);
        assert_eq!(moved.ready(vec![(6, true)], false, 0), [(5, true), (6, true)]);
    }
}
