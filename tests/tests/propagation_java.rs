//! Context in what Java asks. Where enrolled sockets answer FIONREAD wrongly it is left alone (`propagation_peers.rs`), so that it
//! is tried here under a name of which spanwire knows that it bears to be enrolled.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::carried::{self, both_ends_meet_by_id, carry_their_own, spans_of};
use spanwire_tests::child::Child;
use spanwire_tests::expect::{Expected, Matcher};
use spanwire_tests::injection::{Keeper, Planned, large, once, patience, plan, propagating, requests};
use spanwire_tests::session::Session;
use spanwire_tests::workload;

spanwire_tests::under_one_hook_set!(http_client, url_connection, grpc);

fn ask(library: &str, address: SocketAddr, plan: &[Planned], folder: &Path) -> Result<Command> {
    let file = folder.join("plan");
    std::fs::write(&file, serde_json::to_vec(plan)?)?;
    let mut command = workload::java_as_curl("Ask")?;
    command.args([library, &address.to_string()]);
    command.arg(file).arg("4");
    Ok(command)
}

/// How many of `count` requests have a context, each of which is that of its own span, and how many were counted as left alone
/// since their sockets block. All else is as it was, to the byte.
fn carried(hooks: Hooks, library: &str) -> Result<[usize; 3]> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let count = requests(hooks, 500)?;
    let plan = plan(library, count, large(count));
    let ask_all = || -> Result<_> {
        Child::spawn(ask(library, keeper.address, &plan, folder.path())?)?.succeed_within(patience(count))?;
        keeper.kept.say_pace(library);
        once(keeper.kept.take()?)
    };
    let plain = ask_all()?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    let got = ask_all()?;
    let all: Vec<Expected> = plan
        .iter()
        .flat_map(|planned| {
            spans_of(planned, keeper.address).map(|span| match planned.size {
                // Of a GET, HttpClient says that it has no bytes.
                None => span.with("http.request.body.size", Matcher::IsIfAny(0.into())),
                Some(_) => span,
            })
        })
        .collect();
    let seen = session.finish(all.len())?;
    let carried = carry_their_own(&plain, &got, &seen)?;
    seen.exactly(&all)?;
    both_ends_meet_by_id(&seen)?;
    let value = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
    ensure!(value("injected") == carried, "{carried}: {:?}", seen.summary);
    let blocking = value("skipped.blocking");
    Ok([plan.len(), carried.try_into()?, blocking.try_into()?])
}

/// Its sockets do not block. Before JDK 24 it may lose one of some 100,000 requests by itself ("header parser received no bytes", "closed
/// locally"): its pool takes an answer that comes at once for one that nobody asked for (JDK-8336655).
fn http_client(hooks: Hooks) -> Result<()> {
    let [count, carried, blocking] = carried(hooks, "HttpClient")?;
    ensure!(
        (carried, blocking) == (count, 0),
        "{carried} of {count}, {blocking}"
    );
    Ok(())
}

/// Its sockets do, so that the first request of each connection has a context.
fn url_connection(hooks: Hooks) -> Result<()> {
    let [count, carried, blocking] = carried(hooks, "HttpURLConnection")?;
    ensure!(
        carried >= 4 && carried + blocking == count,
        "{carried} of {count}, {blocking}"
    );
    Ok(())
}

fn grpc(hooks: Hooks) -> Result<()> {
    let count = requests(hooks, 500)?;
    carried::calls(hooks, count, |address| {
        let mut command = workload::java_as_curl("Orders").context("Java")?;
        command.args(["call", &address.to_string(), &count.to_string(), "50"]);
        Ok(vec![command])
    })
}
