//! Requests that came when contexts were injected, held against the same that came when nobody was there.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::agent::Hooks;
use crate::calls::{self, Call};
use crate::child::Child;
use crate::expect::{Expected, Matcher, both};
use crate::injection::{Got, Keeper2, Outcome, Planned, clients, header_of, patience, propagating};
use crate::seen::Seen;
use crate::session::Session;
use crate::span::{Kind, Span};

/// `got` are the requests that came when nobody was there, but that each carries, behind all else, the header of its own
/// client's span.
///
/// # Errors
/// One does not.
pub fn each_carries_its_own(
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

/// The same as [`each_carries_its_own`] where some may have been left as they were; how many were not.
///
/// # Errors
/// One has something else.
pub fn carry_their_own(
    plain: &BTreeMap<String, Got>,
    got: &BTreeMap<String, Got>,
    seen: &Seen,
) -> Result<u64> {
    let touched: BTreeMap<String, Got> = got
        .iter()
        .filter(|(path, got)| plain.get(*path) != Some(got))
        .map(|(path, got)| (path.clone(), got.clone()))
        .collect();
    ensure!(
        plain.keys().eq(got.keys()),
        "{} and {} requests",
        plain.len(),
        got.len()
    );
    let same = plain.iter().filter(|(path, _)| touched.contains_key(*path));
    each_carries_its_own(
        &same.map(|(path, got)| (path.clone(), got.clone())).collect(),
        &touched,
        seen,
    )?;
    Ok(touched.len() as u64)
}

/// Both spans of a request of a plan.
#[must_use]
pub fn spans_of(planned: &Planned, address: SocketAddr) -> [Expected; 2] {
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

/// What is told of a call whoever makes it, and when: without its context, and without the time that it may take.
fn call(got: &Got) -> Got {
    let is_told = |line: &&String| !line.starts_with("traceparent:") && !line.starts_with("grpc-timeout:");
    Got {
        head: got.head.iter().filter(is_told).cloned().collect(),
        body: got.body.clone(),
    }
}

/// Makes the calls of `clients` of gRPC, `count` each, to a server at an address, when nobody is there and when contexts are injected: they are
/// the same to the byte, but for a context in nearly each, which is that of its own span.
///
/// # Errors
/// Something of that is not so, or a call fails.
pub fn calls(hooks: Hooks, count: usize, clients: impl Fn(SocketAddr) -> Result<Vec<Command>>) -> Result<()> {
    // None that the client gives up. Messages of Bulk have up to 10 MiB.
    const KINDS: [&str; 8] = ["One", "List", "Send", "Chat", "Fail", "None", "One", "Bulk"];
    let keeper = Keeper2::start()?;
    let call_all = || -> Result<_> {
        let mut told: Vec<Call> = Vec::new();
        for mut command in clients(keeper.address)? {
            // Connections of HTTP/2 are enrolled when they are connected, or not at all.
            command.args(KINDS).env("WAIT", "1s");
            let child = Child::spawn(command)?;
            told.extend(calls::told::<Call>(&child.succeed_within(patience(count))?)?);
            keeper.kept.say_pace("gRPC");
        }
        let all: Vec<Got> = keeper.kept.take()?.into_values().flatten().collect();
        Ok((told, all))
    };
    let key = |got: &Got| format!("{:?}", call(got));
    let (_, mut plain) = call_all()?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    let (told, mut got) = call_all()?;
    let mut expected = Vec::new();
    for call in &told {
        expected.extend(call.spans(keeper.address)?);
    }
    let seen = session.finish(expected.len())?;
    seen.exactly_until_closed(&expected)?;
    // The same calls, each of which carries at most one context more, as the last of its fields.
    plain.sort_by_cached_key(key);
    got.sort_by_cached_key(key);
    ensure!(
        plain.len() == got.len() && plain.len() == told.len(),
        "{} and {}",
        plain.len(),
        got.len()
    );
    let mut carried = Vec::new();
    for (plain, got) in plain.iter().zip(&got) {
        ensure!(call(plain) == call(got), "{got:#?}, not {plain:#?}");
        ensure!(plain.values("traceparent").is_empty(), "{plain:#?}");
        let path = got.head[0].trim_start_matches("POST /");
        if let Some(last) = got.head.last().filter(|_| got.head.len() > plain.head.len()) {
            ensure!(got.head.len() == plain.head.len() + 1, "{got:#?}");
            carried.push((path.to_owned(), last.clone()));
        }
    }
    // They are those of the calls' own spans.
    let spans = seen.spans.iter().filter(|span| span.kind == Kind::Client);
    let mut named: Vec<(String, String)> = spans
        .map(|span| (span.subject().to_owned(), header_of(span)))
        .collect();
    let outcome = Outcome::of(&seen);
    let (injected, all) = (carried.len(), named.len());
    carried.sort();
    named.sort();
    let mut unnamed = named.iter();
    let are_named = carried
        .iter()
        .all(|carried| unnamed.any(|named| named == carried));
    ensure!(are_named, "{carried:#?}, not of {named:#?}");
    ensure!(
        outcome.injected == injected as u64 && outcome.own == 0 && outcome.skipped == (all - injected) as u64,
        "{injected} of {all}: {:?}",
        seen.summary
    );
    ensure!(outcome.skipped * 50 <= all as u64, "{:?}", seen.summary);
    both_ends_meet_by_id(&seen)
}

/// Each server's span is a child of the client's whose id it names, which asked for the same.
///
/// # Errors
/// One is not.
pub fn both_ends_meet_by_id(seen: &Seen) -> Result<()> {
    let of = |kind| seen.spans.iter().filter(move |span| span.kind == kind);
    let ids: HashMap<&str, &Span> = of(Kind::Client)
        .map(|span| (span.span_id.as_str(), span))
        .collect();
    for span in of(Kind::Server) {
        let client = ids
            .get(span.parent.as_str())
            .with_context(|| format!("an orphan: {span:#?}"))?;
        ensure!(
            client.subject() == span.subject() && client.trace_id == span.trace_id,
            "{client:#?}\n{span:#?}"
        );
    }
    Ok(())
}
