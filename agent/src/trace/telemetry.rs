//! Requests that carry telemetry: services that make spans themselves are found by them, and spans of them would tell of telling.

use crate::protocol::Request;

/// What a request exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics or logs.
    Other,
}

/// Ends of the paths of OTLP over HTTP (OTLP specification, "OTLP/HTTP Request"); what is before them is the endpoint's.
const OTLP_HTTP: [(&[u8], Signal); 3] = [
    (b"/v1/traces", Signal::Traces),
    (b"/v1/metrics", Signal::Other),
    (b"/v1/logs", Signal::Other),
];

/// Methods of OTLP over gRPC.
const OTLP_GRPC: [(&[u8], Signal); 3] = [
    (
        b"/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Traces,
    ),
    (
        b"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Other,
    ),
    (
        b"/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Other,
    ),
];

/// Zipkin's, version 2.
const ZIPKIN: &[u8] = b"/api/v2/spans";

/// What a request exports, if anything. A path that anybody may have counts together with the type of its content only.
#[must_use]
pub fn exported(request: Request<'_>) -> Option<Signal> {
    let (method, path, kind) = match request {
        Request::Http1(head) => (Some(head.method()), head.target(), head.header("content-type")),
        Request::Http2(head) => (head.method(), head.path()?, head.field("content-type")),
        Request::Postgres(_) | Request::Amqp(_) => return None,
    };
    if method != Some(b"POST") {
        return None;
    }
    if let Some((_, signal)) = OTLP_GRPC.iter().find(|(method, _)| path == *method) {
        return Some(*signal);
    }
    let path = path.split(|byte| *byte == b'?').next()?;
    let kind = kind?.split(|byte| *byte == b';').next()?.trim_ascii();
    let is = |name: &[u8]| kind.eq_ignore_ascii_case(name);
    if path == ZIPKIN && is(b"application/json") {
        return Some(Signal::Traces);
    }
    let (whole, signal) = OTLP_HTTP.iter().find(|(end, _)| path.ends_with(end))?;
    (is(b"application/x-protobuf") || is(b"application/json") && path == *whole).then_some(*signal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::piece::Piece;
    use crate::protocol::{Flow, http1};

    fn check(line: &str, kind: &str, expect: Option<Signal>) {
        let head = format!("{line} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 0\r\n\r\n");
        let mut connection = http1::Connection::new(http1::Limits::default());
        let data = head.as_bytes();
        connection.read(
            Flow::Request,
            (),
            Piece::Bytes { data, starts: None },
            &mut Vec::new(),
        );
        let request = connection.request(|()| true).map(Request::Http1);
        assert_eq!(exported(request.expect("a request")), expect, "{line} {kind}");
    }

    #[test]
    fn what_exports_telemetry() {
        let protobuf = "application/x-protobuf";
        check("POST /v1/traces", protobuf, Some(Signal::Traces));
        check(
            "POST /v1/traces",
            "application/json; charset=utf-8",
            Some(Signal::Traces),
        );
        check("POST /otlp/v1/traces", protobuf, Some(Signal::Traces));
        check("POST /v1/metrics?tenant=a", protobuf, Some(Signal::Other));
        check("POST /v1/logs", protobuf, Some(Signal::Other));
        check("POST /api/v2/spans", "application/json", Some(Signal::Traces));
        // What anybody may have.
        check("POST /shop/v1/traces", "application/json", None);
        check("POST /v1/traces", "text/plain", None);
        check("GET /v1/traces", protobuf, None);
        check("POST /v1/traces/7", protobuf, None);
        check("POST /api/v2/spans", "text/plain", None);
    }
}
