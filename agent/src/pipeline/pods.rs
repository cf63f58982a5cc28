//! Pods and containers that change while their processes run, and who is asked in a cluster.

use super::Stages;
use crate::connection::{Address, Endpoints};
use crate::span::{Attribute, Span, Value, semconv};
use std::collections::HashSet;

impl Stages {
    /// Takes in what was found of processes since they were read, and decides again of those of pods and containers that have
    /// changed. Those of a pod that is gone keep its name for what is still to come of them.
    pub(super) fn follow_places(&mut self) {
        self.processes.follow_runtimes();
        // More may be injected now, too.
        let mut changed = HashSet::new();
        for (pid, anew) in self.processes.proc().changed() {
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
