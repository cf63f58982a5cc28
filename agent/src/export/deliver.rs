//! Batches to the endpoint: attempts, back-off, loss and what is said of it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::encode;
use super::otlp::{Accepted, Client, Failure};
use super::queue::Queue;
use super::settings::{Settings, SettingsError};
use crate::health::{Counter, Health};
use crate::redact::Redacted;

/// First and longest wait between two attempts.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Largest request in bytes: receivers of gRPC take 4 MiB unless told otherwise, and refuse all of a larger one.
const LARGEST_REQUEST: usize = 3 * 1024 * 1024;

/// How long an endpoint may take for its answer before that is said.
const PATIENCE: Duration = Duration::from_secs(3);

/// Least time between two log lines of the same matter.
const QUIET: Duration = Duration::from_mins(1);

/// How long a full queue is left alone by those who wait for it.
const PAUSE: Duration = Duration::from_millis(2);

/// Starts exporting.
#[derive(Debug)]
pub struct Exporter;

impl Exporter {
    /// Exports what is pushed into the handle, in a task of its own. To be called in a tokio runtime. An endpoint that
    /// is away is no error: it is tried again and again.
    ///
    /// # Errors
    /// What of the settings cannot work: endpoint, headers, certificates.
    pub fn start(settings: Settings, health: Arc<Health>) -> Result<Handle, SettingsError> {
        let client = Client::new(&settings)?;
        let queue = Arc::new(Queue::new(settings.limits, health.clone()));
        let in_flight = Arc::new(AtomicU64::new(0));
        let (stop, stopping) = watch::channel(false);
        let endpoint = settings.endpoint.clone();
        let voice = Voice::new(endpoint.clone(), settings.limits.queue_size);
        let delivery = Delivery {
            client,
            settings,
            health: health.clone(),
            in_flight: in_flight.clone(),
            stopping,
            not_before: Instant::now(),
            voice,
        };
        let task = tokio::spawn(delivery.run(queue.clone()));
        Ok(Handle {
            endpoint,
            queue,
            health,
            in_flight,
            stop,
            task,
        })
    }
}

/// Where spans go to be exported.
#[derive(Debug)]
pub struct Handle {
    endpoint: String,
    queue: Arc<Queue>,
    health: Arc<Health>,
    in_flight: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Spans that wait, and how many can.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.capacity())
    }

    /// Takes what the queue has room for, counts the rest. Never waits.
    pub fn push(&self, spans: Vec<Redacted>) {
        self.queue.push(spans);
    }

    /// Takes all of `spans`, and waits wherever there is no room: for those who can. Not to be called by what the
    /// exporter's runtime has to run.
    pub fn push_all(&self, spans: Vec<Redacted>) {
        let mut spans = spans.into_iter().peekable();
        while spans.peek().is_some() {
            match self.queue.room() {
                0 => std::thread::sleep(PAUSE),
                room => self.queue.push(spans.by_ref().take(room).collect()),
            }
        }
    }

    /// Sends what waits, for `limit` at most; while the endpoint is away each batch is tried just once more. Returns
    /// how many spans were still waiting when time was up: they are lost, counted, and named with their endpoint.
    pub async fn shutdown(mut self, limit: Duration) -> u64 {
        self.queue.close();
        self.stop.send_replace(true);
        if timeout(limit, &mut self.task).await.is_ok() {
            return 0;
        }
        self.task.abort();
        // Only once it is gone is what it had in hand known.
        let _ = self.task.await;
        let left = self.queue.len() as u64 + self.in_flight.load(Ordering::Acquire);
        self.health.add(Counter::SpansExportFailed, left);
        if left > 0 {
            warn!(
                "{left} spans could not be exported in time and are lost: {} did not take them (check that it answers \
                 there, and speaks the protocol)",
                self.endpoint
            );
        }
        left
    }
}

struct Delivery {
    client: Client,
    settings: Settings,
    health: Arc<Health>,
    /// Spans of the batch in hand that are neither exported nor lost yet.
    in_flight: Arc<AtomicU64>,
    stopping: watch::Receiver<bool>,
    /// The endpoint wants to be left alone until then.
    not_before: Instant,
    voice: Voice,
}

impl Delivery {
    async fn run(mut self, queue: Arc<Queue>) {
        loop {
            self.wait_until(self.not_before).await;
            let Some(batch) = queue.batch().await else { break };
            self.in_flight.store(batch.len() as u64, Ordering::Release);
            let mut parts = vec![&*batch];
            while let Some(part) = parts.pop() {
                let request = encode::request(part);
                if request.len() > LARGEST_REQUEST && part.len() > 1 {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                let outcome = self.deliver(request.into()).await;
                self.in_flight.fetch_sub(part.len() as u64, Ordering::AcqRel);
                self.count(part.len() as u64, outcome);
            }
        }
    }

    fn count(&mut self, spans: u64, outcome: Result<Accepted, Failure>) {
        match outcome {
            Ok(accepted) => {
                let rejected = accepted.rejected.min(spans);
                self.health.add(Counter::SpansExported, spans - rejected);
                self.health.add(Counter::SpansExportFailed, rejected);
                self.voice.accepted(rejected, &accepted.message);
            }
            Err(failure) => {
                self.health.add(Counter::SpansExportFailed, spans);
                self.voice.failed(&failure, spans);
            }
        }
    }

    /// One request, tried until it is taken, refused for good or out of time.
    async fn deliver(&mut self, request: Bytes) -> Result<Accepted, Failure> {
        let deadline = Instant::now() + self.settings.export_timeout;
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            let attempt_ends = deadline.min(Instant::now() + self.settings.timeout);
            let failure = match self.attempt(request.clone(), attempt_ends).await {
                Ok(accepted) => return Ok(accepted),
                Err(failure) => failure,
            };
            let delay = delays
                .next()
                .unwrap_or(LONGEST_DELAY)
                .max(failure.retry_after.unwrap_or_default());
            let next = Instant::now() + delay;
            if failure.retry_after.is_some() {
                self.not_before = next;
            }
            if !failure.retryable || next >= deadline || *self.stopping.borrow() {
                return Err(failure);
            }
            self.voice.failed(&failure, 0);
            self.wait_until(next).await;
        }
    }

    async fn attempt(&mut self, request: Bytes, ends: Instant) -> Result<Accepted, Failure> {
        let mut answer = pin!(timeout_at(ends, self.client.send(request)));
        let answer = match timeout(PATIENCE, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.voice.unanswered();
                answer.await
            }
        };
        answer.unwrap_or_else(|_| Err(Failure::unreachable("no answer in time".to_owned())))
    }

    /// Waits for that moment, or for the stop.
    async fn wait_until(&mut self, moment: Instant) {
        tokio::select! {
            () = sleep_until(moment) => {}
            // A sender that is gone is a stop as well.
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}

/// What is said in the log: one line when export fails, one when it works again, not one a batch.
struct Voice {
    endpoint: String,
    queue_size: usize,
    outage: Option<Outage>,
    last_warning: Option<Instant>,
    last_silence: Option<Instant>,
    last_rejection: Option<Instant>,
}

struct Outage {
    since: Instant,
    lost: u64,
    said: bool,
}

impl Voice {
    fn new(endpoint: String, queue_size: usize) -> Self {
        Self {
            endpoint,
            queue_size,
            outage: None,
            last_warning: None,
            last_silence: None,
            last_rejection: None,
        }
    }

    /// In an outage enough is said already.
    fn unanswered(&mut self) {
        if self.outage.is_none() && is_due(&mut self.last_silence, Instant::now()) {
            warn!(
                "{} has not answered for {} s: spans wait in memory, up to {}",
                self.endpoint,
                PATIENCE.as_secs(),
                self.queue_size
            );
        }
    }

    fn failed(&mut self, failure: &Failure, lost: u64) {
        let now = Instant::now();
        if let Some(outage) = &mut self.outage {
            outage.lost += lost;
            return;
        }
        let said = is_due(&mut self.last_warning, now);
        self.outage = Some(Outage {
            since: now,
            lost,
            said,
        });
        if said && failure.retryable {
            warn!(
                "cannot export spans to {}: {}; up to {} wait in memory while it is tried again, the rest is dropped \
                 and counted",
                self.endpoint, failure.message, self.queue_size,
            );
        } else if said {
            warn!(
                "{} refuses spans: {}; they are dropped and counted until it takes them (check endpoint, protocol \
                 and headers)",
                self.endpoint, failure.message,
            );
        }
    }

    fn accepted(&mut self, rejected: u64, message: &str) {
        let now = Instant::now();
        if let Some(outage) = self.outage.take()
            && outage.said
        {
            let seconds = (now - outage.since).as_secs();
            info!(
                "exporting to {} again after {seconds} s; {} spans were lost meanwhile",
                self.endpoint, outage.lost
            );
        }
        if (rejected > 0 || !message.is_empty()) && is_due(&mut self.last_rejection, now) {
            warn!(
                "{} took a batch but {rejected} spans of it: {message:?}; they are counted as lost",
                self.endpoint
            );
        }
    }
}

fn is_due(last: &mut Option<Instant>, now: Instant) -> bool {
    let due = last.is_none_or(|last| now - last >= QUIET);
    if due {
        *last = Some(now);
    }
    due
}
