//! The id by which people find a request in logs, made of the trace's id where the request came without one.

use super::{Attribute, Kind, Span, TraceId, Value, semconv as name};
use crate::protocol::Request;

/// Headers that have such an id.
const NAMES: [&str; 2] = ["x-request-id", "x-correlation-id"];

/// Adds to the `span` of a request that a server was asked by HTTP/1 what came in neither of the headers: as attribute of the one that
/// is called `header`, where that is among those that are `captured`. Of a head that was not seen whole nobody can tell.
pub(super) fn add(span: &mut Span, request: Request<'_>, header: &str, captured: &[String]) {
    let Request::Http1(head) = request else { return };
    let is_named = |field: &[u8]| {
        NAMES
            .iter()
            .any(|name| field.eq_ignore_ascii_case(name.as_bytes()))
    };
    if span.kind != Kind::Server
        || head.is_cut()
        || head.headers().any(|(field, _)| is_named(field))
        || !captured.iter().any(|captured| captured == header)
    {
        return;
    }
    span.attributes.push(Attribute {
        key: format!("{}{header}", name::HTTP_REQUEST_HEADER).into(),
        value: Value::Texts([hex(span.trace_id)].into()),
    });
}

/// Makes `span` part of `trace`, and so an id that was made of the trace's.
pub fn follow(span: &mut Span, trace: TraceId) {
    if span.kind == Kind::Server && span.trace_id != trace {
        let former = hex(span.trace_id);
        for attribute in &mut span.attributes {
            if let Value::Texts(values) = &mut attribute.value
                && let [value] = &mut **values
                && *value == former
            {
                *value = hex(trace);
            }
        }
    }
    span.trace_id = trace;
}

/// As it is in `traceparent`, and as the kernel half writes it.
fn hex(trace: TraceId) -> String {
    trace.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::example::example;

    const FORMER: TraceId = TraceId([0x0a; 16]);

    fn span(kind: Kind) -> Span {
        Span {
            trace_id: FORMER,
            kind,
            ..example()
        }
    }

    fn id(key: &str, value: &str) -> Attribute {
        Attribute {
            key: key.to_owned().into(),
            value: Value::Texts([value.to_owned()].into()),
        }
    }

    #[test]
    fn a_made_id_is_that_of_the_trace_wherever_the_span_belongs() {
        let trace = TraceId([0xf1; 16]);
        let mut server = span(Kind::Server);
        server.attributes = vec![
            id("http.request.header.x-request-id", &"0a".repeat(16)),
            id("http.request.header.x-tenant", "0a0a"),
        ];
        follow(&mut server, trace);
        assert_eq!(server.trace_id, trace);
        assert_eq!(
            server.attributes,
            [
                id("http.request.header.x-request-id", &"f1".repeat(16)),
                id("http.request.header.x-tenant", "0a0a"),
            ]
        );
        let mut client = span(Kind::Client);
        client.attributes = vec![id("http.request.header.x-request-id", &"0a".repeat(16))];
        follow(&mut client, trace);
        assert_eq!(
            client.attributes,
            [id("http.request.header.x-request-id", &"0a".repeat(16))]
        );
    }
}
