use super::*;

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
            resource: Arc::new(Resource {
                pid: 1,
                attributes: Vec::new(),
            }),
            endpoints: &self.endpoints,
            start: UnixNanoseconds(1_000),
            end: UnixNanoseconds(3_000),
            request: HttpRequest {
                method: self.method,
                target: self.target,
                version: HttpVersion::Http11,
                headers: &self.headers,
                body_size: self.request_size,
                is_cut: self.cut,
            },
            response: self.response.map(|(status, complete)| HttpResponse {
                status,
                headers: &[("X-Cache", "HIT"), ("Set-Cookie", "id=1")],
                body_size: Some(5),
                first_byte: UnixNanoseconds(2_000),
                complete,
                is_cut: self.cut,
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
fn url_of_a_server_span() {
    for (method, target, path, query, scheme) in [
        ("GET", "/", "/", None, "http"),
        ("GET", "/a?", "/a", None, "http"),
        ("GET", "/a?b=1&c", "/a", Some("b=1&c"), "http"),
        ("GET", "HTTPS://other.example/p?q", "/p", Some("q"), "https"),
        ("GET", "http://other.example", "/", None, "http"),
        ("OPTIONS", "*", "", None, "http"),
        ("CONNECT", "db.example:5432", "", None, "http"),
    ] {
        let row = Row {
            method,
            ..server(target, &[("host", "shop.example")])
        };
        check(
            &row,
            &[
                ("url.path", Some(path)),
                ("url.query", query),
                ("url.scheme", Some(scheme)),
                ("url.full", None),
            ],
        );
    }
}

#[test]
fn server_address_of_a_server_span() {
    for (target, headers, address, port) in [
        (
            "/",
            vec![("host", "shop.example:81")],
            Some("shop.example"),
            Some("81"),
        ),
        ("/", vec![("host", "[::1]:81")], Some("::1"), Some("81")),
        // The connection is to port 8080: a host without a port does not say which one was meant.
        ("/", vec![("host", "shop.example")], Some("shop.example"), None),
        (
            "http://other.example:82/",
            vec![("host", "shop.example")],
            Some("other.example"),
            Some("82"),
        ),
        (
            "/",
            vec![("host", "a"), ("x-forwarded-host", "b:83")],
            Some("b"),
            Some("83"),
        ),
        (
            "/",
            vec![("host", "a"), ("forwarded", "host=b;proto=https")],
            Some("b"),
            Some("443"),
        ),
        ("/", vec![("host", "a"), ("forwarded", "host=b")], Some("b"), None),
        ("/", vec![("host", "\u{1b}[31m")], Some("10.0.0.1"), Some("8080")),
        ("/", vec![], Some("10.0.0.1"), Some("8080")),
    ] {
        check(
            &server(target, &headers),
            &[("server.address", address), ("server.port", port)],
        );
    }
    let endpoints = Endpoints {
        local: ip("10.0.0.1:80"),
        remote: ip("10.0.0.2:50000"),
    };
    check(
        &Row {
            endpoints,
            ..server("/", &[("host", "shop.example")])
        },
        &[("server.port", Some("80"))],
    );
}

#[test]
fn proxies_tell_of_the_client_and_its_scheme() {
    let row = server(
        "/",
        &[
            ("X-Forwarded-For", "203.0.113.7, 10.0.0.2"),
            ("X-Forwarded-Proto", "https"),
        ],
    );
    check(
        &row,
        &[
            ("client.address", Some("203.0.113.7")),
            ("network.peer.address", Some("10.0.0.2")),
        ],
    );
    check(&row, &[("url.scheme", Some("https"))]);
    check(
        &server("/", &[("forwarded", "for=unknown")]),
        &[("client.address", Some("10.0.0.2"))],
    );
    check(
        &client("/", &[("x-forwarded-for", "203.0.113.7")]),
        &[("client.address", None), ("url.scheme", None)],
    );
}

#[test]
fn url_of_a_client_span() {
    for (method, target, headers, url, address, port) in [
        (
            "GET",
            "/a?b",
            vec![("host", "e.com")],
            "http://e.com/a?b",
            "e.com",
            "8080",
        ),
        (
            "GET",
            "/a",
            vec![("host", "[::1]:9")],
            "http://[::1]:9/a",
            "::1",
            "9",
        ),
        ("GET", "/a", vec![], "http://10.0.0.1:8080/a", "10.0.0.1", "8080"),
        (
            "GET",
            "http://u:p@e.com:9/a",
            vec![("host", "x")],
            "http://u:p@e.com:9/a",
            "e.com",
            "9",
        ),
        (
            "OPTIONS",
            "*",
            vec![("host", "e.com:9")],
            "http://e.com:9",
            "e.com",
            "9",
        ),
        (
            "CONNECT",
            "e.com:443",
            vec![("host", "e.com:443")],
            "http://e.com:443",
            "e.com",
            "443",
        ),
        (
            "GET",
            "odd",
            vec![("host", "e.com:9")],
            "http://e.com:9/odd",
            "e.com",
            "9",
        ),
    ] {
        let row = Row {
            method,
            ..client(target, &headers)
        };
        check(
            &row,
            &[
                ("url.full", Some(url)),
                ("server.address", Some(address)),
                ("server.port", Some(port)),
            ],
        );
        check(
            &row,
            &[("url.path", None), ("url.query", None), ("url.scheme", None)],
        );
    }
    let endpoints = Endpoints {
        local: ip("[::1]:5"),
        remote: ip("[::ffff:10.0.0.1]:80"),
    };
    check(
        &Row {
            endpoints,
            ..client("/a", &[])
        },
        &[("url.full", Some("http://10.0.0.1/a"))],
    );
}

#[test]
fn unix_sockets_have_a_path_and_no_port() {
    let path = || Address::Unix(Some("/run/app.sock".to_owned()));
    let endpoints = Endpoints {
        local: Address::Unix(None),
        remote: path(),
    };
    check(
        &Row {
            endpoints: endpoints.clone(),
            ..client("/v1", &[("host", "docker")])
        },
        &[
            ("url.full", Some("http://docker/v1")),
            ("server.address", Some("docker")),
            ("server.port", None),
            ("network.peer.address", Some("/run/app.sock")),
            ("network.peer.port", None),
            ("network.transport", Some("unix")),
        ],
    );
    check(
        &Row {
            endpoints,
            ..client("/v1", &[])
        },
        &[
            ("url.full", None),
            ("server.address", Some("/run/app.sock")),
            ("server.port", None),
        ],
    );
    let endpoints = Endpoints {
        local: path(),
        remote: Address::Unix(None),
    };
    check(
        &Row {
            endpoints,
            ..server("/v1", &[])
        },
        &[
            ("server.address", Some("/run/app.sock")),
            ("server.port", None),
            ("client.address", None),
            ("network.peer.address", None),
            ("network.transport", Some("unix")),
        ],
    );
}

#[test]
fn status_codes_are_errors_by_kind() {
    for (code, server_error, client_error) in [
        (200, false, false),
        (304, false, false),
        (404, false, true),
        (500, true, true),
        (599, true, true),
        (999, true, true),
    ] {
        for (row, is_error) in [(server("/", &[]), server_error), (client("/", &[]), client_error)] {
            let row = Row {
                response: Some((code, true)),
                ..row
            };
            let text = code.to_string();
            check(&row, &[("error.type", is_error.then_some(text.as_str()))]);
            let expected = if is_error {
                Status::Error("".into())
            } else {
                Status::Unset
            };
            assert_eq!(row.span().status, expected, "{code}");
            check(&row, &[("http.response.status_code", Some(text.as_str()))]);
        }
    }
}

#[test]
fn an_exchange_without_its_response_says_how_it_ended() {
    for (close, response, error, description) in [
        (
            Close::Closed,
            None,
            "connection_closed",
            "connection closed before the response",
        ),
        (
            Close::Closed,
            Some((200, false)),
            "connection_closed",
            "connection closed in the middle of the response",
        ),
        (
            Close::Reset,
            None,
            "connection_reset",
            "connection reset before the response",
        ),
        (
            Close::Reset,
            Some((200, false)),
            "connection_reset",
            "connection reset in the middle of the response",
        ),
        (
            Close::TimedOut,
            None,
            "connection_timeout",
            "connection timed out before the response",
        ),
        (
            Close::TimedOut,
            Some((200, false)),
            "connection_timeout",
            "connection timed out in the middle of the response",
        ),
        (
            Close::Stopped,
            None,
            "spanwire_stopped",
            "spanwire stopped before the response",
        ),
        (
            Close::Stopped,
            Some((200, false)),
            "spanwire_stopped",
            "spanwire stopped in the middle of the response",
        ),
        (Close::Reset, Some((503, false)), "503", ""),
    ] {
        let row = Row {
            ending: Ending::Close(close),
            response,
            ..server("/", &[])
        };
        check(&row, &[("error.type", Some(error))]);
        assert_eq!(row.span().status, Status::Error(description.into()));
    }
}

#[test]
fn a_response_that_ended_with_its_connection_is_no_error() {
    let row = Row {
        ending: Ending::Close(Close::Closed),
        ..client("/", &[])
    };
    check(&row, &[("error.type", None)]);
    assert_eq!(row.span().status, Status::Unset);
}

#[test]
fn an_upgrade_is_no_error() {
    for (method, target, code) in [("GET", "/ws", 101), ("CONNECT", "e.com:443", 200)] {
        let row = Row {
            method,
            response: Some((code, true)),
            ending: Ending::Upgraded,
            ..client(target, &[])
        };
        check(&row, &[("error.type", None)]);
        assert_eq!(row.span().status, Status::Unset);
    }
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
    assert!(is_header_used("X-TENANT", &rules) && is_header_used("Host", &rules));
    assert!(!is_header_used("authorization", &rules));
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
            resource: Arc::new(Resource {
                pid: 1,
                attributes: Vec::new(),
            }),
            endpoints: &endpoints,
            start: UnixNanoseconds(500),
            end: UnixNanoseconds(400),
            request: HttpRequest {
                method: "GET",
                target: "/",
                version: HttpVersion::Http10,
                headers: &[],
                body_size: None,
                is_cut: false,
            },
            response: Some(HttpResponse {
                status: 200,
                headers: &[],
                body_size: None,
                first_byte: UnixNanoseconds(100),
                complete: true,
                is_cut: false,
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
}
