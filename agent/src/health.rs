//! Every loss and every cost, counted: one counter a reason, shared by all stages of the pipeline.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// What is counted. Names are stable: summary, metrics and tests use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }

        impl Counter {
            /// All counters, in the order in which the summary shows them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Stable name, such as `lost.ring_full`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

counters! {
    /// Spans built.
    Spans => "spans.built",
    /// Spans the exporter's endpoint took.
    SpansExported => "spans.exported",
    /// Spans dropped because the export queue was full.
    SpansQueueFull => "lost.spans.queue_full",
    /// Spans the endpoint refused, or that could not be delivered in time.
    SpansExportFailed => "lost.spans.export_failed",
    /// Spans dropped to make room in the spool for newer ones.
    SpansSpoolFull => "lost.spans.spool_full",
    /// Spans that were in the spool for too long.
    SpansSpoolExpired => "lost.spans.spool_expired",
    /// Spans in the spool that were damaged there, or not written whole.
    SpansSpoolDamaged => "lost.spans.spool_damaged",
    /// Spans not shown because whoever reads standard output is too slow, or gone.
    SpansNotShown => "lost.spans.not_shown",
    /// Spans that were in the spool at the start.
    SpoolFound => "spool.spans.found",
    /// Spans written to the spool.
    SpoolStored => "spool.spans.stored",
    /// Spans in the spool at the end.
    SpoolLeft => "spool.spans.left",
    /// Times that the spool could not be written to.
    SpoolFailures => "spool.failures",
    /// Damaged places in the spool that nothing is known of, such as how many spans were there.
    SpoolGaps => "spool.gaps",
    /// Receiving ends of spanwire's own exports: left out, or each export would make the next.
    OwnExports => "spans.own_exports",
    /// Spans left to the SDK of their service.
    LeftOut => "spans.left_to_sdk",
    /// Spans of requests that a rule drops.
    SpansDropped => "spans.dropped",
    /// Spans of what was done for such requests.
    SpansDroppedBelow => "spans.dropped_below",
    /// Spans of traces that are not kept.
    SpansUnsampled => "spans.unsampled",
    /// Spans of traces that a policy of tail sampling keeps.
    SpansKeptByPolicy => "spans.kept.tail.policy",
    /// Spans of traces that the floor of their operation keeps.
    SpansKeptByFloor => "spans.kept.tail.floor",
    /// Spans of traces that are among the share that tail sampling keeps.
    SpansKeptByRatio => "spans.kept.tail.ratio",
    /// Spans that came after their trace was kept.
    SpansKeptLate => "spans.kept.tail.late",
    /// Spans of traces that are not among that share.
    SpansDroppedByRatio => "spans.dropped.tail.ratio",
    /// Spans of traces that are among it, and for which the budget has no room.
    SpansDroppedByBudget => "spans.dropped.tail.budget",
    /// Spans that came after their trace was dropped.
    SpansDroppedLate => "spans.dropped.tail.late",
    /// Traces that were decided before their time, because more bytes were held than may be.
    TailEarlyBytes => "sampling.tail.early.bytes",
    /// Traces that were decided before their time, because more traces were held than may be.
    TailEarlyTraces => "sampling.tail.early.traces",
    /// Traces whose operation has no budget or floor of its own, because there are too many operations.
    TailOperationsFull => "sampling.tail.operations_full",
    /// Times that a process was read whose service has no ratio and no share of its own, because there are too many services.
    SamplingServicesFull => "sampling.services_full",
    /// Spans that are not held against the percentiles of their operation, because there are too many operations.
    TailPercentilesFull => "sampling.tail.percentiles_full",
    /// Requests whose span has no route, because there are as many as are kept.
    RoutesFull => "routes.full",
    /// Requests that carry telemetry of others, left out.
    Telemetry => "spans.telemetry",
    /// Exchanges without a span because a record of theirs was lost.
    Exchanges => "lost.exchanges.incomplete",
    /// Responses whose request was never seen.
    ResponsesUnmatched => "lost.exchanges.response_without_request",
    /// Messages whose head could not be parsed.
    Unparsed => "lost.messages.unparsed",
    /// Statements that a server passed over after an error in front of them: they were never executed.
    StatementsSkipped => "skipped.statements",
    /// Connections that were known, and then encrypted.
    ConnectionsEncrypted => "unclaimed.encrypted",
    /// Trace contexts in requests that are not as their format says, and count for nothing.
    ContextsMalformed => "malformed.contexts",
    /// Sockets that were enrolled for injection after they had been connected.
    EnrolledLate => "propagation.enrolled_late",
    /// Probes in functions of programs that the kernel has refused.
    ProbesRefused => "probes.refused",
    /// Requests that were sent while more than one was being handled, and nothing told for which.
    ParentsAmbiguous => "causality.ambiguous",
    /// Requests whose parent is known to the kernel half, and its record was lost.
    ParentsLost => "causality.parent_lost",
    /// Exchanges that begin while there are more open than are remembered: they stand alone.
    ParentsFull => "causality.full",
    /// Requests to the API server of Kubernetes that failed, and watches that broke.
    KubernetesFailed => "kubernetes.requests.failed",
    /// Lists that were asked for anew, since the API server no longer knew what the last one was.
    KubernetesRestarted => "kubernetes.watches.restarted",
    /// Annotations with a wrong value.
    AnnotationsWrong => "kubernetes.annotations.wrong",
    /// Events of such that the API server was not told of, as there were too many or it refused.
    KubernetesEventsDropped => "kubernetes.events.dropped",
    /// Questions to engines that run containers that failed.
    ContainersFailed => "containers.requests.failed",
    /// Labels and names of containers that there was no room for.
    ContainersCut => "containers.cut",
    /// Containers that no engine was asked for, as too many wait for an answer.
    ContainersUnasked => "containers.unasked",
    /// Processes whose spans may lack the version of their runtime, as too many were to be looked at at a time.
    RuntimesUnread => "runtimes.unread",
    /// Message heads over the limit: method and path kept, the rest cut.
    HeadsCut => "cut.heads",
}

/// The counters of one running agent.
#[derive(Debug)]
pub struct Health {
    values: [AtomicU64; Counter::ALL.len()],
}

impl Default for Health {
    /// All are 0.
    fn default() -> Self {
        Self {
            values: [const { AtomicU64::new(0) }; Counter::ALL.len()],
        }
    }
}

impl Health {
    /// Adds `count` to `counter`.
    pub fn add(&self, counter: Counter, count: u64) {
        self.values[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Current value of `counter`.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_own_cell_and_name() {
        let health = Health::default();
        for (index, counter) in Counter::ALL.iter().enumerate() {
            health.add(*counter, index as u64 + 1);
        }
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(health.value(*counter), index as u64 + 1, "{}", counter.name());
        }
    }
}
