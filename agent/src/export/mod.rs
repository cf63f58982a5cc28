//! Out: to an OTLP endpoint, to the terminal, to a pipe. Everything takes [`Redacted`](crate::redact::Redacted) spans.

mod deliver;
mod encode;
mod otlp;
pub mod queue;
#[cfg(test)]
mod sample;
pub mod settings;

pub use deliver::{Exporter, Handle};
