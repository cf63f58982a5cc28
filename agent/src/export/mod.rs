//! Out: to an OTLP endpoint, to the terminal, to a pipe. Everything takes [`Redacted`](crate::redact::Redacted) spans.

pub mod console;
mod deliver;
mod encode;
pub mod json;
mod line;
pub mod metrics;
mod otlp;
pub mod queue;
#[cfg(test)]
mod sample;
pub mod settings;
pub mod stdout;
#[cfg(test)]
mod tests;

pub use deliver::{Exporter, Handle};
pub(crate) use otlp::USER_AGENT;
