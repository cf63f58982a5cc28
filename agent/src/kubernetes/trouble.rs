//! An API server that is away, or refuses: said once, and asked again less and less often.

use crate::delays::Delays;
use crate::health::{Counter, Health};
use std::sync::Arc;
use std::time::Duration;

/// First and longest time between two attempts, each up to twice as long by chance, so that of thousands of nodes not all come at
/// once when the server is back.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(20);

/// Most characters of an error that are said.
const LONGEST_WORD: usize = 500;

/// Times between attempts.
pub(super) fn delays() -> Delays {
    Delays::between(FIRST, LONGEST)
}

/// Counts what goes wrong, and says it when it begins and when it is over.
#[derive(Clone)]
pub(super) struct Trouble {
    health: Arc<Health>,
    is_met: bool,
}

impl Trouble {
    pub(super) const fn new(health: Arc<Health>) -> Self {
        Self {
            health,
            is_met: false,
        }
    }

    pub(super) fn met(&mut self, what: &str, error: &str) {
        self.health.add(Counter::KubernetesFailed, 1);
        // An answer that is none may be long.
        let error: String = error.chars().take(LONGEST_WORD).collect();
        if std::mem::replace(&mut self.is_met, true) {
            tracing::debug!("cannot watch {what} of the cluster: {error}");
        } else {
            tracing::warn!("cannot watch {what} of the cluster, and goes by what is known: {error}");
        }
    }

    pub(super) fn over(&mut self, what: &str) {
        if std::mem::take(&mut self.is_met) {
            tracing::info!("{what} of the cluster are watched again");
        }
    }

    pub(super) fn restarted(&self) {
        self.health.add(Counter::KubernetesRestarted, 1);
    }
}
