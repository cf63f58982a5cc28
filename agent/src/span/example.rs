//! The span that tests make theirs of.

use super::{Kind, OwnRules, Resource, Span, SpanId, Status, TraceId, UnixNanoseconds};
use std::sync::Arc;

/// Of a request that a server answered, with nothing said of it, or of the server.
pub fn example() -> Span {
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([1; 8]),
        parent: None,
        state: "".into(),
        kind: Kind::Server,
        name: "GET".into(),
        start: UnixNanoseconds(1),
        end: UnixNanoseconds(2),
        attributes: Vec::new(),
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        link: None,
        status: Status::Unset,
        resource: Arc::new(Resource {
            own: OwnRules::default(),
            pid: 1,
            attributes: Vec::new(),
        }),
    }
}
