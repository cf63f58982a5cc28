//! Spans in Zipkin's second API: a list of spans in JSON.
//!
//! After "OpenTelemetry to Zipkin Transformation" of the OpenTelemetry specification, and Zipkin's `zipkin2-api.yaml`. Links
//! and `tracestate` have no place there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::value::RawValue;

use super::form::{Group, Request};
use super::json::Hex;
use crate::span::semconv::{SCOPE_NAME, SCOPE_VERSION};
use crate::span::{Attribute, Kind, Span, Status, Value};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan<'a> {
    trace_id: Hex<'a>,
    id: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<Hex<'a>>,
    kind: &'static str,
    name: &'a str,
    /// Microseconds since 1970.
    timestamp: u64,
    /// Microseconds, at least 1.
    duration: u64,
    local_endpoint: Endpoint<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
    tags: BTreeMap<&'a str, String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<i64>,
}

#[derive(Serialize)]
struct Annotation {
    /// Microseconds since 1970.
    timestamp: u64,
    value: String,
}

/// Appends one span as an object.
pub(super) fn encode(bytes: &mut Vec<u8>, span: &Span) {
    super::json::append(bytes, &zipkin_span(span));
}

/// A list of what [`encode`] wrote.
pub(super) fn request(groups: &[Group<'_>]) -> Vec<u8> {
    let spans: Vec<&[u8]> = groups
        .iter()
        .flat_map(|group| group.spans.iter().copied())
        .collect();
    let mut bytes = Vec::with_capacity(spans.iter().map(|span| span.len() + 1).sum::<usize>() + 2);
    bytes.push(b'[');
    super::json::list(&mut bytes, &spans);
    bytes.push(b']');
    bytes
}

/// Two lists with about half of the spans each; `None` where it is no list.
pub(super) fn split(request: &[u8]) -> Option<[Request; 2]> {
    let spans: Vec<&RawValue> = serde_json::from_slice(request).ok()?;
    let (first, second) = spans.split_at(spans.len() / 2);
    let part = |spans: &[&RawValue]| {
        Some(Request {
            spans: spans.len() as u64,
            bytes: serde_json::to_vec(spans).ok()?.into(),
        })
    };
    Some([part(first)?, part(second)?])
}

fn zipkin_span(span: &Span) -> ZipkinSpan<'_> {
    let service = text(&span.resource.attributes, "service.name");
    ZipkinSpan {
        trace_id: Hex(&span.trace_id.0),
        id: Hex(&span.span_id.0),
        parent_id: span.parent.as_ref().map(|parent| Hex(&parent.0)),
        kind: match span.kind {
            Kind::Server => "SERVER",
            Kind::Client => "CLIENT",
            Kind::Producer => "PRODUCER",
            Kind::Consumer => "CONSUMER",
        },
        name: &span.name,
        timestamp: span.start.0 / 1000,
        duration: (span.end.0.saturating_sub(span.start.0) / 1000).max(1),
        local_endpoint: Endpoint {
            service_name: service,
            ..Endpoint::default()
        },
        remote_endpoint: remote(span),
        annotations: span.events.iter().map(annotation).collect(),
        tags: tags(span),
    }
}

/// Whom a client or producer spoke to.
fn remote(span: &Span) -> Option<Endpoint<'_>> {
    if !matches!(span.kind, Kind::Client | Kind::Producer) {
        return None;
    }
    let address = text(&span.attributes, "network.peer.address");
    let family = |wanted: fn(&IpAddr) -> bool| {
        address.filter(|address| address.parse().is_ok_and(|address| wanted(&address)))
    };
    let endpoint = Endpoint {
        service_name: text(&span.attributes, "server.address"),
        ipv4: family(IpAddr::is_ipv4),
        ipv6: family(IpAddr::is_ipv6),
        port: integer(&span.attributes, "network.peer.port").filter(|_| address.is_some()),
    };
    (endpoint.service_name.is_some() || endpoint.ipv4.is_some() || endpoint.ipv6.is_some())
        .then_some(endpoint)
}

fn annotation(event: &crate::span::Event) -> Annotation {
    let mut value = event.name.to_string();
    if !event.attributes.is_empty() {
        let attributes: BTreeMap<&str, String> = event
            .attributes
            .iter()
            .map(|one| (&*one.key, tag(&one.value)))
            .collect();
        // A map of texts has a form in JSON.
        value = format!(
            "{value:?}: {}",
            serde_json::to_string(&attributes).unwrap_or_default()
        );
    }
    Annotation {
        timestamp: event.time.0 / 1000,
        value,
    }
}

/// Attributes of the resource, then those of the span, which go before where names are the same.
fn tags(span: &Span) -> BTreeMap<&str, String> {
    let resource = span
        .resource
        .attributes
        .iter()
        .filter(|one| &*one.key != "service.name");
    let mut tags: BTreeMap<&str, String> = resource
        .chain(&span.attributes)
        .map(|attribute| (&*attribute.key, tag(&attribute.value)))
        .collect();
    tags.insert("otel.scope.name", SCOPE_NAME.to_owned());
    tags.insert("otel.scope.version", SCOPE_VERSION.to_owned());
    if let Status::Error(description) = &span.status {
        tags.insert("otel.status_code", "ERROR".to_owned());
        tags.insert("error", description.to_string());
    }
    for (name, count) in [
        ("otel.dropped_attributes_count", span.dropped_attributes),
        ("otel.dropped_events_count", span.dropped_events),
    ] {
        if count > 0 {
            tags.insert(name, count.to_string());
        }
    }
    tags
}

fn tag(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        // A list of texts has a form in JSON.
        Value::Texts(texts) => serde_json::to_string(&**texts).unwrap_or_default(),
    }
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    match &attributes.iter().find(|attribute| &*attribute.key == key)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn integer(attributes: &[Attribute], key: &str) -> Option<i64> {
    match attributes.iter().find(|attribute| &*attribute.key == key)?.value {
        Value::Integer(integer) => Some(integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::export::form::{Form, slices};
    use crate::export::sample::{integer, redacted, resource, span, text};
    use crate::redact::Redacted;
    use crate::span::SpanId;

    fn zipkin(spans: &[Redacted]) -> serde_json::Value {
        let requests = Form::Zipkin.requests(slices(Form::Zipkin, spans), usize::MAX);
        serde_json::from_slice(&requests[0].bytes).unwrap()
    }

    #[test]
    fn a_span_is_what_the_specification_makes_of_it() {
        let version = env!("CARGO_PKG_VERSION");
        let found = zipkin(&[redacted(span(0xab, 1, &resource("shop")))]);
        let expect = json!([{
            "traceId": "abababababababababababababababab",
            "id": "0101010101010101",
            "kind": "SERVER",
            "name": "GET",
            "timestamp": 1_795_239_825_123_000_u64,
            "duration": 1500,
            "localEndpoint": { "serviceName": "shop" },
            "annotations": [{ "timestamp": 1_795_239_825_124_000_u64, "value": "http.response.first_byte" }],
            "tags": {
                "http.request.method": "GET",
                "url.path": "/orders/7",
                "client.address": "10.0.0.2",
                "http.response.status_code": "200",
                "otel.scope.name": "spanwire",
                "otel.scope.version": version,
            },
        }]);
        assert_eq!(found, expect);
    }

    #[test]
    fn errors_peers_and_what_was_dropped_have_their_places() {
        let mut failed = span(1, 2, &resource("shop"));
        failed.kind = Kind::Client;
        failed.parent = Some(SpanId([1; 8]));
        failed.status = Status::Error("reset".into());
        failed.end = failed.start;
        failed.dropped_attributes = 3;
        failed.events[0].attributes = vec![integer("n", 1)];
        failed.attributes = vec![
            text("server.address", "db.example"),
            text("network.peer.address", "::1"),
            integer("network.peer.port", 5432),
            Attribute {
                key: "list".into(),
                value: Value::Texts(["a", "b\""].map(str::to_owned).into()),
            },
            Attribute {
                key: "yes".into(),
                value: Value::Boolean(true),
            },
        ];
        let found = &zipkin(&[redacted(failed)])[0];
        assert_eq!(found["parentId"], "0101010101010101");
        assert_eq!(found["duration"], 1);
        let expect = json!({ "serviceName": "db.example", "ipv6": "::1", "port": 5432 });
        assert_eq!(found["remoteEndpoint"], expect);
        assert_eq!(
            found["annotations"][0]["value"],
            "\"http.response.first_byte\": {\"n\":\"1\"}"
        );
        for (tag, value) in [
            ("error", "reset"),
            ("otel.status_code", "ERROR"),
            ("otel.dropped_attributes_count", "3"),
            ("list", r#"["a","b\""]"#),
            ("yes", "true"),
        ] {
            assert_eq!(found["tags"][tag], value);
        }
    }
}
