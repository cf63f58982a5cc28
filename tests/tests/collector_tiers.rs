//! The shipped configurations of the OpenTelemetry Collector (deploy/collector): they are valid, and two tiers of collectors keep
//! and count the traces of two hosts as they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use spanwire_tests::agent::{self, Agent, Options};
use spanwire_tests::capture::Tap;
use spanwire_tests::child::{self, Child};
use spanwire_tests::collector::{self, Collector, Place};
use spanwire_tests::foreign::Foreign;
use spanwire_tests::http::{self, Server};
use spanwire_tests::namespaces::Namespaces;
use spanwire_tests::port;
use spanwire_tests::prometheus::Prometheus;
use spanwire_tests::receiver::Receiver;
use spanwire_tests::service::zipkin::Zipkin;
use spanwire_tests::span::{self, Kind, Span};
use spanwire_tests::{wait, workload};

spanwire_tests::live!(
    every_configuration_is_valid_and_would_not_be_with_a_key_misspelt,
    every_variable_of_the_configurations_is_explained,
    two_tiers_keep_and_count_the_traces_of_two_hosts_as_they_are_told,
    what_is_kept_reaches_kafka_and_zipkin_too,
);

/// The shipped configurations, as they are to be given: the tiers alone, what is added to the gateway together with it.
fn sets() -> Result<Vec<Vec<PathBuf>>> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(collector::shipped(""))? {
        let file = entry?.path();
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .context("a name")?;
        let is_yaml = Path::new(name).extension().is_some_and(|end| end == "yaml");
        if !is_yaml || name == "builder.yaml" {
            continue;
        }
        let beneath = match name {
            "balancer.yaml" | "gateway.yaml" => None,
            "buffer-write.yaml" => Some("balancer.yaml"),
            _ => Some("gateway.yaml"),
        };
        let beneath = beneath.map(collector::shipped);
        sets.push(beneath.into_iter().chain([file]).collect());
    }
    Ok(sets)
}

fn every_configuration_is_valid_and_would_not_be_with_a_key_misspelt() -> Result<()> {
    let sets = sets()?;
    ensure!(sets.len() == 6, "{sets:?}");
    let folder = tempfile::tempdir()?;
    for set in &sets {
        collector::validate(set)?;
        // The last key of each file is the last that is read.
        let (last, before) = set.split_last().context("a file")?;
        let text = fs::read_to_string(last)?;
        let misspelt = folder.path().join("misspelt.yaml");
        let key = ["exporters", "receivers"]
            .into_iter()
            .max_by_key(|key| text.rfind(&format!("{key}: [")));
        let key = key.context("a pipeline")?;
        let (rest, end) = text.rsplit_once(&format!("{key}: [")).context("a pipeline")?;
        let singular = key.trim_end_matches('s');
        for wrong in [
            format!("{rest}{singular}: [{end}"),
            format!("{rest}{key}: [x, {end}"),
        ] {
            fs::write(&misspelt, wrong)?;
            let files: Vec<_> = before.iter().cloned().chain([misspelt.clone()]).collect();
            ensure!(
                collector::validate(&files).is_err(),
                "{} is valid, too",
                last.display()
            );
        }
    }
    Ok(())
}

fn every_variable_of_the_configurations_is_explained() -> Result<()> {
    let explained = fs::read_to_string(collector::shipped("README.md"))?;
    let mut count = 0;
    for file in sets()?.iter().filter_map(|set| set.last()) {
        for variable in fs::read_to_string(file)?.split("${env:").skip(1) {
            let name = variable.split([':', '}']).next().context("a name")?;
            ensure!(
                explained.contains(&format!("`{name}`")),
                "{name} is not in the README"
            );
            count += 1;
        }
    }
    ensure!(count > 15, "{count} variables");
    Ok(())
}

/// Asks the other host for the same path, and answers with 200 whatever that says.
const FRONT: &str = "
import http.client, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        connection = http.client.HTTPConnection(sys.argv[2], timeout=30)
        connection.request('GET', self.path)
        connection.getresponse().read()
        connection.close()
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()
server = ThreadingHTTPServer(('10.77.0.1', int(sys.argv[1])), Answer)
print('listening', flush=True)
server.serve_forever()
";

/// `/error` fails, `/missing` is not there, `/slow` takes its time.
const BACK: &str = "
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        if self.path == '/slow': time.sleep(0.8)
        self.send_response({'/error': 500, '/missing': 404}.get(self.path, 200))
        self.send_header('Content-Length', '0')
        self.end_headers()
server = ThreadingHTTPServer(('10.77.0.2', int(sys.argv[1])), Answer)
print('listening', flush=True)
server.serve_forever()
";

/// Asks for each path so often, one after the other.
const ASK: &str = "
import http.client, sys
address, *paths = sys.argv[1:]
for path in paths:
    path, count = path.split('=')
    for _ in range(int(count)):
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request('GET', path)
        assert connection.getresponse().status == 200
        connection.close()
";

/// How often each path is asked for, in this order. What comes last is kept, and so is decided last.
const ASKED: [(&str, usize); 5] = [
    ("/ok", 60),
    ("/slow", 4),
    ("/missing", 8),
    ("/ok", 60),
    ("/error", 8),
];

/// What of it fails: at the far end with a 500, at the near end alone with a 404.
const FAILED: usize = 16;

/// What the gateway is told: half of the rest is kept. As a number, the threshold would lose its digits.
const THRESHOLD: &str = "80000000000000";
const SLOW: u64 = 700;

/// A server on one of the hosts, that waits for the file `turn`.
fn server(hosts: &Namespaces, end: usize, script: &str, arguments: &[String], turn: &Path) -> Result<Child> {
    let mut command = hosts.python(end);
    command.args(["-c", script]).args(arguments);
    command.env("OTEL_SERVICE_NAME", ["front", "back"][end]);
    Child::spawn(child::held(&command, turn))
}

/// All spans that this spanwire has made, after its end.
fn made(agent: Agent) -> Result<Vec<Span>> {
    let finished = agent.stop()?;
    let mut spans = Vec::new();
    for line in &finished.stdout {
        spans.extend(span::from_json(line)?);
    }
    let summary = finished.summary.context("a summary")?;
    let exported = summary.value("spans.exported");
    ensure!(exported == spans.len() as u64, "{exported} exported: {summary:?}");
    Ok(spans)
}

/// Spans by their trace.
fn traces(spans: &[Span]) -> BTreeMap<&str, Vec<&Span>> {
    let mut traces = BTreeMap::<_, Vec<_>>::new();
    for span in spans {
        traces.entry(&*span.trace_id).or_default().push(span);
    }
    traces
}

/// Whether the gateway is to keep a trace: an error, its whole time, or the last 56 bits of its id.
fn is_kept(id: &str, trace: &[&Span]) -> bool {
    let begin = trace.iter().map(|span| span.start).min().unwrap_or_default();
    let end = trace.iter().map(|span| span.end).max().unwrap_or_default();
    let is_slow = (end - begin) / 1_000_000 >= SLOW;
    trace.iter().any(|span| span.error) || is_slow || &id[18..] >= THRESHOLD
}

fn two_tiers_keep_and_count_the_traces_of_two_hosts_as_they_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let backend = Receiver::start()?;
    let port = port::free()?;
    let gateway = |number: u8| {
        let place = Place::at(Ipv4Addr::new(127, 0, 0, number), port)?;
        let environment = [
            ("BACKEND", backend.grpc.to_string()),
            ("BACKEND_INSECURE", "true".into()),
            (
                "QUEUE_FOLDER",
                folder.path().join(number.to_string()).display().to_string(),
            ),
            ("DECISION_WAIT", "4s".into()),
            ("METRICS_INTERVAL", "1s".into()),
            ("SLOW_MS", SLOW.to_string()),
            ("SHARE_THRESHOLD", THRESHOLD.into()),
        ];
        Collector::start(&[collector::shipped("gateway.yaml")], place, &environment)
    };
    let gateways = [gateway(2)?, gateway(3)?];
    // The name of all gateways, known to the first tier alone.
    let names = folder.path().join("hosts");
    fs::write(&names, "127.0.0.2 gateways.test\n127.0.0.3 gateways.test\n")?;
    let names = names.to_str().context("path in UTF-8")?;
    let wrapper = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        r#"mount --bind "$0" /etc/hosts && exec "$@""#,
        names,
    ];
    let balancer = Collector::start_through(
        &wrapper,
        &[collector::shipped("balancer.yaml")],
        Place::at(Ipv4Addr::LOCALHOST, port::free()?)?,
        &[
            ("GATEWAY_NAME", "gateways.test".into()),
            ("GATEWAY_PORT", port.to_string()),
            ("GATEWAY_INSECURE", "true".into()),
        ],
    )?;
    let prometheus = Prometheus::scraping_all(&gateways.each_ref().map(|gateway| gateway.place.metrics))?;

    let hosts = Namespaces::new("tiers")?;
    let turn = folder.path().join("turn");
    let [front_at, back_at] = [
        SocketAddr::from(([10, 77, 0, 1], port::free()?)),
        SocketAddr::from(([10, 77, 0, 2], port::free()?)),
    ];
    let mut front = server(
        &hosts,
        0,
        FRONT,
        &[front_at.port().to_string(), back_at.to_string()],
        &turn,
    )?;
    let mut back = server(&hosts, 1, BACK, &[back_at.port().to_string()], &turn)?;
    let options = |pid, protocol, endpoint: SocketAddr| {
        Options::bare(["run", "--output", "otlp-json", "--hooks", "socket"])
            .pid(pid)
            .environment("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .environment("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"))
            .environment("OTEL_BSP_SCHEDULE_DELAY", "200")
    };
    let near = options(front.pid(), "grpc", balancer.place.grpc);
    let near = Agent::start(&near.flag("--propagate").flag("http1"))?;
    let far = near.start_beside(&options(back.pid(), "http/protobuf", balancer.place.http))?;
    fs::write(&turn, "")?;
    front.line("listening")?;
    back.line("listening")?;
    let mut client = hosts.python(0);
    client.args(["-c", ASK, &front_at.to_string()]);
    client.args(ASKED.map(|(path, count)| format!("{path}={count}")));
    Child::spawn(client)?.succeed()?;
    let all = [made(near)?, made(far)?].concat();

    let count: usize = ASKED.iter().map(|(_, count)| count).sum();
    let traces = traces(&all);
    ensure!(
        traces.len() == count && all.len() == 3 * count,
        "{} traces",
        traces.len()
    );
    for trace in traces.values() {
        let services: BTreeSet<_> = trace
            .iter()
            .map(|span| span.resource["service.name"].as_str())
            .collect();
        ensure!(trace.len() == 3 && services.len() == 2, "{trace:#?}");
    }
    // What came by both gateways together.
    for (query, value) in [
        (
            r#"sum(traces_span_metrics_calls_total{service_name="front",span_kind="SPAN_KIND_SERVER"})"#,
            count,
        ),
        (
            r#"sum(traces_span_metrics_calls_total{service_name="front",span_kind="SPAN_KIND_CLIENT"})"#,
            count,
        ),
        (
            r#"sum(traces_span_metrics_calls_total{service_name="back",span_kind="SPAN_KIND_SERVER"})"#,
            count,
        ),
        (
            r#"sum(traces_span_metrics_calls_total{service_name="front",status_code="STATUS_CODE_ERROR"})"#,
            FAILED,
        ),
        (
            r#"sum(traces_span_metrics_calls_total{service_name="back",status_code="STATUS_CODE_ERROR"})"#,
            FAILED / 2,
        ),
        (
            r#"sum(traces_span_metrics_duration_seconds_count{service_name="back",http_response_status_code="404"})"#,
            FAILED / 2,
        ),
        (
            r#"sum(traces_service_graph_request_total{client="front",server="back"})"#,
            count,
        ),
        (
            r#"sum(traces_service_graph_request_failed_total{client="front",server="back"})"#,
            FAILED,
        ),
        (
            r#"sum(traces_service_graph_request_server_seconds_count{client="front",server="back"})"#,
            count,
        ),
        // Each of them had some.
        (
            r#"count(sum by (instance) (traces_service_graph_request_total{client="front",server="back"}) > 0)"#,
            2,
        ),
    ] {
        prometheus.settles(query, f64::from(u32::try_from(value)?))?;
    }

    let ids = |spans: &mut dyn Iterator<Item = &Span>| -> Vec<String> {
        let mut ids: Vec<_> = spans.map(|span| span.span_id.clone()).collect();
        ids.sort();
        ids
    };
    let kept = traces.iter().filter(|(id, trace)| is_kept(id, trace));
    let kept = ids(&mut kept.flat_map(|(_, trace)| trace.iter().copied()));
    wait::within(Duration::from_secs(60), "kept traces", || {
        Ok((backend.len() >= kept.len()).then_some(()))
    })?;
    balancer.stop()?;
    for gateway in gateways {
        gateway.stop()?;
    }
    let received = backend.spans()?;
    ensure!(
        ids(&mut received.iter()) == kept,
        "{} came, {} were to",
        received.len(),
        kept.len()
    );
    // Not all, and more than what had to be: of those that were as others, about half.
    let by_share = kept.len() / 3 - FAILED - 4;
    let servers = received
        .iter()
        .filter(|span| span.kind == Kind::Server && span.error)
        .count();
    ensure!(
        by_share > 10 && by_share < 110 && servers == FAILED / 2,
        "{by_share} {servers}"
    );
    Ok(())
}

/// Tells the first messages of a topic: key, and value in hexadecimal digits.
const CONSUME: &str = "
import kafka, sys
consumer = kafka.KafkaConsumer(sys.argv[2], bootstrap_servers=sys.argv[1], auto_offset_reset='earliest')
for _ in range(int(sys.argv[3])):
    message = next(consumer)
    print(message.key.decode(), message.value.hex())
";

/// Spans of so many requests, made by `spanwire replay` out of a capture of them and exported to `endpoint`.
fn replayed(count: usize, endpoint: SocketAddr, folder: &Path) -> Result<Vec<Span>> {
    let capture = folder.join("requests.pcap");
    let (listener, address) = port::listener()?;
    let server = Server::tcp(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"answer")));
    })?;
    let tap = Tap::start(&capture, address.port(), &["-i", "lo"])?;
    let mut client = http::connect(address)?;
    for _ in 0..count {
        client.call("GET", "/", &address.to_string(), &[])?;
    }
    drop((client, server));
    tap.stop()?;
    let mut command = child::command(agent::binary()?.to_str().context("path in UTF-8")?);
    command.args(["replay", "--output", "otlp-json"]).arg(&capture);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"));
    let lines = Child::spawn(command)?.succeed()?;
    let spans: Result<Vec<_>> = lines.iter().map(|line| span::from_json(line)).collect();
    Ok(spans?.into_iter().flatten().collect())
}

fn what_is_kept_reaches_kafka_and_zipkin_too() -> Result<()> {
    const COUNT: usize = 20;
    let folder = tempfile::tempdir()?;
    let backend = Receiver::start()?;
    let kafka = Foreign::Kafka.serve()?;
    let kafka = &kafka.service.address;
    let zipkin = Zipkin::start()?;
    let files = ["gateway.yaml", "kafka.yaml", "zipkin.yaml"].map(collector::shipped);
    let gateway = Collector::start(
        &files,
        Place::at(Ipv4Addr::LOCALHOST, port::free()?)?,
        &[
            ("BACKEND", backend.grpc.to_string()),
            ("BACKEND_INSECURE", "true".into()),
            ("QUEUE_FOLDER", folder.path().join("queue").display().to_string()),
            ("DECISION_WAIT", "1s".into()),
            ("SHARE_THRESHOLD", THRESHOLD.into()),
            ("KAFKA", kafka.to_string()),
            (
                "ZIPKIN",
                format!("http://{}/api/v2/spans", zipkin.service.address),
            ),
        ],
    )?;
    let spans = replayed(COUNT, gateway.place.http, folder.path())?;
    let traces = traces(&spans);
    ensure!(traces.len() == COUNT, "{} traces", traces.len());
    let kept: BTreeMap<_, _> = traces.iter().filter(|(id, trace)| is_kept(id, trace)).collect();
    ensure!((1..COUNT).contains(&kept.len()), "{} kept", kept.len());

    let mut consumer = child::command(&workload::environment("python")?.to_string_lossy());
    consumer.args([
        "-c",
        CONSUME,
        &kafka.to_string(),
        "otlp_spans",
        &kept.len().to_string(),
    ]);
    let mut messages = BTreeMap::new();
    for line in Child::spawn(consumer)?.succeed()? {
        let (key, value) = line.split_once(' ').context("key and value")?;
        let digits = value.as_bytes().chunks(2);
        let bytes: Result<Vec<u8>, _> = digits
            .map(|two| u8::from_str_radix(&String::from_utf8_lossy(two), 16))
            .collect();
        let spans = span::from_protobuf(&ExportTraceServiceRequest::decode(&*bytes?)?)?;
        ensure!(spans.iter().all(|span| span.trace_id == key), "{key}: {spans:#?}");
        ensure!(messages.insert(key.to_owned(), spans).is_none(), "{key} twice");
    }
    let ids = |spans: &[Span]| {
        spans
            .iter()
            .map(|span| span.span_id.clone())
            .collect::<BTreeSet<_>>()
    };
    for (id, trace) in &kept {
        let trace: Vec<Span> = trace.iter().map(|span| (*span).clone()).collect();
        let message = messages
            .get(**id)
            .with_context(|| format!("{id} is not in Kafka"))?;
        ensure!(ids(message) == ids(&trace), "{message:#?}");
        let name = |span: &Span| {
            span.resource["service.name"]
                .as_str()
                .unwrap_or_default()
                .to_lowercase()
        };
        let expected: BTreeSet<_> = trace
            .iter()
            .map(|span| (name(span), span.span_id.clone()))
            .collect();
        let mut last = BTreeSet::new();
        wait::until("the trace in Zipkin", || {
            last = zipkin.spans(id)?;
            Ok((last == expected).then_some(()))
        })
        .with_context(|| format!("{expected:?}, last {last:?}"))?;
    }
    gateway.stop()?;
    for id in traces.keys().filter(|id| !kept.contains_key(*id)) {
        ensure!(zipkin.spans(id)?.is_empty(), "{id} was to be dropped");
    }
    Ok(())
}

/// A gateway that sends what it keeps to `backend`, with more files on top of it.
fn gateway(
    more: &[PathBuf],
    backend: &Receiver,
    folder: &Path,
    kafka: Option<SocketAddr>,
) -> Result<Collector> {
    let files = [&[collector::shipped("gateway.yaml")], more].concat();
    let mut environment = vec![
        ("BACKEND", backend.grpc.to_string()),
        ("BACKEND_INSECURE", "true".into()),
        ("QUEUE_FOLDER", folder.join("queue").display().to_string()),
        ("DECISION_WAIT", "1s".into()),
        ("SHARE_THRESHOLD", THRESHOLD.into()),
    ];
    environment.extend(kafka.map(|kafka| ("KAFKA", kafka.to_string())));
    Collector::start(
        &files,
        Place::at(Ipv4Addr::LOCALHOST, port::free()?)?,
        &environment,
    )
}

#[test]
fn spans_wait_in_kafka_for_a_second_tier_that_is_away() -> Result<()> {
    const COUNT: usize = 20;
    let folder = tempfile::tempdir()?;
    let backend = Receiver::start()?;
    let kafka = Foreign::Kafka.serve()?;
    let kafka = kafka.service.address;
    let first = Collector::start(
        &["balancer.yaml", "buffer-write.yaml"].map(collector::shipped),
        Place::at(Ipv4Addr::LOCALHOST, port::free()?)?,
        &[("KAFKA", kafka.to_string())],
    )?;
    let before = replayed(COUNT, first.place.http, folder.path())?;
    // All that it has taken is in Kafka once it has ended.
    first.stop()?;
    let read = [collector::shipped("buffer-read.yaml")];
    let ids = |spans: &[Span]| -> BTreeSet<_> { spans.iter().map(|span| span.span_id.clone()).collect() };
    let kept: Vec<Span> = traces(&before)
        .iter()
        .filter(|(id, trace)| is_kept(id, trace))
        .flat_map(|(_, trace)| trace.iter().map(|span| (*span).clone()))
        .collect();
    ensure!((1..COUNT).contains(&kept.len()), "{} kept", kept.len());
    let second = gateway(&read, &backend, folder.path(), Some(kafka))?;
    wait::within(wait::START, "what waited in Kafka", || {
        Ok((backend.len() >= kept.len()).then_some(()))
    })?;
    second.stop()?;
    // What was read is not read again.
    let third = gateway(&read, &backend, folder.path(), Some(kafka))?;
    std::thread::sleep(Duration::from_secs(3));
    third.stop()?;
    let received = backend.spans()?;
    ensure!(
        received.len() == kept.len() && ids(&received) == ids(&kept),
        "{} came, {} were to",
        received.len(),
        kept.len()
    );
    Ok(())
}

/// OTLP, in JSON.
fn post(address: SocketAddr, request: &Value) -> Result<()> {
    let body = request.to_string();
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}

#[test]
fn secrets_that_others_have_left_in_their_spans_are_taken_out_of_what_is_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let backend = Receiver::start()?;
    // All of what is kept, as it is.
    let (look, kept) = (folder.path().join("look.yaml"), folder.path().join("kept.json"));
    let pipeline = "service: {pipelines: {traces/look: {receivers: [forward/kept], exporters: [file]}}}";
    fs::write(
        &look,
        format!("exporters: {{file: {{path: {}}}}}\n{pipeline}\n", kept.display()),
    )?;
    let gateway = gateway(&[look], &backend, folder.path(), None)?;
    let texts = |texts: &[(&str, &str)]| -> Value {
        let attributes = texts
            .iter()
            .map(|(key, text)| json!({"key": key, "value": {"stringValue": text}}));
        attributes.collect()
    };
    let request = |resource: Value, name: &str, message: &str, attributes: Value, event: Value| {
        json!({"resourceSpans": [{
            "resource": {"attributes": resource},
            "scopeSpans": [{"scope": {}, "spans": [{
                "traceId": "5b8efff798038103d269b633813fc60c",
                "spanId": "eee19b7ec3c1b174",
                "parentSpanId": "",
                "name": name,
                "kind": 3,
                "startTimeUnixNano": "1544712660000000000",
                "endTimeUnixNano": "1544712661000000000",
                "attributes": attributes,
                "events": [{"timeUnixNano": "1544712660300000000", "name": "exception", "attributes": event}],
                "status": {"message": message, "code": 2},
            }]}],
        }]})
    };
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N";
    let told = request(
        texts(&[("service.name", "cart"), ("deploy.api_key", "hunter2")]),
        "GET /reset?token=hunter2&page=1",
        "no such user ada@example.com",
        texts(&[
            ("http.request.method", "GET"),
            ("url.full", "https://ada:hunter2@shop.test/cart/4111?id=7"),
            ("http.request.header.authorization", "Basic YWRhOmh1bnRlcjI="),
            ("url.path", "/users/ada@example.com"),
            ("db.url", "amqp://REDACTED:REDACTED@queue.test:5672/"),
            ("note", &format!("sent Bearer {token}")),
            ("jwt", token),
            ("key", "AKIAIOSFODNN7EXAMPLE"),
            ("card", "4111 1111 1111 1111"),
            ("iban", "to GB82 WEST 1234 5698 7654 32."),
            ("order", "1234567890123456"),
            ("instance", "3dcd5d80-4039-4ce7-4889-411112221111"),
            ("gen_ai.usage.tokens", "12"),
            (
                "container",
                "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a",
            ),
        ]),
        texts(&[("exception.message", "login failed: password=hunter2, try again")]),
    );
    let expected = request(
        texts(&[("service.name", "cart")]),
        "GET /reset?token=REDACTED&page=1",
        "no such user REDACTED",
        texts(&[
            ("http.request.method", "GET"),
            ("url.full", "https://REDACTED@shop.test/cart/4111?id=7"),
            ("url.path", "/users/REDACTED"),
            ("db.url", "amqp://REDACTED@queue.test:5672/"),
            ("note", "sent REDACTED"),
            ("jwt", "REDACTED"),
            ("key", "REDACTED"),
            ("card", "REDACTED"),
            ("iban", "to REDACTED."),
            ("order", "1234567890123456"),
            ("instance", "3dcd5d80-4039-4ce7-4889-411112221111"),
            ("gen_ai.usage.tokens", "12"),
            (
                "container",
                "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a",
            ),
        ]),
        texts(&[("exception.message", "login failed: password=REDACTED, try again")]),
    );
    post(gateway.place.http, &told)?;
    wait::until("the span", || Ok((!backend.is_empty()).then_some(())))?;
    gateway.stop()?;
    let found: Value = serde_json::from_str(fs::read_to_string(&kept)?.trim())?;
    ensure!(found == expected, "{found:#} is not {expected:#}");
    Ok(())
}
