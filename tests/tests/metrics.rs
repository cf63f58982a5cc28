//! What spanwire tells of itself while it runs: metrics, health, and `spanwire status`.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use anyhow::{Result, ensure};
use spanwire_tests::agent::{self, Agent, Hooks, Options};
use spanwire_tests::http::{self, Server};
use spanwire_tests::metrics::{Scrape, ask};
use spanwire_tests::port;

/// The default socket.
const SOCKET: &str = "/run/spanwire.sock";

fn server() -> Result<(Server, SocketAddr)> {
    let (listener, address) = port::listener()?;
    let server = Server::tcp(listener, |connection| {
        http::serve(connection, |request| {
            let status = request.target().rsplit('/').next()?.parse().ok()?;
            Some(http::response(status, b"answer"))
        });
    })?;
    Ok((server, address))
}

/// Calls with a status each, on one connection.
fn call(address: SocketAddr, statuses: &[u16]) -> Result<()> {
    let mut client = http::connect(address)?;
    for status in statuses {
        client.call(
            "GET",
            &format!("/metrics-test/{status}"),
            &address.to_string(),
            &[],
        )?;
    }
    Ok(())
}

/// spanwire that watches the port of `watched` and tells its metrics at the address that is returned.
fn telling(watched: SocketAddr, more: &[&str]) -> Result<(Agent, SocketAddr)> {
    let metrics = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let mut options = Options::run(Hooks::Socket)
        .port(watched.port())
        .flag("--listen")
        .flag("unix")
        .flag("--listen")
        .flag(metrics.to_string());
    for flag in more {
        options = options.flag(*flag);
    }
    let options = options.environment("SPANWIRE_METRICS_KERNEL_COST", "true");
    Ok((Agent::start(&options)?, metrics))
}

const BUILT: &str = r#"spanwire_spans_total{place="agent",kind="built"}"#;

#[test]
fn its_own_numbers_are_those_of_the_workload_and_of_the_summary() -> Result<()> {
    let (_server, address) = server()?;
    let (agent, metrics) = telling(address, &[])?;
    let before = Scrape::of(metrics)?;
    ensure!(before.value(BUILT) == 0.0);
    call(address, &[200; 7])?;
    // Both ends of each.
    let scrape = Scrape::until(metrics, "all spans", |scrape| scrape.value(BUILT) >= 14.0)?;
    ensure!(scrape.value(BUILT) == 14.0, "{}", scrape.text);
    ensure!(scrape.findings()?.is_empty(), "{}", scrape.findings()?);
    ensure!(scrape.value(r#"spanwire_connections_total{place="kernel",kind="http1"}"#) == 2.0);
    ensure!(scrape.value(r#"spanwire_events_total{kind="opened"}"#) == 2.0);
    ensure!(scrape.sum("spanwire_lost_total", &[]) == 0.0, "{}", scrape.text);
    for (series, at_least) in [
        ("process_cpu_seconds_total", 0.001),
        ("process_resident_memory_bytes", 1e6),
        (r#"spanwire_map_capacity{name="kernel.connections"}"#, 65_536.0),
        (r#"spanwire_ring_buffer_size_bytes{name="events"}"#, 8_388_608.0),
        (r#"spanwire_processes{state="read"}"#, 1.0),
        // A call is a send and a receive at each end.
        (r#"spanwire_bpf_runs_total{program="sock_send_length"}"#, 14.0),
        (r#"spanwire_bpf_runs_total{program="sock_recv_length"}"#, 14.0),
        (
            r#"spanwire_bpf_run_time_seconds_total{program="sock_send_length"}"#,
            1e-7,
        ),
    ] {
        ensure!(scrape.value(series) >= at_least, "{series} in {}", scrape.text);
    }
    for path in ["/livez", "/readyz"] {
        ensure!(ask(metrics, path, "")? == (200, "ok\n".to_owned()));
    }
    let status = agent::attempt_beside(&Options::bare(["status"]))?;
    ensure!(status.status == 0, "{}", status.message());
    let shown = status.stdout.join("\n");
    ensure!(
        shown.contains(", ready, up ") && shown.contains("  spans        built 14"),
        "{shown}"
    );
    let finished = agent.stop()?;
    let summary = finished.summary.expect("a summary");
    ensure!(summary.value("spans.built") == 14);
    ensure!(!Path::new(SOCKET).exists(), "the socket stays behind");
    Ok(())
}

#[test]
fn those_who_say_nothing_hold_up_neither_capture_nor_others_for_long() -> Result<()> {
    let (_server, address) = server()?;
    let (agent, metrics) = telling(address, &[])?;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(metrics)?);
    }
    call(address, &[200; 5])?;
    // At first turned away, then there is room.
    let name = "spanwire_metrics_connections_refused_total";
    let scrape = spanwire_tests::wait::until("a scrape", || match Scrape::of(metrics) {
        Ok(scrape) if scrape.value(BUILT) >= 10.0 => Ok(Some(scrape)),
        _ => Ok(None),
    })?;
    ensure!(
        scrape.value(BUILT) == 10.0 && scrape.value(name) >= 168.0,
        "{}",
        scrape.text
    );
    drop(idle);
    agent.stop()?;
    Ok(())
}

#[test]
fn a_socket_that_a_killed_one_left_is_taken_over_and_nobody_there_is_said() -> Result<()> {
    let (_server, address) = server()?;
    let turn = agent::Turn::take()?;
    let metrics = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let options = Options::run(Hooks::Socket).port(address.port());
    Agent::start_in(turn, &options)?.kill()?;
    let turn = agent::Turn::take()?;
    ensure!(Path::new(SOCKET).exists());
    let status = agent::attempt_beside(&Options::bare(["status"]))?;
    ensure!(
        status.status == 3 && status.message().contains("start one with `sudo spanwire run`"),
        "{} {}",
        status.status,
        status.message()
    );
    let agent = Agent::start_in(turn, &options)?;
    let status = agent::attempt_beside(&Options::bare(["status"]))?;
    ensure!(status.status == 0, "{}", status.message());
    agent.stop()?;
    // A port that is taken is said before anything is captured.
    let _taken = std::net::TcpListener::bind(metrics)?;
    let refused = agent::attempt(&options.flag("--listen").flag(metrics.to_string()))?;
    ensure!(
        refused.status == 2
            && refused
                .message()
                .contains(&format!("cannot serve metrics at http://{metrics}")),
        "{} {}",
        refused.status,
        refused.message()
    );
    Ok(())
}
