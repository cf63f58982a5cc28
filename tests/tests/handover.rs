//! Connections whose descriptor is duplicated, inherited or passed on between two requests: the socket is the same,
//! and each span belongs to the process that served it.

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{self, Connection, Stream};
use spanwire_tests::session::Session;
use spanwire_tests::{port, workload};
use std::net::SocketAddr;

spanwire_tests::under_both_hook_sets!(over_tcp, passed_unix_connection);

fn start(mode: &str, place: &str) -> Result<(Child, Option<u32>)> {
    let mut command = child::command(workload::PYTHON);
    command.arg(workload::file("handover.py")?).args([mode, place]);
    let mut child = Child::spawn(command)?;
    let other = child.line("listening")?;
    let other = if other.is_empty() {
        None
    } else {
        Some(other.parse()?)
    };
    Ok((child, other))
}

/// Three requests on one connection; gives the process that served each.
fn call<S: Stream>(mut connection: Connection<S>, host: &str, mode: &str) -> Result<Vec<u32>> {
    (1..=3)
        .map(|id| {
            let answer = connection.call("GET", &format!("/{mode}/{id}"), host, &[])?;
            ensure!(answer.status() == 200, "{answer:?}");
            Ok(answer.text().parse()?)
        })
        .collect()
}

/// A duplicate, a fork, an exec and a passed descriptor.
fn over_tcp(hooks: Hooks) -> Result<()> {
    let mut options = Options::run(hooks);
    let mut servers = Vec::new();
    for mode in ["dup", "fork", "exec", "pass"] {
        let port = port::free()?;
        options = options.port(port);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        servers.push((mode, address, start(mode, &port.to_string())?));
    }
    let session = Session::start(options)?;
    let mut expected = Vec::new();
    for (mode, address, (child, other)) in servers {
        let served = call(http::connect(address)?, &address.to_string(), mode)?;
        ensure!(served[0] == child.pid(), "{mode}: {served:?}");
        ensure!(served[1] == served[2], "{mode}: {served:?}");
        ensure!((served[1] == served[0]) == (mode == "dup"), "{mode}: {served:?}");
        ensure!(other.is_none_or(|other| served[1] == other), "{mode}: {served:?}");
        for (id, pid) in (1..=3).zip(served) {
            let target = format!("/{mode}/{id}");
            let size = pid.to_string().len() as u64;
            expected.push(Expected::server("GET", &target, address).body(size).pid(pid));
            let client = Expected::client("GET", &target, address);
            expected.push(client.body(size).pid(std::process::id()));
        }
        child.succeed()?;
    }
    session.finish(expected.len())?.exactly(&expected)
}

fn passed_unix_connection(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let text = path.to_string_lossy().into_owned();
    let (child, other) = start("pass", &text)?;
    let other = other.context("a second process")?;
    let options = Options::run(hooks)
        .pid(child.pid())
        .pid(other)
        .pid(std::process::id());
    let session = Session::start(options)?;
    let served = call(http::connect_unix(&path)?, "localhost", "pass")?;
    ensure!(served == [child.pid(), other, other], "{served:?}");
    let mut expected = Vec::new();
    for (id, pid) in (1..=3).zip(served) {
        let target = format!("/pass/{id}");
        let size = pid.to_string().len() as u64;
        let server = Expected::server_unix("GET", &target, "localhost");
        expected.push(server.body(size).pid(pid));
        let client = Expected::client_unix("GET", &target, "localhost", &text);
        expected.push(client.body(size).pid(std::process::id()));
    }
    child.succeed()?;
    session.finish(expected.len())?.exactly(&expected)
}
