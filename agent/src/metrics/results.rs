//! How exports of metrics went.

use super::family::{Family, Kind, Value};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted.
#[derive(Debug, Default)]
pub struct Results {
    taken: AtomicU64,
    failed: AtomicU64,
}

impl Results {
    /// One was taken.
    pub fn taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// One was not.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// As a family of its own.
    #[must_use]
    pub fn family(&self) -> Family {
        let count = |count: &AtomicU64| Value::Count(count.load(Ordering::Relaxed));
        Family::new(
            "spanwire.metrics.exports",
            Kind::Counter,
            "{export}",
            "Exports of metrics over OTLP, by what became of them.",
        )
        .with([("result", "taken")], count(&self.taken))
        .with([("result", "failed")], count(&self.failed))
    }
}
