//! Spans for the tests of this module.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::redact::{Redacted, Redactor};
use crate::span::example::example;
use crate::span::{Attribute, Event, OwnRules, Resource, Span, SpanId, TraceId, UnixNanoseconds, Value};

/// A resource called `service`.
pub(super) fn resource(service: &'static str) -> Arc<Resource> {
    Arc::new(Resource {
        own: OwnRules::default(),
        pid: 4711,
        attributes: vec![text("service.name", service)],
    })
}

/// A text attribute.
pub(super) fn text(key: &'static str, value: &'static str) -> Attribute {
    Attribute {
        key: key.into(),
        value: Value::Text(value.into()),
    }
}

/// An integer attribute.
pub(super) fn integer(key: &'static str, value: i64) -> Attribute {
    Attribute {
        key: key.into(),
        value: Value::Integer(value),
    }
}

/// A GET of `/orders/7` answered with 200 in 1.5 ms, in the trace and with the span id of that number.
pub(super) fn span(trace: u8, id: u8, resource: &Arc<Resource>) -> Span {
    // 2026-11-21 05:43:45.123 UTC
    let start = 1_795_239_825_123_000_000;
    Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId([id; 8]),
        start: UnixNanoseconds(start),
        end: UnixNanoseconds(start + 1_500_000),
        attributes: vec![
            text("http.request.method", "GET"),
            text("url.path", "/orders/7"),
            text("client.address", "10.0.0.2"),
            integer("http.response.status_code", 200),
        ],
        events: vec![Event {
            name: "http.response.first_byte".into(),
            time: UnixNanoseconds(start + 1_000_000),
            attributes: vec![],
            dropped_attributes: 0,
        }],
        resource: resource.clone(),
        ..example()
    }
}

/// `span` with nothing taken out.
pub(super) fn redacted(span: Span) -> Redacted {
    Redactor::default().span(span)
}

/// `count` spans of one service, each a trace of its own.
pub(super) fn spans(count: u8) -> Vec<Redacted> {
    let resource = resource("shop");
    (1..=count).map(|id| redacted(span(id, id, &resource))).collect()
}

/// A small file system in memory, gone when dropped; `None` where we may not mount one.
pub(super) struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    pub(super) fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args([
            "-t",
            "tmpfs",
            "-o",
            &format!("size={size},mode=0700"),
            "spanwire-test",
        ]);
        let status = mount.arg(folder.path()).stderr(Stdio::null()).status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
