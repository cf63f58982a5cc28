//! Real servers and real clients, each exchange seen from both of its ends.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::{Expected, both};
use spanwire_tests::port;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::service::{Service, node, python};
use spanwire_tests::session::{Protocol, Session};
use spanwire_tests::workload;

spanwire_tests::under_both_hook_sets!(
    nginx_static_files,
    nginx_proxy_with_kept_upstream,
    nginx_over_ipv6,
    node_server_and_client,
    python_http_server,
    gunicorn_and_requests,
    go_server_and_client,
    a_thousand_requests_on_fifty_connections,
    unix_socket_with_everything_watched,
);

/// Runs curl over `urls` on one connection and gives status and content length of each answer.
fn curl(arguments: &[&str], urls: &[String]) -> Result<Vec<(u16, u64)>> {
    let mut command = child::command("curl");
    command
        .args(["-sS", "-w", "\nanswer %{http_code} %{size_download}\n"])
        .args(arguments);
    for url in urls {
        command.args(["-o", "/dev/null", url]);
    }
    let lines = Child::spawn(command)?.succeed()?;
    let answers = lines.iter().filter_map(|line| line.strip_prefix("answer "));
    answers
        .map(|answer| {
            let (status, size) = answer.split_once(' ').context("two numbers")?;
            Ok((status.parse()?, size.parse()?))
        })
        .collect()
}

fn go(arguments: &[&str]) -> Result<Child> {
    let mut command = child::command(&workload::go("shuttle")?.to_string_lossy());
    command.args(arguments);
    Child::spawn(command)
}

fn go_server() -> Result<Service> {
    let port = port::free()?;
    Service::listening(go(&["serve", &format!("127.0.0.1:{port}")])?, port)
}

fn nginx_static_files(hooks: Hooks) -> Result<()> {
    let nginx = Nginx::start(None)?;
    nginx.file("small", &[b's'; 200])?;
    nginx.file("large", &vec![b'l'; 1 << 20])?;
    let address = nginx.service.address;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let targets = [
        "/small",
        "/large",
        "/missing",
        "/nothing",
        "/broken",
        "/small?a=1&b=2",
    ];
    let answers = curl(&[], &targets.map(|target| format!("http://{address}{target}")))?;
    let head = curl(&["-I"], &[format!("http://{address}/large")])?;
    let mut expected = Vec::new();
    for (target, (status, size)) in targets.into_iter().zip(answers) {
        expected.extend(both("GET", target, address, |span| {
            let span = span.status(status).user_agent("curl/");
            if status == 204 {
                span.bodiless()
            } else {
                span.body(size)
            }
        }));
    }
    assert_eq!(head[0].0, 200);
    expected.extend(both("HEAD", "/large", address, |span| {
        span.user_agent("curl/").bodiless()
    }));
    session.finish(expected.len())?.exactly(&expected)
}

fn nginx_proxy_with_kept_upstream(hooks: Hooks) -> Result<()> {
    let upstream = node::serve()?;
    let nginx = Nginx::start(Some(upstream.address))?;
    let (front, back) = (nginx.service.address, upstream.address);
    let session = Session::start(Options::run(hooks).port(front.port()).port(back.port()))?;
    let targets: Vec<String> = (1..=5)
        .map(|id| format!("/proxy/{id}?length={}", id * 4000))
        .collect();
    let urls: Vec<String> = targets
        .iter()
        .map(|target| format!("http://{front}{target}"))
        .collect();
    curl(&[], &urls)?;
    let mut expected = Vec::new();
    for (id, target) in (1..=5).zip(&targets) {
        let alike = |span: Expected| span.body(id * 4000).user_agent("curl/");
        let proxied = |span: Expected| {
            // nginx hands the client's Host on.
            alike(span).is("server.port", front.port())
        };
        expected.push(alike(Expected::server("GET", target, front)).service("nginx"));
        expected.push(alike(Expected::client("GET", target, front)).service("curl"));
        expected.push(proxied(Expected::server("GET", target, back)).service("checkout"));
        expected.push(
            proxied(Expected::client("GET", target, back))
                .is("url.full", format!("http://{front}{target}"))
                .service("nginx"),
        );
    }
    session.finish(expected.len())?.exactly(&expected)
}

fn nginx_over_ipv6(hooks: Hooks) -> Result<()> {
    let nginx = Nginx::start(None)?;
    nginx.file("small", &[b's'; 200])?;
    let address = nginx.address6;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    curl(&["-g"], &[format!("http://{address}/small")])?;
    let expected = both("GET", "/small", address, |span| {
        span.body(200).user_agent("curl/")
    });
    session.finish(expected.len())?.exactly(&expected)
}

/// `PREFIX/0` to `PREFIX/COUNT-1`, each from both ends.
fn numbered(
    prefix: &str,
    count: usize,
    address: SocketAddr,
    alike: impl Fn(Expected) -> Expected,
) -> Vec<Expected> {
    (0..count)
        .flat_map(|index| both("GET", &format!("{prefix}/{index}"), address, &alike))
        .collect()
}

fn node_server_and_client(hooks: Hooks) -> Result<()> {
    let server = node::serve()?;
    let session = Session::start(Options::run(hooks).port(server.address.port()))?;
    Child::spawn(node::client(server.address, "/node", 200, 10)?)?.succeed()?;
    let expected = numbered("/node", 200, server.address, |span| span.body(1));
    session.finish(expected.len())?.exactly(&expected)
}

fn python_http_server(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("page"), [b'p'; 70_000])?;
    let server = python::files(folder.path())?;
    let address = server.address;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let targets = ["/page", "/absent", "/page?again"];
    let answers = curl(&[], &targets.map(|target| format!("http://{address}{target}")))?;
    let mut expected = Vec::new();
    for (target, (status, size)) in targets.into_iter().zip(answers) {
        expected.extend(both("GET", target, address, |span| {
            span.status(status).body(size).user_agent("curl/")
        }));
    }
    session.finish(expected.len())?.exactly(&expected)
}

fn gunicorn_and_requests(hooks: Hooks) -> Result<()> {
    let server = python::gunicorn()?;
    let address = server.address;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    Child::spawn(python::caller(address, "/shop", 20)?)?.succeed()?;
    let alike = |span: Expected| span.body(1).user_agent("python-requests/");
    let mut expected = numbered("/shop", 20, address, alike);
    expected.extend(both("POST", "/shop/post", address, |span| {
        alike(span).request_body(3)
    }));
    session.finish(expected.len())?.exactly(&expected)
}

fn go_server_and_client(hooks: Hooks) -> Result<()> {
    let server = go_server()?;
    let address = server.address;
    let session = Session::exporting(Protocol::Grpc, Options::run(hooks).port(address.port()))?;
    go(&["call", &format!("http://{address}/go"), "200", "10"])?.succeed()?;
    let expected = numbered("/go", 200, address, |span| {
        span.body(1).user_agent("Go-http-client/1.1").service("shuttle")
    });
    session.finish(expected.len())?.exactly(&expected)
}

fn a_thousand_requests_on_fifty_connections(hooks: Hooks) -> Result<()> {
    let servers = [go_server()?, node::serve()?];
    let [go_address, node_address] = [servers[0].address, servers[1].address];
    let options = Options::run(hooks)
        .port(go_address.port())
        .port(node_address.port());
    let session = Session::start(options)?;
    let calls = [
        Child::spawn(node::client(go_address, "/from-node", 1000, 50)?)?,
        go(&["call", &format!("http://{node_address}/from-go"), "1000", "50"])?,
    ];
    for call in calls {
        call.succeed()?;
    }
    let mut expected = numbered("/from-node", 1000, go_address, |span| span.body(1));
    expected.extend(numbered("/from-go", 1000, node_address, |span| {
        span.body(1).user_agent("Go-http-client/1.1")
    }));
    session.finish(expected.len())?.exactly(&expected)
}

/// Nothing is restricted here: other processes of the machine may well be seen, so only the paths of this test count.
fn unix_socket_with_everything_watched(hooks: Hooks) -> Result<()> {
    let nginx = Nginx::start(None)?;
    let prefix = format!("/unix-{}-", std::process::id());
    let path = nginx.unix.to_string_lossy().into_owned();
    let targets = [format!("{prefix}1"), format!("{prefix}2")];
    for target in &targets {
        nginx.file(target.trim_start_matches('/'), &[b'u'; 500])?;
    }
    let session = Session::start(Options::run(hooks))?;
    let urls = targets.clone().map(|target| format!("http://localhost{target}"));
    curl(&["--unix-socket", &path], &urls)?;
    let mut expected = Vec::new();
    for target in &targets {
        let ends = [
            Expected::server_unix("GET", target, "localhost").service("nginx"),
            Expected::client_unix("GET", target, "localhost", &path).service("curl"),
        ];
        expected.extend(ends.map(|span| span.body(500).user_agent("curl/")));
    }
    assert!(Path::new(&path).exists());
    session.finish(expected.len())?.exactly_under(&prefix, &expected)
}
