//! What spanwire tells of itself while it runs: metrics, health, and `spanwire status`.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use rustix::process::Signal;
use spanwire_tests::agent::{self, Agent, Hooks, Options};
use spanwire_tests::child;
use spanwire_tests::http::{self, Server};
use spanwire_tests::metric_receiver::MetricReceiver;
use spanwire_tests::metrics::{Scrape, ask};
use spanwire_tests::port;
use spanwire_tests::prometheus::Prometheus;
use spanwire_tests::shop::{self, Shop};
use spanwire_tests::span::{self, Kind};
use spanwire_tests::wait;

spanwire_tests::live!(
    its_own_numbers_are_those_of_the_workload_and_of_the_summary,
    those_who_say_nothing_hold_up_neither_capture_nor_others_for_long,
    a_socket_that_a_killed_one_left_is_taken_over_and_nobody_there_is_said,
    a_real_prometheus_counts_what_the_clients_counted,
    the_shop_s_metrics_are_its_orders_and_its_spans,
    metrics_go_over_otlp_cumulative_and_as_deltas_to_the_last_request,
    the_configuration_is_read_again_with_no_gap_in_what_is_captured,
    under_nohup_a_hang_up_means_nothing,
);

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
    let scrape = wait::until("a scrape", || match Scrape::of(metrics) {
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

fn a_real_prometheus_counts_what_the_clients_counted() -> Result<()> {
    let (_server, address) = server()?;
    let (agent, metrics) = telling(address, &[])?;
    let prometheus = Prometheus::scraping(metrics)?;
    let statuses: Vec<u16> = (0..60).map(|number| [200, 200, 404, 503][number % 4]).collect();
    call(address, &statuses)?;
    for (status, count) in [(200, 30.0), (404, 15.0), (503, 15.0)] {
        for side in ["server", "client"] {
            let name = format!("http_{side}_request_duration_seconds");
            let labels = format!("http_request_method='GET',http_response_status_code='{status}'");
            prometheus.settles(&format!("sum({name}_count{{{labels}}})"), count)?;
            prometheus.settles(&format!("sum({name}_bucket{{{labels},le='+Inf'}})"), count)?;
        }
    }
    prometheus.settles(
        "sum(http_server_request_duration_seconds_count{error_type='503'})",
        15.0,
    )?;
    prometheus.settles(
        "sum(traces_service_graph_request_total{connection_type=''})",
        60.0,
    )?;
    prometheus.settles("sum(traces_service_graph_request_total)", 60.0)?;
    // A 404 is an error of who asks.
    prometheus.settles("sum(traces_service_graph_request_failed_total)", 30.0)?;
    prometheus.settles("sum(traces_service_graph_request_server_seconds_count)", 60.0)?;
    prometheus.settles("sum(spanwire_spans_total{kind='built'})", 120.0)?;
    prometheus.settles("up", 1.0)?;
    ensure!(
        Scrape::of(metrics)?.findings()?.is_empty(),
        "{}",
        Scrape::of(metrics)?.findings()?
    );
    let exemplars = wait::until("exemplars", || {
        let found = prometheus.exemplars("http_server_request_duration_seconds_bucket")?;
        Ok((!found.is_empty()).then_some(found))
    })?;
    for exemplar in exemplars {
        let trace = exemplar["labels"]["trace_id"].as_str().unwrap_or_default();
        ensure!(
            trace.len() == 32 && trace.bytes().any(|byte| byte != b'0'),
            "{exemplar}"
        );
    }
    agent.stop()?;
    Ok(())
}

/// HTTP, gRPC, PostgreSQL and RabbitMQ: each metric has what was ordered, and what was told as spans.
fn the_shop_s_metrics_are_its_orders_and_its_spans() -> Result<()> {
    const ORDERS: usize = 12;
    shop::prepare(|_| {})?;
    let shop = Shop::open(|_| {}, || false)?;
    let metrics = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let mut options = Options::bare(["run", "--output", "otlp-json"])
        .flag("--listen")
        .flag(metrics.to_string());
    for port in shop.ports() {
        options = options.port(*port);
    }
    let agent = Agent::start(&options)?;
    let mut client = http::connect(shop.front())?;
    for _ in 0..ORDERS {
        let body = br#"{"sku":"tea","quantity":1}"#;
        let host = shop.front().to_string();
        client.call("POST", "/orders", &host, body)?;
    }
    // Also the last message has been dealt with.
    let delivered = "messaging_process_duration_seconds_count";
    Scrape::until(metrics, "all messages", |scrape| {
        scrape.sum(delivered, &[]) >= ORDERS as f64
    })?;
    drop(client);
    let mut built = 0.0;
    let scrape = Scrape::until(metrics, "rest", |_| true).and_then(|_| {
        wait::until("no more spans", || {
            std::thread::sleep(std::time::Duration::from_secs(3));
            let scrape = Scrape::of(metrics)?;
            let is_settled = scrape.value(BUILT) == std::mem::replace(&mut built, scrape.value(BUILT));
            Ok(is_settled.then_some(scrape))
        })
    })?;
    let stopped = agent.stop()?;
    drop(shop);
    let spans = stopped
        .stdout
        .iter()
        .map(|line| span::from_json(line))
        .collect::<Result<Vec<_>>>()?
        .concat();
    ensure!(scrape.findings()?.is_empty(), "{}", scrape.findings()?);
    let orders = ORDERS as f64;
    for (name, labels) in [
        (
            "http_server_request_duration_seconds_count",
            vec![
                r#"service_name="front""#,
                r#"http_request_method="POST""#,
                r#"http_response_status_code="201""#,
            ],
        ),
        (
            "http_client_request_duration_seconds_count",
            vec![r#"service_name="front""#],
        ),
        (
            "http_server_request_duration_seconds_count",
            vec![r#"service_name="pricing""#],
        ),
        (
            "rpc_client_call_duration_seconds_count",
            vec![
                r#"service_name="front""#,
                r#"rpc_method="shop.Stock/Reserve""#,
                r#"rpc_response_status_code="OK""#,
            ],
        ),
        (
            "rpc_server_call_duration_seconds_count",
            vec![r#"service_name="stock""#, r#"rpc_system_name="grpc""#],
        ),
        (
            "messaging_client_operation_duration_seconds_count",
            vec![r#"service_name="front""#, r#"messaging_operation_name="publish""#],
        ),
        (
            "messaging_client_sent_messages_total",
            vec![r#"service_name="front""#],
        ),
        (
            "messaging_process_duration_seconds_count",
            vec![r#"service_name="shipping""#],
        ),
        (
            "messaging_client_consumed_messages_total",
            vec![r#"service_name="shipping""#],
        ),
        (
            "traces_service_graph_request_total",
            vec![r#"client="front",server="pricing",connection_type="""#],
        ),
        (
            "traces_service_graph_request_total",
            vec![r#"client="front",server="stock",connection_type="""#],
        ),
    ] {
        let sum = scrape.sum(name, &labels);
        ensure!(sum == orders, "{name} {labels:?}: {sum} in {}", scrape.text);
    }
    // Every span that is made of the conventions' kinds counts once.
    let of = |key: &str, kind: Kind| {
        spans
            .iter()
            .filter(|span| span.kind == kind && span.text(key).is_some())
            .count() as f64
    };
    let calls = |kind| of("rpc.system.name", kind);
    for (name, expect) in [
        (
            "http_server_request_duration_seconds_count",
            of("http.request.method", Kind::Server),
        ),
        (
            "http_client_request_duration_seconds_count",
            of("http.request.method", Kind::Client),
        ),
        ("rpc_server_call_duration_seconds_count", calls(Kind::Server)),
        ("rpc_client_call_duration_seconds_count", calls(Kind::Client)),
        (
            "db_client_operation_duration_seconds_count",
            of("db.system.name", Kind::Client),
        ),
        (
            "messaging_client_sent_messages_total",
            of("messaging.system", Kind::Producer),
        ),
        (
            "messaging_client_consumed_messages_total",
            of("messaging.system", Kind::Consumer),
        ),
    ] {
        let sum = scrape.sum(name, &[]);
        ensure!(
            expect > 0.0 && sum == expect,
            "{name}: {sum}, of {expect} spans, in {}",
            scrape.text
        );
    }
    // Three services ask the one database, and each statement is in one edge.
    let to_database = scrape.sum(
        "traces_service_graph_request_total",
        &[r#"server="postgres",connection_type="database""#],
    );
    ensure!(
        to_database == of("db.system.name", Kind::Client),
        "{to_database} in {}",
        scrape.text
    );
    Ok(())
}

/// Counts of all points of a histogram in each request.
fn counts(receiver: &MetricReceiver, name: &str, is_exponential: bool) -> Result<Vec<u64>> {
    let requests = receiver.metrics()?;
    let counts = requests.iter().map(|metrics| {
        let points = metrics
            .iter()
            .filter(|(_, metric)| metric.name == name)
            .map(|(_, metric)| {
                ensure!(metric.unit == "s");
                Ok(match (&metric.data, is_exponential) {
                    (Some(Data::Histogram(it)), false) => {
                        it.data_points.iter().map(|point| point.count).sum::<u64>()
                    }
                    (Some(Data::ExponentialHistogram(it)), true) => {
                        it.data_points.iter().map(|point| point.count).sum()
                    }
                    other => anyhow::bail!("{other:?}"),
                })
            });
        points.sum()
    });
    counts.collect()
}

fn metrics_go_over_otlp_cumulative_and_as_deltas_to_the_last_request() -> Result<()> {
    const CALLS: u64 = 20;
    for is_grpc in [false, true] {
        let (_server, address) = server()?;
        let receiver = MetricReceiver::start()?;
        let endpoint = if is_grpc { receiver.grpc } else { receiver.http };
        let mut options = Options::run(Hooks::Socket)
            .port(address.port())
            .environment("OTEL_METRICS_EXPORTER", "otlp")
            .environment("OTEL_METRIC_EXPORT_INTERVAL", "700")
            .environment("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"))
            .environment("OTEL_TRACES_EXPORTER", "none");
        if is_grpc {
            options = options
                .environment("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
                .environment("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
                .environment(
                    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                    "base2_exponential_bucket_histogram",
                );
        }
        let agent = Agent::start(&options)?;
        call(address, &[200; CALLS as usize / 2])?;
        let name = "http.server.request.duration";
        let total = |counts: &[u64]| match is_grpc {
            true => counts.iter().sum::<u64>(),
            false => counts.last().copied().unwrap_or(0),
        };
        wait::until("the first half", || {
            let counts = counts(&receiver, name, is_grpc)?;
            Ok((total(&counts) == CALLS / 2).then_some(()))
        })?;
        // The rest, right before the end.
        call(address, &[503; CALLS as usize / 2])?;
        let stopped = agent.stop()?;
        ensure!(stopped.status == 0, "{}", stopped.message());
        let counts = counts(&receiver, name, is_grpc)?;
        ensure!(total(&counts) == CALLS, "{counts:?}, {}", stopped.message());
        let requests = receiver.metrics()?;
        let last = requests.last().expect("a request");
        let has = |name: &str, service: &str| {
            last.iter()
                .any(|(of, metric)| metric.name == name && of.contains(service))
        };
        ensure!(
            has("spanwire.spans", "\"spanwire\"") && has("process.cpu", "\"spanwire\""),
            "{last:?}"
        );
    }
    Ok(())
}

/// Waits until spanwire has said so on standard error for the so manieth time.
fn said(agent: &Agent, text: &str, times: usize) -> Result<()> {
    wait::until(text, || {
        let lines = agent.stderr();
        let found = lines.iter().filter(|line| line.contains(text)).count();
        Ok((found >= times).then_some(()))
    })
}

fn the_configuration_is_read_again_with_no_gap_in_what_is_captured() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("spanwire.yaml");
    let (_server, address) = server()?;
    let served = port::free()?;
    let mut other = child::command("python3");
    other.args(["-m", "http.server", "--bind", "127.0.0.1", &served.to_string()]);
    let other = child::Child::spawn(other)?;
    wait::until("the other server", || {
        Ok(port::is_listened_to(served)?.then_some(()))
    })?;
    let other_address = SocketAddr::from(([127, 0, 0, 1], served));
    let (own, other_pid) = (std::process::id(), other.pid());
    let ports = format!("port: [{}, {served}]", address.port());
    let alone = format!("watch: {{pid: [{own}], {ports}}}\n");
    let both = format!(
        "watch: {{pid: [{own}, {other_pid}], {ports}}}\nhttp: {{captured_request_headers: [host]}}\n"
    );
    std::fs::write(&file, &alone)?;
    let options = Options::bare(["run", "--output", "otlp-json"])
        .flag("--config")
        .flag(&file);
    let agent = Agent::start(&options)?;
    // It calls all the time, on one connection.
    let is_over = Arc::new(AtomicBool::new(false));
    let calling = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || -> Result<u64> {
            let mut client = http::connect(address)?;
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                client.call("GET", "/reload/200", "h", &[])?;
                count += 1;
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
            Ok(count)
        }
    });
    let ask_other = |path: &str| -> Result<()> {
        http::connect(other_address)?
            .call("GET", path, "h", &[])
            .map(drop)
    };
    ask_other("/before")?;
    std::fs::write(&file, &both)?;
    agent.signal(Signal::HUP)?;
    said(
        &agent,
        "read again; changed: http.captured_request_headers, watch.pid",
        1,
    )?;
    ask_other("/watched")?;
    std::fs::write(&file, format!("{both}spans: {{drop: [{{paths: [/left-*]}}]}}\n"))?;
    agent.signal(Signal::HUP)?;
    said(&agent, "read again; changed: spans.drop", 1)?;
    ask_other("/left-out")?;
    std::fs::write(&file, format!("{both}capture: {{ring_buffer: 16M}}\n"))?;
    agent.signal(Signal::HUP)?;
    said(&agent, "read again; changed: spans.drop", 2)?;
    ask_other("/left-in")?;
    said(
        &agent,
        "changed, but not before the next start: capture.ring_buffer",
        1,
    )?;
    std::fs::write(&file, "watch: {pids: [1]}\n")?;
    agent.signal(Signal::HUP)?;
    said(&agent, "the configuration stays as it was: unknown key `pids`", 1)?;
    ask_other("/watched-still")?;
    std::fs::write(&file, &alone)?;
    agent.signal(Signal::HUP)?;
    said(
        &agent,
        "read again; changed: http.captured_request_headers, watch.pid",
        2,
    )?;
    ask_other("/after")?;
    is_over.store(true, Ordering::Relaxed);
    let calls = calling.join().expect("no panic")?;
    let stopped = agent.stop()?;
    ensure!(stopped.status == 0, "{}", stopped.message());
    let spans = stopped
        .stdout
        .iter()
        .map(|line| span::from_json(line))
        .collect::<Result<Vec<_>>>()?
        .concat();
    let of = |path: &str, kind: Kind| {
        spans
            .iter()
            .filter(|span| span.kind == kind && span.path() == path)
            .count() as u64
    };
    ensure!(calls > 200, "{calls} calls");
    for kind in [Kind::Server, Kind::Client] {
        ensure!(
            of("/reload/200", kind) == calls,
            "{kind:?}: {} of {calls}",
            of("/reload/200", kind)
        );
    }
    let served: Vec<_> = [
        "/before",
        "/watched",
        "/left-out",
        "/left-in",
        "/watched-still",
        "/after",
    ]
    .map(|path| of(path, Kind::Server))
    .into();
    ensure!(served == [0, 1, 0, 1, 1, 0], "{served:?}");
    // What was captured of a request's head changed, and changed back.
    let with_header = spans
        .iter()
        .filter(|span| span.attributes.contains_key("http.request.header.host"));
    let with_header = with_header.count();
    ensure!(
        with_header > 2 && with_header < spans.len(),
        "{with_header} of {}",
        spans.len()
    );
    Ok(())
}

fn under_nohup_a_hang_up_means_nothing() -> Result<()> {
    let (_server, address) = server()?;
    let options = Options::run(Hooks::Socket)
        .port(address.port())
        .through(["nohup"]);
    let agent = Agent::start(&options)?;
    agent.signal(Signal::HUP)?;
    call(address, &[200; 3])?;
    let stopped = agent.stop()?;
    ensure!(stopped.status == 0, "{}", stopped.message());
    ensure!(!stopped.message().contains("read again"), "{}", stopped.message());
    ensure!(stopped.summary.expect("a summary").value("spans.built") == 6);
    Ok(())
}
