//! Both ends of an exchange on this host find each other, with nothing on the wire: by where its first byte is in the
//! stream, whatever the addresses that each end sees.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::http::{self, Connection, Stream};
use spanwire_tests::namespaces::Namespaces;
use spanwire_tests::seen::Seen;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(over_each_kind_of_socket, between_network_namespaces);

/// Requests on a connection.
const REQUESTS: usize = 20;
/// Connections at a time.
const CONNECTIONS: usize = 16;

fn server(mut command: Command, arguments: &[&str]) -> Result<Child> {
    command.arg(workload::file("answer.py")?).args(arguments);
    let mut child = Child::spawn(command)?;
    child.line("listening")?;
    Ok(child)
}

fn python() -> Command {
    child::command(workload::PYTHON)
}

fn ask<S: Stream>(connection: &mut Connection<S>, prefix: &str) -> Result<()> {
    for number in 0..REQUESTS {
        let target = format!("/{prefix}/{number}");
        let answer = connection.call("GET", &target, "localhost", &[])?;
        ensure!(answer.text() == target, "{answer:?}");
    }
    Ok(())
}

/// Each on connections of its own, at the same time.
fn ask_all<S: Stream>(prefix: &str, connect: impl Fn() -> Result<Connection<S>> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let connect = &connect;
        let all = (0..CONNECTIONS)
            .map(|number| scope.spawn(move || ask(&mut connect()?, &format!("{prefix}/{number}"))));
        let all: Vec<_> = all.collect();
        all.into_iter()
            .try_for_each(|one| one.join().unwrap_or_else(|_| bail!("a client panicked")))
    })
}

/// Each request has a span at both ends, and the one of who answered it is a child of the one of who asked.
fn both_ends(seen: &Seen, count: usize) -> Result<()> {
    let losses = seen.summary.losses();
    ensure!(losses.is_empty(), "losses: {losses:?}");
    ensure!(
        seen.spans.len() == 2 * count,
        "{} spans, {} expected",
        seen.spans.len(),
        2 * count
    );
    let clients = seen.spans.iter().filter(|span| span.kind == Kind::Client);
    let clients: HashMap<&str, &Span> = clients.map(|span| (span.path(), span)).collect();
    ensure!(clients.len() == count, "{} clients", clients.len());
    for span in seen.spans.iter().filter(|span| span.kind == Kind::Server) {
        let client = clients
            .get(span.path())
            .with_context(|| format!("nobody asked: {span:#?}\n{:?}", clients.keys()))?;
        ensure!(
            client.parent.is_empty() && span.parent == client.span_id && span.trace_id == client.trace_id,
            "{client:#?}\n{span:#?}"
        );
    }
    Ok(())
}

fn over_each_kind_of_socket(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let [v4, v6, dual] = [port::free()?, port::free()?, port::free()?];
    let servers = [
        server(python(), &["tcp", "127.0.0.1", &v4.to_string()])?,
        server(python(), &["tcp", "::1", &v6.to_string()])?,
        server(python(), &["dual", &dual.to_string()])?,
        server(python(), &["unix", &path.to_string_lossy()])?,
    ];
    let v4 = SocketAddr::from(([127, 0, 0, 1], v4));
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6));
    // The server sees an IPv6 address, the client an IPv4 address.
    let mapped = SocketAddr::from(([127, 0, 0, 1], dual));
    // Connections that are in use before spanwire comes.
    let mut early = Vec::new();
    for address in [v4, v6, mapped] {
        let mut connection = http::connect(address)?;
        ask(&mut connection, "early")?;
        early.push(connection);
    }
    let mut early_unix = http::connect_unix(&path)?;
    ask(&mut early_unix, "early")?;

    let options = servers
        .iter()
        .fold(Options::run(hooks), |options, server| options.pid(server.pid()));
    let session = Session::start(options.pid(std::process::id()))?;
    for (number, connection) in early.iter_mut().enumerate() {
        ask(connection, &format!("late/{number}"))?;
    }
    ask(&mut early_unix, "late/unix")?;
    ask_all("v4", || http::connect(v4))?;
    ask_all("v6", || http::connect(v6))?;
    ask_all("mapped", || http::connect(mapped))?;
    ask_all("unix", || http::connect_unix(Path::new(&path)))?;
    let count = (4 + 4 * CONNECTIONS) * REQUESTS;
    both_ends(&session.finish(2 * count)?, count)
}

/// Asks for `/PREFIX/NUMBER` on one connection.
const ASK: &str = "
import http.client, sys
host, port, prefix, count = sys.argv[1:]
connection = http.client.HTTPConnection(host, int(port))
for number in range(int(count)):
    target = f'/{prefix}/{number}'
    connection.request('GET', target)
    assert connection.getresponse().read() == target.encode()
";

/// Also where the server's address is translated on the way.
fn between_network_namespaces(hooks: Hooks) -> Result<()> {
    let namespaces = Namespaces::new(&format!("{hooks:?}"))?;
    let port = port::free()?;
    let place = SocketAddr::from(([10, 77, 0, 2], port));
    let service = SocketAddr::from(([10, 96, 0, 10], 80));
    namespaces.translate(service, place)?;
    let text = port.to_string();
    let _server = server(namespaces.python(1), &["tcp", "10.77.0.2", &text])?;
    let session = Session::start(Options::run(hooks).port(port).port(service.port()))?;
    for (prefix, address) in [("direct", place), ("translated", service)] {
        let mut client = namespaces.python(0);
        client.args([
            "-c",
            ASK,
            &address.ip().to_string(),
            &address.port().to_string(),
            prefix,
        ]);
        client.arg(REQUESTS.to_string());
        Child::spawn(client)?.succeed()?;
    }
    let count = 2 * REQUESTS;
    both_ends(&session.finish(2 * count)?, count)
}
