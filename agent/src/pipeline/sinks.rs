//! Where spans go that leave the pipeline.

use crate::export::Handle;
use crate::export::stdout::Stdout;
use crate::metrics::report::{Fill, Waiting};
use crate::redact::Redacted;
use std::sync::{Arc, Weak};
use tokio::time::Instant;

/// Where spans go: standard output, an exporter, both or neither.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    stdout: Option<Arc<Stdout>>,
    exporter: Option<Arc<Handle>>,
}

impl Sinks {
    /// These, and no others.
    #[must_use]
    pub fn new(stdout: Option<Stdout>, exporter: Option<Handle>) -> Self {
        Self {
            stdout: stdout.map(Arc::new),
            exporter: exporter.map(Arc::new),
        }
    }

    /// Shows spans that are for nobody else: an exporter takes only what is over, and is kept.
    pub(super) fn show(&self, spans: Vec<Redacted>) {
        if let Some(stdout) = &self.stdout {
            stdout.push(spans);
        }
    }

    /// Hands spans to all of them. Never waits.
    pub(super) fn push(&self, spans: Vec<Redacted>) {
        match (&self.stdout, &self.exporter) {
            (Some(stdout), Some(exporter)) => {
                exporter.push(&spans);
                stdout.push(spans);
            }
            (Some(stdout), None) => stdout.push(spans),
            (None, Some(exporter)) => exporter.push(&spans),
            (None, None) => {}
        }
    }

    /// Whether there is room for so many spans now.
    pub(super) fn has_room(&self, count: usize) -> bool {
        let shown = self.stdout.as_ref().is_none_or(|stdout| {
            let (used, most) = stdout.waiting();
            used + count <= most
        });
        shown
            && self
                .exporter
                .as_ref()
                .is_none_or(|exporter| exporter.has_room(count))
    }

    /// The same without keeping them from their end.
    #[must_use]
    pub fn downgrade(&self) -> Looked {
        let weak = |sink: &Arc<Stdout>| Arc::downgrade(sink);
        Looked {
            stdout: self.stdout.as_ref().map(weak).unwrap_or_default(),
            exporter: self.exporter.as_ref().map(Arc::downgrade).unwrap_or_default(),
        }
    }

    /// What waits to be sent.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let fill = |name, (used, capacity): (usize, usize)| Fill {
            name,
            used: used as u64,
            capacity: capacity as u64,
        };
        let stdout = self
            .stdout
            .as_ref()
            .map(|stdout| fill("stdout", stdout.waiting()));
        let exporter = self
            .exporter
            .as_ref()
            .map(|exporter| fill("export", exporter.waiting()));
        let spool = self.exporter.as_ref().and_then(|exporter| exporter.spool());
        Waiting {
            queues: stdout.into_iter().chain(exporter).collect(),
            spool: spool.map(|spool| Fill {
                name: "spool",
                used: spool.bytes,
                capacity: spool.max_bytes,
            }),
            spooled: spool.map_or(0, |spool| spool.spans),
        }
    }

    /// Ends when whoever reads standard output is gone.
    pub async fn closed(&self) {
        match &self.stdout {
            Some(stdout) => stdout.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Writes and sends what waits, until `deadline`. To be called when nobody else holds a clone.
    pub async fn finish(self, deadline: Instant) {
        let left = || deadline.saturating_duration_since(Instant::now());
        let Self { stdout, exporter } = self;
        let exporter = async {
            if let Some(exporter) = exporter.and_then(Arc::into_inner) {
                exporter.shutdown(left()).await;
            }
        };
        let stdout = async {
            if let Some(stdout) = stdout.and_then(Arc::into_inner) {
                stdout.finish(left()).await;
            }
        };
        tokio::join!(exporter, stdout);
    }
}

/// Sinks that are looked at, and not kept.
#[derive(Debug, Default)]
pub struct Looked {
    stdout: Weak<Stdout>,
    exporter: Weak<Handle>,
}

impl Looked {
    /// Those that are still there.
    #[must_use]
    pub fn upgrade(&self) -> Sinks {
        Sinks {
            stdout: self.stdout.upgrade(),
            exporter: self.exporter.upgrade(),
        }
    }
}
