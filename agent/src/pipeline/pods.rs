//! Pods of Kubernetes that change while their processes run, and who is asked in a cluster.

use super::Stages;
use crate::connection::{Address, Endpoints};
use crate::span::{Attribute, Span, Value, semconv};
use std::collections::HashSet;

impl Stages {
    /// Decides again of the processes of pods that have changed. Those of a pod that is gone keep its name for what is still to
    /// come of them.
    pub(super) fn follow_pods(&mut self) {
        // More may be injected now, too.
        let mut changed = HashSet::new();
        for (pid, is_there) in self.processes.proc().changed_with_pods() {
            if is_there {
                self.processes.on_pod(pid);
                changed.insert(pid);
            }
            if self.decides() {
                self.decide(pid);
            } else if is_there && self.processes.has(pid) {
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
