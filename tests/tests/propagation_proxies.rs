//! Context in what nginx and HAProxy ask for. Where enrolled sockets answer FIONREAD wrongly nginx is left alone
//! (`propagation_peers.rs`), so that it is tried here under a name of which spanwire knows that it bears to be enrolled.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::carried::{both_ends_meet_by_id, each_carries_its_own, spans_of};
use spanwire_tests::child::Child;
use spanwire_tests::expect::Expected;
use spanwire_tests::injection::{
    Client, Keeper, Outcome, Planned, clients, header_of, large, once, patience, plan, propagating, requests,
};
use spanwire_tests::proxy::Proxy;
use spanwire_tests::service::node;
use spanwire_tests::session::Session;
use spanwire_tests::span::Kind;
use spanwire_tests::{bulk, port};

spanwire_tests::under_one_hook_set!(
    nginx_by_another_name,
    haproxy,
    haproxy_with_long_answers,
    haproxy_watched_at_both_ends,
);

/// As many requests with bodies of all sizes in each of its ways, by a proxy that is started for them: what comes of them is the
/// same to the byte with spanwire and without, but that each has one context, which is that of the proxy's own span.
fn each_has_one(hooks: Hooks, proxy: Proxy, program: Option<&Path>) -> Result<()> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let count = requests(hooks, 600)? / proxy.ways().len();
    let planned = |way: &&str| {
        let mut plan = plan(&format!("{way}/{proxy:?}"), count, large(count));
        // nginx gives those a length of which it has all when it asks.
        plan.iter_mut()
            .for_each(|planned| planned.chunked &= *way != "streamed");
        plan
    };
    let plans: Vec<Vec<Planned>> = proxy.ways().iter().map(planned).collect();
    let ask_all = || -> Result<_> {
        let _proxy = proxy.start_at(address.port(), program, folder.path(), &[keeper.address])?;
        for (plan, way) in plans.iter().zip(proxy.ways()) {
            Child::spawn(Client::GoHttp.ask(address, plan, 4, folder.path())?)?
                .succeed_within(patience(count))
                .with_context(|| format!("{proxy:?}, {way}"))?;
            keeper.kept.say_pace((proxy, way));
        }
        once(keeper.kept.take()?)
    };
    let plain = ask_all()?;
    // The proxy's client is not watched.
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    let got = ask_all()?;
    let all: Vec<Expected> = plans
        .iter()
        .flatten()
        .flat_map(|planned| {
            // It hands on whom it was asked as.
            let [server, client] =
                spans_of(planned, keeper.address).map(|span| span.is("server.port", address.port()));
            let url = format!("http://{address}{}", planned.path);
            [server, client.is("url.full", url)]
        })
        .collect();
    let seen = session.finish(all.len())?;
    each_carries_its_own(&plain, &got, &seen).with_context(|| format!("{:?}", seen.summary))?;
    let outcome = Outcome {
        injected: plain.len() as u64,
        ..Outcome::default()
    };
    ensure!(Outcome::of(&seen) == outcome, "{:?}", seen.summary);
    seen.exactly(&all)?;
    both_ends_meet_by_id(&seen)
}

/// It asks how much there is to be read as soon as an answer fills its buffer, so it bears only short ones on every kernel.
fn nginx_by_another_name(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("curl");
    std::fs::copy("/usr/sbin/nginx", &program)?;
    each_has_one(hooks, Proxy::Nginx, Some(&program))
}

fn haproxy(hooks: Hooks) -> Result<()> {
    each_has_one(hooks, Proxy::HaProxy, None)
}

/// What would stall were it to ask how much there is to be read, copied and spliced.
fn haproxy_with_long_answers(hooks: Hooks) -> Result<()> {
    let upstream = node::serve()?;
    let folder = tempfile::tempdir()?;
    let front = Proxy::HaProxy.start(folder.path(), &[upstream.address])?;
    let mut calls = bulk::of_lengths(requests(hooks, 400)?);
    for call in calls.iter_mut().step_by(2) {
        call.target.insert_str(0, "/spliced");
    }
    let session = Session::start(propagating(hooks).port(upstream.address.port()))?;
    bulk::run(front.address, 10, &calls)?;
    let seen = session.finish(2 * calls.len())?;
    let outcome = Outcome {
        injected: calls.len() as u64,
        ..Outcome::default()
    };
    ensure!(
        Outcome::of(&seen) == outcome && seen.spans.len() == 2 * calls.len(),
        "{:?}",
        seen.summary
    );
    both_ends_meet_by_id(&seen)
}

/// What it is asked and what it asks for that are of one trace, which is the one that is told.
fn haproxy_watched_at_both_ends(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let front = Proxy::HaProxy.start(folder.path(), &[keeper.address])?;
    let plan = plan("haproxy", requests(hooks, 400)?, 1);
    let session = Session::start(propagating(hooks).pid(front.child.pid()))?;
    Child::spawn(Client::GoHttp.ask(front.address, &plan, 8, folder.path())?)?
        .succeed_within(patience(plan.len()))?;
    let seen = session.finish(2 * plan.len())?;
    let got = once(keeper.kept.take()?)?;
    let asked = clients(&seen);
    let served = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    ensure!(
        got.len() == plan.len() && seen.spans.len() == 2 * plan.len(),
        "{} spans: {:?}",
        seen.spans.len(),
        seen.summary
    );
    for served in served {
        let path = served.path();
        let asked = asked.get(path).with_context(|| path.to_owned())?;
        ensure!(
            asked.parent == served.span_id && asked.trace_id == served.trace_id,
            "{asked:#?}, not of {served:#?}"
        );
        let header = header_of(asked);
        ensure!(
            got[path].values("traceparent") == [header.trim_start_matches("traceparent: ")],
            "{:#?}, not {header}",
            got[path]
        );
    }
    Ok(())
}
