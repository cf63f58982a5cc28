//! An exchange of the HTTP/1.x parser becomes a span: the same for what was captured live and what a file held.

use super::build::{self, Ending, HttpExchange, HttpRequest, HttpResponse, HttpRules, HttpVersion};
use super::exchange::Seen;
use super::{Span, UnixNanoseconds};
use crate::protocol::http1::{self, Exchange, Version};
use std::borrow::Cow;

/// The span of `exchange`; `time` reads a stamp.
pub fn span<S: Copy>(
    exchange: &Exchange<S>,
    seen: Seen<'_>,
    time: impl Fn(S) -> UnixNanoseconds,
    rules: &HttpRules,
) -> Span {
    let request = &exchange.request;
    let method = text(request.head.method());
    let target = text(request.head.target());
    let request_headers = headers(request.head.headers(), |name| build::is_header_used(name, rules));
    let request_headers = borrowed(&request_headers);
    let wanted = |name: &[u8]| {
        let mut wanted = rules.response_headers.iter();
        wanted.any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name))
    };
    let response_headers = exchange
        .response
        .as_ref()
        .map_or_else(Vec::new, |response| headers(response.head.headers(), wanted));
    let response_headers = borrowed(&response_headers);
    let response = exchange.response.as_ref().map(|response| HttpResponse {
        status: Some(response.head.status()),
        headers: &response_headers,
        body_size: response.body.filter(|_| response.complete),
        first_byte: time(response.first),
        complete: response.complete,
        is_cut: response.head.is_cut(),
        unknown_fields: 0,
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
            method: Some(&method),
            target: Some(&target),
            scheme: None,
            version: match request.head.version() {
                Version::Http10 => HttpVersion::Http10,
                Version::Http11 => HttpVersion::Http11,
            },
            headers: &request_headers,
            body_size: request.body.filter(|_| request.complete),
            is_cut: request.head.is_cut(),
            unknown_fields: 0,
        },
        response,
        ending: match exchange.ending {
            http1::Ending::Complete => Ending::Complete,
            http1::Ending::Upgraded => Ending::Upgraded,
            http1::Ending::Unseen => Ending::Unseen,
            http1::Ending::Close(close) => Ending::Close(close),
        },
    };
    build::http(exchange, rules)
}

/// A field's name and value.
pub(super) type Field<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Header fields that are used, as text.
pub(super) fn headers<'a>(
    all: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    used: impl Fn(&[u8]) -> bool,
) -> Vec<Field<'a>> {
    all.filter(|(name, _)| used(name))
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Bytes as text. Nearly all are UTF-8, which is told faster than what is in the place of what is not.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

pub(super) fn borrowed<'a>(fields: &'a [Field<'_>]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (&**name, &**value)).collect()
}
