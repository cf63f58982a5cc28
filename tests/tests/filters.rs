//! `--exe`, `--container` and `--pid`: which processes are watched, of those that run and those that are started.

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{self, Server};
use spanwire_tests::service::Service;
use spanwire_tests::service::container::Container;
use spanwire_tests::session::Session;
use spanwire_tests::{port, workload};
use std::thread;
use std::time::{Duration, Instant};

spanwire_tests::under_both_hook_sets!(
    short_lived_programs_by_their_name,
    containers_by_their_name,
    children_that_begin_while_processes_are_looked_at
);

/// curl is over some milliseconds after it started: that is time enough, but where all CPUs are busy.
fn short_lived_programs_by_their_name(hooks: Hooks) -> Result<()> {
    let (listener, address) = port::listener()?;
    let _server = Server::tcp(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"ok")));
    })?;
    let session = Session::start(Options::run(hooks).flag("--exe").flag("curl"))?;
    let mut expected = Vec::new();
    for id in 1..=20 {
        let target = format!("/short-lived/{id}");
        let mut curl = child::command("curl");
        curl.args(["-sS", &format!("http://{address}{target}")]);
        Child::spawn(curl)?.succeed()?;
        let span = Expected::client("GET", &target, address);
        let span = span.body(2).user_agent("curl/").service("curl");
        expected.push((target, span));
    }
    let seen = session.finish(expected.len())?;
    expected.retain(|(target, _)| seen.spans.iter().any(|span| span.path() == target));
    ensure!(expected.len() >= 15, "{} of 20", expected.len());
    let expected: Vec<Expected> = expected.into_iter().map(|(_, span)| span).collect();
    seen.spans_are(&expected)?;
    for span in &seen.spans {
        ensure!(
            !span.resource.contains_key("spanwire.process.incomplete"),
            "{:?}",
            span.resource
        );
    }
    Ok(())
}

/// Real ones, as runc makes them. The client is in none.
fn containers_by_their_name(hooks: Hooks) -> Result<()> {
    // The same test runs under another hook set at the same time.
    let names = ["before", "after", "other"]
        .map(|it| format!("spanwire-test-{it}-{}-{}", hooks.name(), std::process::id()));
    let before = Container::start(&names[0])?;
    let other = Container::start(&names[2])?;
    let mut options = Options::run(hooks);
    for name in &names[..2] {
        options = options.flag("--container").flag(name);
    }
    let session = Session::start(options)?;
    let after = Container::start(&names[1])?;
    let mut expected = Vec::new();
    for (container, name) in [(&before, &names[0]), (&after, &names[1]), (&other, &names[2])] {
        let address = container.address();
        let answer = http::connect(address)?.call("GET", "/hello", &address.to_string(), &[])?;
        ensure!(answer.text() == "hello", "{answer:?}");
        expected.push(Expected::server("GET", "/hello", address).body(5).service(name));
    }
    expected.pop();
    session.finish(expected.len())?.exactly(&expected)
}

/// A server whose children serve a connection each, watched by its number: all processes of the host are looked at a second after
/// the start, and of some of the children nothing is known by then.
fn children_that_begin_while_processes_are_looked_at(hooks: Hooks) -> Result<()> {
    let port = port::free()?;
    let mut command = child::command(workload::PYTHON);
    command
        .arg(workload::file("answer.py")?)
        .args(["fork", "127.0.0.1", &port.to_string()]);
    command.env("OTEL_SERVICE_NAME", "forking");
    let server = Service::listening(Child::spawn(command)?, port)?;
    let session = Session::start(Options::run(hooks).pid(server.child.pid()))?;
    let until = Instant::now() + Duration::from_secs(2);
    let ask = |client: usize| {
        let mut expected = Vec::new();
        while Instant::now() < until {
            let target = format!("/child/{client}/{}", expected.len());
            let mut connection = http::connect(server.address)?;
            let answer = connection.call("GET", &target, &server.address.to_string(), &[])?;
            ensure!(answer.text() == target, "{answer:?}");
            let span = Expected::server("GET", &target, server.address).body(target.len() as u64);
            expected.push(span.service("forking"));
        }
        Ok(expected)
    };
    let expected = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|client| scope.spawn(move || ask(client))).collect();
        let asked = clients
            .into_iter()
            .map(|client| client.join().expect("no client panics"));
        asked.collect::<Result<Vec<_>>>()
    })?
    .concat();
    ensure!(expected.len() >= 50, "{} requests", expected.len());
    session.finish(expected.len())?.exactly(&expected)
}
