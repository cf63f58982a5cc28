//! The bounded queue before an exporter: pushing never waits, what does not fit is counted and dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::health::{Counter, Health};
use crate::redact::Redacted;

/// Limits of batching, the `OTEL_BSP_*` variables of the SDK specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most spans that wait (`OTEL_BSP_MAX_QUEUE_SIZE`).
    pub queue_size: usize,
    /// Most spans in a batch (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub batch_size: usize,
    /// Longest that a span waits for its batch to fill (`OTEL_BSP_SCHEDULE_DELAY`).
    pub schedule_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_size: 2048,
            batch_size: 512,
            schedule_delay: Duration::from_secs(5),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    health: Arc<Health>,
    waiting: Mutex<Waiting>,
    /// Told when a batch is full, and when the queue is closed.
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Redacted>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(limits: Limits, health: Arc<Health>) -> Self {
        // A batch of nothing would never empty the queue, and one above the queue's size would never fill.
        let queue_size = limits.queue_size.max(1);
        let limits = Limits {
            queue_size,
            batch_size: limits.batch_size.clamp(1, queue_size),
            ..limits
        };
        Self {
            limits,
            health,
            waiting: Mutex::default(),
            ready: Notify::new(),
        }
    }

    /// Takes what fits of `spans`, in order, and counts the rest as [`Counter::SpansQueueFull`].
    pub(super) fn push(&self, spans: Vec<Redacted>) {
        let pushed = spans.len();
        let mut waiting = self.lock();
        let room = if waiting.closed {
            0
        } else {
            self.limits.queue_size - waiting.spans.len()
        };
        waiting.spans.extend(spans.into_iter().take(room));
        let full = waiting.spans.len() >= self.limits.batch_size;
        drop(waiting);
        if full {
            self.ready.notify_one();
        }
        let lost = pushed.saturating_sub(room);
        if lost > 0 {
            self.health.add(Counter::SpansQueueFull, lost as u64);
        }
    }

    /// The next batch: as soon as it is full, else what there is when the schedule delay is over or the queue closed.
    /// `None` when it is closed and empty.
    pub(super) async fn batch(&self) -> Option<Vec<Redacted>> {
        let mut due = Instant::now() + self.limits.schedule_delay;
        loop {
            let is_due = Instant::now() >= due;
            {
                let mut waiting = self.lock();
                let length = waiting.spans.len();
                if length >= self.limits.batch_size || (length > 0 && (is_due || waiting.closed)) {
                    let take = length.min(self.limits.batch_size);
                    return Some(waiting.spans.drain(..take).collect());
                }
                if waiting.closed {
                    return None;
                }
            }
            if is_due {
                due = Instant::now() + self.limits.schedule_delay;
            }
            // Elapsed or notified: either way the queue is looked at again.
            let _ = timeout_at(due, self.ready.notified()).await;
        }
    }

    /// Refuses further spans; those that wait are still handed out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// Spans that wait.
    /// How many more spans it takes now.
    pub(super) fn room(&self) -> usize {
        self.limits.queue_size - self.len()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.limits.queue_size
    }

    pub(super) fn len(&self) -> usize {
        self.lock().spans.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code panics while it holds the lock, and a queue is whole at any time.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::spans;

    fn queue(queue_size: usize, batch_size: usize) -> (Arc<Queue>, Arc<Health>) {
        let health = Arc::new(Health::default());
        let limits = Limits {
            queue_size,
            batch_size,
            schedule_delay: Duration::from_secs(5),
        };
        (Arc::new(Queue::new(limits, health.clone())), health)
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_goes_at_once_and_a_partial_one_when_due() {
        let (queue, _) = queue(10, 4);
        let begin = Instant::now();
        queue.push(spans(6));
        assert_eq!(queue.batch().await.unwrap().len(), 4);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(queue.batch().await.unwrap().len(), 2);
        assert!(begin.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_exporter_wakes_when_its_batch_is_full() {
        let (queue, _) = queue(10, 4);
        let begin = Instant::now();
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.batch().await.unwrap().len() }
        });
        for _ in 0..2 {
            tokio::task::yield_now().await;
            queue.push(spans(2));
        }
        assert_eq!(waiting.await.unwrap(), 4);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_counted() {
        let (queue, health) = queue(5, 4);
        queue.push(spans(3));
        queue.push(spans(4));
        assert_eq!((queue.len(), health.value(Counter::SpansQueueFull)), (5, 2));
        queue.push(spans(1));
        assert_eq!(health.value(Counter::SpansQueueFull), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_hands_out_what_it_has_and_takes_no_more() {
        let (queue, health) = queue(10, 4);
        queue.push(spans(5));
        queue.close();
        queue.push(spans(2));
        assert_eq!(health.value(Counter::SpansQueueFull), 2);
        assert_eq!(queue.batch().await.unwrap().len(), 4);
        assert_eq!(queue.batch().await.unwrap().len(), 1);
        assert!(queue.batch().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn sizes_that_make_no_sense_still_work() {
        for (queue_size, batch_size) in [(0, 0), (1, 0), (2, 100)] {
            let (queue, _) = queue(queue_size, batch_size);
            queue.push(spans(1));
            queue.close();
            assert_eq!(queue.batch().await.unwrap().len(), 1, "{queue_size} {batch_size}");
        }
    }
}
