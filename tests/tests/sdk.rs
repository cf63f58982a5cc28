//! Services that make spans themselves, by OpenTelemetry's SDKs, between services that do not: one trace, and nothing twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::receiver::Receiver;
use spanwire_tests::seen::Seen;
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{http, port, wait, workload};
use std::net::SocketAddr;
use std::process::Command;

spanwire_tests::under_both_hook_sets!(loaded_at_their_start);
spanwire_tests::under_one_hook_set!(found_by_their_exports, kept_all_the_same);

/// Requests, some at a time.
const COUNT: usize = 40;

fn service(mut command: Command, name: &str, arguments: &[&str]) -> Result<Service> {
    let port = port::free()?;
    let arguments = arguments
        .iter()
        .map(|argument| argument.replace("PORT", &port.to_string()));
    command.env("OTEL_SERVICE_NAME", name).args(arguments);
    Service::listening(Child::spawn(command)?, port)
}

/// A workload without an SDK.
fn plain(name: &str, script: &str, arguments: &[&str]) -> Result<Service> {
    let mut command = child::command(workload::PYTHON);
    command.arg(workload::file(script)?);
    service(command, name, arguments)
}

/// `command` with an SDK that exports to `receiver`.
fn with_sdk(mut command: Command, receiver: &Receiver) -> Command {
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.http))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_METRICS_EXPORTER", "none")
        .env("OTEL_LOGS_EXPORTER", "none")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200");
    command
}

/// Python and Node with the official auto-instrumentation.
fn instrumented(stock: SocketAddr, receiver: &Receiver) -> Result<[Service; 2]> {
    let mut price = with_sdk(child::command("node"), receiver);
    price
        .env("NODE_PATH", workload::node_sdk()?)
        .env("OTEL_NODE_ENABLED_INSTRUMENTATIONS", "http")
        .args(["--require", "@opentelemetry/auto-instrumentations-node/register"])
        .arg(workload::file("sdk/price.js")?);
    let price = service(price, "price", &["PORT", &stock.to_string()])?;
    let program = workload::environment("opentelemetry-instrument")?;
    let mut cart = with_sdk(child::command(&program.to_string_lossy()), receiver);
    cart.arg(workload::environment("python")?)
        .arg(workload::file("sdk/cart.py")?);
    let cart = service(cart, "cart", &["PORT", &price.address.to_string()])?;
    Ok([cart, price])
}

/// Asks `entry` for as many orders.
fn load(entry: SocketAddr) -> Result<Command> {
    let mut load = child::command(workload::PYTHON);
    load.env("OTEL_SERVICE_NAME", "load")
        .arg(workload::file("chain/load.py")?);
    load.args([format!("4:{COUNT}"), format!("http://{entry}/order")]);
    Ok(load)
}

/// Runs the load under spanwire, which watches `services`.
fn run(options: Options, services: &[&Service], load: &Command) -> Result<(Vec<String>, Session)> {
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let load = Child::spawn(child::held(load, &turn))?;
    let watched = services
        .iter()
        .map(|service| service.child.pid())
        .chain([load.pid()]);
    let options = watched.fold(options.flag("--no-redact"), Options::pid);
    let session = Session::start(options.flag("--propagate").flag("http1"))?;
    std::fs::write(turn, "")?;
    let ids = load.succeed_within(Duration::from_secs(60))?;
    ensure!(ids.len() == COUNT, "{ids:?}");
    Ok((ids, session))
}

/// Whose it is: an SDK's or spanwire's, the service and the kind.
fn who(span: &Span) -> (bool, &str, Kind) {
    let is_ours = span.scope == "spanwire";
    let service = span.resource.get("service.name").and_then(|name| name.as_str());
    (is_ours, service.unwrap_or_default(), span.kind)
}

/// The spans that are about `id`.
fn about<'a>(spans: &'a [Span], id: &str) -> Vec<&'a Span> {
    let is_about = |span: &&Span| {
        let mut texts = span.attributes.values().filter_map(|value| value.as_str());
        texts.any(|text| text.ends_with(&format!("/{id}")))
    };
    spans.iter().filter(is_about).collect()
}

/// Each request's spans are those of `chain`, each the child of the one before, all of one trace; and there are no others.
fn one_trace_each(spans: &[Span], ids: &[String], chain: &[(bool, &str, Kind)]) -> Result<()> {
    for id in ids {
        let found = about(spans, id);
        let mut trace = found.first().with_context(|| id.clone())?.trace_id.clone();
        let mut parent = String::new();
        for expected in chain {
            let here = found
                .iter()
                .find(|span| who(span) == *expected && span.parent == parent);
            let here =
                here.with_context(|| format!("{id}: no {expected:?} below {parent:?} in {found:#?}"))?;
            if parent.is_empty() {
                trace.clone_from(&here.trace_id);
            }
            ensure!(here.trace_id == trace, "{id}: {found:#?}");
            parent.clone_from(&here.span_id);
        }
        ensure!(found.len() == chain.len(), "{id}: {found:#?}");
    }
    ensure!(spans.len() == ids.len() * chain.len(), "{} spans", spans.len());
    Ok(())
}

/// What the SDKs have exported, once it is as many spans.
fn exported(receiver: &Receiver, count: usize) -> Result<Vec<Span>> {
    let _ = wait::within(wait::SETTLE, "spans of the SDKs", || {
        Ok((receiver.len() >= count).then_some(()))
    });
    receiver.spans()
}

fn sums_up(seen: &Seen, left_out: usize) -> Result<()> {
    let summary = &seen.summary;
    ensure!(
        summary.value("spans.left_to_sdk") == left_out as u64,
        "{summary:?}"
    );
    ensure!(summary.value("spans.telemetry") > 0, "{summary:?}");
    ensure!(summary.losses().is_empty(), "{summary:?}");
    Ok(())
}

fn loaded_at_their_start(hooks: Hooks) -> Result<()> {
    let receiver = Receiver::start()?;
    let stock = plain("stock", "answer.py", &["tcp", "127.0.0.1", "PORT"])?;
    let [cart, price] = instrumented(stock.address, &receiver)?;
    let front = plain(
        "front",
        "propagation/pass_on.py",
        &["PORT", &cart.address.to_string()],
    )?;
    let services = [&stock, &cart, &price, &front];
    let (ids, session) = run(Options::run(hooks), &services, &load(front.address)?)?;
    let mut spans = exported(&receiver, 4 * COUNT)?;
    let seen = session.finish(4 * COUNT)?;
    spans.extend(seen.spans.iter().cloned());
    let chain = [
        (true, "load", Kind::Client),
        (true, "front", Kind::Server),
        (true, "front", Kind::Client),
        (false, "cart", Kind::Server),
        (false, "cart", Kind::Client),
        (false, "price", Kind::Server),
        (false, "price", Kind::Client),
        (true, "stock", Kind::Server),
    ];
    one_trace_each(&spans, &ids, &chain)?;
    sums_up(&seen, 4 * COUNT)
}

fn found_by_their_exports(hooks: Hooks) -> Result<()> {
    let receiver = Receiver::start()?;
    let stock = plain("stock", "answer.py", &["tcp", "127.0.0.1", "PORT"])?;
    let mut by_hand = child::command(&workload::environment("python")?.to_string_lossy());
    by_hand.arg(workload::file("sdk/by_hand.py")?);
    let by_hand = service(
        with_sdk(by_hand, &receiver),
        "by_hand",
        &["PORT", &stock.address.to_string()],
    )?;
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let load = Child::spawn(child::held(&load(by_hand.address)?, &turn))?;
    let options = [stock.child.pid(), by_hand.child.pid(), load.pid()]
        .into_iter()
        .fold(Options::run(hooks).flag("--no-redact"), Options::pid);
    let session = Session::start(options.flag("--propagate").flag("http1"))?;
    // The first is told by both; by its export the service is known.
    let host = by_hand.address.to_string();
    let answer = http::connect(by_hand.address)?.call("GET", "/order/first", &host, &[])?;
    ensure!(answer.text() == "first", "{answer:?}");
    exported(&receiver, 2)?;
    session.settle(3);
    std::fs::write(turn, "")?;
    let ids = load.succeed_within(Duration::from_secs(60))?;
    let mut spans = exported(&receiver, 2 * COUNT + 2)?;
    let seen = session.finish(2 * COUNT + 3)?;
    spans.extend(seen.spans.iter().cloned());
    let first: BTreeSet<_> = about(&spans, "first").into_iter().map(who).collect();
    let both = [
        (true, "by_hand", Kind::Server),
        (true, "by_hand", Kind::Client),
        (false, "by_hand", Kind::Server),
        (false, "by_hand", Kind::Client),
        (true, "stock", Kind::Server),
    ];
    ensure!(first == BTreeSet::from(both), "{first:?}");
    spans.retain(|span| about(std::slice::from_ref(span), "first").is_empty());
    let chain = [
        (true, "load", Kind::Client),
        (false, "by_hand", Kind::Server),
        (false, "by_hand", Kind::Client),
        (true, "stock", Kind::Server),
    ];
    one_trace_each(&spans, &ids, &chain)?;
    sums_up(&seen, 2 * COUNT)
}

/// Where the configuration says so, everything is told by both.
fn kept_all_the_same(hooks: Hooks) -> Result<()> {
    let receiver = Receiver::start()?;
    let stock = plain("stock", "answer.py", &["tcp", "127.0.0.1", "PORT"])?;
    let [cart, price] = instrumented(stock.address, &receiver)?;
    let options = Options::run(hooks).environment("SPANWIRE_SDK_KEPT", "ca*,price");
    let services = [&stock, &cart, &price];
    let (ids, session) = run(options, &services, &load(cart.address)?)?;
    let theirs = exported(&receiver, 4 * COUNT)?;
    let seen = session.finish(6 * COUNT)?;
    for id in &ids {
        ensure!(about(&seen.spans, id).len() == 6, "{:#?}", about(&seen.spans, id));
        ensure!(about(&theirs, id).len() == 4, "{:#?}", about(&theirs, id));
    }
    sums_up(&seen, 0)
}
