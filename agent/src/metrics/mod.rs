//! Numbers: what spanwire does, loses and costs, for Prometheus and for `spanwire status`, and whether it is alive.
//!
//! The thread of the pipeline counts in plain fields and answers when it is asked ([`report`]); nothing on its way takes a
//! lock, and a scrape costs it one copy. The rest is done by whoever asks.
//!
//! The text formats are written here, from values: the `prometheus` crate has no OpenMetrics, `prometheus-client` nothing else,
//! and both want their own atomic registries on the way of each span.

pub mod exponential;
pub mod family;
mod graph;
pub mod instrument;
pub mod own;
pub mod read;
pub mod report;
pub mod requests;
pub mod results;
pub mod server;
mod table;
pub mod text;
pub mod vitals;
