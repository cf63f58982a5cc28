use super::*;
use crate::connection::piece::Piece;
use crate::connection::{Address, Close, Endpoints};
use crate::protocol::amqp::{Connection, Delivery, Flow, Limits, Outcome};
use crate::span::{OwnRules, Resource, SpanId, TraceId, Value};
use std::sync::Arc;

/// A publish of three bytes with message id `m` and correlation id `c`.
fn publish(exchange: &str, key: &str) -> Exchange<u64> {
    let short = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let frame = |kind: u8, payload: &[u8]| {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1][..], &size, payload, b"\xce"].concat()
    };
    let method = [b"\0\x3c\0\x28\0\0", &short(exchange)[..], &short(key), b"\0"].concat();
    let bytes = [
        frame(1, &method),
        frame(2, b"\0\x3c\0\0\0\0\0\0\0\0\0\x03\x04\x80\x01c\x01m"),
        frame(3, b"abc"),
    ]
    .concat();
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    connection.read(Flow::Request, 1, Piece::Gap { length: 0 }, &mut out);
    connection.read(
        Flow::Request,
        2,
        Piece::Bytes {
            data: &bytes,
            starts: None,
        },
        &mut out,
    );
    match out.pop() {
        Some(Outcome::Exchange(exchange)) => exchange,
        other => panic!("{other:?}"),
    }
}

/// The same, delivered from `queue`.
fn delivery(exchange: &str, key: &str, queue: Option<&str>) -> Exchange<u64> {
    Exchange {
        operation: Operation::Deliver,
        queue: queue.map(Arc::from),
        delivery: Some(Delivery {
            tag: 7,
            redelivered: false,
            consumer: Some("ctag".into()),
        }),
        ending: Ending::Ack,
        ended: 9,
        ..publish(exchange, key)
    }
}

fn built(exchange: &Exchange<u64>, kind: Kind) -> Span {
    let ip = |text: &str| Address::Ip(text.parse().unwrap());
    let [local, remote] = match kind {
        Kind::Server => ["10.0.0.1:5672", "10.0.0.2:50000"],
        _ => ["10.0.0.2:50000", "10.0.0.1:5672"],
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
        endpoints: &Endpoints {
            local: ip(local),
            remote: ip(remote),
        },
    };
    span(exchange, seen, UnixNanoseconds, &[])
}

/// The attributes, each as text.
fn attributes(span: &Span) -> Vec<(&str, String)> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Texts(texts) => texts.join(","),
    };
    let all = span.attributes.iter();
    all.map(|attribute| (&*attribute.key, text(&attribute.value)))
        .collect()
}

fn check(exchange: &Exchange<u64>, expect: &[(&str, &str)]) {
    let span = built(exchange, Kind::Client);
    let expect: Vec<_> = expect
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect();
    assert_eq!(attributes(&span), expect);
}

const ENDS: [(&str, &str); 4] = [
    ("server.address", "10.0.0.1"),
    ("server.port", "5672"),
    ("network.peer.address", "10.0.0.1"),
    ("network.peer.port", "5672"),
];

#[test]
fn a_publish() {
    let what = [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.name", "publish"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "logs:info"),
        ("messaging.rabbitmq.destination.routing_key", "info"),
        ("messaging.message.id", "m"),
        ("messaging.message.conversation_id", "c"),
        ("messaging.message.body.size", "3"),
    ];
    let exchange = publish("logs", "info");
    check(&exchange, &[&what[..], &ENDS].concat());
    let span = built(&exchange, Kind::Client);
    assert_eq!(
        (&*span.name, span.kind, &span.status),
        ("publish logs:info", Kind::Producer, &Status::Unset)
    );
    assert_eq!((span.start, span.end), (UnixNanoseconds(2), UnixNanoseconds(2)));
    // What the broker sees differs in who the peer is.
    let span = built(&exchange, Kind::Server);
    let ends = attributes(&span).split_off(what.len());
    let values: Vec<_> = ends.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["10.0.0.1", "5672", "10.0.0.2", "50000"]);
}

#[test]
fn a_delivery_and_a_get() {
    let what = [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.name", "deliver"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "logs:info:q"),
        ("messaging.rabbitmq.destination.routing_key", "info"),
        ("messaging.rabbitmq.message.delivery_tag", "7"),
        ("messaging.message.id", "m"),
        ("messaging.message.conversation_id", "c"),
        ("messaging.message.body.size", "3"),
        ("spanwire.messaging.settlement", "ack"),
    ];
    let exchange = delivery("logs", "info", Some("q"));
    check(&exchange, &[&what[..], &ENDS].concat());
    let span = built(&exchange, Kind::Client);
    assert_eq!((&*span.name, span.kind), ("deliver logs:info:q", Kind::Consumer));
    assert_eq!(span.end, UnixNanoseconds(9));
    let get = Exchange {
        operation: Operation::Get,
        ending: Ending::Content,
        ..exchange
    };
    let span = built(&get, Kind::Client);
    assert_eq!((&*span.name, span.kind), ("get logs:info:q", Kind::Consumer));
    assert_eq!(
        attributes(&span)[2],
        ("messaging.operation.type", "receive".to_owned())
    );
}

#[test]
fn destinations_are_made_of_what_has_a_name() {
    for (exchange, destination, span_name) in [
        (publish("x", ""), "x", "publish x"),
        (publish("", "q"), "q", "publish q"),
        (publish("", ""), "amq.default", "publish amq.default"),
        (publish("", "amq.gen-1"), "amq.gen-1", "publish"),
        (delivery("x", "k", None), "x:k", "deliver x:k"),
        (delivery("x", "", Some("q")), "x:q", "deliver x:q"),
        (delivery("", "q", Some("q")), "q", "deliver q"),
        (
            delivery("x", "k", Some("amq.gen-1")),
            "x:k:amq.gen-1",
            "deliver x:k",
        ),
    ] {
        let span = built(&exchange, Kind::Client);
        assert_eq!(attributes(&span)[3].1, destination);
        assert_eq!(span.name, span_name);
        let marked = attributes(&span)[4].0 == "messaging.destination.anonymous";
        assert_eq!(marked, destination.contains("amq.gen"));
    }
}

#[test]
fn errors() {
    let sent = |ending, returned| Exchange {
        ending,
        returned,
        ..publish("x", "k")
    };
    let came = |ending| Exchange {
        ending,
        ..delivery("x", "k", None)
    };
    let requeue = false;
    for (exchange, error, description) in [
        (sent(Ending::Ack, None), None, ""),
        (sent(Ending::Unseen, None), None, ""),
        (sent(Ending::Nack { requeue }, None), Some("nack"), ""),
        (sent(Ending::Ack, Some(312)), Some("312"), "NO_ROUTE"),
        (sent(Ending::Closed(404), None), Some("404"), "NOT_FOUND"),
        (
            sent(Ending::Close(Close::Reset), None),
            Some("connection_reset"),
            "connection reset before the response",
        ),
        (came(Ending::Closed(320)), Some("320"), "CONNECTION_FORCED"),
        (came(Ending::Nack { requeue }), None, ""),
        (came(Ending::Reject { requeue }), None, ""),
        (came(Ending::Unseen), None, ""),
    ] {
        let span = built(&exchange, Kind::Client);
        let attributes = attributes(&span);
        let seen = attributes.iter().find(|(key, _)| *key == "error.type");
        assert_eq!(seen.map(|(_, value)| value.as_str()), error);
        let status = error.map_or(Status::Unset, |_| Status::Error(SmolStr::new(description)));
        assert_eq!(span.status, status);
    }
}
