//! Out: to an OTLP endpoint, to the terminal, to a pipe. Everything takes [`Redacted`](crate::redact::Redacted) spans.

mod client;
pub mod console;
mod deliver;
mod encode;
mod exporter;
mod form;
pub mod json;
mod line;
mod link;
pub mod metrics;
pub mod queue;
#[cfg(test)]
mod sample;
pub mod settings;
mod spool;
pub mod stdout;
#[cfg(test)]
mod tests;
mod voice;
mod zipkin;

pub(crate) use client::USER_AGENT;
pub use exporter::{Exporter, Handle};
