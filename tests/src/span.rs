//! Spans as a backend receives them, read from protobuf and from OTLP/JSON by code of the tests' own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use serde::Deserialize;
use serde_json::Value;

/// Attributes by key.
pub type Attributes = BTreeMap<String, Value>;

/// `SpanKind` numbers of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `SPAN_KIND_SERVER`
    Server,
    /// `SPAN_KIND_CLIENT`
    Client,
    /// `SPAN_KIND_PRODUCER`
    Producer,
    /// `SPAN_KIND_CONSUMER`
    Consumer,
}

impl Kind {
    fn from_number(number: i32) -> Result<Self> {
        match number {
            2 => Ok(Self::Server),
            3 => Ok(Self::Client),
            4 => Ok(Self::Producer),
            5 => Ok(Self::Consumer),
            other => bail!("span of kind {other}"),
        }
    }
}

/// One span with the resource and scope it was exported under.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Attributes of the resource.
    pub resource: Attributes,
    /// Name of the instrumentation scope.
    pub scope: String,
    /// Schema URL of the scope's spans, else of the resource.
    pub schema: String,
    /// Lower-case hex.
    pub trace_id: String,
    /// Lower-case hex.
    pub span_id: String,
    /// Lower-case hex; empty at the root.
    pub parent: String,
    /// `tracestate`; empty where there is none.
    pub state: String,
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    /// Nanoseconds since the Unix epoch.
    pub end: u64,
    /// Attributes.
    pub attributes: Attributes,
    /// Names and times of the events.
    pub events: Vec<(String, u64)>,
    /// Trace ids, span ids and `tracestate` of what it is linked to.
    pub links: Vec<[String; 3]>,
    /// `STATUS_CODE_ERROR`
    pub error: bool,
    /// Description of the status.
    pub description: String,
}

impl Span {
    /// A text attribute.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.attributes.get(key)?.as_str()
    }

    /// What tells spans of one kind apart: method of a call, text of a statement, id of a message, else [`Self::path`].
    #[must_use]
    pub fn subject(&self) -> &str {
        let keys = [
            "rpc.method_original",
            "rpc.method",
            "db.query.text",
            "messaging.message.id",
        ];
        let subject = keys.iter().find_map(|key| self.text(key));
        subject.unwrap_or_else(|| self.path())
    }

    /// What names the request: `url.path`, or the path of `url.full`.
    #[must_use]
    pub fn path(&self) -> &str {
        if let Some(path) = self.text("url.path") {
            return path;
        }
        let url = self.text("url.full").unwrap_or_default();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = rest.find('/').map_or("", |start| &rest[start..]);
        path.split('?').next().unwrap_or_default()
    }
}

/// The spans of one protobuf request.
///
/// # Errors
/// A kind that spanwire never emits, or an attribute given twice.
pub fn from_protobuf(request: &ExportTraceServiceRequest) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for group in &request.resource_spans {
        let resource = attributes(
            group
                .resource
                .as_ref()
                .map_or(&[], |resource| &resource.attributes),
        )?;
        for scope in &group.scope_spans {
            let schema = [&scope.schema_url, &group.schema_url];
            let schema = schema.into_iter().find(|url| !url.is_empty());
            for span in &scope.spans {
                let status = span.status.clone().unwrap_or_default();
                spans.push(Span {
                    resource: resource.clone(),
                    scope: scope.scope.as_ref().map_or("", |scope| &scope.name).to_owned(),
                    schema: schema.cloned().unwrap_or_default(),
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    state: span.trace_state.clone(),
                    kind: Kind::from_number(span.kind)?,
                    name: span.name.clone(),
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano,
                    attributes: attributes(&span.attributes)?,
                    events: span
                        .events
                        .iter()
                        .map(|event| (event.name.clone(), event.time_unix_nano))
                        .collect(),
                    links: span
                        .links
                        .iter()
                        .map(|link| [hex(&link.trace_id), hex(&link.span_id), link.trace_state.clone()])
                        .collect(),
                    error: status.code == 2,
                    description: status.message,
                });
            }
        }
    }
    Ok(spans)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(list: &[KeyValue]) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for entry in list {
        let value = entry.value.as_ref().context("attribute without value")?;
        let old = attributes.insert(entry.key.clone(), plain(value)?);
        ensure!(old.is_none(), "attribute {} twice", entry.key);
    }
    Ok(attributes)
}

fn plain(value: &AnyValue) -> Result<Value> {
    Ok(match value.value.as_ref().context("empty attribute value")? {
        any_value::Value::StringValue(text) => text.as_str().into(),
        any_value::Value::IntValue(number) => (*number).into(),
        any_value::Value::BoolValue(truth) => (*truth).into(),
        any_value::Value::ArrayValue(array) => {
            let values: Result<Vec<Value>> = array.values.iter().map(plain).collect();
            values?.into()
        }
        other => bail!("attribute value {other:?}"),
    })
}

/// The spans of one line of OTLP/JSON, read to the letter of the specification: camelCase, hex ids, numbers of 64
/// bits as strings, enumerations as numbers.
///
/// # Errors
/// The line is not that.
pub fn from_json(line: &str) -> Result<Vec<Span>> {
    let request: json::Request = serde_json::from_str(line).context("line of OTLP/JSON")?;
    let mut spans = Vec::new();
    for group in request.resource_spans {
        let resource = json::attributes(group.resource.attributes)?;
        for scope in group.scope_spans {
            let schema = if scope.schema_url.is_empty() {
                &group.schema_url
            } else {
                &scope.schema_url
            };
            for span in scope.spans {
                spans.push(Span {
                    resource: resource.clone(),
                    scope: scope.scope.name.clone(),
                    schema: schema.clone(),
                    trace_id: span.trace_id,
                    span_id: span.span_id,
                    parent: span.parent_span_id,
                    state: span.trace_state,
                    kind: Kind::from_number(span.kind)?,
                    name: span.name,
                    start: span.start_time_unix_nano.parse()?,
                    end: span.end_time_unix_nano.parse()?,
                    attributes: json::attributes(span.attributes)?,
                    links: span
                        .links
                        .into_iter()
                        .map(|link| [link.trace_id, link.span_id, link.trace_state])
                        .collect(),
                    events: span
                        .events
                        .into_iter()
                        .map(|event| Ok((event.name, event.time_unix_nano.parse()?)))
                        .collect::<Result<_>>()?,
                    error: span.status.code == 2,
                    description: span.status.message,
                });
            }
        }
    }
    Ok(spans)
}

/// OTLP/JSON as the specification has it; a key or type it does not know is an error.
mod json {
    use super::{Attributes, Context, Deserialize, Result, Value, bail, ensure};

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Request {
        pub(super) resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct ResourceSpans {
        pub(super) resource: Resource,
        pub(super) scope_spans: Vec<ScopeSpans>,
        #[serde(default)]
        pub(super) schema_url: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Resource {
        pub(super) attributes: Vec<Entry>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct ScopeSpans {
        pub(super) scope: Scope,
        pub(super) spans: Vec<Span>,
        #[serde(default)]
        pub(super) schema_url: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Scope {
        pub(super) name: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Span {
        pub(super) trace_id: String,
        pub(super) span_id: String,
        #[serde(default)]
        pub(super) trace_state: String,
        #[serde(default)]
        pub(super) parent_span_id: String,
        pub(super) name: String,
        pub(super) kind: i32,
        pub(super) start_time_unix_nano: String,
        pub(super) end_time_unix_nano: String,
        #[serde(default)]
        pub(super) attributes: Vec<Entry>,
        #[serde(default)]
        pub(super) events: Vec<Event>,
        #[serde(default)]
        pub(super) links: Vec<Link>,
        #[serde(default)]
        pub(super) status: Status,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Event {
        pub(super) name: String,
        pub(super) time_unix_nano: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Link {
        pub(super) trace_id: String,
        pub(super) span_id: String,
        #[serde(default)]
        pub(super) trace_state: String,
    }

    #[derive(Default, Deserialize)]
    pub(super) struct Status {
        #[serde(default)]
        pub(super) code: i32,
        #[serde(default)]
        pub(super) message: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Entry {
        key: String,
        value: Value,
    }

    pub(super) fn attributes(list: Vec<Entry>) -> Result<Attributes> {
        let mut attributes = Attributes::new();
        for entry in list {
            let old = attributes.insert(entry.key.clone(), plain(&entry.value)?);
            ensure!(old.is_none(), "attribute {} twice", entry.key);
        }
        Ok(attributes)
    }

    fn plain(value: &Value) -> Result<Value> {
        let object = value.as_object().context("value is an object")?;
        ensure!(object.len() == 1, "one type in {value}");
        let (kind, value) = object.iter().next().context("one type")?;
        Ok(match kind.as_str() {
            "stringValue" => value.as_str().context("a string")?.into(),
            "intValue" => value
                .as_str()
                .context("intValue is a string")?
                .parse::<i64>()?
                .into(),
            "boolValue" => value.as_bool().context("a boolean")?.into(),
            "arrayValue" => {
                let values = value["values"].as_array().context("values")?;
                values.iter().map(plain).collect::<Result<Vec<Value>>>()?.into()
            }
            other => bail!("value of type {other}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{"name":"spanwire"},"spans":[{"traceId":"01","spanId":"02","name":"GET","kind":2,"startTimeUnixNano":"5","endTimeUnixNano":"7","attributes":[{"key":"url.path","value":{"stringValue":"/a"}},{"key":"http.response.status_code","value":{"intValue":"200"}}]}]}]}]}"#;

    #[test]
    fn a_line_of_json_is_read() {
        let spans = from_json(LINE).unwrap();
        assert_eq!(spans.len(), 1);
        assert_eq!((spans[0].start, spans[0].end), (5, 7));
        assert_eq!(spans[0].path(), "/a");
        assert_eq!(spans[0].attributes["http.response.status_code"], 200);
    }

    #[test]
    fn what_the_specification_does_not_allow_is_refused() {
        for (good, bad) in [
            (r#""intValue":"200""#, r#""intValue":200"#),
            (r#""kind":2"#, r#""kind":"SPAN_KIND_SERVER""#),
            ("startTimeUnixNano", "start_time_unix_nano"),
            (r#""startTimeUnixNano":"5""#, r#""startTimeUnixNano":5"#),
        ] {
            assert!(from_json(&LINE.replace(good, bad)).is_err(), "{bad}");
        }
    }
}
