//! Connections that come and go by the thousand while contexts are injected: nothing of them stays, neither in the agent nor in
//! its maps.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::child::{self, Child};
use spanwire_tests::footprint::Footprint;
use spanwire_tests::http;
use spanwire_tests::injection::{Outcome, clients, header_of, propagating};
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::{port, wait, workload};

spanwire_tests::under_one_hook_set!(connections_leave_nothing);

/// Connections a second.
const RATE: u32 = 2000;

/// How long it goes on: `SPANWIRE_SECONDS`, which a longer trial sets.
fn seconds() -> Result<u64> {
    std::env::var("SPANWIRE_SECONDS").map_or(Ok(5), |seconds| Ok(seconds.parse()?))
}

fn connections_leave_nothing(hooks: Hooks) -> Result<()> {
    let seconds = seconds()?;
    let folder = tempfile::tempdir()?;
    let (file, turn) = (folder.path().join("got"), folder.path().join("turn"));
    let port = port::free()?;
    let program = workload::go_program("churn")?;
    let program = program.to_string_lossy();
    let mut server = child::command(&program);
    server.args(["serve", &port.to_string()]).arg(&file);
    let server = Service::listening(Child::spawn(server)?, port)?;
    let mut client = child::command(&program);
    client.args(["ask", &port.to_string(), &RATE.to_string(), &seconds.to_string()]);
    let client = Child::spawn(child::held(&client, &turn))?;
    let session = Session::start(propagating(hooks).pid(client.pid()))?;
    let agent = session.agent.pid();
    let before = Footprint::of(agent)?;
    std::fs::write(&turn, "")?;
    std::thread::sleep(Duration::from_millis(seconds * 500));
    let middle = Footprint::of(agent)?;
    std::thread::sleep(Duration::from_millis(seconds * 450));
    let end = Footprint::of(agent)?;
    let count: usize = client.succeed()?.concat().parse()?;
    // Closed sockets are gone by now, and what is known of units and promises with them.
    let after = wait::until("maps to be as they were", || {
        let after = Footprint::of(agent)?;
        Ok((after.entries("SOCKETS") == 0 && after.entries("CONNECTIONS") == 0).then_some(after))
    });
    let after = match after {
        Ok(after) => after,
        Err(error) => return Err(error.context(format!("{:#?}", Footprint::of(agent)?))),
    };
    let told = format!("before {before:#?}\nmiddle {middle:#?}\nend {end:#?}\nafter {after:#?}");
    eprintln!("{count} connections in {seconds} s: {told}");
    ensure!(
        count as u64 > seconds * u64::from(RATE) / 8,
        "{count} connections"
    );
    http::connect(server.address)?.call("GET", "/end", "localhost", &[])?;
    let seen = session.finish(count)?;

    // What is held for spans on their way differs with the machine's load, what is leaked grows with their number.
    let grown = end.resident.saturating_sub(middle.resident);
    ensure!(grown < 8 << 20, "memory grows by {grown}: {told}");
    ensure!(end.mapped <= middle.mapped + (1 << 20), "maps grow: {told}");
    ensure!(
        after.descriptors <= middle.descriptors + 2,
        "descriptors are left: {told}"
    );
    ensure!(after.entries("CONNECTING") == 0, "connects are left: {told}");

    let got = std::fs::read_to_string(&file)?;
    let mut contexts = HashMap::new();
    for line in got.lines().filter(|line| *line != "/end ") {
        let (path, context) = line.split_once(' ').context("a path")?;
        ensure!(contexts.insert(path, context).is_none(), "{path} came again");
    }
    ensure!(contexts.len() == count, "{} of {count}", contexts.len());
    let spans = clients(&seen);
    let mut carried = 0;
    for (path, context) in &contexts {
        if context.is_empty() {
            continue;
        }
        carried += 1;
        // Of which there may be none, where it was lost and counted.
        if let Some(span) = spans.get(path) {
            ensure!(
                header_of(span) == format!("traceparent: {context}"),
                "{path}: {context}, {span:#?}"
            );
        }
    }
    // A thread that is not let run between its send and what is told of it may find the connection closed.
    let lost = seen.summary.lost_exchanges() + seen.summary.value("kernel.gap.syntax");
    ensure!(
        spans.len() as u64 + lost >= count as u64,
        "{} spans of {count}, {lost} lost: {:?}",
        spans.len(),
        seen.summary
    );
    ensure!(
        Outcome::of(&seen).injected == carried,
        "{carried}: {:?}",
        seen.summary
    );
    ensure!(
        carried * 100 >= count as u64 * 99,
        "{carried} of {count}: {:?}",
        seen.summary
    );
    Ok(())
}
