//! Where a replay's spans go. Other than live, nothing is lost here: a file can wait.

use std::io::{self, Write};
use std::time::Instant;

use super::talk::Time;
use crate::export::Handle;
use crate::export::console::Tree;
use crate::export::json;
use crate::export::stdout::Format;
use crate::redact::Redacted;

/// Most spans in one line of JSON or one push, and most time between the first of them and the last, by the packets.
/// It is the packets' time so that the same capture gives the same lines.
const BATCH: usize = 512;
const BATCH_TIME: Time = 1_000_000_000;

enum Form<W: Write> {
    Tree(Box<Tree<W>>),
    Json(W),
}

/// Takes spans in the order in which they ended.
pub(super) struct Outlet<W: Write> {
    form: Option<Form<W>>,
    exporter: Option<Handle>,
    waiting: Vec<Redacted>,
    /// Time of the packet that ended the first of `waiting`.
    since: Time,
    /// The tree's clock stands still until the end, so that it waits for all spans of a trace.
    clock: Instant,
}

impl<W: Write> Outlet<W> {
    /// To `out` in the form `format`, and to `exporter`.
    pub(super) fn new(format: Option<Format>, out: W, exporter: Option<Handle>) -> Self {
        Self {
            form: format.map(|format| match format {
                Format::Tree(look) => Form::Tree(Box::new(Tree::new(out, look))),
                Format::OtlpJson => Form::Json(out),
            }),
            exporter,
            waiting: Vec::new(),
            since: 0,
            clock: Instant::now(),
        }
    }

    /// Takes spans that a packet of this time ended.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn push(&mut self, span: Redacted, time: Time) -> io::Result<()> {
        if self.form.is_none() && self.exporter.is_none() {
            return Ok(());
        }
        if self.waiting.is_empty() {
            self.since = time;
        }
        self.waiting.push(span);
        if self.waiting.len() >= BATCH || time.saturating_sub(self.since) > BATCH_TIME {
            self.hand_on()?;
        }
        Ok(())
    }

    /// Writes what waits. What goes to an exporter is left to the handle that is returned.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn finish(mut self) -> io::Result<Option<Handle>> {
        self.hand_on()?;
        match &mut self.form {
            Some(Form::Tree(tree)) => tree.finish()?,
            Some(Form::Json(out)) => out.flush()?,
            None => {}
        }
        Ok(self.exporter)
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let spans = std::mem::take(&mut self.waiting);
        if let Some(exporter) = &self.exporter {
            exporter.push_all(&spans);
        }
        match &mut self.form {
            Some(Form::Tree(tree)) => tree.push(spans, self.clock),
            Some(Form::Json(out)) => {
                json::write(&spans, out)?;
                out.flush()
            }
            None => Ok(()),
        }
    }
}
