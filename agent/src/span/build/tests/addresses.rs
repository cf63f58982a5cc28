//! URLs, and the addresses of server, client and peer.

use super::*;

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
fn unix_sockets_have_a_path_and_no_port_but_that_of_the_url() {
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
            ("server.port", Some("80")),
            ("network.peer.address", Some("/run/app.sock")),
            ("network.peer.port", None),
            ("network.transport", Some("unix")),
        ],
    );
    for (target, port) in [
        ("HTTPS://docker/v1", Some("443")),
        ("https://docker:2376/v1", Some("2376")),
        ("gopher://docker/v1", None),
    ] {
        let row = Row {
            endpoints: endpoints.clone(),
            ..client(target, &[])
        };
        check(&row, &[("url.full", Some(target)), ("server.port", port)]);
    }
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
