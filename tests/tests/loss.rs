//! The second promise: what is lost is counted, to the exchange.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use spanwire_tests::agent::{Agent, Hooks, Options};
use spanwire_tests::bulk::{self, Call};
use spanwire_tests::port;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::session::Session;
use spanwire_tests::summary::Summary;

spanwire_tests::under_both_hook_sets!(tiny_ring_buffer, ring_buffer_that_nobody_empties);

spanwire_tests::live!(
    endpoint_that_refuses,
    endpoint_that_hangs,
    export_queue_that_overflows,
);

const SIZE: u64 = 300;

fn nginx() -> Result<Nginx> {
    let nginx = Nginx::start(None)?;
    nginx.file("page", &[b'p'; SIZE as usize])?;
    Ok(nginx)
}

fn calls(count: usize) -> Vec<Call> {
    let body = Arc::new(vec![b'p'; SIZE as usize]);
    (0..count)
        .map(|index| Call {
            target: format!("/page?{index}"),
            body: body.clone(),
        })
        .collect()
}

/// Every exchange is a span or in one loss counter, and each span that there is, is right.
fn accounted_for(session: Session, exchanges: usize) -> Result<u64> {
    // There is nothing to wait for: how many will come is the question.
    let seen = session.finish(0)?;
    seen.well_formed()?;
    for span in &seen.spans {
        ensure!(
            span.attributes.get("http.response.body.size") == Some(&SIZE.into()) && !span.error,
            "wrong, where nothing would have been right: {:?} {:?}",
            span.kind,
            span.attributes
        );
    }
    let lost = seen.summary.lost_exchanges();
    ensure!(
        seen.spans.len() as u64 + lost == 2 * exchanges as u64,
        "{} spans and {lost} lost of {}: {:?}",
        seen.spans.len(),
        2 * exchanges,
        seen.summary
    );
    Ok(lost)
}

fn tiny_ring_buffer(hooks: Hooks) -> Result<()> {
    let nginx = nginx()?;
    let address = nginx.service.address;
    let options = Options::run(hooks)
        .port(address.port())
        .flag("--ring-buffer")
        .flag("4K");
    let session = Session::start(options)?;
    bulk::run(address, 20, &calls(2000))?;
    accounted_for(session, 2000)?;
    Ok(())
}

/// spanwire is stopped (SIGSTOP) while all happens, so that the ring buffer must overflow, and goes on later.
fn ring_buffer_that_nobody_empties(hooks: Hooks) -> Result<()> {
    let nginx = nginx()?;
    let address = nginx.service.address;
    let options = Options::run(hooks)
        .port(address.port())
        .flag("--ring-buffer")
        .flag("64K");
    let session = Session::start(options)?;
    session.agent.signal(Signal::STOP)?;
    let stopped = bulk::run(address, 20, &calls(2000));
    session.agent.signal(Signal::CONT)?;
    stopped?;
    let lost = accounted_for(session, 2000)?;
    ensure!(
        lost > 2000,
        "64 KiB do not hold 4,000 exchanges, but only {lost} are lost"
    );
    Ok(())
}

/// Makes 20 exchanges while spans go to `endpoint`, and gives the summary of a spanwire that ended well. What is wrong
/// with the endpoint is said in `words`.
fn exporting_to(endpoint: &str, more: &[(&str, &str)], words: &str) -> Result<Summary> {
    let nginx = nginx()?;
    let address = nginx.service.address;
    let mut options = Options::run(Hooks::Syscall)
        .port(address.port())
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .environment("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .environment("OTEL_BSP_SCHEDULE_DELAY", "50");
    for (key, value) in more {
        options = options.environment(key, *value);
    }
    let agent = Agent::start(&options)?;
    bulk::run(address, 4, &calls(20))?;
    let finished = agent.stop()?;
    ensure!(finished.status == 0, "{}", finished.message());
    ensure!(
        finished.message().contains(words),
        "no {words:?} in: {}",
        finished.message()
    );
    let Some(summary) = finished.summary else {
        anyhow::bail!("no summary: {}", finished.stderr.join("\n"));
    };
    let built = summary.value("spans.built");
    ensure!(built == 40, "{summary:?}");
    Ok(summary)
}

fn endpoint_that_refuses() -> Result<()> {
    let endpoint = format!("http://127.0.0.1:{}", port::free()?);
    let summary = exporting_to(&endpoint, &[], &format!("cannot export spans to {endpoint}"))?;
    ensure!(
        summary.value("lost.spans.export_failed") == 40 && summary.value("spans.exported") == 0,
        "{summary:?}"
    );
    Ok(())
}

/// The listener's queue takes connections; nobody ever answers on them.
fn endpoint_that_hangs() -> Result<()> {
    let (listener, address): (TcpListener, _) = port::listener()?;
    let endpoint = format!("http://{address}");
    let named = format!("could not be exported in time and are lost: {endpoint}");
    let summary = exporting_to(&endpoint, &[], &named)?;
    drop(listener);
    ensure!(
        summary.value("lost.spans.export_failed") == 40 && summary.value("spans.exported") == 0,
        "{summary:?}"
    );
    Ok(())
}

fn export_queue_that_overflows() -> Result<()> {
    let (listener, address): (TcpListener, _) = port::listener()?;
    let limits = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
    ];
    let summary = exporting_to(
        &format!("http://{address}"),
        &limits,
        "could not be exported in time",
    )?;
    drop(listener);
    let full = summary.value("lost.spans.queue_full");
    let failed = summary.value("lost.spans.export_failed");
    ensure!(full > 0 && full + failed == 40, "{summary:?}");
    Ok(())
}
