//! What the log says of an endpoint: one line when export fails, one when it works again, not one a batch.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::client::Failure;

/// How long an endpoint may take for its answer before that is said.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Least time between two log lines of the same matter.
const QUIET: Duration = Duration::from_mins(1);

/// See the module.
pub(super) struct Voice {
    endpoint: String,
    queue_size: usize,
    is_spooled: bool,
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
    pub(super) fn new(endpoint: String, queue_size: usize, is_spooled: bool) -> Self {
        Self {
            endpoint,
            queue_size,
            is_spooled,
            outage: None,
            last_warning: None,
            last_silence: None,
            last_rejection: None,
        }
    }

    /// In an outage enough is said already.
    pub(super) fn unanswered(&mut self) {
        if self.outage.is_none() && is_due(&mut self.last_silence, Instant::now()) {
            warn!(
                "{} has not answered for {} s: spans wait in memory, up to {}",
                self.endpoint,
                PATIENCE.as_secs(),
                self.queue_size
            );
        }
    }

    pub(super) fn failed(&mut self, failure: &Failure, lost: u64) {
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
        if said && failure.retryable && self.is_spooled {
            warn!(
                "cannot export spans to {}: {}; they wait on disk while it is tried again",
                self.endpoint, failure.message,
            );
        } else if said && failure.retryable {
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

    pub(super) fn accepted(&mut self, rejected: u64, message: &str) {
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
