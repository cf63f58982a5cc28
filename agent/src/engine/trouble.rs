//! An engine that does not answer as it should: said once, and asked again less and less often.

use super::client::Failure;
use crate::delays::Delays;
use crate::health::{Counter, Health};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// First and longest time between two questions for the same container, each up to twice as long by chance.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Times between questions.
pub(super) fn delays() -> Delays {
    Delays::between(FIRST, LONGEST)
}

/// Counts what goes wrong, and says it when it begins and when it is over.
#[derive(Debug)]
pub(super) struct Trouble {
    path: PathBuf,
    health: Arc<Health>,
    is_met: AtomicBool,
}

impl Trouble {
    pub(super) fn new(path: &Path, health: Arc<Health>) -> Self {
        Self {
            path: path.to_owned(),
            health,
            is_met: AtomicBool::new(false),
        }
    }

    pub(super) fn met(&self, failure: &Failure) {
        self.health.add(Counter::ContainersFailed, 1);
        let path = self.path.display();
        if self.is_met.swap(true, Ordering::Relaxed) {
            tracing::debug!("cannot ask {path} for a container: {failure}");
        } else {
            tracing::warn!("cannot ask {path} for containers, and goes by what is known: {failure}");
        }
    }

    pub(super) fn over(&self) {
        if self.is_met.swap(false, Ordering::Relaxed) {
            tracing::info!("{} is asked for containers again", self.path.display());
        }
    }
}
