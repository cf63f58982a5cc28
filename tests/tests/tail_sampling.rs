//! Tail sampling of live traffic: a client, nginx, and the service behind it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use spanwire_tests::agent::{self, Agent, Hooks, Options};
use spanwire_tests::http::{self, Server};
use spanwire_tests::metrics::Scrape;
use spanwire_tests::port;
use spanwire_tests::receiver::Receiver;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::session::Session;
use spanwire_tests::span::Span;
use spanwire_tests::wait;

spanwire_tests::live!(
    failed_and_slow_traces_are_whole_and_of_the_others_are_those_that_the_threshold_keeps,
    what_is_held_is_told_and_at_the_end_decided_by_the_rules_in_force,
    more_than_a_queue_holds_is_exported_whole_at_the_end,
);

/// Spans of a call: of the client, twice of nginx, and of the service.
const SPANS: usize = 4;

/// The service: how it answers is in the path.
fn service() -> Result<(Server, SocketAddr)> {
    let (listener, address) = port::listener()?;
    let server = Server::tcp(listener, |connection| {
        http::serve(connection, |request| {
            let path = request.target();
            if path.contains("/slow/") {
                thread::sleep(Duration::from_millis(1500));
            }
            let status = if path.contains("/fail/") { 503 } else { 200 };
            Some(http::response(status, b"answer"))
        });
    })?;
    Ok((server, address))
}

/// The id of a trace whose last 7 bytes are as random as any (SplitMix64).
fn trace_id(number: u64) -> String {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    format!("{:016x}{:016x}", number + 1, bits ^ bits >> 31)
}

/// Whether OpenTelemetry's rule keeps a trace, by the value of `th`.
fn is_chosen(trace: &str, threshold: &str) -> bool {
    // Of equal length, numbers are in the order of their digits.
    trace[18..] >= *format!("{threshold:0<14}")
}

/// What the call of this number is like.
fn kind(number: u64) -> &'static str {
    // Not in step with the clients, so that each has some.
    match number % 83 {
        7 | 23 | 41 | 64 => "fail",
        11 => "slow",
        _ => "fine",
    }
}

/// Calls on one connection.
fn calls(address: SocketAddr, numbers: impl Iterator<Item = u64>) -> Result<()> {
    let mut client = http::connect(address)?;
    for number in numbers {
        let (kind, trace) = (kind(number), trace_id(number));
        let head = format!(
            "GET /proxy/{kind}/{number} HTTP/1.1\r\nhost: {address}\r\ntraceparent: 00-{trace}-{:016x}-01\r\n\r\n",
            number + 1
        );
        client.send(head)?;
        let answer = client.response("GET")?;
        let expect = if kind == "fail" { 503 } else { 200 };
        ensure!(answer.status() == expect, "{} to {kind}", answer.status());
    }
    Ok(())
}

fn settings(folder: &tempfile::TempDir, tail: &str) -> Result<PathBuf> {
    let path = folder.path().join("spanwire.yaml");
    std::fs::write(&path, format!("sampling:\n  tail: {{{tail}}}\n"))?;
    Ok(path)
}

fn by_trace(spans: &[Span]) -> HashMap<&str, Vec<&Span>> {
    let mut traces: HashMap<&str, Vec<&Span>> = HashMap::new();
    for span in spans {
        traces.entry(&span.trace_id).or_default().push(span);
    }
    traces
}

fn failed_and_slow_traces_are_whole_and_of_the_others_are_those_that_the_threshold_keeps() -> Result<()> {
    const CALLS: u64 = 2000;
    const CLIENTS: usize = 8;
    let (_server, upstream) = service()?;
    let nginx = Nginx::start(Some(upstream))?;
    let folder = tempfile::tempdir()?;
    let tail = "decision_wait: 3s, ratio: 0.2, keep: [{errors: true}, {latency: 1s}]";
    let address = nginx.service.address;
    let options = Options::run(Hooks::Socket)
        .flag("--config")
        .flag(settings(&folder, tail)?)
        .port(address.port())
        .port(upstream.port());
    let session = Session::start(options)?;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|first| thread::spawn(move || calls(address, (0..CALLS).skip(first).step_by(CLIENTS))))
        .collect();
    for client in clients {
        client.join().expect("a client")?;
    }
    let chosen: HashSet<String> = (0..CALLS)
        .filter(|number| kind(*number) != "fine" || is_chosen(&trace_id(*number), "cccd"))
        .map(trace_id)
        .collect();
    let seen = session.finish(SPANS * chosen.len())?;
    seen.well_formed()?;
    let traces = by_trace(&seen.spans);
    let mut kept = HashSet::new();
    for (trace, spans) in &traces {
        ensure!(
            spans.len() == SPANS,
            "{} spans of {trace}: {spans:?}",
            spans.len()
        );
        let ids: HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
        ensure!(ids.len() == SPANS, "a span twice in {trace}");
        let is_kept = |span: &&Span| span.error || span.end - span.start >= 1_000_000_000;
        let state = if spans.iter().any(is_kept) {
            ""
        } else {
            "ot=th:cccd"
        };
        ensure!(spans.iter().all(|span| span.state == state), "{spans:?}");
        // This machine may well hold a call up for a second.
        if state.is_empty() && !chosen.contains(*trace) {
            continue;
        }
        kept.insert((*trace).to_owned());
    }
    let missing: Vec<_> = chosen.difference(&kept).collect();
    let more: Vec<_> = kept.difference(&chosen).collect();
    ensure!(
        missing.is_empty() && more.is_empty(),
        "missing {missing:?}, and {more:?}"
    );
    let value = |name: &str| seen.summary.value(name);
    let sum = |names: &[&str]| names.iter().map(|name| value(name)).sum::<u64>();
    let kept = sum(&[
        "spans.kept.tail.policy",
        "spans.kept.tail.ratio",
        "spans.kept.tail.late",
    ]);
    let dropped = sum(&["spans.dropped.tail.ratio", "spans.dropped.tail.late"]);
    ensure!(value("spans.built") == CALLS * SPANS as u64, "{:?}", seen.summary);
    ensure!(
        kept == seen.spans.len() as u64 && kept == value("spans.exported"),
        "{:?}",
        seen.summary
    );
    ensure!(kept + dropped == value("spans.built"), "{:?}", seen.summary);
    let losses = seen.summary.losses();
    ensure!(losses.is_empty(), "{losses:?}");
    Ok(())
}

fn what_is_held_is_told_and_at_the_end_decided_by_the_rules_in_force() -> Result<()> {
    const CALLS: u64 = 30;
    let (_server, upstream) = service()?;
    let nginx = Nginx::start(Some(upstream))?;
    let folder = tempfile::tempdir()?;
    let file = settings(&folder, "decision_wait: 1h, ratio: 0")?;
    let address = nginx.service.address;
    let metrics = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let options = Options::run(Hooks::Socket)
        .flag("--config")
        .flag(&file)
        .flag("--listen")
        .flag("unix")
        .flag("--listen")
        .flag(metrics.to_string())
        .port(address.port())
        .port(upstream.port());
    let session = Session::start(options)?;
    calls(address, (0..CALLS).filter(|number| kind(*number) == "fine"))?;
    calls(address, std::iter::once(7))?;
    let count = 1 + (0..CALLS).filter(|number| kind(*number) == "fine").count();
    #[expect(clippy::cast_precision_loss, reason = "some hundred")]
    let spans = (SPANS * count) as f64;
    let scrape = Scrape::until(metrics, "all spans", |scrape| {
        scrape.value("spanwire_tail_spans") >= spans
    })?;
    ensure!(scrape.value("spanwire_tail_spans") == spans, "{}", scrape.text);
    ensure!(scrape.findings()?.is_empty(), "{}", scrape.findings()?);
    let (used, size) = (
        scrape.value("spanwire_tail_used_bytes"),
        scrape.value("spanwire_tail_size_bytes"),
    );
    ensure!(
        used > 200.0 * spans && used < size && size == 67_108_864.0,
        "{used} of {size}"
    );
    #[expect(clippy::cast_precision_loss, reason = "some dozen")]
    let traces = count as f64;
    ensure!(scrape.value(r#"spanwire_map_entries{name="agent.tail.traces"}"#) == traces);
    let status = agent::attempt_beside(&Options::bare(["status"]))?;
    let shown = status.stdout.join("\n");
    ensure!(
        shown.contains(&format!("  held         {spans} spans, ")),
        "{shown}"
    );
    // Of those that were held before as well.
    settings(&folder, "decision_wait: 1h, ratio: 0.5, keep: [{errors: true}]")?;
    session.agent.signal(Signal::HUP)?;
    wait::until("the new rules", || {
        let said = session.agent.stderr();
        Ok(said.iter().any(|line| line.contains("read again")).then_some(()))
    })?;
    let chosen: HashSet<String> = (0..CALLS)
        .filter(|number| *number == 7 || kind(*number) == "fine" && is_chosen(&trace_id(*number), "8"))
        .map(trace_id)
        .collect();
    let seen = session.finish(1)?;
    let traces = by_trace(&seen.spans);
    ensure!(traces.values().all(|spans| spans.len() == SPANS), "{traces:?}");
    let kept: HashSet<String> = traces.keys().map(|trace| (*trace).to_owned()).collect();
    ensure!(kept == chosen, "{kept:?}, not {chosen:?}");
    Ok(())
}

fn more_than_a_queue_holds_is_exported_whole_at_the_end() -> Result<()> {
    const CALLS: usize = 1000;
    const QUEUE: u64 = 512;
    let (_server, upstream) = service()?;
    let nginx = Nginx::start(Some(upstream))?;
    let folder = tempfile::tempdir()?;
    let address = nginx.service.address;
    let receiver = Receiver::start()?;
    let options = Options::run(Hooks::Socket)
        .flag("--config")
        .flag(settings(
            &folder,
            "decision_wait: 1h, ratio: 0, rates: [{operations: ['GET*'], ratio: 1}]",
        )?)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.http))
        .environment("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE.to_string())
        .port(address.port())
        .port(upstream.port());
    let agent = Agent::start(&options)?;
    calls(
        address,
        (0..).filter(|number| kind(*number) == "fine").take(CALLS),
    )?;
    let finished = agent.stop()?;
    let summary = finished.summary.expect("a summary");
    let spans = (CALLS * SPANS) as u64;
    ensure!(
        spans > 4 * QUEUE && summary.value("spans.built") == spans,
        "{summary:?}"
    );
    ensure!(summary.value("spans.exported") == spans, "{summary:?}");
    ensure!(summary.losses().is_empty(), "{summary:?}");
    // In no case was one of them let go before: then there would be nothing to show.
    ensure!(summary.value("spans.kept.tail.ratio") == spans, "{summary:?}");
    ensure!(receiver.spans()?.len() as u64 == spans);
    Ok(())
}
