//! What one endpoint's deliveries share: its client, when it wants to be left alone, and what is said of it.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{Accepted, Client, Failure};
use super::form::Request;
use super::voice::{PATIENCE, Voice};

/// First and longest wait between two attempts.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Link {
    client: Client,
    /// Longest that one attempt takes.
    timeout: Duration,
    stopping: watch::Receiver<bool>,
    state: Mutex<State>,
}

struct State {
    /// The endpoint wants to be left alone until then.
    not_before: Instant,
    voice: Voice,
}

impl Link {
    pub(super) fn new(
        client: Client,
        timeout: Duration,
        voice: Voice,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            client,
            timeout,
            stopping,
            state: Mutex::new(State {
                not_before: Instant::now(),
                voice,
            }),
        }
    }

    /// Waits between attempts, longer each time, and by chance, so that agents do not come back all at once.
    pub(super) fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// The end of what may take that long from now on.
    pub(super) fn deadline(&self, longest: Duration) -> Instant {
        Instant::now() + longest
    }

    /// Sends once. What the endpoint says is told to the log.
    pub(super) async fn attempt(&self, request: &Request, deadline: Instant) -> Result<Accepted, Failure> {
        let ends = deadline.min(Instant::now() + self.timeout);
        let mut answer = pin!(self.client.send(request, ends));
        let answer = match timeout(PATIENCE, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.state().voice.unanswered();
                answer.await
            }
        };
        if let Ok(accepted) = &answer {
            let rejected = accepted.rejected.min(request.spans);
            self.state().voice.accepted(rejected, &accepted.message);
        }
        answer
    }

    /// When to try again after `failure`.
    pub(super) fn next_attempt(&self, failure: &Failure, delays: &mut ExponentialBackoff) -> Instant {
        let delay = delays
            .next()
            .unwrap_or(LONGEST_DELAY)
            .max(failure.retry_after.unwrap_or_default());
        let next = Instant::now() + delay;
        if failure.retry_after.is_some() {
            self.state().not_before = next;
        }
        next
    }

    /// Tells the log of a failure, and of how many spans were lost by it.
    pub(super) fn lost(&self, failure: &Failure, spans: u64) {
        self.state().voice.failed(failure, spans);
    }

    /// Whether the end has come: what fails now is not tried again.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits as long as the endpoint asked for, or until the end has come.
    pub(super) async fn wait_until_free(&self) {
        let not_before = self.state().not_before;
        self.wait_until(not_before).await;
    }

    /// Waits for that moment, or until the end has come.
    pub(super) async fn wait_until(&self, moment: Instant) {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = sleep_until(moment) => {}
            // A sender that is gone is a stop as well.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
