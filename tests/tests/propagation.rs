//! Context that spanwire puts into requests: each carries the one of its own span, and is else as it was, to the byte.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::Child;
use spanwire_tests::expect::{Expected, Matcher, both};
use spanwire_tests::injection::{Client, Got, Keeper, Planned, Requests, plan};
use spanwire_tests::seen::Seen;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};

spanwire_tests::under_both_hook_sets!(http1_of_each_client);

/// Requests of each client: `SPANWIRE_REQUESTS`, which a longer trial sets.
fn count(hooks: Hooks) -> Result<usize> {
    match std::env::var("SPANWIRE_REQUESTS") {
        Ok(count) => Ok(count.parse()?),
        Err(_) => Ok(hooks.share(500)),
    }
}

fn propagating(hooks: Hooks) -> Options {
    Options::run(hooks).flag("--propagate").flag("http1,http2,amqp")
}

/// How many contexts were injected, or not, for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Outcome {
    injected: u64,
    own: u64,
    skipped: u64,
}

impl Outcome {
    fn of(seen: &Seen) -> Self {
        let value = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
        Self {
            injected: value("injected"),
            own: value("own"),
            skipped: value("skipped.cut") + value("skipped.unseen") + value("skipped.refused"),
        }
    }
}

/// Requests by their paths, each of which came once.
fn once(requests: Requests) -> Result<BTreeMap<String, Got>> {
    let one = |(path, mut got): (String, Vec<Got>)| {
        let first = got.pop().filter(|_| got.is_empty());
        Ok((path.clone(), first.with_context(|| format!("{path} came again"))?))
    };
    requests.into_iter().map(one).collect()
}

/// The clients' spans by their paths.
fn clients(seen: &Seen) -> HashMap<&str, &Span> {
    let spans = seen.spans.iter().filter(|span| span.kind == Kind::Client);
    spans.map(|span| (span.path(), span)).collect()
}

/// The header that names a span.
fn header_of(span: &Span) -> String {
    format!("traceparent: 00-{}-{}-01", span.trace_id, span.span_id)
}

/// `got` are the requests that came when nobody was there, but that each carries, behind all else, the header of its own
/// client's span.
fn each_carries_its_own(
    plain: &BTreeMap<String, Got>,
    got: &BTreeMap<String, Got>,
    seen: &Seen,
) -> Result<()> {
    let spans = clients(seen);
    ensure!(
        plain.keys().eq(got.keys()),
        "{} and {} requests",
        plain.len(),
        got.len()
    );
    for (path, plain) in plain {
        let span = spans
            .get(path.as_str())
            .with_context(|| format!("no span of {path}"))?;
        let mut expected = plain.clone();
        expected.head.push(header_of(span));
        ensure!(
            got[path] == expected,
            "{path}: {:#?}, not {expected:#?}",
            got[path]
        );
    }
    Ok(())
}

/// Each server's span is a child of the client's of the same request, which is the first of its trace.
fn both_ends_meet(seen: &Seen) -> Result<()> {
    let spans = clients(seen);
    for span in seen.spans.iter().filter(|span| span.kind == Kind::Server) {
        let client = spans
            .get(span.path())
            .with_context(|| format!("nobody asked: {span:#?}"))?;
        ensure!(
            client.parent.is_empty() && span.parent == client.span_id && span.trace_id == client.trace_id,
            "{client:#?}\n{span:#?}"
        );
    }
    Ok(())
}

fn spans_of(planned: &Planned, address: SocketAddr) -> [Expected; 2] {
    let method = if planned.size.is_some() { "POST" } else { "GET" };
    both(method, &planned.path, address, |span| {
        let span = span.body(2).with("user_agent.original", Matcher::Anything);
        match planned.size {
            None => span,
            Some(0) => span.with("http.request.body.size", Matcher::IsIfAny(0.into())),
            Some(size) => span.request_body(size as u64),
        }
    })
}

fn http1_of_each_client(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let count = count(hooks)?;
    let plans = Client::HTTP1.map(|client| (client, plan(&client.prefix(), count, 1)));
    let ask_all = || -> Result<_> {
        for (client, plan) in &plans {
            Child::spawn(client.ask(keeper.address, plan, 4, folder.path())?)?
                .succeed()
                .with_context(|| format!("{client:?}"))?;
        }
        once(keeper.kept.take()?)
    };
    let plain = ask_all()?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    let got = ask_all()?;
    let all: Vec<Expected> = plans
        .iter()
        .flat_map(|(_, plan)| plan)
        .flat_map(|planned| spans_of(planned, keeper.address))
        .collect();
    let seen = session.finish(all.len())?;
    each_carries_its_own(&plain, &got, &seen)?;
    seen.exactly(&all)?;
    both_ends_meet(&seen)?;
    let outcome = Outcome {
        injected: plain.len() as u64,
        ..Outcome::default()
    };
    ensure!(Outcome::of(&seen) == outcome, "{:?}", seen.summary);
    Ok(())
}
