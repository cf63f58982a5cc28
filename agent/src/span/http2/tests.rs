//! Frames in, spans out.

use super::*;
use crate::connection::piece::Piece;
use crate::connection::{Address, Close, Endpoints};
use crate::protocol::http2::{Connection, Limits, Outcome};
use crate::span::{OwnRules, Resource, SpanId, Status, TraceId};
use std::sync::Arc;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ALL: u8 = 5;

/// A frame; the stream is always the first.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// A header block of literals (RFC 7541, section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let field = |(name, value): &(&str, &str)| {
        let [long, short] = [name, value].map(|text| u8::try_from(text.len()).expect("a short text"));
        [&[0, long], name.as_bytes(), &[short], value.as_bytes()].concat()
    };
    fields.iter().flat_map(field).collect()
}

fn head(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, flags, &block(fields))
}

/// Both sides' frames on one connection, a millisecond each frame, and the span of what they say.
fn span(kind: Kind, frames: &[(Flow, Vec<u8>)]) -> Span {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    let data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    connection.read(Flow::Request, 0, Piece::Bytes { data, starts: None }, &mut out);
    for (time, (flow, data)) in (1..).zip(frames) {
        connection.read(*flow, time, Piece::Bytes { data, starts: None }, &mut out);
    }
    connection.close(99, Close::Closed, &mut out);
    let [Outcome::Exchange(exchange)] = &out[..] else {
        panic!("{out:?}");
    };
    let [here, there] =
        ["10.0.0.1:50051", "10.0.0.2:40000"].map(|it| Address::Ip(it.parse().expect("an address")));
    let endpoints = match kind {
        Kind::Server => Endpoints {
            local: here,
            remote: there,
        },
        _ => Endpoints {
            local: there,
            remote: here,
        },
    };
    let seen = Seen {
        kind,
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        parent: None,
        state: "".into(),
        resource: Arc::new(Resource {
            own: OwnRules::default(),
            pid: 1,
            attributes: Vec::new(),
        }),
        endpoints: &endpoints,
    };
    super::span(
        exchange,
        seen,
        |time: u64| UnixNanoseconds(time * 1_000_000),
        &HttpRules::default(),
    )
}

fn show(span: &Span) -> Vec<String> {
    let value = |value: &Value| match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(integer) => integer.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    attributes
        .map(|it| format!("{}={}", it.key, value(&it.value)))
        .collect()
}

const ASKED: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/pkg.Echo/Say"),
    (":authority", "echo.example:50051"),
    ("content-type", "application/grpc+proto"),
    ("grpc-timeout", "2m"),
];

fn call(kind: Kind, answer: Vec<Vec<u8>>) -> Span {
    let mut frames = vec![
        (Flow::Request, head(END_HEADERS, &ASKED)),
        (Flow::Request, frame(0, END_STREAM, b"\x01\0\0\0\x01a\0\0\0\0\0")),
    ];
    frames.extend(answer.into_iter().map(|frame| (Flow::Response, frame)));
    span(kind, &frames)
}

fn answer(status: &str, message: &str) -> Vec<Vec<u8>> {
    vec![
        head(
            END_HEADERS,
            &[(":status", "200"), ("content-type", "application/grpc")],
        ),
        frame(0, 0, b"\0\0\0\0\x01b"),
        head(ALL, &[("grpc-status", status), ("grpc-message", message)]),
    ]
}

#[test]
fn a_call() {
    let client = call(Kind::Client, answer("0", ""));
    assert_eq!(client.name, "pkg.Echo/Say");
    assert_eq!(
        (client.status.clone(), client.kind),
        (Status::Unset, Kind::Client)
    );
    assert_eq!((client.start.0, client.end.0), (1_000_000, 5_000_000));
    assert_eq!(
        show(&client),
        [
            "rpc.system.name=grpc",
            "rpc.method=pkg.Echo/Say",
            "rpc.response.status_code=OK",
            "server.address=echo.example",
            "server.port=50051",
            "network.protocol.name=http",
            "network.peer.address=10.0.0.1",
            "network.peer.port=50051",
            "network.protocol.version=2",
            "spanwire.rpc.timeout_us=2000",
            "spanwire.rpc.request.messages=2",
            "spanwire.rpc.request.messages.compressed=1",
            "spanwire.rpc.response.messages=1",
        ]
    );
    let server = call(Kind::Server, answer("0", ""));
    assert!(show(&server).contains(&"client.address=10.0.0.2".to_owned()));
    assert!(show(&server).contains(&"client.port=40000".to_owned()));
}

#[test]
fn a_failed_call() {
    for (kind, status, name, failed) in [
        (Kind::Client, "5", "NOT_FOUND", true),
        (Kind::Server, "5", "NOT_FOUND", false),
        (Kind::Client, "13", "INTERNAL", true),
        (Kind::Server, "13", "INTERNAL", true),
        (Kind::Client, "99", "99", true),
        (Kind::Server, "1", "CANCELLED", false),
    ] {
        let span = call(kind, answer(status, "it%20broke"));
        let expect = if failed {
            Status::Error("it broke".into())
        } else {
            Status::Unset
        };
        assert_eq!(span.status, expect, "{status}");
        assert!(show(&span).contains(&format!("rpc.response.status_code={name}")));
        assert_eq!(show(&span).contains(&format!("error.type={name}")), failed);
    }
}

#[test]
fn a_method_that_a_server_does_not_know_may_have_any_name() {
    let server = call(Kind::Server, answer("12", ""));
    assert_eq!(server.name, "grpc");
    assert!(show(&server).contains(&"rpc.method=_OTHER".to_owned()));
    assert!(show(&server).contains(&"rpc.method_original=pkg.Echo/Say".to_owned()));
    assert_eq!(call(Kind::Client, answer("12", "")).name, "pkg.Echo/Say");
}

#[test]
fn a_client_that_gives_up() {
    let cancel = |wait: usize| {
        let mut frames = vec![(Flow::Request, head(END_HEADERS, &ASKED))];
        let window = frame(8, 0, &[0, 0, 0, 1]);
        frames.extend(std::iter::repeat_n((Flow::Response, window), wait));
        frames.push((Flow::Request, frame(3, 0, &[0, 0, 0, 8])));
        let span = span(Kind::Client, &frames);
        show(&span)
            .into_iter()
            .find(|it| it.starts_with("rpc.response.status_code"))
    };
    // A millisecond after it asked, and two, which is all it wanted to wait.
    assert_eq!(cancel(0).as_deref(), Some("rpc.response.status_code=CANCELLED"));
    assert_eq!(
        cancel(1).as_deref(),
        Some("rpc.response.status_code=DEADLINE_EXCEEDED")
    );
}

#[test]
fn a_call_that_was_never_answered() {
    let span = call(Kind::Client, Vec::new());
    assert_eq!(
        span.status,
        Status::Error("connection closed before the response".into())
    );
    assert!(show(&span).contains(&"error.type=connection_closed".to_owned()));
    assert!(
        !show(&span)
            .iter()
            .any(|it| it.starts_with("rpc.response.status_code"))
    );
}

#[test]
fn what_is_no_call_is_http() {
    let frames = [
        (
            Flow::Request,
            head(
                ALL,
                &[
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":path", "/a?b=c"),
                    (":authority", "shop.example"),
                    ("user-agent", "curl"),
                ],
            ),
        ),
        (Flow::Response, head(END_HEADERS, &[(":status", "503")])),
        (Flow::Response, frame(0, END_STREAM, b"hello")),
    ];
    let client = span(Kind::Client, &frames);
    assert_eq!(
        (client.name.as_ref(), client.status.clone()),
        ("GET", Status::Error("".into()))
    );
    assert_eq!(
        show(&client),
        [
            "http.request.method=GET",
            "url.full=https://shop.example/a?b=c",
            "server.address=shop.example",
            "server.port=50051",
            "network.peer.address=10.0.0.1",
            "network.peer.port=50051",
            "network.protocol.version=2",
            "user_agent.original=curl",
            "http.response.status_code=503",
            "http.response.body.size=5",
            "error.type=503",
        ]
    );
    let server = show(&span(Kind::Server, &frames));
    for attribute in [
        "url.path=/a",
        "url.query=b=c",
        "url.scheme=https",
        "server.address=shop.example",
    ] {
        assert!(
            server.contains(&attribute.to_owned()),
            "{attribute} of {server:?}"
        );
    }
}

#[test]
fn what_is_unknown_has_no_attribute() {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    for flow in [Flow::Request, Flow::Response] {
        connection.read(flow, 0, Piece::Gap { length: 0 }, &mut out);
    }
    // Two requests whose path is of the dynamic table, and as many answers whose status is.
    let asked = [frame(1, ALL, b"\x82\x86\xbe"), frame(8, 0, &[0, 0, 0, 1])].concat();
    connection.read(
        Flow::Request,
        1,
        Piece::Bytes {
            data: &asked,
            starts: None,
        },
        &mut out,
    );
    let answered = [
        frame(8, 0, &[0, 0, 0, 1]),
        frame(8, 0, &[0, 0, 0, 1]),
        frame(8, 0, &[0, 0, 0, 1]),
        frame(1, END_HEADERS, b"\xbe"),
        frame(0, END_STREAM, b"a"),
    ]
    .concat();
    connection.read(
        Flow::Response,
        2,
        Piece::Bytes {
            data: &answered,
            starts: None,
        },
        &mut out,
    );
    let [Outcome::Exchange(exchange)] = &out[..] else {
        panic!("{out:?}");
    };
    let endpoints = Endpoints {
        local: Address::Unix(None),
        remote: Address::Unix(None),
    };
    let seen = Seen {
        kind: Kind::Server,
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        parent: None,
        state: "".into(),
        resource: Arc::new(Resource {
            own: OwnRules::default(),
            pid: 1,
            attributes: Vec::new(),
        }),
        endpoints: &endpoints,
    };
    let span = super::span(exchange, seen, UnixNanoseconds, &HttpRules::default());
    assert_eq!(
        show(&span),
        [
            "http.request.method=GET",
            "url.scheme=http",
            "network.protocol.version=2",
            "network.transport=unix",
            "spanwire.request.head.unknown_fields=1",
            "http.response.body.size=1",
            "spanwire.response.head.unknown_fields=1",
        ]
    );
}
