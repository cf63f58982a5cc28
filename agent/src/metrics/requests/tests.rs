//! Spans in, families out.

use super::*;
use crate::redact::Redactor;
use crate::span::example::example;
use crate::span::{self, Attribute, SpanId, Status, TraceId, UnixNanoseconds, semconv as name};

const SECOND: u64 = 1_000_000_000;

struct Case {
    requests: Requests,
    redactor: Redactor,
    ids: u64,
    last: Option<Redacted>,
}

/// What differs between spans here.
struct Of<'a> {
    service: &'a str,
    kind: span::Kind,
    milliseconds: u64,
    parent: Option<SpanId>,
    failed: bool,
    attributes: &'a [(&'static str, span::Value)],
}

fn text(text: &str) -> span::Value {
    span::Value::Text(text.into())
}

impl Case {
    fn new(cardinality: usize) -> Self {
        Self {
            requests: Requests::new(Limits {
                cardinality,
                exemplars: true,
                exponential: false,
            }),
            redactor: Redactor::default(),
            ids: 0,
            last: None,
        }
    }

    fn record(&mut self, of: &Of<'_>) -> SpanId {
        self.ids += 1;
        let span_id = SpanId(self.ids.to_be_bytes());
        let attribute = |(key, value): &(&'static str, span::Value)| Attribute {
            key: (*key).into(),
            value: value.clone(),
        };
        let name = ("service.name", text(of.service));
        let instance = ("service.instance.id", text(&self.ids.to_string()));
        let span = Span {
            trace_id: TraceId([7; 16]),
            span_id,
            parent: of.parent,
            kind: of.kind,
            name: "x".into(),
            start: UnixNanoseconds(SECOND),
            end: UnixNanoseconds(SECOND + of.milliseconds * 1_000_000),
            attributes: of.attributes.iter().map(attribute).collect(),
            status: if of.failed {
                Status::Error("".into())
            } else {
                Status::Unset
            },
            resource: Arc::new(Resource {
                own: span::OwnRules::default(),
                pid: 1,
                attributes: [name, instance].iter().map(attribute).collect(),
            }),
            ..example()
        };
        let span = self.redactor.span(span);
        self.requests.record(&span, SECOND);
        self.last = Some(span);
        span_id
    }

    fn http(
        &mut self,
        service: &str,
        kind: span::Kind,
        milliseconds: u64,
        parent: Option<SpanId>,
        status: i64,
    ) -> SpanId {
        let mut attributes = vec![
            (name::HTTP_REQUEST_METHOD, text("GET")),
            (name::URL_PATH, text("/secret/4711")),
            (name::URL_SCHEME, text("http")),
            (name::SERVER_ADDRESS, text("b.example")),
            (name::SERVER_PORT, span::Value::Integer(8080)),
            (name::HTTP_RESPONSE_STATUS_CODE, span::Value::Integer(status)),
            (name::NETWORK_PROTOCOL_VERSION, text("1.1")),
        ];
        if status >= 500 {
            attributes.push((name::ERROR_TYPE, text(&status.to_string())));
        }
        self.record(&Of {
            service,
            kind,
            milliseconds,
            parent,
            failed: status >= 500,
            attributes: &attributes,
        })
    }

    fn lines(&self) -> Vec<String> {
        let text = crate::metrics::text::write(
            &self.requests.families(),
            crate::metrics::text::Format::Prometheus,
        );
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    fn has(&self, expect: &[&str]) {
        let lines = self.lines();
        for line in expect {
            assert!(
                lines.iter().any(|found| found == line),
                "{line} in\n{}",
                lines.join("\n")
            );
        }
    }
}

#[test]
fn http_has_the_conventions_metrics_with_their_attributes_and_no_others() {
    let mut case = Case::new(100);
    for status in [200, 200, 503] {
        let client = case.http("a", span::Kind::Client, 60, None, status);
        case.http("b", span::Kind::Server, 5, Some(client), status);
    }
    let labels = r#"service_name="b",http_request_method="GET",url_scheme="http",http_response_status_code="200",network_protocol_version="1.1""#;
    let failed = r#"http_request_method="GET",server_address="b.example",server_port="8080",http_response_status_code="503",error_type="503",network_protocol_version="1.1""#;
    case.has(&[
        // A bound is part of its bucket.
        &format!(r#"http_server_request_duration_seconds_bucket{{{labels},le="0.005"}} 2"#),
        &format!("http_server_request_duration_seconds_count{{{labels}}} 2"),
        &format!("http_server_request_duration_seconds_sum{{{labels}}} 0.01"),
        &format!(r#"http_client_request_duration_seconds_bucket{{service_name="a",{failed},le="0.05"}} 0"#),
        &format!(r#"http_client_request_duration_seconds_bucket{{service_name="a",{failed},le="0.075"}} 1"#),
        r#"traces_service_graph_request_total{client="a",server="b",connection_type=""} 3"#,
        r#"traces_service_graph_request_failed_total{client="a",server="b",connection_type=""} 1"#,
        r#"traces_service_graph_request_server_seconds_count{client="a",server="b",connection_type=""} 3"#,
        r#"traces_service_graph_request_client_seconds_bucket{client="a",server="b",connection_type="",le="0.05"} 0"#,
        r#"traces_service_graph_request_client_seconds_bucket{client="a",server="b",connection_type="",le="0.1"} 3"#,
        "traces_service_graph_unpaired_spans_total 0",
    ]);
    assert!(
        !case.lines().concat().contains("4711"),
        "a path is no attribute of a metric"
    );
    // Processes of one service are one.
    let names: std::collections::BTreeSet<_> = case
        .lines()
        .into_iter()
        .filter(|line| line.contains("request_duration_seconds_count"))
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn calls_statements_and_messages_have_theirs() {
    let mut case = Case::new(100);
    let server = [
        (name::SERVER_ADDRESS, text("10.0.0.1")),
        (name::NETWORK_PEER_ADDRESS, text("10.0.0.1")),
    ];
    let mut record = |kind, own: &[(&'static str, span::Value)]| {
        let attributes = [own, &server].concat();
        case.record(&Of {
            service: "shop",
            kind,
            milliseconds: 3,
            parent: None,
            failed: false,
            attributes: &attributes,
        });
    };
    record(
        span::Kind::Client,
        &[
            (name::RPC_SYSTEM_NAME, text("grpc")),
            (name::RPC_METHOD, text("a.B/c")),
            (name::RPC_RESPONSE_STATUS_CODE, text("OK")),
        ],
    );
    record(
        span::Kind::Server,
        &[
            (name::RPC_SYSTEM_NAME, text("grpc")),
            (name::RPC_METHOD, text("a.B/c")),
        ],
    );
    let statement = [
        (name::DB_SYSTEM_NAME, text("postgresql")),
        (name::DB_NAMESPACE, text("orders")),
        (name::DB_OPERATION_NAME, text("SELECT")),
        (name::DB_QUERY_TEXT, text("SELECT 'hunter2'")),
    ];
    record(span::Kind::Client, &statement);
    record(span::Kind::Server, &statement);
    let message = |operation, kind| {
        [
            (name::MESSAGING_SYSTEM, text("rabbitmq")),
            (name::MESSAGING_OPERATION_NAME, text(operation)),
            (name::MESSAGING_OPERATION_TYPE, text(kind)),
            (name::MESSAGING_DESTINATION_NAME, text("q")),
        ]
    };
    record(span::Kind::Producer, &message("publish", "send"));
    record(span::Kind::Consumer, &message("deliver", "process"));
    record(span::Kind::Consumer, &message("get", "receive"));
    let made_up = [
        &message("get", "receive")[..],
        &[(name::MESSAGING_DESTINATION_ANONYMOUS, span::Value::Boolean(true))],
    ]
    .concat();
    record(span::Kind::Consumer, &made_up);
    let queue = r#"messaging_destination_name="q",server_address="10.0.0.1""#;
    case.has(&[
        r#"rpc_client_call_duration_seconds_count{service_name="shop",rpc_system_name="grpc",rpc_method="a.B/c",rpc_response_status_code="OK",server_address="10.0.0.1"} 1"#,
        r#"rpc_server_call_duration_seconds_count{service_name="shop",rpc_system_name="grpc",rpc_method="a.B/c"} 1"#,
        // The database's own end counts in no metric of clients.
        r#"db_client_operation_duration_seconds_count{service_name="shop",db_system_name="postgresql",db_namespace="orders",db_operation_name="SELECT",server_address="10.0.0.1"} 1"#,
        r#"db_client_operation_duration_seconds_bucket{service_name="shop",db_system_name="postgresql",db_namespace="orders",db_operation_name="SELECT",server_address="10.0.0.1",le="0.001"} 0"#,
        &format!(r#"messaging_client_operation_duration_seconds_count{{service_name="shop",messaging_system="rabbitmq",messaging_operation_name="publish",messaging_operation_type="send",{queue}}} 1"#),
        &format!(r#"messaging_process_duration_seconds_count{{service_name="shop",messaging_system="rabbitmq",messaging_operation_name="deliver",{queue}}} 1"#),
        &format!(r#"messaging_client_sent_messages_total{{service_name="shop",messaging_system="rabbitmq",messaging_operation_name="publish",{queue}}} 1"#),
        &format!(r#"messaging_client_consumed_messages_total{{service_name="shop",messaging_system="rabbitmq",messaging_operation_name="get",{queue}}} 1"#),
        r#"messaging_client_consumed_messages_total{service_name="shop",messaging_system="rabbitmq",messaging_operation_name="get",server_address="10.0.0.1"} 1"#,
        r#"traces_service_graph_request_total{client="user",server="shop",connection_type="virtual_node"} 2"#,
    ]);
    let all = case.lines().concat();
    assert!(!all.contains("hunter2"), "{all}");
    // Whoever did not answer here is called after what is known.
    case.requests.sweep(SECOND + 3 * SECOND);
    case.has(&[
        r#"traces_service_graph_request_total{client="shop",server="10.0.0.1",connection_type="virtual_node"} 1"#,
        r#"traces_service_graph_request_total{client="shop",server="orders",connection_type="database"} 1"#,
        r#"traces_service_graph_request_client_seconds_count{client="shop",server="orders",connection_type="database"} 1"#,
        r#"traces_service_graph_request_server_seconds_count{client="shop",server="orders",connection_type="database"} 0"#,
        r#"traces_service_graph_request_total{client="shop",server="rabbitmq",connection_type="messaging_system"} 1"#,
        "traces_service_graph_unpaired_spans_total 3",
    ]);
}

#[test]
fn the_two_ends_find_each_other_in_either_order_once() {
    let mut case = Case::new(100);
    // The server's span is there first: its parent's id is the next but one.
    let client = SpanId(2_u64.to_be_bytes());
    case.http("b", span::Kind::Server, 5, Some(client), 200);
    assert_eq!(case.http("a", span::Kind::Client, 60, None, 503), client);
    // A second one with the same parent has nobody left, and says so.
    case.http("b", span::Kind::Server, 5, Some(client), 200);
    case.requests.sweep(9 * SECOND);
    case.has(&[
        r#"traces_service_graph_request_total{client="a",server="b",connection_type=""} 1"#,
        r#"traces_service_graph_request_failed_total{client="a",server="b",connection_type=""} 1"#,
        "traces_service_graph_unpaired_spans_total 1",
    ]);
}

#[test]
fn a_message_goes_to_each_of_its_consumers() {
    let mut case = Case::new(100);
    let attributes = [(name::MESSAGING_SYSTEM, text("rabbitmq"))];
    let mut record = |service, kind, parent| {
        case.record(&Of {
            service,
            kind,
            milliseconds: 1,
            parent,
            failed: false,
            attributes: &attributes,
        })
    };
    let publish = record("front", span::Kind::Producer, None);
    record("ship", span::Kind::Consumer, Some(publish));
    record("bill", span::Kind::Consumer, Some(publish));
    case.requests.sweep(9 * SECOND);
    case.has(&[
        r#"traces_service_graph_request_total{client="front",server="ship",connection_type="messaging_system"} 1"#,
        r#"traces_service_graph_request_total{client="front",server="bill",connection_type="messaging_system"} 1"#,
        "traces_service_graph_unpaired_spans_total 0",
    ]);
    assert!(
        !case
            .lines()
            .iter()
            .any(|line| line.contains("server=\"rabbitmq\""))
    );
}

#[test]
fn too_many_series_overflow_and_nothing_is_lost_of_the_count() {
    let mut case = Case::new(5);
    for status in 200..300 {
        case.http("a", span::Kind::Server, 1, None, status);
    }
    let lines = case.lines();
    let counts = lines
        .iter()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_count"));
    let sum: u64 = counts
        .clone()
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!((counts.count(), sum), (6, 100));
    case.has(&[
        r#"http_server_request_duration_seconds_count{service_name="a",otel_metric_overflow="true"} 95"#,
        r#"spanwire_metrics_overflowed_total{metric="http.server.request.duration"} 95"#,
    ]);
}

#[test]
fn ends_that_wait_are_bounded_and_those_without_room_counted() {
    let mut case = Case::new(5);
    for _ in 0..20_000 {
        case.http("a", span::Kind::Client, 1, None, 200);
    }
    case.has(&["traces_service_graph_dropped_spans_total 3616"]);
    case.requests.sweep(9 * SECOND);
    case.has(&[
        r#"traces_service_graph_request_total{client="a",server="b.example",connection_type="virtual_node"} 16384"#,
    ]);
}

#[test]
fn where_traces_may_be_dropped_those_that_are_kept_are_named_alone() {
    let named = |case: &Case| -> Vec<SpanId> {
        let families = case.requests.families();
        let points = families.iter().flat_map(|family| &family.points);
        let distributions = points.filter_map(|point| match &point.value {
            Value::Histogram(distribution) => Some(distribution),
            _ => None,
        });
        let exemplars = distributions.flat_map(|distribution| distribution.exemplars.iter().flatten());
        exemplars.map(|exemplar| exemplar.span_id).collect()
    };
    let mut case = Case::new(1);
    case.requests.name_later(true);
    case.http("b", span::Kind::Server, 5, None, 200);
    assert_eq!(named(&case), []);
    let kept = case.http("b", span::Kind::Server, 300, None, 200);
    let span = case.last.take();
    case.requests.name(span.as_slice());
    case.http("b", span::Kind::Server, 300, None, 200);
    assert_eq!(named(&case), [kept]);
    // Nothing is counted by it, above the bound neither.
    case.http("b", span::Kind::Server, 5, None, 404);
    let span = case.last.take();
    case.requests.name(span.as_slice());
    assert_eq!(named(&case), [kept]);
    case.has(&[
        r#"http_server_request_duration_seconds_count{service_name="b",otel_metric_overflow="true"} 1"#,
        r#"spanwire_metrics_overflowed_total{metric="http.server.request.duration"} 1"#,
        r#"traces_service_graph_request_total{client="user",server="b",connection_type="virtual_node"} 4"#,
    ]);
    // At once, where nothing is dropped any more.
    case.requests.name_later(false);
    let last = case.http("b", span::Kind::Server, 300, None, 200);
    assert!(named(&case).contains(&last));
}
