//! Batches of one endpoint: from its queue to where they end, taken, refused or lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::client::{Accepted, Failure};
use super::form::{Form, Request};
use super::link::Link;
use super::queue::Queue;
use crate::health::{Counter, Health};

/// Sends what a queue hands out.
pub(super) struct Delivery {
    pub(super) link: Arc<Link>,
    pub(super) form: Form,
    /// Most bytes of a request.
    pub(super) largest: usize,
    /// Longest that a request is tried.
    pub(super) patience: Duration,
    pub(super) health: Arc<Health>,
    /// Spans of the batch in hand that are neither exported nor lost yet.
    pub(super) in_hand: Arc<AtomicU64>,
}

/// What became of a request.
enum End {
    Taken(Accepted),
    Parts([Request; 2]),
    Lost(Failure),
}

impl Delivery {
    /// Until the queue is closed and empty.
    pub(super) async fn run(self, queue: Arc<Queue>) {
        loop {
            self.link.wait_until_free().await;
            let Some(batch) = queue.batch().await else { break };
            let mut requests = self.form.requests(batch, self.largest);
            let spans = requests.iter().map(|request| request.spans).sum();
            self.in_hand.store(spans, Ordering::Release);
            requests.reverse();
            while let Some(request) = requests.pop() {
                match self.deliver(&request).await {
                    End::Parts([first, second]) => {
                        requests.extend([second, first]);
                        continue;
                    }
                    End::Taken(accepted) => self.taken(request.spans, &accepted),
                    End::Lost(failure) => {
                        self.health.add(Counter::SpansExportFailed, request.spans);
                        self.link.lost(&failure, request.spans);
                    }
                }
                self.in_hand.fetch_sub(request.spans, Ordering::AcqRel);
            }
        }
    }

    fn taken(&self, spans: u64, accepted: &Accepted) {
        let rejected = accepted.rejected.min(spans);
        self.health.add(Counter::SpansExported, spans - rejected);
        self.health.add(Counter::SpansExportFailed, rejected);
    }

    /// One request, tried until it is taken, refused for good or out of time.
    async fn deliver(&self, request: &Request) -> End {
        let mut delays = self.link.delays();
        let deadline = self.link.deadline(self.patience);
        loop {
            let failure = match self.link.attempt(request, deadline).await {
                Ok(accepted) => return End::Taken(accepted),
                Err(failure) => failure,
            };
            if failure.too_large
                && let Some(parts) = self.form.split(request)
            {
                return End::Parts(parts);
            }
            let next = self.link.next_attempt(&failure, &mut delays);
            if !failure.retryable || next >= deadline || self.link.is_stopping() {
                return End::Lost(failure);
            }
            self.link.lost(&failure, 0);
            self.link.wait_until(next).await;
        }
    }
}
