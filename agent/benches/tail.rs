//! What tail sampling costs a span: nanoseconds, for each kind of rules, a line `NAME<TAB>NS` for each round.
//!
//! `cargo bench -p spanwire --bench tail -- ROUNDS`; `cargo xtask bench micro` runs it.

use smol_str::SmolStr;
use spanwire::config::{self, File, layer::Layer};
use spanwire::redact::{Redacted, Redactor, Rules as Redaction};
use spanwire::sample::{TailSampler, rules::Rules};
use spanwire::span::{
    Attribute, Kind, OwnRules, Resource, Span, SpanId, Status, TraceId, UnixNanoseconds, Value,
};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Traces of a round, and spans of each.
const TRACES: u64 = 20_000;
const SPANS: u64 = 5;

/// Spans that come together, as of a turn of the pipeline.
const BATCH: usize = 100;

/// What is measured, and `sampling.tail` of it.
const CASES: [(&str, &str); 5] = [
    ("off", ""),
    ("a share of one in ten", "ratio: 0.1"),
    ("all of it kept", "rates: [{ratio: 1}], ratio: 0"),
    (
        "errors and slow ones, and a share",
        "ratio: 0.1, keep: [{errors: true}, {latency: 500ms}]",
    ),
    (
        "all kinds of rules",
        "ratio: 0.1, spans_per_second: 100, min_traces_per_minute: 5, keep: [{errors: true}, {latency: 500ms}, \
         {percentile: 99}, {services: ['pay-*'], operations: ['POST *']}, {attributes: [{name: tenant, values: [acme]}]}]",
    ),
];

fn main() {
    let rounds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    for _ in 0..rounds.unwrap_or(11) {
        for (name, rules) in CASES {
            println!("{name}\t{:.1}", round(rules));
        }
    }
}

/// Nanoseconds a span of one round.
fn round(rules: &str) -> f64 {
    let mut sampler = TailSampler::new(settings(rules), Arc::default());
    let spans = spans();
    let count = spans.len();
    let mut batches = Vec::new();
    let mut spans = spans.into_iter().peekable();
    while spans.peek().is_some() {
        batches.push(spans.by_ref().take(BATCH).collect::<Vec<_>>());
    }
    let begun = Instant::now();
    // 100,000 spans in 20 s: twice as long as they are held.
    for (number, batch) in (0..).zip(batches) {
        black_box(sampler.turn(batch, number * 20_000_000));
    }
    while let Some(spans) = sampler.drain(u64::MAX / 2) {
        black_box(spans);
    }
    begun.elapsed().as_secs_f64() * 1e9 / count as f64
}

fn settings(rules: &str) -> Option<Rules> {
    let file = File {
        name: "bench".into(),
        text: format!("sampling: {{tail: {{{rules}}}}}\n"),
    };
    let resolved = config::resolve(Some(&file), &BTreeMap::new(), Layer::default());
    let tail = resolved.expect("a configuration").config.sampling.tail;
    tail.map(|tail| Rules::new(&tail).expect("rules"))
}

/// Spans as of HTTP, of ten services and a hundred operations, a few traces at a time.
fn spans() -> Vec<Redacted> {
    let services: Vec<_> = (0..10)
        .map(|number| resource(&format!("service-{number}")))
        .collect();
    let mut redactor = Redactor::new(Redaction::none());
    let mut all = Vec::new();
    for group in 0..TRACES / 10 {
        for id in (0..SPANS).rev() {
            for trace in 10 * group..10 * (group + 1) {
                let place = usize::try_from((trace + id) % 10).unwrap_or(0);
                all.push(redactor.span(span(trace, id, &services[place])));
            }
        }
    }
    all
}

fn resource(service: &str) -> Arc<Resource> {
    let attributes = [
        ("host.name", "host"),
        ("service.name", service),
        ("process.executable.name", "x"),
    ];
    Arc::new(Resource {
        own: OwnRules::default(),
        pid: 1,
        attributes: attributes.map(|(key, value)| text(key, value)).to_vec(),
    })
}

fn text(key: &'static str, value: &str) -> Attribute {
    Attribute {
        key: key.into(),
        value: Value::Text(SmolStr::new(value)),
    }
}

fn span(trace: u64, id: u64, resource: &Arc<Resource>) -> Span {
    let mut trace_id = [1; 16];
    let random = trace.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    trace_id[8..].copy_from_slice(&random.to_be_bytes());
    let status = Attribute {
        key: "http.response.status_code".into(),
        value: Value::Integer(200),
    };
    Span {
        trace_id: TraceId(trace_id),
        span_id: SpanId((trace * SPANS + id + 1).to_be_bytes()),
        parent: (id > 0).then(|| SpanId((trace * SPANS + id).to_be_bytes())),
        state: SmolStr::default(),
        kind: if id.is_multiple_of(2) {
            Kind::Server
        } else {
            Kind::Client
        },
        name: format!("GET /orders/{}", trace % 10).into(),
        start: UnixNanoseconds(1_000_000_000 + id),
        end: UnixNanoseconds(1_001_000_000 + trace % 1000 * 1000),
        attributes: vec![
            text("http.request.method", "GET"),
            text("url.path", "/orders/4711/items"),
            text("url.scheme", "http"),
            text("server.address", "orders.internal"),
            text("network.peer.address", "10.1.2.3"),
            text("network.protocol.version", "1.1"),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
            status,
        ],
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        link: None,
        status: Status::Unset,
        resource: Arc::clone(resource),
    }
}
