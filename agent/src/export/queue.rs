//! The bounded queue before an endpoint: pushing never waits, what does not fit is counted and dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::form::{Chunk, Slice};
use crate::health::{Counter, Health};

/// Limits of batching, the `OTEL_BSP_*` variables of the SDK specification and one of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most spans that wait (`OTEL_BSP_MAX_QUEUE_SIZE`).
    pub queue_size: usize,
    /// Most spans in a batch (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub batch_size: usize,
    /// Most bytes of a request before compression, unless one span is larger. Receivers of gRPC take 4 MiB unless told
    /// otherwise, and refuse all of a larger one.
    pub batch_bytes: usize,
    /// Longest that a span waits for its batch to fill (`OTEL_BSP_SCHEDULE_DELAY`).
    pub schedule_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_size: 2048,
            batch_size: 512,
            batch_bytes: 3 << 20,
            schedule_delay: Duration::from_secs(5),
        }
    }
}

/// Most bytes that wait, in batches of the largest size. Spans are usually below a kilobyte: then their number is what counts.
const BATCHES: usize = 8;

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
    slices: VecDeque<Slice>,
    spans: usize,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(limits: Limits, health: Arc<Health>) -> Self {
        // A batch of nothing would never empty the queue, and one above the queue's size would never fill.
        let queue_size = limits.queue_size.max(1);
        let limits = Limits {
            queue_size,
            batch_size: limits.batch_size.clamp(1, queue_size),
            batch_bytes: limits.batch_bytes.max(1),
            ..limits
        };
        Self {
            limits,
            health,
            waiting: Mutex::default(),
            ready: Notify::new(),
        }
    }

    /// Takes what fits of `chunk`, in order, and counts the rest as [`Counter::SpansQueueFull`].
    pub(super) fn push(&self, chunk: &Arc<Chunk>) {
        let taken = self.offer(chunk, 0);
        self.refuse(chunk.len() - taken);
    }

    /// Counts spans that there was no room for.
    pub(super) fn refuse(&self, spans: usize) {
        if spans > 0 {
            self.health.add(Counter::SpansQueueFull, spans as u64);
        }
    }

    /// Takes what fits of `chunk` from its span number `first` on; how many those are.
    pub(super) fn offer(&self, chunk: &Arc<Chunk>, first: usize) -> usize {
        let mut waiting = self.lock();
        let taken = self.room_in(&waiting).min(chunk.len() - first);
        if taken == 0 {
            return 0;
        }
        let slice = Slice {
            chunk: Arc::clone(chunk),
            range: first..first + taken,
        };
        waiting.spans += taken;
        waiting.bytes += slice.size();
        waiting.slices.push_back(slice);
        let full = self.is_full(&waiting);
        drop(waiting);
        if full {
            self.ready.notify_one();
        }
        taken
    }

    fn is_full(&self, waiting: &Waiting) -> bool {
        waiting.spans >= self.limits.batch_size || waiting.bytes >= self.limits.batch_bytes
    }

    /// The next batch: as soon as it is full, else what there is when the schedule delay is over or the queue closed.
    /// `None` when it is closed and empty.
    pub(super) async fn batch(&self) -> Option<Vec<Slice>> {
        let mut due = Instant::now() + self.limits.schedule_delay;
        loop {
            let is_due = Instant::now() >= due;
            {
                let mut waiting = self.lock();
                if self.is_full(&waiting) || (waiting.spans > 0 && (is_due || waiting.closed)) {
                    return Some(waiting.take(self.limits));
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

    /// A batch as soon as the queue is nearly full: one that has to go elsewhere, or the next spans would be lost.
    pub(super) async fn overflow(&self) -> Vec<Slice> {
        loop {
            {
                let mut waiting = self.lock();
                if self.is_crowded_by(&waiting) {
                    return waiting.take(self.limits);
                }
            }
            self.ready.notified().await;
        }
    }

    /// Whether it is nearly full.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded_by(&self.lock())
    }

    fn is_crowded_by(&self, waiting: &Waiting) -> bool {
        let share = |limit: usize| limit - limit / 2;
        self.is_full(waiting)
            && (waiting.spans >= share(self.limits.queue_size)
                || waiting.bytes >= share(self.limits.batch_bytes.saturating_mul(BATCHES)))
    }

    /// Refuses further spans; those that wait are still handed out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// How many more spans it takes now. The one that passes the limit of bytes is still taken.
    pub(super) fn room(&self) -> usize {
        self.room_in(&self.lock())
    }

    fn room_in(&self, waiting: &Waiting) -> usize {
        if waiting.closed || waiting.bytes >= self.limits.batch_bytes.saturating_mul(BATCHES) {
            return 0;
        }
        self.limits.queue_size - waiting.spans
    }

    pub(super) const fn capacity(&self) -> usize {
        self.limits.queue_size
    }

    /// Spans that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().spans
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code panics while it holds the lock, and a queue is whole at any time.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The oldest spans, up to the size of a batch.
    fn take(&mut self, limits: Limits) -> Vec<Slice> {
        // A part is left for what resources take.
        let most = limits.batch_bytes - limits.batch_bytes / 16;
        let mut batch = Vec::new();
        let (mut spans, mut bytes) = (0, 0);
        while let Some(slice) = self.slices.front_mut() {
            let mut range = slice.range.start..slice.range.start;
            while range.end < slice.range.end && spans < limits.batch_size {
                let size = slice.chunk.size(range.end..range.end + 1);
                if spans > 0 && bytes + size > most {
                    break;
                }
                bytes += size;
                spans += 1;
                range.end += 1;
            }
            if range.is_empty() {
                break;
            }
            slice.range.start = range.end;
            batch.push(Slice {
                chunk: Arc::clone(&slice.chunk),
                range,
            });
            if !slice.range.is_empty() {
                break;
            }
            self.slices.pop_front();
        }
        self.spans -= spans;
        self.bytes -= bytes;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::form::Form;
    use crate::export::sample;

    fn queue(queue_size: usize, batch_size: usize) -> (Arc<Queue>, Arc<Health>) {
        of_bytes(queue_size, batch_size, usize::MAX)
    }

    fn of_bytes(queue_size: usize, batch_size: usize, batch_bytes: usize) -> (Arc<Queue>, Arc<Health>) {
        let health = Arc::new(Health::default());
        let limits = Limits {
            queue_size,
            batch_size,
            batch_bytes,
            schedule_delay: Duration::from_secs(5),
        };
        (Arc::new(Queue::new(limits, health.clone())), health)
    }

    fn spans(count: u8) -> Arc<Chunk> {
        Arc::new(Chunk::new(Form::Protobuf, &sample::spans(count)))
    }

    /// Spans in the next batch.
    async fn next(queue: &Queue) -> usize {
        queue.batch().await.unwrap().iter().map(Slice::len).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_goes_at_once_and_a_partial_one_when_due() {
        let (queue, _) = queue(10, 4);
        let begin = Instant::now();
        queue.push(&spans(6));
        assert_eq!(next(&queue).await, 4);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(next(&queue).await, 2);
        assert!(begin.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_exporter_wakes_when_its_batch_is_full() {
        let (queue, _) = queue(10, 4);
        let begin = Instant::now();
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { next(&queue).await }
        });
        for _ in 0..2 {
            tokio::task::yield_now().await;
            queue.push(&spans(2));
        }
        assert_eq!(waiting.await.unwrap(), 4);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_of_enough_bytes_is_full() {
        let each = spans(1).size(0..1);
        let (queue, _) = of_bytes(100, 50, 3 * each + each / 4);
        let begin = Instant::now();
        queue.push(&spans(2));
        queue.push(&spans(5));
        assert_eq!((next(&queue).await, next(&queue).await), (3, 3));
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(next(&queue).await, 1);
        assert!(begin.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_counted() {
        let (queue, health) = queue(5, 4);
        queue.push(&spans(3));
        queue.push(&spans(4));
        assert_eq!((queue.len(), health.value(Counter::SpansQueueFull)), (5, 2));
        queue.push(&spans(1));
        assert_eq!(health.value(Counter::SpansQueueFull), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_to_go_elsewhere_goes_before_it_is_full() {
        let (queue, health) = queue(10, 2);
        let begin = Instant::now();
        queue.push(&spans(4));
        assert!(
            tokio::time::timeout(Duration::from_hours(1), queue.overflow())
                .await
                .is_err()
        );
        assert!(begin.elapsed() >= Duration::from_hours(1));
        queue.push(&spans(1));
        assert!(queue.is_crowded());
        let batch = queue.overflow().await;
        assert_eq!(batch.iter().map(Slice::len).sum::<usize>(), 2);
        assert_eq!(
            (queue.is_crowded(), health.value(Counter::SpansQueueFull)),
            (false, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn large_spans_fill_it_by_their_bytes() {
        let each = spans(1).size(0..1);
        let (queue, health) = of_bytes(1000, 500, each);
        for _ in 0..20 {
            queue.push(&spans(1));
        }
        assert_eq!(
            (queue.len(), health.value(Counter::SpansQueueFull)),
            (BATCHES, 20 - BATCHES as u64)
        );
        assert_eq!(next(&queue).await, 1);
        assert_eq!(queue.room(), 1000 - (BATCHES - 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_hands_out_what_it_has_and_takes_no_more() {
        let (queue, health) = queue(10, 4);
        queue.push(&spans(5));
        queue.close();
        queue.push(&spans(2));
        assert_eq!(health.value(Counter::SpansQueueFull), 2);
        assert_eq!((next(&queue).await, next(&queue).await), (4, 1));
        assert!(queue.batch().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn sizes_that_make_no_sense_still_work() {
        for (queue_size, batch_size, batch_bytes) in [(0, 0, 0), (1, 0, 1), (2, 100, 9)] {
            let (queue, _) = of_bytes(queue_size, batch_size, batch_bytes);
            queue.push(&spans(1));
            queue.close();
            assert_eq!(next(&queue).await, 1, "{queue_size} {batch_size}");
        }
    }
}
