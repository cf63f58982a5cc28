//! Connections that were open, idle or in the middle of a message, before spanwire started.

use std::net::TcpStream;

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::bulk::pattern;
use spanwire_tests::expect::both;
use spanwire_tests::http::{self, Connection, Server};
use spanwire_tests::port;
use spanwire_tests::service::{nginx::Nginx, node};
use spanwire_tests::session::Session;
use spanwire_tests::wait;
use std::sync::mpsc;

spanwire_tests::under_both_hook_sets!(
    idle_connections,
    kept_upstream_of_a_proxy,
    in_the_middle_of_a_response,
    in_the_middle_of_a_request,
    before_the_response,
);

fn idle_connections(hooks: Hooks) -> Result<()> {
    let server = node::serve()?;
    let address = server.address;
    let host = address.to_string();
    let mut never_used = http::connect(address)?;
    let mut used = http::connect(address)?;
    for id in 1..=3 {
        let target = format!("/unseen/{id}?length=10000");
        ensure!(used.call("GET", &target, &host, &[])?.status() == 200);
    }
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let mut expected = Vec::new();
    for (name, connection) in [("never-used", &mut never_used), ("used", &mut used)] {
        for id in 1..=3 {
            let target = format!("/{name}/{id}?length={id}00");
            ensure!(connection.call("GET", &target, &host, &[])?.status() == 200);
            expected.extend(both("GET", &target, address, |span| span.body(id * 100)));
        }
    }
    session.finish(expected.len())?.exactly(&expected)
}

fn kept_upstream_of_a_proxy(hooks: Hooks) -> Result<()> {
    let upstream = node::serve()?;
    let nginx = Nginx::start(Some(upstream.address))?;
    let (front, back) = (nginx.service.address, upstream.address);
    let host = front.to_string();
    let mut client = http::connect(front)?;
    client.call("GET", "/proxy/unseen", &host, &[])?;
    let session = Session::start(Options::run(hooks).port(front.port()).port(back.port()))?;
    let mut expected = Vec::new();
    for id in 1..=3 {
        let target = format!("/proxy/{id}?length=6000");
        client.call("GET", &target, &host, &[])?;
        expected.extend(both("GET", &target, front, |span| span.body(6000)));
        let url = format!("http://{front}{target}");
        let [server, client] = both("GET", &target, back, |span| {
            span.body(6000).is("server.port", front.port())
        });
        expected.extend([server, client.is("url.full", url)]);
    }
    session.finish(expected.len())?.exactly(&expected)
}

/// What was under way when spanwire came may be counted as lost, but is never taken for anything else.
struct Begun {
    session: Session,
    client: Connection<TcpStream>,
    go_on: mpsc::Sender<()>,
    _server: Server,
    address: std::net::SocketAddr,
}

/// A server that answers its first request in two parts, the second one when it is told to.
fn begin(hooks: Hooks, first: &'static [u8], second: &'static [u8], request: &[u8]) -> Result<Begun> {
    let (listener, address) = port::listener()?;
    let (go_on, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let (reached, has_reached) = mpsc::channel::<()>();
    let server = Server::tcp(listener, move |mut connection| {
        if !connection.head().is_ok_and(|head| head.is_some()) || connection.send(first).is_err() {
            return;
        }
        let _ = reached.send(());
        let told = told.lock().is_ok_and(|told| told.recv().is_ok());
        // What of the first request's content is yet to come is zeroes.
        let mut rest = Vec::new();
        if !told || connection.exactly(1000, &mut rest).is_err() || connection.send(second).is_err() {
            return;
        }
        http::serve(connection, |request| {
            Some(http::response(200, request.target().as_bytes()))
        });
    })?;
    let mut client = http::connect(address)?;
    client.send(request)?;
    client.exactly(first.len(), &mut Vec::new())?;
    has_reached.recv_timeout(wait::LIMIT)?;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    Ok(Begun {
        session,
        client,
        go_on,
        _server: server,
        address,
    })
}

impl Begun {
    /// Lets the first exchange end, then makes three whole ones: these and no others have spans.
    fn end(mut self, rest_of_request: &[u8], rest_of_response: usize) -> Result<()> {
        self.client.send(rest_of_request)?;
        self.go_on.send(())?;
        self.client.exactly(rest_of_response, &mut Vec::new())?;
        let host = self.address.to_string();
        let mut expected = Vec::new();
        for id in 1..=3 {
            let target = format!("/seen/{id}");
            let answer = self.client.call("GET", &target, &host, &[])?;
            ensure!(answer.text() == target, "{answer:?}");
            expected.extend(both("GET", &target, self.address, |span| {
                span.body(target.len() as u64)
            }));
        }
        self.session.finish(expected.len())?.spans_are(&expected)
    }
}

const REQUEST: &str = "POST /unseen HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n";

fn whole_request() -> Vec<u8> {
    [REQUEST.as_bytes(), &[b'z'; 1000]].concat()
}

/// 100,000 bytes of content, half of them before the start.
fn in_the_middle_of_a_response(hooks: Hooks) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let first = [head.as_bytes(), &pattern(3, 50_000)].concat().leak();
    let second = pattern(4, 50_000).leak();
    begin(hooks, first, second, &whole_request())?.end(&[], 50_000)
}

fn in_the_middle_of_a_request(hooks: Hooks) -> Result<()> {
    let answer = http::response(200, b"unseen").leak();
    let length = answer.len();
    begin(hooks, &[], answer, REQUEST.as_bytes())?.end(&[b'z'; 1000], length)
}

fn before_the_response(hooks: Hooks) -> Result<()> {
    let answer = http::response(200, b"unseen").leak();
    let length = answer.len();
    begin(hooks, &[], answer, &whole_request())?.end(&[], length)
}
