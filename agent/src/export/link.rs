//! What one endpoint's deliveries share: its client, when it wants to be left alone, and what is said of it.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::client::{Accepted, Client, Failure};
use super::form::Request;
use super::voice::{PATIENCE, Voice};
use crate::delays::Delays;

/// First and longest wait between two attempts.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Link {
    client: Client,
    /// Longest that one attempt takes.
    timeout: Duration,
    /// The end has come, and until when an attempt may take that is not the last chance.
    stopping: watch::Receiver<Option<Instant>>,
    /// What cannot be delivered is kept on disk.
    pub(super) is_spooled: bool,
    state: Mutex<State>,
}

struct State {
    /// The endpoint wants to be left alone until then.
    not_before: Instant,
    /// The last attempt failed, and might not have.
    away: Option<Away>,
    voice: Voice,
}

struct Away {
    delays: Delays,
    /// When to try again.
    next: Instant,
}

impl Link {
    pub(super) fn new(
        client: Client,
        timeout: Duration,
        voice: Voice,
        stopping: watch::Receiver<Option<Instant>>,
        is_spooled: bool,
    ) -> Self {
        Self {
            client,
            timeout,
            stopping,
            is_spooled,
            state: Mutex::new(State {
                not_before: Instant::now(),
                away: None,
                voice,
            }),
        }
    }

    /// Sends once. What comes of it is remembered, and told to the log.
    pub(super) async fn attempt(&self, request: &Request, deadline: Instant) -> Result<Accepted, Failure> {
        let begin = Instant::now();
        let ends = deadline.min(begin + self.timeout);
        let mut answer = pin!(self.client.send(request, ends));
        let mut stopping = self.stopping.clone();
        let cut = async {
            let moment = stopping
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|moment| *moment);
            match moment.filter(|_| self.is_spooled) {
                Some(moment) => sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let mut cut = pin!(cut);
        let patience = async {
            sleep_until(begin + PATIENCE).await;
            self.state().voice.unanswered();
            std::future::pending::<()>().await;
        };
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = &mut cut => Err(Failure::unreachable("no answer before the end".to_owned())),
            () = patience => unreachable!("it never ends"),
        };
        self.remember(request, &answer);
        answer
    }

    fn remember(&self, request: &Request, answer: &Result<Accepted, Failure>) {
        let mut state = self.state();
        match answer {
            Ok(accepted) => {
                state.away = None;
                let rejected = accepted.rejected.min(request.spans);
                state.voice.accepted(rejected, &accepted.message);
            }
            Err(failure) if failure.retryable => {
                let away = state.away.take().map(|away| away.delays);
                let mut delays = away.unwrap_or_else(|| Delays::between(FIRST_DELAY, LONGEST_DELAY));
                let delay = delays.next();
                let next = Instant::now() + delay.max(failure.retry_after.unwrap_or_default());
                if failure.retry_after.is_some() {
                    state.not_before = next;
                }
                state.away = Some(Away { delays, next });
            }
            // It is there, and does not want this.
            Err(_) => state.away = None,
        }
    }

    /// When the endpoint is to be tried again; `None` where there is no reason to wait.
    pub(super) fn next_attempt(&self) -> Option<Instant> {
        self.state().away.as_ref().map(|away| away.next)
    }

    /// Tells the log of a failure, and of how many spans were lost by it.
    pub(super) fn failed(&self, failure: &Failure, lost: u64) {
        self.state().voice.failed(failure, lost);
    }

    /// Whether the end has come: what fails now is not tried again.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.borrow().is_some()
    }

    /// Waits as long as the endpoint asked for, or until the end has come.
    pub(super) async fn wait_until_free(&self) {
        let not_before = self.state().not_before;
        self.wait_until(not_before).await;
    }

    /// Waits for that moment, or until the end has come.
    pub(super) async fn wait_until(&self, moment: Instant) {
        let mut stopping = self.stopping.clone();
        // A sender that is gone is a stop as well.
        let _ = timeout_at(moment, stopping.wait_for(Option::is_some)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
