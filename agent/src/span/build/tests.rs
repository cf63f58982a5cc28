use super::*;

mod addresses;
mod outcome;

/// One exchange as a table row: a GET answered with 200 over loopback, changed by the row.
struct Row {
    kind: Kind,
    method: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    request_size: Option<u64>,
    cut: bool,
    response: Option<(u16, bool)>,
    ending: Ending,
    endpoints: Endpoints,
    rules: HttpRules,
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

fn server(target: &'static str, headers: &[(&'static str, &'static str)]) -> Row {
    Row {
        kind: Kind::Server,
        method: "GET",
        target,
        headers: headers.to_vec(),
        request_size: None,
        cut: false,
        response: Some((200, true)),
        ending: Ending::Complete,
        endpoints: Endpoints {
            local: ip("10.0.0.1:8080"),
            remote: ip("10.0.0.2:50000"),
        },
        rules: HttpRules::default(),
    }
}

fn client(target: &'static str, headers: &[(&'static str, &'static str)]) -> Row {
    let endpoints = Endpoints {
        local: ip("10.0.0.2:50000"),
        remote: ip("10.0.0.1:8080"),
    };
    Row {
        kind: Kind::Client,
        endpoints,
        ..server(target, headers)
    }
}

impl Row {
    fn span(&self) -> Span {
        let exchange = HttpExchange {
            kind: self.kind,
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent: None,
            state: SmolStr::default(),
            resource: Arc::new(Resource {
                own: crate::span::OwnRules::default(),
                pid: 1,
                attributes: Vec::new(),
            }),
            endpoints: &self.endpoints,
            start: UnixNanoseconds(1_000),
            end: UnixNanoseconds(3_000),
            request: HttpRequest {
                method: Some(self.method),
                target: Some(self.target),
                scheme: None,
                version: HttpVersion::Http11,
                headers: &self.headers,
                body_size: self.request_size,
                is_cut: self.cut,
                unknown_fields: 0,
            },
            response: self.response.map(|(status, complete)| HttpResponse {
                status: Some(status),
                headers: &[("X-Cache", "HIT"), ("Set-Cookie", "id=1")],
                body_size: Some(5),
                first_byte: UnixNanoseconds(2_000),
                complete,
                is_cut: self.cut,
                unknown_fields: 0,
            }),
            ending: self.ending,
        };
        http(exchange, &self.rules)
    }

    /// `key=value` of each attribute, in order.
    fn attributes(&self) -> Vec<String> {
        self.span()
            .attributes
            .iter()
            .map(|attribute| format!("{}={}", attribute.key, show(&attribute.value)))
            .collect()
    }

    fn value(&self, key: &str) -> Option<String> {
        let span = self.span();
        let mut found = span.attributes.iter().filter(|attribute| attribute.key == key);
        let value = found.next().map(|attribute| show(&attribute.value));
        assert!(found.next().is_none(), "{key} twice");
        value
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Texts(texts) => format!("{texts:?}"),
    }
}

#[track_caller]
fn check(row: &Row, expected: &[(&str, Option<&str>)]) {
    for (key, expected) in expected {
        assert_eq!(
            row.value(key).as_deref(),
            *expected,
            "{key} of {} {:?}",
            row.target,
            row.headers
        );
    }
}

#[test]
fn a_server_span_has_these_attributes_and_no_others() {
    let row = server(
        "/orders/7?page=2",
        &[("Host", "shop.example:8080"), ("user-agent", "curl/8.5.0")],
    );
    assert_eq!(
        row.attributes(),
        [
            "http.request.method=GET",
            "url.path=/orders/7",
            "url.query=page=2",
            "url.scheme=http",
            "server.address=shop.example",
            "server.port=8080",
            "client.address=10.0.0.2",
            "network.peer.address=10.0.0.2",
            "network.peer.port=50000",
            "network.protocol.version=1.1",
            "user_agent.original=curl/8.5.0",
            "http.response.status_code=200",
            "http.response.body.size=5",
        ]
    );
    let span = row.span();
    assert_eq!(
        (span.name.as_ref(), span.kind, &span.status),
        ("GET", Kind::Server, &Status::Unset)
    );
}

#[test]
fn a_client_span_has_these_attributes_and_no_others() {
    let row = Row {
        request_size: Some(12),
        ..client("/orders/7?page=2", &[("host", "shop.example:8080")])
    };
    assert_eq!(
        row.attributes(),
        [
            "http.request.method=GET",
            "url.full=http://shop.example:8080/orders/7?page=2",
            "server.address=shop.example",
            "server.port=8080",
            "network.peer.address=10.0.0.1",
            "network.peer.port=8080",
            "network.protocol.version=1.1",
            "http.request.body.size=12",
            "http.response.status_code=200",
            "http.response.body.size=5",
        ]
    );
}

#[test]
fn methods_are_known_or_other() {
    for (method, expected, original, span_name) in [
        ("GET", "GET", None, "GET"),
        ("QUERY", "QUERY", None, "QUERY"),
        ("get", "_OTHER", Some("get"), "HTTP"),
        ("PROPFIND", "_OTHER", Some("PROPFIND"), "HTTP"),
    ] {
        let row = Row {
            method,
            ..server("/", &[])
        };
        check(
            &row,
            &[
                ("http.request.method", Some(expected)),
                ("http.request.method_original", original),
            ],
        );
        assert_eq!(row.span().name, span_name);
    }
    let rules = HttpRules {
        known_methods: vec!["PROPFIND".to_owned()],
        ..HttpRules::default()
    };
    let own = Row {
        method: "PROPFIND",
        rules: rules.clone(),
        ..server("/", &[])
    };
    check(
        &own,
        &[
            ("http.request.method", Some("PROPFIND")),
            ("http.request.method_original", None),
        ],
    );
    let overridden = Row {
        rules,
        ..server("/", &[])
    };
    check(
        &overridden,
        &[
            ("http.request.method", Some("_OTHER")),
            ("http.request.method_original", Some("GET")),
        ],
    );
}

#[test]
fn only_allowed_headers_are_recorded() {
    let headers = [
        ("host", "e.com"),
        ("X-Tenant", "a"),
        ("x-tenant", "b"),
        ("Authorization", "Bearer secret"),
    ];
    let rules = HttpRules {
        request_headers: vec!["x-tenant".to_owned(), "x-absent".to_owned()],
        response_headers: vec!["x-cache".to_owned()],
        ..HttpRules::default()
    };
    assert!(is_header_used(b"X-TENANT", &rules) && is_header_used(b"Host", &rules));
    assert!(!is_header_used(b"authorization", &rules));
    let row = Row {
        rules,
        ..server("/", &headers)
    };
    check(
        &row,
        &[
            ("http.request.header.x-tenant", Some(r#"["a", "b"]"#)),
            ("http.request.header.x-absent", None),
            ("http.response.header.x-cache", Some(r#"["HIT"]"#)),
        ],
    );
    assert!(!format!("{:?}", row.attributes()).contains("secret"));
    let bare = server("/", &headers);
    assert!(
        !bare
            .attributes()
            .iter()
            .any(|attribute| attribute.contains(".header."))
    );
}

#[test]
fn a_head_over_the_limit_is_told() {
    let keys = [
        "spanwire.request.head.truncated",
        "spanwire.response.head.truncated",
    ];
    let mut row = server("/", &[]);
    check(&row, &keys.map(|key| (key, None)));
    row.cut = true;
    check(&row, &keys.map(|key| (key, Some("true"))));
}

#[test]
fn the_first_byte_of_the_response_is_an_event() {
    let span = server("/", &[]).span();
    assert_eq!(
        span.events,
        [Event {
            name: "http.response.first_byte".into(),
            time: UnixNanoseconds(2_000),
            attributes: vec![],
            dropped_attributes: 0,
        }]
    );
    let none = Row {
        response: None,
        ending: Ending::Close(Close::Closed),
        ..server("/", &[])
    };
    assert_eq!(none.span().events, []);
}

#[test]
fn times_never_run_backwards() {
    let endpoints = Endpoints {
        local: ip("10.0.0.1:80"),
        remote: ip("10.0.0.2:5"),
    };
    let row = server("/", &[]);
    let span = http(
        HttpExchange {
            kind: Kind::Server,
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent: Some(SpanId([3; 8])),
            state: "a=1".into(),
            resource: Arc::new(Resource {
                own: crate::span::OwnRules::default(),
                pid: 1,
                attributes: Vec::new(),
            }),
            endpoints: &endpoints,
            start: UnixNanoseconds(500),
            end: UnixNanoseconds(400),
            request: HttpRequest {
                method: Some("GET"),
                target: Some("/"),
                scheme: None,
                version: HttpVersion::Http10,
                headers: &[],
                body_size: None,
                is_cut: false,
                unknown_fields: 0,
            },
            response: Some(HttpResponse {
                status: Some(200),
                headers: &[],
                body_size: None,
                first_byte: UnixNanoseconds(100),
                complete: true,
                is_cut: false,
                unknown_fields: 0,
            }),
            ending: Ending::Complete,
        },
        &row.rules,
    );
    assert_eq!(
        (span.start, span.end, span.events[0].time),
        (UnixNanoseconds(500), UnixNanoseconds(500), UnixNanoseconds(500))
    );
    assert_eq!(span.parent, Some(SpanId([3; 8])));
    assert_eq!(span.state, "a=1");
}
