//! What is asked more than once for the same request: redirects, tries that fail first, and hedged requests, of which one is given
//! up. Each is a span of its own below the same parent.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::http::{self, Message, Server};
use spanwire_tests::seen::Seen;
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::under_one_hook_set!(goroutines, tasks);

/// Requests, and how many at a time.
const COUNT: usize = 48;
const AT_A_TIME: usize = 8;

/// What is asked for each, and how often.
const ASKED: [(&str, usize); 4] = [("moved", 1), ("there", 1), ("busy", 2), ("hedged", 2)];

/// How long it takes until whoever has an answer to one hedged request has given up the other, at most.
const GIVEN_UP: Duration = Duration::from_millis(300);

fn goroutines(hooks: Hooks) -> Result<()> {
    siblings(hooks, || {
        Ok(child::command(&workload::go_program("again")?.to_string_lossy()))
    })
}

fn tasks(hooks: Hooks) -> Result<()> {
    siblings(hooks, || {
        let mut command = child::command(&workload::environment("python")?.to_string_lossy());
        command.arg(workload::file("chain/again.py")?);
        Ok(command)
    })
}

/// Sends on from `/moved`, answers `/busy` with 503 at first, and leaves whoever asks for `/hedged` first without an answer.
fn target() -> Result<(SocketAddr, Server)> {
    let (listener, address) = port::listener()?;
    let times: Mutex<HashMap<String, usize>> = Mutex::default();
    let answer = move |request: &Message| {
        let path = request.target();
        let mut counts = times.lock().expect("no holder panics");
        let count = counts.entry(path.to_owned()).or_default();
        *count += 1;
        let is_first = *count == 1;
        drop(counts);
        match path.split('/').nth(1).unwrap_or_default() {
            "moved" => {
                let there = path.replace("moved", "there");
                let head = format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n");
                Some(head.into_bytes())
            }
            "busy" if is_first => Some(http::response(503, b"busy")),
            "hedged" if is_first => {
                std::thread::sleep(GIVEN_UP);
                None
            }
            _ => Some(http::response(200, b"ok")),
        }
    };
    let server = Server::tcp(listener, move |connection| http::serve(connection, &answer))?;
    Ok((address, server))
}

fn siblings(hooks: Hooks, service: impl Fn() -> Result<Command>) -> Result<()> {
    let (target, _server) = target()?;
    let port = port::free()?;
    let mut command = service()?;
    command.args([port.to_string(), target.to_string()]);
    let service = Service::listening(Child::spawn(command)?, port)?;
    let session = Session::start(Options::run(hooks).pid(service.child.pid()))?;
    std::thread::scope(|scope| {
        let ask = |part: usize| -> Result<()> {
            for id in (part..COUNT).step_by(AT_A_TIME) {
                let mut connection = http::connect(service.address)?;
                let answer = connection.call("GET", &format!("/order/{id}"), "again", &[])?;
                ensure!(answer.text() == "[200 503 200 200]", "{id}: {answer:?}");
            }
            Ok(())
        };
        let parts: Vec<_> = (0..AT_A_TIME)
            .map(|part| scope.spawn(move || ask(part)))
            .collect();
        parts
            .into_iter()
            .try_for_each(|part| part.join().expect("no thread panics"))
    })?;
    let each: usize = ASKED.iter().map(|(_, times)| times).sum();
    let seen = session.finish(COUNT * (1 + each))?;
    for id in 0..COUNT {
        below_its_request(&seen, id)?;
    }
    ensure!(
        seen.spans.len() == COUNT * (1 + each),
        "{} spans",
        seen.spans.len()
    );
    seen.counted()
}

fn below_its_request(seen: &Seen, id: usize) -> Result<()> {
    let of = |path: String| -> Vec<&Span> { seen.spans.iter().filter(|it| it.path() == path).collect() };
    let request = of(format!("/order/{id}"));
    let [request] = request[..] else {
        anyhow::bail!("{request:#?}");
    };
    ensure!(
        request.kind == Kind::Server && request.parent.is_empty() && !request.error,
        "{request:#?}"
    );
    let mut failed = BTreeMap::new();
    for (what, times) in ASKED {
        let asked = of(format!("/{what}/{id}"));
        let is_below = |span: &&Span| {
            span.kind == Kind::Client
                && span.parent == request.span_id
                && span.trace_id == request.trace_id
                && !span.attributes.contains_key("spanwire.parent.inferred")
        };
        ensure!(
            asked.len() == times && asked.iter().all(is_below),
            "below {request:#?}: {asked:#?}"
        );
        failed.insert(what, asked.iter().filter(|span| span.error).count());
    }
    let expected = BTreeMap::from([("moved", 0), ("there", 0), ("busy", 1), ("hedged", 1)]);
    ensure!(failed == expected, "{failed:?}");
    Ok(())
}
