//! All endpoints, each with a queue and a task of its own, so that one that is slow or away holds up none but itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};
use uuid::Uuid;

use super::client::Client;
use super::deliver::Delivery;
use super::form::{Chunk, Form};
use super::link::Link;
use super::queue::Queue;
use super::settings::{Protocol, Settings, SettingsError};
use super::spool::{self, Directory, Spool};
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
    /// An endpoint that is away is no error: it is tried again and again, and what memory cannot hold waits in `spool`.
    ///
    /// # Errors
    /// What of the settings cannot work: endpoint, headers, certificates, the spool's directory.
    pub fn start(
        endpoints: Vec<Settings>,
        spool: Option<&spool::Settings>,
        health: &Arc<Health>,
    ) -> Result<Handle, SettingsError> {
        let (stop, stopping) = watch::channel(None);
        let directory = spool.map(|spool| Directory::open(&spool.directory)).transpose()?;
        let names: Vec<String> = endpoints.iter().map(folder).collect();
        let mut made = Vec::with_capacity(endpoints.len());
        for (settings, name) in endpoints.into_iter().zip(&names) {
            let client = Client::new(settings.clone())?;
            // A file is as near as a spool is.
            let is_away = !matches!(settings.protocol, Protocol::File(_));
            let spool = match (&directory, spool.filter(|_| is_away)) {
                (Some(directory), Some(spool)) => {
                    Some((Spool::open(directory, name, spool, health)?, spool.rate))
                }
                _ => None,
            };
            made.push((client, settings, spool));
        }
        for path in directory
            .iter()
            .flat_map(|directory| directory.left_alone(&names))
        {
            warn!(
                "spans in {} are for an endpoint that is not configured any more: configure it again, or remove them",
                path.display()
            );
        }
        // None is started before all are known to work.
        let outlets = made
            .into_iter()
            .map(|(client, settings, spool)| {
                Outlet::start(client, &settings, spool, stopping.clone(), health)
            })
            .collect();
        Ok(Handle { outlets, stop })
    }
}

/// What an endpoint's folder in the spool is called: it keeps what is for this endpoint, in its form.
fn folder(settings: &Settings) -> String {
    let form = settings.protocol.form();
    let id = Uuid::new_v5(
        &Uuid::NAMESPACE_URL,
        format!("{form:?} {}", settings.endpoint).as_bytes(),
    );
    let shown = settings.shown();
    let host = shown
        .split("://")
        .last()
        .and_then(|rest| rest.split('/').find(|part| !part.is_empty()));
    let readable = host.unwrap_or_default().chars().take(64);
    let readable: String = readable
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || letter == '.' {
                letter
            } else {
                '_'
            }
        })
        .collect();
    format!("{}-{}", readable.trim_start_matches('.'), id.simple())
}

/// Where spans go to be exported.
#[derive(Debug)]
pub struct Handle {
    outlets: Vec<Outlet>,
    stop: watch::Sender<Option<Instant>>,
}

impl Handle {
    /// Spans that wait, and how many can, of all endpoints together.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let all = self.outlets.iter().map(|outlet| &outlet.queue);
        all.fold((0, 0), |(used, most), queue| {
            (used + queue.len(), most + queue.capacity())
        })
    }

    /// How much is in the spool, of all endpoints together; `None` where there is none.
    #[must_use]
    pub fn spool(&self) -> Option<spool::Size> {
        let sizes = self
            .outlets
            .iter()
            .filter_map(|outlet| outlet.delivery.spool.as_ref());
        sizes.map(Spool::size).reduce(|all, one| spool::Size {
            spans: all.spans + one.spans,
            bytes: all.bytes + one.bytes,
            max_bytes: all.max_bytes + one.max_bytes,
        })
    }

    /// Whether each of the queues has room for `count` spans, or for half of what it can hold.
    #[must_use]
    pub fn has_room(&self, count: usize) -> bool {
        let mut queues = self.outlets.iter().map(|outlet| &outlet.queue);
        queues.all(|queue| queue.room() >= count.min(queue.capacity() / 2))
    }

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

    /// Sends what waits, for `limit` at most; while an endpoint is away each batch for it is tried just once more, or stored
    /// where there is a spool. Returns how many spans were still waiting when time was up: they are lost, counted, and named
    /// with their endpoint.
    pub async fn shutdown(self, limit: Duration) -> u64 {
        let deadline = Instant::now() + limit;
        for outlet in &self.outlets {
            outlet.queue.close();
        }
        // With a spool, half of the time is left for storing what is not taken.
        self.stop.send_replace(Some(Instant::now() + limit / 2));
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
struct Outlet {
    /// Of the endpoint, for the log.
    name: String,
    form: Form,
    queue: Arc<Queue>,
    delivery: Arc<Delivery>,
    live: JoinHandle<()>,
    drain: JoinHandle<()>,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Outlet").field(&self.name).finish()
    }
}

impl Outlet {
    fn start(
        client: Client,
        settings: &Settings,
        spool: Option<(Spool, u64)>,
        stopping: watch::Receiver<Option<Instant>>,
        health: &Arc<Health>,
    ) -> Self {
        let name = settings.shown();
        let form = settings.protocol.form();
        let queue = Arc::new(Queue::new(settings.limits, Arc::clone(health)));
        let (spool, rate) = spool.unzip();
        let voice = Voice::new(name.clone(), settings.limits.queue_size, spool.is_some());
        let delivery = Arc::new(Delivery {
            link: Link::new(client, settings.timeout, voice, stopping, spool.is_some()),
            queue: Arc::clone(&queue),
            spool,
            form,
            largest: settings.limits.batch_bytes,
            patience: settings.export_timeout,
            rate: rate.unwrap_or_default(),
            health: Arc::clone(health),
            in_hand: AtomicU64::new(0),
            settling: Mutex::default(),
        });
        let (live, drain) = (Arc::clone(&delivery), Arc::clone(&delivery));
        Self {
            name,
            form,
            queue,
            delivery,
            live: tokio::spawn(async move { live.live().await }),
            drain: tokio::spawn(async move { drain.drain().await }),
        }
    }

    /// Waits for the end of what waits. How many spans were left at `deadline`.
    async fn end(mut self, deadline: Instant) -> u64 {
        let mut left = 0;
        if timeout_at(deadline, &mut self.live).await.is_err() {
            self.delivery.settle(|| self.live.abort()).await;
            // Only once it is gone is what it had in hand known.
            let _ = self.live.await;
            left = self.queue.len() as u64 + self.delivery.in_hand.load(Ordering::Acquire);
            self.delivery.health.add(Counter::SpansExportFailed, left);
        }
        if left > 0 {
            warn!(
                "{left} spans could not be exported in time and are lost: {} did not take them (check that it answers \
                 there, and speaks the protocol)",
                self.name
            );
        }
        let stored = self.delivery.empty(deadline).await;
        self.delivery.settle(|| self.drain.abort()).await;
        let _ = self.drain.await;
        if let Some(spool) = &self.delivery.spool {
            spool.sync(true).await;
            self.delivery.health.add(Counter::SpoolLeft, spool.size().spans);
        }
        if stored > 0 {
            info!(
                "{stored} spans for {} stay in the spool until the next start",
                self.name
            );
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_endpoint_s_in_one_form_and_shows_no_secret() {
        let name = |endpoint: &str, protocol| folder(&Settings::new(endpoint, protocol));
        let grpc = name("https://me:hunter2@Otel.example:4317/?key=abc", Protocol::Grpc);
        assert!(
            grpc.starts_with("Otel.example_4317-") && grpc.len() == 18 + 32,
            "{grpc}"
        );
        let json = name(
            "https://me:hunter2@Otel.example:4317/?key=abc",
            Protocol::HttpJson,
        );
        let other = name("https://me:hunter2@Otel.example:4317/?key=abd", Protocol::Grpc);
        assert!(grpc != json && grpc != other);
        assert!(name("unix:/run/../otlp.sock", Protocol::Grpc).starts_with("unix_-"));
        assert!(name("http://../", Protocol::Grpc).starts_with('-'));
    }
}
