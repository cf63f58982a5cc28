//! `--exe` and `--container`: which processes are watched, of those that run and those that are started.

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{self, Server};
use spanwire_tests::port;
use spanwire_tests::service::container::Container;
use spanwire_tests::session::Session;

spanwire_tests::under_both_hook_sets!(short_lived_programs_by_their_name, containers_by_their_name);

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
