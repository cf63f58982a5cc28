//! OTLP/JSON: one `ExportTraceServiceRequest` a line, as the collector's file exporter writes it.
//!
//! OTLP specification, "JSON Protobuf Encoding": lowerCamelCase keys, ids in hexadecimal, enums as numbers, 64-bit
//! integers as strings. What has its default is left out.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::form::Group;
use crate::redact::Redacted;
use crate::span::semconv::{SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION};
use crate::span::{self, Kind, Status};

/// Writes `spans` as one line; nothing where there are none.
///
/// # Errors
/// Those of `out`.
pub fn write(spans: &[Redacted], out: &mut impl Write) -> io::Result<()> {
    if spans.is_empty() {
        return Ok(());
    }
    serde_json::to_writer(&mut *out, &whole(spans)).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// Appends one span as an object.
pub(super) fn encode(bytes: &mut Vec<u8>, one: &span::Span) {
    append(bytes, &span(one));
}

/// One request with the spans of all groups, each as [`encode`] wrote it.
pub(super) fn request(groups: &[Group<'_>]) -> Vec<u8> {
    let size: usize = groups
        .iter()
        .flat_map(|group| &group.spans)
        .map(|span| span.len() + 1)
        .sum();
    let mut bytes = Vec::with_capacity(size + groups.len() * 1024 + 64);
    bytes.extend_from_slice(b"{\"resourceSpans\":[");
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        // The same objects as [`write`] has them, around spans that are text already.
        bytes.extend_from_slice(b"{\"resource\":");
        let attributes = attributes(&group.resource.attributes);
        append(&mut bytes, &Resource { attributes });
        bytes.extend_from_slice(b",\"scopeSpans\":[{\"scope\":");
        append(&mut bytes, &SCOPE);
        bytes.extend_from_slice(b",\"spans\":[");
        list(&mut bytes, &group.spans);
        bytes.extend_from_slice(b"],\"schemaUrl\":");
        append(&mut bytes, &SCHEMA_URL);
        bytes.extend_from_slice(b"}],\"schemaUrl\":");
        append(&mut bytes, &SCHEMA_URL);
        bytes.push(b'}');
    }
    bytes.extend_from_slice(b"]}");
    bytes
}

/// Appends `value` as JSON.
pub(super) fn append(bytes: &mut Vec<u8>, value: &impl Serialize) {
    if let Err(error) = serde_json::to_writer(bytes, value) {
        unreachable!("writing texts, numbers and lists to a vector failed: {error}");
    }
}

/// Appends values that are text already, with commas between them.
pub(super) fn list(bytes: &mut Vec<u8>, values: &[&[u8]]) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(value);
    }
}

const SCOPE: Scope = Scope {
    name: SCOPE_NAME,
    version: SCOPE_VERSION,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: Vec<ResourceSpans<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
    schema_url: &'static str,
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Span<'a>>,
    schema_url: &'static str,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: Hex<'a>,
    span_id: Hex<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Hex<'a>>,
    flags: u32,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: Decimal<u64>,
    end_time_unix_nano: Decimal<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_events_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link<'a>>,
    status: SpanStatus<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link<'a> {
    trace_id: Hex<'a>,
    span_id: Hex<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    time_unix_nano: Decimal<u64>,
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
}

#[derive(Default, Serialize)]
struct SpanStatus<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: Value<'a>,
}

#[derive(Serialize)]
enum Value<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    #[serde(rename = "intValue")]
    Integer(Decimal<i64>),
    #[serde(rename = "boolValue")]
    Boolean(bool),
    #[serde(rename = "arrayValue")]
    Array { values: Vec<Value<'a>> },
}

/// Bytes as lower-case hexadecimal.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A 64-bit integer as a string: JSON's numbers lose their last digits in many readers.
struct Decimal<T>(T);

impl<T: ToString> Serialize for Decimal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

/// Spans by resource, in order of first appearance.
fn by_resource(spans: &[Redacted]) -> Vec<(&span::Resource, Vec<&span::Span>)> {
    let mut groups: Vec<(&Arc<span::Resource>, Vec<&span::Span>)> = Vec::new();
    for redacted in spans {
        let span = redacted.span();
        match groups
            .iter_mut()
            .find(|group| Arc::ptr_eq(group.0, &span.resource))
        {
            Some(group) => group.1.push(span),
            None => groups.push((&span.resource, vec![span])),
        }
    }
    groups
        .into_iter()
        .map(|(resource, spans)| (&**resource, spans))
        .collect()
}

fn whole(spans: &[Redacted]) -> Request<'_> {
    let resource_spans = by_resource(spans)
        .into_iter()
        .map(|(resource, spans)| ResourceSpans {
            resource: Resource {
                attributes: attributes(&resource.attributes),
            },
            scope_spans: [ScopeSpans {
                scope: SCOPE,
                spans: spans.into_iter().map(span).collect(),
                schema_url: SCHEMA_URL,
            }],
            schema_url: SCHEMA_URL,
        })
        .collect();
    Request { resource_spans }
}

fn span(span: &span::Span) -> Span<'_> {
    Span {
        trace_id: Hex(&span.trace_id.0),
        span_id: Hex(&span.span_id.0),
        trace_state: &span.state,
        parent_span_id: span.parent.as_ref().map(|parent| Hex(&parent.0)),
        flags: 1,
        name: &span.name,
        kind: match span.kind {
            Kind::Server => 2,
            Kind::Client => 3,
            Kind::Producer => 4,
            Kind::Consumer => 5,
        },
        start_time_unix_nano: Decimal(span.start.0),
        end_time_unix_nano: Decimal(span.end.0),
        attributes: attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events: span.events.iter().map(event).collect(),
        dropped_events_count: span.dropped_events,
        links: span.link.iter().map(|link| self::link(link)).collect(),
        status: match &span.status {
            Status::Unset => SpanStatus::default(),
            Status::Error(message) => SpanStatus {
                message,
                code: Some(2),
            },
        },
    }
}

fn link(link: &span::Link) -> Link<'_> {
    Link {
        trace_id: Hex(&link.trace_id.0),
        span_id: Hex(&link.span_id.0),
        trace_state: &link.state,
    }
}

fn event(event: &span::Event) -> Event<'_> {
    Event {
        time_unix_nano: Decimal(event.time.0),
        name: &event.name,
        attributes: attributes(&event.attributes),
        dropped_attributes_count: event.dropped_attributes,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn attributes(attributes: &[span::Attribute]) -> Vec<Attribute<'_>> {
    attributes
        .iter()
        .map(|span::Attribute { key, value }| Attribute {
            key,
            value: self::value(value),
        })
        .collect()
}

fn value(value: &span::Value) -> Value<'_> {
    match value {
        span::Value::Text(text) => Value::Text(text),
        span::Value::Integer(integer) => Value::Integer(Decimal(*integer)),
        span::Value::Boolean(boolean) => Value::Boolean(*boolean),
        span::Value::Texts(texts) => Value::Array {
            values: texts.iter().map(|text| Value::Text(text)).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;

    use super::*;
    use crate::export::form::{Form, slices};
    use crate::export::sample::{integer, redacted, resource, span, text};
    use crate::span::{SpanId, Value};

    fn line(spans: &[Redacted]) -> String {
        let mut line = Vec::new();
        write(spans, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    fn samples() -> Vec<Redacted> {
        let (shop, stock) = (resource("shop"), resource("stock"));
        let mut child = span(0xab, 2, &stock);
        child.parent = Some(SpanId([1; 8]));
        child.state = "a=1".into();
        child.kind = Kind::Client;
        child.status = Status::Error("connection reset before the response".into());
        child.events[0].dropped_attributes = 1;
        child.dropped_attributes = 2;
        child.dropped_events = 3;
        child.link = Some(Box::new(span::Link {
            trace_id: span::TraceId([4; 16]),
            span_id: SpanId([5; 8]),
            state: "c=3".into(),
        }));
        child.attributes = vec![
            integer("http.request.body.size", i64::MAX),
            text("url.full", "http://e/\"\u{7f}\n"),
            span::Attribute {
                key: "a".into(),
                value: Value::Boolean(false),
            },
            span::Attribute {
                key: "b".into(),
                value: Value::Texts(["x", ""].map(str::to_owned).into()),
            },
        ];
        let mut empty = span(3, 3, &shop);
        empty.attributes.clear();
        empty.status = Status::Error("".into());
        vec![redacted(span(0xab, 1, &shop)), redacted(child), redacted(empty)]
    }

    #[test]
    fn a_line_is_what_the_collector_would_write() {
        let spans = [redacted(span(0xab, 1, &resource("shop")))];
        let version = env!("CARGO_PKG_VERSION");
        let expected = concat!(
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"#,
            r#""scopeSpans":[{"scope":{"name":"spanwire","version":"VERSION"},"spans":[{"#,
            r#""traceId":"abababababababababababababababab","spanId":"0101010101010101","flags":1,"name":"GET","kind":2,"#,
            r#""startTimeUnixNano":"1795239825123000000","endTimeUnixNano":"1795239825124500000","attributes":["#,
            r#"{"key":"http.request.method","value":{"stringValue":"GET"}},"#,
            r#"{"key":"url.path","value":{"stringValue":"/orders/7"}},"#,
            r#"{"key":"client.address","value":{"stringValue":"10.0.0.2"}},"#,
            r#"{"key":"http.response.status_code","value":{"intValue":"200"}}],"#,
            r#""events":[{"timeUnixNano":"1795239825124000000","name":"http.response.first_byte"}],"status":{}}],"#,
            r#""schemaUrl":"https://opentelemetry.io/schemas/1.44.0"}],"#,
            r#""schemaUrl":"https://opentelemetry.io/schemas/1.44.0"}]}"#,
            "\n"
        );
        assert_eq!(line(&spans), expected.replace("VERSION", version));
    }

    #[test]
    fn others_read_the_same_from_json_as_from_protobuf() {
        let spans = samples();
        let line = line(&spans);
        assert_eq!(line.matches('\n').count(), 1);
        let mut read: ExportTraceServiceRequest = serde_json::from_str(&line).unwrap();
        // A status that is unset is an absent message on the wire, and an empty one in the collector's JSON.
        for span in read
            .resource_spans
            .iter_mut()
            .flat_map(|group| &mut group.scope_spans[0].spans)
        {
            span.status = span.status.take().filter(|status| status.code != 0);
        }
        let requests = Form::Protobuf.requests(slices(Form::Protobuf, &spans), usize::MAX);
        assert_eq!(
            read,
            ExportTraceServiceRequest::decode(&*requests[0].bytes).unwrap()
        );
    }

    #[test]
    fn a_request_is_a_line_without_its_end() {
        let spans = samples();
        let requests = Form::Json.requests(slices(Form::Json, &spans), usize::MAX);
        assert_eq!(
            line(&spans),
            format!("{}\n", str::from_utf8(&requests[0].bytes).unwrap())
        );
    }

    #[test]
    fn nothing_is_no_line() {
        assert_eq!(line(&[]), "");
    }
}
