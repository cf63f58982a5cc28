//! Traces: which span a request was sent from.

pub mod causality;
pub mod context;
pub mod drop;
mod extract;
pub mod sampling;
mod telemetry;

pub use extract::extract;
pub use telemetry::{Signal, exported};

use crate::span::exchange::Seen;
use context::Context;

/// Puts a span to be built where the request's own context says; without one it stays the root of a trace of its own.
pub fn place(seen: &mut Seen<'_>, context: Option<Context>) {
    if let Some(context) = context {
        seen.trace_id = context.trace_id;
        seen.parent = Some(context.parent);
        seen.state = context.state;
    }
}
