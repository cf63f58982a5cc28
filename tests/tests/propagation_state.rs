//! `tracestate` of a request goes on with what is sent for it, as far as W3C Trace Context, section 3.3, has it.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Keeper, clients, once, propagating};
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(goes_on);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A request, and the list that is carried on.
struct Case {
    /// Its header lines.
    fields: Vec<String>,
    /// How long the parts are in which it is sent; all of it in one where there is none.
    parts: Option<usize>,
    state: Fate,
}

enum Fate {
    Is(String),
    /// That or nothing.
    MayBe(String),
}

fn cases() -> Vec<Case> {
    let parent = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
    let mut cases = Vec::new();
    let mut add = |fields: &[&str], state: &str| {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let state = Fate::Is(state.to_owned());
        let parts = None;
        cases.push(Case { fields, parts, state });
    };
    let list = |count: usize, length: usize| {
        let members = (0..count).map(|number| format!("k{number:02}={}", "v".repeat(length - 4)));
        members.collect::<Vec<_>>().join(",")
    };
    add(&[&parent, "tracestate: a=1"], "a=1");
    add(
        &["TraceState:congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", &parent],
        "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
    );
    add(
        &[
            "tracestate: a=1,b=2",
            &parent,
            "X-A: b",
            "tracestate: c=3",
            "tracestate:",
        ],
        "a=1,b=2,c=3",
    );
    add(&[&parent, "tracestate: \t a=1 \t"], "a=1");
    add(&[&parent, "tracestate: , ,"], "");
    // Up to the limit, and above it.
    for length in [1, 7, 8, 9, 15, 16, 17, 255, 256] {
        let state = format!("a={}", "v".repeat(length));
        add(&[&parent, &format!("tracestate: {state}")], &state);
    }
    let longest = format!("{},z={}", list(15, 32), "v".repeat(15));
    assert_eq!(longest.len(), 512);
    add(&[&parent, &format!("tracestate: {longest}")], &longest);
    add(&[&parent, &format!("tracestate: {longest},y=1")], &longest);
    add(&[&parent, &format!("tracestate: {longest}x")], &list(15, 32));
    add(
        &[&parent, &format!("tracestate: {longest}"), "tracestate: y=1"],
        &longest,
    );
    let first = list(3, 150).replace('k', "f");
    add(
        &[
            &parent,
            &format!("tracestate: {first}"),
            &format!("tracestate: {longest}"),
        ],
        &format!("{first},{}", list(1, 32)),
    );
    add(
        &[&parent, &format!("tracestate: {}", list(32, 15))],
        &list(32, 15),
    );
    // Not as it should be.
    for state in ["a", "a=1,b", "A=1", "a=1=", "a=\u{e4}", "a=1\t1", "a=1;b=2"] {
        add(&[&parent, &format!("tracestate: {state}")], "");
        add(
            &[
                &parent,
                "tracestate: c=1",
                &format!("tracestate: {state}"),
                "tracestate: d=1",
            ],
            "",
        );
    }
    add(&[&parent, &format!("tracestate: {}", list(33, 10))], "");
    add(
        &[
            &parent,
            &format!("tracestate: {}", list(20, 10)),
            &format!("tracestate: {}", list(20, 11).replace('k', "l")),
        ],
        "",
    );
    add(&[&parent, &format!("tracestate: a={}", "v".repeat(257))], "");
    add(&[&parent, &format!("tracestate: a={}", "v".repeat(3000))], "");
    // Of no trace.
    add(&["tracestate: a=1"], "");
    add(&["tracestate: a=1", "traceparent: 00-1-2-01"], "");
    add(
        &[
            "tracestate: a=1",
            &format!("traceparent: 00-{TRACE}-0000000000000000-01"),
        ],
        "",
    );
    // Names that look like it.
    add(
        &[&parent, "tracestates: a=1", "x-tracestate: a=1", "tracestat: a=1"],
        "",
    );
    // Many, before and behind.
    let many: Vec<String> = (0..1000).map(|number| format!("x-{number}: {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    add(&[&many[..], &[&parent, "tracestate: a=1"]].concat(), "a=1");
    add(&[&["tracestate: a=1", &parent], &many[..]].concat(), "a=1");
    // Wherever it is cut, all of it or nothing.
    for parts in (1..40).chain([60, 100, 300]) {
        cases.push(Case {
            fields: vec![
                parent.clone(),
                "tracestate: a=1,b=2".to_owned(),
                "X-A: b".to_owned(),
            ],
            parts: Some(parts),
            state: Fate::MayBe("a=1,b=2".to_owned()),
        });
    }
    // Around the end of what is looked at together.
    for length in (3900..4100).step_by(3) {
        cases.push(Case {
            fields: vec![
                format!("X-Long: {}", "l".repeat(length)),
                parent.clone(),
                "tracestate: a=1,b=2".to_owned(),
            ],
            parts: None,
            state: Fate::MayBe("a=1,b=2".to_owned()),
        });
    }
    cases
}

/// Asks for `path` with these header lines.
fn ask(address: SocketAddr, path: &str, case: &Case) -> Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n\r\n",
        case.fields.join("\r\n")
    );
    for part in head.as_bytes().chunks(case.parts.unwrap_or(head.len())) {
        connection.write_all(part)?;
        if case.parts.is_some() {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Ok(())
}

fn goes_on(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let port = port::free()?;
    let mut command = child::command(workload::PYTHON);
    command.arg(workload::file("propagation/pass_on.py")?);
    command.args([port.to_string(), keeper.address.to_string()]);
    let service = Service::listening(Child::spawn(command)?, port)?;
    let session = Session::start(propagating(hooks).pid(service.child.pid()))?;
    let cases = cases();
    for (number, case) in cases.iter().enumerate() {
        ask(service.address, &format!("/on/{number}"), case)?;
    }
    // One that has a list of its own.
    let own = Case {
        fields: vec![
            format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01"),
            "tracestate: a=1".to_owned(),
            "x-with: tracestate=own=1".to_owned(),
        ],
        parts: None,
        state: Fate::Is("own=1".to_owned()),
    };
    ask(service.address, "/own", &own)?;
    let seen = session.finish(2 * cases.len() + 2)?;
    let got = once(keeper.kept.take()?)?;
    let spans = clients(&seen);
    let servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    let servers: HashMap<&str, &Span> = servers.map(|span| (span.path(), span)).collect();
    let mut carried = 0;
    for (number, case) in cases.iter().enumerate() {
        let path = format!("/on/{number}");
        let (client, server) = (spans.get(path.as_str()), servers.get(path.as_str()));
        let (client, server) = (client.context("no client")?, server.context("no server")?);
        let got = &got[&path];
        let told = || format!("{:?}\n{got:#?}\n{server:#?}", case.fields);
        ensure!(got.values("traceparent").len() == 1, "{}", told());
        let states = got.values("tracestate");
        ensure!(states.len() <= 1, "{}", told());
        let state = states.first().copied().unwrap_or_default();
        carried += u64::from(!state.is_empty());
        let expected = match &case.state {
            Fate::Is(expected) => {
                ensure!(state == expected, "{state}, not {expected}: {}", told());
                expected
            }
            Fate::MayBe(expected) => {
                ensure!(state.is_empty() || state == expected, "{state}: {}", told());
                expected
            }
        };
        for span in [client, server] {
            ensure!(span.state == *expected, "{}: {}", span.state, told());
        }
    }
    let own = &got["/own"];
    ensure!(
        own.values("tracestate") == ["own=1"] && own.values("traceparent").len() == 1,
        "{own:#?}"
    );
    let value = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
    ensure!(
        value("injected") == cases.len() as u64 + 1
            && value("states.injected") == carried
            && value("states.malformed") > 0,
        "{carried} of {}: {:?}",
        cases.len(),
        seen.summary
    );
    Ok(())
}
