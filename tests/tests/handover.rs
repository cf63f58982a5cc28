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

spanwire_tests::under_both_hook_sets!(
    duplicated,
    inherited_by_fork,
    inherited_by_exec,
    passed_over_a_unix_socket,
    passed_unix_connection,
);

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

fn over_tcp(hooks: Hooks, mode: &str) -> Result<()> {
    let port = port::free()?;
    let (child, other) = start(mode, &port.to_string())?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let session = Session::start(Options::run(hooks).port(port))?;
    let served = call(http::connect(address)?, &address.to_string(), mode)?;
    ensure!(served[0] == child.pid(), "{served:?}");
    ensure!(served[1] == served[2], "{served:?}");
    ensure!((served[1] == served[0]) == (mode == "dup"), "{served:?}");
    ensure!(other.is_none_or(|other| served[1] == other), "{served:?}");
    let mut expected = Vec::new();
    for (id, pid) in (1..=3).zip(served) {
        let target = format!("/{mode}/{id}");
        let size = pid.to_string().len() as u64;
        expected.push(Expected::server("GET", &target, address).body(size).pid(pid));
        let client = Expected::client("GET", &target, address);
        expected.push(client.body(size).pid(std::process::id()));
    }
    child.succeed()?;
    session.finish(expected.len())?.exactly(&expected)
}

fn duplicated(hooks: Hooks) -> Result<()> {
    over_tcp(hooks, "dup")
}

fn inherited_by_fork(hooks: Hooks) -> Result<()> {
    over_tcp(hooks, "fork")
}

fn inherited_by_exec(hooks: Hooks) -> Result<()> {
    over_tcp(hooks, "exec")
}

fn passed_over_a_unix_socket(hooks: Hooks) -> Result<()> {
    over_tcp(hooks, "pass")
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
