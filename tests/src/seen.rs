//! What a finished session saw, and the claims every one of its spans must bear out.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::agent::Finished;
use crate::expect::{self, Expected};
use crate::span::{Kind, Span};
use crate::summary::Summary;

/// Keys that each resource has.
const RESOURCE_KEYS: [&str; 6] = [
    "service.name",
    "service.instance.id",
    "process.pid",
    "host.name",
    "telemetry.sdk.name",
    "telemetry.sdk.language",
];

/// All that a finished session exported and said.
#[derive(Debug)]
pub struct Seen {
    /// Spans that the receiver got.
    pub spans: Vec<Span>,
    /// spanwire's own summary.
    pub summary: Summary,
    /// Its end and its output.
    pub finished: Finished,
    begun: u64,
    ended: u64,
}

impl Seen {
    pub(crate) fn of(mut finished: Finished, spans: Vec<Span>, begun: SystemTime) -> Result<Self> {
        let summary = finished.summary.take();
        let summary = summary.with_context(|| format!("no summary:\n{}", finished.message()))?;
        Ok(Self {
            spans,
            summary,
            finished,
            begun: nanoseconds(begun)?,
            ended: nanoseconds(SystemTime::now())?,
        })
    }

    /// The spans are exactly these, none twice, each well-formed, all counted, and nothing was lost.
    ///
    /// # Errors
    /// Something of that is not so.
    pub fn exactly(&self, expected: &[Expected]) -> Result<()> {
        self.spans_are(expected)?;
        let losses = self.summary.losses();
        ensure!(losses.is_empty(), "losses: {losses:?}");
        Ok(())
    }

    /// The same on connections that are closed while the other end reads: what it reads last may count as unseen.
    ///
    /// # Errors
    /// Something of that is not so.
    pub fn exactly_until_closed(&self, expected: &[Expected]) -> Result<()> {
        self.spans_are(expected)?;
        let losses = self.summary.losses();
        let is_end = |loss: &String| loss.starts_with("kernel.gap.unseen");
        ensure!(losses.iter().all(is_end), "losses: {losses:?}");
        Ok(())
    }

    /// The spans are exactly these, each well-formed and counted; losses are another matter.
    ///
    /// # Errors
    /// Something of that is not so.
    pub fn spans_are(&self, expected: &[Expected]) -> Result<()> {
        expect::compare(&self.spans, expected).with_context(|| self.finished.message())?;
        self.counted()
    }

    /// Each span is well-formed, and they are as many as were built and exported.
    ///
    /// # Errors
    /// Something of that is not so.
    pub fn counted(&self) -> Result<()> {
        self.well_formed()?;
        for counter in ["spans.built", "spans.exported"] {
            let value = self.summary.value(counter);
            ensure!(
                value == self.spans.len() as u64,
                "{counter} {value}, {} received",
                self.spans.len()
            );
        }
        Ok(())
    }

    /// The spans whose path begins with `prefix` are exactly these; for sessions that watch the whole host.
    ///
    /// # Errors
    /// Something of that is not so.
    pub fn exactly_under(&self, prefix: &str, expected: &[Expected]) -> Result<()> {
        let own: Vec<Span> = self
            .spans
            .iter()
            .filter(|span| span.path().starts_with(prefix))
            .cloned()
            .collect();
        expect::compare(&own, expected).with_context(|| self.finished.message())?;
        self.well_formed()
    }

    /// What holds for every span whatever the test.
    ///
    /// # Errors
    /// It does not hold for one.
    pub fn well_formed(&self) -> Result<()> {
        let mut ids = HashSet::new();
        for span in &self.spans {
            let named = || format!("{span:?}");
            ensure!(ids.insert(&span.span_id), "span id twice: {}", named());
            for (id, length) in [(&span.trace_id, 32), (&span.span_id, 16)] {
                let zero = id.bytes().all(|digit| digit == b'0');
                ensure!(id.len() == length && !zero, "id {id} of {}", named());
            }
            // One read may bring a call and that it was given up, and all that there is of a message.
            let is_moment = span.text("rpc.response.status_code") == Some("CANCELLED")
                || matches!(span.kind, Kind::Producer | Kind::Consumer);
            ensure!(
                span.start < span.end || is_moment && span.start == span.end,
                "no duration: {}",
                named()
            );
            ensure!(
                self.begun <= span.start && span.end <= self.ended,
                "outside of the test's own {} to {}: {}",
                self.begun,
                self.ended,
                named()
            );
            for (event, time) in &span.events {
                ensure!(
                    (span.start..=span.end).contains(time),
                    "{event} outside of {}",
                    named()
                );
            }
            ensure!(span.scope == "spanwire", "scope of {}", named());
            let schema = "https://opentelemetry.io/schemas/";
            ensure!(span.schema.starts_with(schema), "schema of {}", named());
            // A process that ended before anybody could look at it has a name at most, and says that it is so.
            let gone = span.resource.get("spanwire.process.incomplete") == Some(&true.into());
            for key in RESOURCE_KEYS {
                ensure!(
                    span.resource.contains_key(key) || (gone && key == "service.instance.id"),
                    "{key} of the resource of {}",
                    named()
                );
            }
        }
        Ok(())
    }
}

pub(crate) fn nanoseconds(time: SystemTime) -> Result<u64> {
    Ok(u64::try_from(time.duration_since(UNIX_EPOCH)?.as_nanos())?)
}
