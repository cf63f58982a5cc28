//! `tracestate` of a request goes on with what is sent for it, as far as W3C Trace Context, section 3.3, has it.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Got, Keeper, Keeper2, once, propagating};
use spanwire_tests::service::Service;
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(over_http1);
spanwire_tests::under_one_hook_set!(
    over_http2,
    over_amqp,
    a_threshold_over_http1,
    a_threshold_over_http2,
    a_threshold_over_amqp,
);

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
    // Blanks are around both, or one of them is no blank.
    for (before, behind) in [("", " "), ("  ", ""), ("\t \t", "\t  "), (&*" ".repeat(200), "")] {
        let parent = format!("traceparent:{before}00-{TRACE}-00f067aa0ba902b7-01{behind}");
        add(&[&parent, "tracestate: a=1"], "a=1");
        add(&["tracestate: a=1", &parent], "a=1");
        add(&[&format!("{parent},"), "tracestate: a=1"], "");
    }
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

/// Asks for `path` with these header lines; the body of the answer.
fn ask(address: SocketAddr, path: &str, case: &Case) -> Result<String> {
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
    let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
    Ok(body.to_owned())
}

/// Where what is passed on comes to.
enum Target {
    Http1(Keeper),
    Http2(Keeper2),
    Amqp(RabbitMq),
}

impl Target {
    const fn way(&self) -> &'static str {
        match self {
            Self::Http1(_) => "http1",
            Self::Http2(_) => "http2",
            Self::Amqp(_) => "amqp",
        }
    }

    const fn address(&self) -> SocketAddr {
        match self {
            Self::Http1(keeper) => keeper.address,
            Self::Http2(keeper) => keeper.address,
            Self::Amqp(broker) => broker.service.address,
        }
    }

    /// The values of `traceparent` and `tracestate` that came for each path; of messages `answers` say it.
    fn came(&self, answers: &BTreeMap<String, String>) -> Result<BTreeMap<String, [Vec<String>; 2]>> {
        let kept = match self {
            Self::Http1(keeper) => &keeper.kept,
            Self::Http2(keeper) => &keeper.kept,
            Self::Amqp(_) => {
                let told = answers.iter().map(|(path, answer)| {
                    let mut headers: BTreeMap<String, String> = serde_json::from_str(answer)?;
                    let mut take = |name: &str| headers.remove(name).into_iter().collect();
                    Ok((path.clone(), [take("traceparent"), take("tracestate")]))
                });
                return told.collect();
            }
        };
        let values = |got: &Got, name: &str| got.values(name).into_iter().map(str::to_owned).collect();
        let got = once(kept.take()?)?.into_iter();
        Ok(got
            .map(|(path, got)| (path, [values(&got, "traceparent"), values(&got, "tracestate")]))
            .collect())
    }
}

fn over_http1(hooks: Hooks) -> Result<()> {
    goes_on(hooks, &Target::Http1(Keeper::start()?))
}

fn over_http2(hooks: Hooks) -> Result<()> {
    goes_on(hooks, &Target::Http2(Keeper2::start()?))
}

fn over_amqp(hooks: Hooks) -> Result<()> {
    goes_on(hooks, &Target::Amqp(RabbitMq::start()?))
}

/// Passes on what it is asked.
fn service(target: &Target) -> Result<Service> {
    let port = port::free()?;
    let mut command = child::command(&workload::environment("python")?.to_string_lossy());
    command.arg(workload::file("propagation/pass_on.py")?);
    command.args([&port.to_string(), &target.address().to_string(), target.way()]);
    Service::listening(Child::spawn(command)?, port)
}

fn a_threshold_over_http1(hooks: Hooks) -> Result<()> {
    tells_threshold(hooks, &Target::Http1(Keeper::start()?))
}

fn a_threshold_over_http2(hooks: Hooks) -> Result<()> {
    tells_threshold(hooks, &Target::Http2(Keeper2::start()?))
}

fn a_threshold_over_amqp(hooks: Hooks) -> Result<()> {
    tells_threshold(hooks, &Target::Amqp(RabbitMq::start()?))
}

/// What is told on the wire of a trace that is kept with half of them; spans leave out the zeroes.
const TOLD: &str = "ot=th:80000000000000";

/// Traces that begin here and are kept say by which threshold, on the wire and in their spans; those of others say what they said.
fn tells_threshold(hooks: Hooks, target: &Target) -> Result<()> {
    const COUNT: usize = 60;
    let service = service(target)?;
    let options = propagating(hooks).pid(service.child.pid());
    let options = options.environment("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    let session = Session::start(options.environment("OTEL_TRACES_SAMPLER_ARG", "0.5"))?;
    let mut answers = BTreeMap::new();
    let parent = |flags: &str| format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-{flags}");
    for number in 0..COUNT {
        let (fields, expected) = match number {
            0 => (vec![parent("01")], ""),
            1 => (
                vec![parent("01"), "tracestate: ot=rv:0123456789abcd,a=1".to_owned()],
                "ot=rv:0123456789abcd,a=1",
            ),
            2 => (vec!["tracestate: a=1".to_owned()], TOLD),
            _ => (Vec::new(), TOLD),
        };
        let case = Case {
            fields: [fields, vec!["x-none: 1".to_owned()]].concat(),
            parts: None,
            state: Fate::Is(expected.to_owned()),
        };
        let path = format!("/begins/{number}");
        let answer = ask(service.address, &path, &case)?;
        answers.insert(path, (answer, case));
    }
    let told = answers
        .iter()
        .map(|(path, (answer, _))| (path.clone(), answer.clone()));
    let got = target.came(&told.collect())?;
    let is_kept = |parents: &[String]| parents.len() == 1 && parents[0].ends_with("-01");
    let kept = got.values().filter(|[parents, _]| is_kept(parents)).count();
    ensure!((10..COUNT - 10).contains(&kept), "{kept} of {COUNT}");
    let each = if matches!(target, Target::Amqp(_)) { 3 } else { 2 };
    let seen = session.finish(each * kept)?;
    for (path, (_, case)) in &answers {
        let [parents, states] = &got[path];
        let Fate::Is(expected) = &case.state else { continue };
        let expected = Some(expected.as_str()).filter(|state| !state.is_empty() && is_kept(parents));
        ensure!(
            parents.len() == 1 && states.iter().map(String::as_str).eq(expected),
            "{path}: {parents:?} {states:?}, not {expected:?}\n{:?}",
            seen.summary
        );
        let senders = seen
            .spans
            .iter()
            .filter(|span| parents[0].contains(&span.span_id));
        for sender in senders {
            let state = expected.map_or("", |told| if told == TOLD { "ot=th:8" } else { told });
            ensure!(sender.state == state, "{sender:#?}");
        }
    }
    let spans = seen.spans.len();
    ensure!(
        spans == each * kept,
        "{spans} spans of {kept} traces: {:?}",
        seen.summary
    );
    Ok(())
}

fn goes_on(hooks: Hooks, target: &Target) -> Result<()> {
    let service = service(target)?;
    let session = Session::start(propagating(hooks).pid(service.child.pid()))?;
    let cases = cases();
    let mut answers = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let path = format!("/on/{number}");
        let answer = ask(service.address, &path, case)?;
        answers.insert(path, answer);
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
    answers.insert("/own".to_owned(), ask(service.address, "/own", &own)?);
    // Of a message there is its publish, and that it was got.
    let each = if matches!(target, Target::Amqp(_)) { 3 } else { 2 };
    let seen = session.finish(each * (cases.len() + 1))?;
    let got = target.came(&answers)?;
    let servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    let servers: HashMap<&str, &Span> = servers.map(|span| (span.path(), span)).collect();
    let senders = seen
        .spans
        .iter()
        .filter(|span| matches!(span.kind, Kind::Client | Kind::Producer));
    let senders: HashMap<&str, &Span> = senders.map(|span| (span.span_id.as_str(), span)).collect();
    let mut carried = 0;
    for (number, case) in cases.iter().enumerate() {
        let path = format!("/on/{number}");
        let server = servers.get(path.as_str()).context("no server")?;
        let [parents, states] = &got[&path];
        let told = || format!("{:?}\n{parents:?} {states:?}\n{server:#?}", case.fields);
        ensure!(parents.len() == 1 && states.len() <= 1, "{}", told());
        let sender = parents[0]
            .get(36..52)
            .and_then(|id| senders.get(id))
            .with_context(told)?;
        let is_whole = matches!(case.state, Fate::Is(_));
        let is_told = parents[0].contains(&sender.trace_id);
        ensure!(
            sender.parent == server.span_id && is_told,
            "{sender:#?} {}",
            told()
        );
        let state = states.first().map_or("", String::as_str);
        carried += u64::from(!state.is_empty());
        let (Fate::Is(expected) | Fate::MayBe(expected)) = &case.state;
        ensure!(
            state == expected || !is_whole && state.is_empty(),
            "{state}, not {expected}: {}",
            told()
        );
        for span in [sender, server] {
            ensure!(span.state == *expected, "{}: {}", span.state, told());
        }
    }
    // In a header of its own it goes alone; among others, nothing is added to it.
    let [parents, states] = &got["/own"];
    let is_http1 = matches!(target, Target::Http1(_));
    ensure!(
        states == &["own=1"] && parents.len() == usize::from(is_http1),
        "{parents:?} {states:?}"
    );
    let value = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
    ensure!(
        value("injected") == cases.len() as u64 + u64::from(is_http1)
            && value("states.injected") == carried
            && value("states.malformed") > 0,
        "{carried} of {}: {:?}",
        cases.len(),
        seen.summary
    );
    Ok(())
}
