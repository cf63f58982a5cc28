//! Connections of HTTP/2 that were open before spanwire came: they are enrolled once their protocol is known, and carry contexts
//! from then on, unless the application sends its own.

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Keeper2, clients, header_of, once, propagating};
use spanwire_tests::session::Session;
use spanwire_tests::{wait, workload};
use std::path::Path;
use std::process::Command;

spanwire_tests::under_both_hook_sets!(http2_of_go, http2_of_node, http2_with_contexts_of_its_own);

/// What the Go program `keep` does, in Node.
const KEEP_ASKING: &str = "
const [address, file] = process.argv.slice(1);
const session = require('http2').connect(`http://${address}`);
let number = 0;
const ask = () => new Promise((resolve, reject) => {
  const stream = session.request({ ':path': `/kept/${number}`, 'x-number': String(number++) });
  let text = '';
  stream.on('data', (part) => { text += part; });
  stream.on('end', () => text === 'ok' ? resolve() : reject(new Error(text)));
  stream.on('error', reject);
});
const keep = async () => {
  while (!require('fs').existsSync(file)) {
    await ask();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
};
Promise.all([keep(), keep(), keep()]).then(() => { console.log(number); session.close(); });
";

fn go(address: &str, end: &Path) -> Result<Command> {
    let mut client = child::command(&workload::go_program("keep")?.to_string_lossy());
    client.arg(address).arg(end);
    Ok(client)
}

fn http2_of_go(hooks: Hooks) -> Result<()> {
    carries(hooks, go)
}

fn http2_of_node(hooks: Hooks) -> Result<()> {
    carries(hooks, |address, end| {
        let mut client = child::command("node");
        client.args(["-e", KEEP_ASKING, address]).arg(end);
        Ok(client)
    })
}

/// From one request on, and no later than after those that prove that there is no context, each carries that of its own span.
fn carries(hooks: Hooks, client: impl Fn(&str, &Path) -> Result<Command>) -> Result<()> {
    let keeper = Keeper2::start()?;
    let folder = tempfile::tempdir()?;
    let end = folder.path().join("end");
    let client = Child::spawn(client(&keeper.address.to_string(), &end)?)?;
    keeper.kept.more(50)?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    wait::until("requests that carry a context", || {
        let last = keeper.kept.last(30);
        let all = last.iter().all(|got| got.values("traceparent").len() == 1);
        Ok((all && last.len() == 30).then_some(()))
    })
    .map_err(|error| error.context(format!("{:?}", keeper.kept.last(1))))?;
    let seen = session.finish(0)?;
    keeper.kept.more(20)?;
    std::fs::write(&end, "")?;
    let count: usize = client.succeed()?.concat().parse()?;
    let got = once(keeper.kept.take()?)?;
    ensure!(got.len() == count, "{} of {count}", got.len());
    let spans = clients(&seen);
    let mut carried = 0;
    for (path, got) in &got {
        let values = got.values("traceparent");
        ensure!(values.len() <= 1, "{path}: {got:#?}");
        let Some(value) = values.first() else { continue };
        carried += 1;
        // What was on its way at the end may have no span.
        if let Some(span) = spans.get(path.as_str()) {
            ensure!(
                header_of(span) == format!("traceparent: {value}"),
                "{got:#?}, not of {span:#?}"
            );
        }
    }
    let value = |name: &str| seen.summary.value(name);
    ensure!(
        value("kernel.propagation.injected") == carried,
        "{carried}: {:?}",
        seen.summary
    );
    ensure!(
        value("kernel.propagation.skipped.unproven") == 16,
        "{:?}",
        seen.summary
    );
    ensure!(value("kernel.propagation.own") == 0, "{:?}", seen.summary);
    Ok(())
}

fn http2_with_contexts_of_its_own(hooks: Hooks) -> Result<()> {
    let keeper = Keeper2::start()?;
    let folder = tempfile::tempdir()?;
    let end = folder.path().join("end");
    let mut client = go(&keeper.address.to_string(), &end)?;
    client.arg("own");
    let client = Child::spawn(client)?;
    keeper.kept.more(50)?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    keeper.kept.more(200)?;
    let seen = session.finish(0)?;
    std::fs::write(&end, "")?;
    client.succeed()?;
    let got = once(keeper.kept.take()?)?;
    for (path, got) in &got {
        let number = path.rsplit('/').next().context("a number")?;
        let number = number.parse::<u64>()? + 1;
        ensure!(
            got.values("traceparent") == [&format!("00-{number:032x}-{number:016x}-01")],
            "{path}: {got:#?}"
        );
    }
    let value = |name: &str| seen.summary.value(name);
    ensure!(value("kernel.propagation.injected") == 0, "{:?}", seen.summary);
    ensure!(value("kernel.propagation.own") >= 100, "{:?}", seen.summary);
    Ok(())
}
