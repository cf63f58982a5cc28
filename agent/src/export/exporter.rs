//! All endpoints, each with a queue and a task of its own, so that one that is slow or away holds up none but itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::client::Client;
use super::deliver::Delivery;
use super::form::{Chunk, Form};
use super::link::Link;
use super::queue::Queue;
use super::settings::{Settings, SettingsError};
use super::voice::Voice;
use crate::health::{Counter, Health};
use crate::redact::Redacted;

/// How long a full queue is left alone by those who wait for it.
const PAUSE: Duration = Duration::from_millis(2);

/// Starts exporting.
#[derive(Debug)]
pub struct Exporter;

impl Exporter {
    /// Exports what is pushed into the handle to each of `endpoints`, in tasks of its own. To be called in a tokio runtime.
    /// An endpoint that is away is no error: it is tried again and again.
    ///
    /// # Errors
    /// What of the settings cannot work: endpoint, headers, certificates.
    pub fn start(endpoints: Vec<Settings>, health: &Arc<Health>) -> Result<Handle, SettingsError> {
        let (stop, stopping) = watch::channel(false);
        let mut made = Vec::with_capacity(endpoints.len());
        for settings in endpoints {
            made.push((Client::new(settings.clone())?, settings));
        }
        // None is started before all are known to work.
        let outlets = made
            .into_iter()
            .map(|(client, settings)| Outlet::start(client, &settings, stopping.clone(), health))
            .collect();
        Ok(Handle { outlets, stop })
    }
}

/// Where spans go to be exported.
#[derive(Debug)]
pub struct Handle {
    outlets: Vec<Outlet>,
    stop: watch::Sender<bool>,
}

impl Handle {
    /// Takes what the queues have room for, counts the rest. Never waits.
    pub fn push(&self, spans: &[Redacted]) {
        let mut chunks = Chunks::new(spans);
        for outlet in &self.outlets {
            // What there is no room for need not be encoded.
            match outlet.queue.room() {
                0 => outlet.queue.refuse(spans.len()),
                _ => outlet.queue.push(chunks.of(outlet.form)),
            }
        }
    }

    /// Takes all of `spans`, and waits wherever there is no room: for those who can. Not to be called by what the
    /// exporter's runtime has to run.
    pub fn push_all(&self, spans: &[Redacted]) {
        let mut chunks = Chunks::new(spans);
        for outlet in &self.outlets {
            let chunk = chunks.of(outlet.form);
            let mut pushed = 0;
            while pushed < chunk.len() {
                match outlet.queue.offer(chunk, pushed) {
                    0 => std::thread::sleep(PAUSE),
                    taken => pushed += taken,
                }
            }
        }
    }

    /// Sends what waits, for `limit` at most; while an endpoint is away each batch for it is tried just once more. Returns
    /// how many spans were still waiting when time was up: they are lost, counted, and named with their endpoint.
    pub async fn shutdown(self, limit: Duration) -> u64 {
        let deadline = Instant::now() + limit;
        for outlet in &self.outlets {
            outlet.queue.close();
        }
        self.stop.send_replace(true);
        let mut left = 0;
        for outlet in self.outlets {
            left += outlet.end(deadline).await;
        }
        left
    }
}

/// Spans in each form that is asked for, encoded once.
struct Chunks<'a> {
    spans: &'a [Redacted],
    made: Vec<(Form, Arc<Chunk>)>,
}

impl<'a> Chunks<'a> {
    fn new(spans: &'a [Redacted]) -> Self {
        Self {
            spans,
            made: Vec::new(),
        }
    }

    fn of(&mut self, form: Form) -> &Arc<Chunk> {
        let known = self.made.iter().position(|(known, _)| *known == form);
        let index = known.unwrap_or_else(|| {
            self.made.push((form, Arc::new(Chunk::new(form, self.spans))));
            self.made.len() - 1
        });
        &self.made[index].1
    }
}

/// One endpoint.
#[derive(Debug)]
struct Outlet {
    /// Of the endpoint, for the log.
    name: String,
    form: Form,
    queue: Arc<Queue>,
    health: Arc<Health>,
    in_hand: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Outlet {
    fn start(
        client: Client,
        settings: &Settings,
        stopping: watch::Receiver<bool>,
        health: &Arc<Health>,
    ) -> Self {
        let name = settings.shown();
        let form = settings.protocol.form();
        let queue = Arc::new(Queue::new(settings.limits, Arc::clone(health)));
        let in_hand = Arc::new(AtomicU64::new(0));
        let voice = Voice::new(name.clone(), settings.limits.queue_size);
        let delivery = Delivery {
            link: Arc::new(Link::new(client, settings.timeout, voice, stopping)),
            form,
            largest: settings.limits.batch_bytes,
            patience: settings.export_timeout,
            health: Arc::clone(health),
            in_hand: Arc::clone(&in_hand),
        };
        let task = tokio::spawn(delivery.run(Arc::clone(&queue)));
        Self {
            name,
            form,
            queue,
            health: Arc::clone(health),
            in_hand,
            task,
        }
    }

    /// Waits for the end of what waits. How many spans were left at `deadline`.
    async fn end(mut self, deadline: Instant) -> u64 {
        if timeout_at(deadline, &mut self.task).await.is_ok() {
            return 0;
        }
        self.task.abort();
        // Only once it is gone is what it had in hand known.
        let _ = self.task.await;
        let left = self.queue.len() as u64 + self.in_hand.load(Ordering::Acquire);
        self.health.add(Counter::SpansExportFailed, left);
        if left > 0 {
            warn!(
                "{left} spans could not be exported in time and are lost: {} did not take them (check that it answers \
                 there, and speaks the protocol)",
                self.name
            );
        }
        left
    }
}
