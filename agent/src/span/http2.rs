//! An exchange of the HTTP/2 parser becomes a span: of a call where it is one of gRPC, else of HTTP.

use super::build::{self, Ending, HttpExchange, HttpRequest, HttpResponse, HttpRules, HttpVersion};
use super::exchange::Seen;
use super::http1::{Field, borrowed};
use super::{Attribute, Kind, Span, UnixNanoseconds, Value, grpc, semconv as name};
use crate::protocol::http2::{self, Call, Exchange, Flow, Head, Message};

#[cfg(test)]
mod tests;

/// The span of `exchange`; `time` reads a stamp.
pub fn span<S: Copy>(
    exchange: &Exchange<S>,
    seen: Seen<'_>,
    time: impl Fn(S) -> UnixNanoseconds,
    rules: &HttpRules,
) -> Span {
    let response = exchange.response.as_ref();
    let [lossy_request, lossy_response] = [
        exchange.request.lossy,
        response.is_some_and(|response| response.lossy),
    ];
    let mut span = match Call::of(exchange) {
        Some(call) => grpc::span(exchange, &call, seen, time, rules),
        None => http(exchange, seen, time, rules),
    };
    for (key, applies) in [
        (name::REQUEST_LOSSY, lossy_request),
        (name::RESPONSE_LOSSY, lossy_response),
    ] {
        if applies {
            span.attributes.push(Attribute {
                key: key.into(),
                value: Value::Boolean(true),
            });
        }
    }
    span
}

fn http<S: Copy>(
    exchange: &Exchange<S>,
    seen: Seen<'_>,
    time: impl Fn(S) -> UnixNanoseconds,
    rules: &HttpRules,
) -> Span {
    let request = &exchange.request;
    let text = |field: &str| request.head.field(field).map(String::from_utf8_lossy);
    let (method, scheme) = (text(":method"), text(":scheme"));
    // CONNECT names an authority and no path (RFC 9113, section 8.5), unless it is extended (RFC 8441).
    let tunnel = || text(":authority").filter(|_| method.as_deref() == Some("CONNECT"));
    let target = text(":path").or_else(tunnel);
    let request_headers = headers(&request.head, |name| build::is_header_used(name, rules));
    let request_headers = borrowed(&request_headers);
    let wanted = |name: &[u8]| {
        let mut wanted = rules.response_headers.iter();
        wanted.any(|wanted| wanted.as_bytes() == name)
    };
    let response_headers = exchange
        .response
        .as_ref()
        .map_or_else(Vec::new, |response| headers(&response.head, wanted));
    let response_headers = borrowed(&response_headers);
    let body = |message: &Message<S>| message.body.filter(|_| message.complete);
    let response = exchange.response.as_ref().map(|response| HttpResponse {
        status: response.head.status(),
        headers: &response_headers,
        body_size: body(response),
        first_byte: time(response.first),
        complete: response.complete,
        is_cut: response.head.is_cut(),
        unknown_fields: response.head.unknown(),
    });
    let exchange = HttpExchange {
        kind: seen.kind,
        trace_id: seen.trace_id,
        span_id: seen.span_id,
        parent: seen.parent,
        state: seen.state,
        resource: seen.resource,
        endpoints: seen.endpoints,
        start: time(request.first),
        end: time(exchange.ended),
        request: HttpRequest {
            method: method.as_deref(),
            target: target.as_deref(),
            scheme: scheme.as_deref(),
            version: HttpVersion::Http2,
            headers: &request_headers,
            body_size: body(request),
            is_cut: request.head.is_cut(),
            unknown_fields: request.head.unknown(),
        },
        response,
        ending: ending(exchange.ending),
    };
    build::http(exchange, rules)
}

/// How an exchange ended, in the words of all versions of HTTP.
pub(super) fn ending(ending: http2::Ending) -> Ending {
    match ending {
        http2::Ending::Complete => Ending::Complete,
        http2::Ending::Upgraded => Ending::Upgraded,
        http2::Ending::Unseen => Ending::Unseen,
        http2::Ending::Reset { by, code } => {
            let by = match by {
                Flow::Request => Kind::Client,
                Flow::Response => Kind::Server,
            };
            Ending::Reset(by, code.name())
        }
        http2::Ending::GoAway(_) => Ending::Refused,
        http2::Ending::Close(close) => Ending::Close(close),
    }
}

/// Header fields that are used, as text; `:authority` takes the place of `host` (RFC 9113, section 8.3.1).
pub(super) fn headers(head: &Head, used: impl Fn(&[u8]) -> bool) -> Vec<Field<'_>> {
    let authority = head.known().filter(|(name, _)| *name == b":authority");
    let authority = authority.map(|(_, value)| (&b"host"[..], value));
    let fields = head.known().filter(|(name, _)| !name.starts_with(b":"));
    super::http1::headers(authority.chain(fields), used)
}
