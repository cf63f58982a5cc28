//! Batches of one endpoint: from its queue to where they end, taken, stored, refused or lost.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Accepted, Failure};
use super::form::{Form, Request, Slice};
use super::link::Link;
use super::queue::Queue;
use super::spool::{Spool, Stored};
use crate::health::{Counter, Health};

/// How long a spool that failed is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// How often what was stored is looked at that is not safe yet.
const TICK: Duration = Duration::from_secs(1);

/// How long the disk may take at the end.
const SETTLES: Duration = Duration::from_secs(1);

/// Longest that a request is tried that has nowhere else to go.
const LONGEST: Duration = Duration::from_hours(24);

/// One endpoint, and what is known of it.
pub(super) struct Delivery {
    pub(super) link: Link,
    pub(super) queue: Arc<Queue>,
    pub(super) spool: Option<Spool>,
    pub(super) form: Form,
    /// Most bytes of a request.
    pub(super) largest: usize,
    /// Longest that a request is tried, where there is no spool.
    pub(super) patience: Duration,
    /// Most bytes a second that are sent out of the spool; 0 is no limit.
    pub(super) rate: u64,
    pub(super) health: Arc<Health>,
    /// Spans of the batches in hand that are neither exported, stored nor lost yet.
    pub(super) in_hand: AtomicU64,
    /// Held from a change of the spool until it is counted: who ends a task takes it before, so that nothing is counted twice or
    /// not at all.
    pub(super) settling: Mutex<()>,
}

/// What became of a request.
enum End {
    Taken(Accepted),
    Stored,
    Parts([Request; 2]),
    Lost(Failure),
}

impl Delivery {
    /// Sends what the queue hands out, until it is closed and empty.
    pub(super) async fn live(&self) {
        loop {
            if self.spool.is_none() {
                self.link.wait_until_free().await;
            }
            let Some(batch) = self.queue.batch().await else {
                break;
            };
            let mut waiting = self.take(batch);
            waiting.reverse();
            while let Some(request) = waiting.pop() {
                let mut behind = Vec::new();
                match self.deliver(&request, &mut behind).await {
                    End::Parts([first, second]) => {
                        waiting.extend([second, first]);
                        continue;
                    }
                    End::Taken(accepted) => self.taken(request.spans, &accepted),
                    End::Stored => {}
                    End::Lost(failure) => {
                        self.health.add(Counter::SpansExportFailed, request.spans);
                        self.link.failed(&failure, request.spans);
                    }
                }
                self.in_hand.fetch_sub(request.spans, Ordering::AcqRel);
                waiting.splice(0..0, behind.into_iter().rev());
            }
        }
    }

    /// Requests of a batch, which are in hand from now on.
    fn take(&self, batch: Vec<Slice>) -> Vec<Request> {
        let spans: usize = batch.iter().map(Slice::len).sum();
        self.in_hand.fetch_add(spans as u64, Ordering::AcqRel);
        self.form.requests(batch, self.largest)
    }

    fn taken(&self, spans: u64, accepted: &Accepted) {
        let rejected = accepted.rejected.min(spans);
        self.health.add(Counter::SpansExported, spans - rejected);
        self.health.add(Counter::SpansExportFailed, rejected);
    }

    /// One request, tried until it is taken, stored, refused for good or out of time. What had to leave the queue meanwhile
    /// and could not be stored is put `behind`.
    async fn deliver(&self, request: &Request, behind: &mut Vec<Request>) -> End {
        let patience = if self.spool.is_some() {
            LONGEST
        } else {
            self.patience
        };
        let deadline = Instant::now() + patience;
        loop {
            let next = self.link.next_attempt();
            if let (Some(spool), Some(next)) = (&self.spool, next) {
                if self.store(spool, request).await {
                    return End::Stored;
                }
                // A full disk: it waits here, unless this was the last chance, or the endpoint is due to be tried.
                if Instant::now() < next && !self.link.is_stopping() {
                    self.link.wait_until(next.min(Instant::now() + PAUSE)).await;
                    continue;
                }
            }
            let failure = match self.attempt(request, deadline, behind).await {
                Ok(accepted) => return End::Taken(accepted),
                Err(failure) => failure,
            };
            if failure.too_large
                && let Some(parts) = self.form.split(request)
            {
                return End::Parts(parts);
            }
            if !failure.retryable {
                return End::Lost(failure);
            }
            if let Some(spool) = &self.spool {
                self.link.failed(&failure, 0);
                if !self.link.is_stopping() {
                    continue;
                }
                return match self.store(spool, request).await {
                    true => End::Stored,
                    false => End::Lost(failure),
                };
            }
            let next = self.link.next_attempt().unwrap_or_else(Instant::now);
            if next >= deadline || self.link.is_stopping() {
                return End::Lost(failure);
            }
            self.link.failed(&failure, 0);
            self.link.wait_until(next).await;
        }
    }

    /// Stores a request. Where the disk is full, and memory too, what is oldest on it makes room.
    async fn store(&self, spool: &Spool, request: &Request) -> bool {
        let _settling = self.settling.lock().await;
        spool.store(request).await
            || self.queue.is_crowded() && spool.drop_oldest().await && spool.store(request).await
    }

    async fn store_only(&self, spool: &Spool, request: &Request) -> bool {
        let _settling = self.settling.lock().await;
        spool.store(request).await
    }

    /// Sends once. An endpoint that takes its time must not make the queue overflow while there is room on the disk.
    async fn attempt(
        &self,
        request: &Request,
        deadline: Instant,
        behind: &mut Vec<Request>,
    ) -> Result<Accepted, Failure> {
        let mut answer = pin!(self.link.attempt(request, deadline));
        let Some(spool) = &self.spool else {
            return answer.await;
        };
        loop {
            let batch = tokio::select! {
                biased;
                answer = &mut answer => return answer,
                batch = self.queue.overflow(), if behind.is_empty() => batch,
            };
            for request in self.take(batch) {
                if behind.is_empty() && self.store_only(spool, &request).await {
                    self.in_hand.fetch_sub(request.spans, Ordering::AcqRel);
                } else {
                    behind.push(request);
                }
            }
        }
    }

    /// Sends what is in the spool, oldest first, whenever the endpoint is there. It never ends by itself.
    pub(super) async fn drain(&self) {
        let Some(spool) = &self.spool else { return };
        loop {
            if let Some(next) = self.link.next_attempt() {
                if self.link.is_stopping() {
                    // What is on disk is there at the next start.
                    std::future::pending::<()>().await;
                }
                self.link.wait_until(next.min(Instant::now() + TICK)).await;
                spool.sync(false).await;
                if self.link.next_attempt().is_some_and(|next| Instant::now() < next) {
                    continue;
                }
            }
            let Some(stored) = spool.oldest().await else {
                tokio::select! {
                    () = spool.stored.notified() => {}
                    () = sleep(TICK) => spool.sync(false).await,
                }
                continue;
            };
            self.resend(spool, stored).await;
        }
    }

    async fn resend(&self, spool: &Spool, stored: Stored) {
        let request = stored.request.clone();
        let answer = self.link.attempt(&request, Instant::now() + LONGEST).await;
        let settling = self.settling.lock().await;
        match answer {
            Ok(accepted) => {
                self.taken(request.spans, &accepted);
                spool.done(stored).await;
                drop(settling);
                self.slow_down(&request).await;
            }
            Err(failure) if failure.retryable => {
                self.link.failed(&failure, 0);
                spool.keep(stored).await;
            }
            Err(failure) => {
                let mut lost = request.spans;
                if failure.too_large
                    && let Some([first, second]) = self.form.split(&request)
                    && spool.store(&first).await
                {
                    // Where only the first finds room, the second is lost.
                    lost = if spool.store(&second).await {
                        0
                    } else {
                        second.spans
                    };
                }
                self.health.add(Counter::SpansExportFailed, lost);
                spool.done(stored).await;
                if lost > 0 {
                    self.link.failed(&failure, lost);
                }
            }
        }
    }

    /// Waits as the rate has it.
    async fn slow_down(&self, request: &Request) {
        if let Some(rate) = u32::try_from(self.rate).ok().filter(|rate| *rate > 0) {
            let share = Duration::from_secs(request.bytes.len() as u64) / rate;
            self.link.wait_until(Instant::now() + share).await;
        }
    }

    /// Acts when nothing is half done; a disk that does not answer is not waited for.
    pub(super) async fn settle(&self, act: impl FnOnce()) {
        let _settled = timeout(SETTLES, self.settling.lock()).await;
        act();
    }

    /// What is in the spool is sent on at the end for as long as the endpoint takes it. How many spans stay in it.
    pub(super) async fn empty(&self, deadline: Instant) -> u64 {
        let Some(spool) = &self.spool else { return 0 };
        loop {
            let spans = spool.size().spans;
            if spans == 0 || self.link.next_attempt().is_some() || Instant::now() >= deadline {
                return spans;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}
