//! The OpenTelemetry Collector itself, killed and started again under a running spanwire.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Agent, Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::collector;
use spanwire_tests::http::{self, Server};
use spanwire_tests::span::{self, Span};
use spanwire_tests::{port, wait};

spanwire_tests::live!(a_collector_that_is_killed_and_comes_back_has_every_span,);

/// A collector that writes what it gets to a file; killed when dropped.
struct Collector {
    program: PathBuf,
    configuration: PathBuf,
    file: PathBuf,
    ports: [u16; 2],
    running: Option<Child>,
}

impl Collector {
    fn new(folder: &Path) -> Result<Self> {
        let (ports, file) = ([port::free()?, port::free()?], folder.join("received.jsonl"));
        let configuration = folder.join("collector.yaml");
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{}'}}, http: {{endpoint: '127.0.0.1:{}'}}}}}}}}\n\
             exporters: {{file: {{path: '{}', append: true, flush_interval: 50ms}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n\
             \x20 pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}\n",
            ports[0],
            ports[1],
            file.display()
        );
        fs::write(&configuration, text)?;
        Ok(Self {
            program: collector::program()?,
            configuration,
            file,
            ports,
            running: None,
        })
    }

    fn start(&mut self) -> Result<()> {
        let mut command = child::command(self.program.to_str().context("path in UTF-8")?);
        command.arg("--config").arg(&self.configuration);
        self.running = Some(Child::spawn(command)?);
        for port in self.ports {
            wait::until("the collector", || Ok(port::is_listened_to(port)?.then_some(())))?;
        }
        Ok(())
    }

    /// By SIGKILL.
    fn kill(&mut self) {
        self.running = None;
    }

    fn received(&self) -> Result<Vec<Span>> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let mut spans = Vec::new();
        // The last line may be half written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            spans.extend(span::from_json(line)?);
        }
        Ok(spans)
    }

    fn receives(&self, count: usize) -> Result<()> {
        let all = || Ok((self.received()?.len() >= count).then_some(()));
        wait::within(Duration::from_secs(30), "spans at the collector", all)
    }
}

fn server() -> Result<(Server, SocketAddr)> {
    let (listener, address) = port::listener()?;
    let server = Server::tcp(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"answer")));
    })?;
    Ok((server, address))
}

fn a_collector_that_is_killed_and_comes_back_has_every_span() -> Result<()> {
    for (protocol, place) in [("grpc", 0), ("http/protobuf", 1), ("http/json", 1)] {
        let folder = tempfile::tempdir()?;
        let mut collector = Collector::new(folder.path())?;
        let (_server, address) = server()?;
        collector.start()?;
        let options = Options::run(Hooks::Socket)
            .port(address.port())
            .environment(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{}", collector.ports[place]),
            )
            .environment("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .environment("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")
            .environment("OTEL_BSP_SCHEDULE_DELAY", "100")
            .environment(
                "SPANWIRE_SPOOL",
                folder.path().join("spool").display().to_string(),
            );
        let agent = Agent::start(&options)?;
        let mut client = http::connect(address)?;
        let mut call = |count: usize| -> Result<()> {
            for _ in 0..count {
                client.call("GET", "/", &address.to_string(), &[])?;
            }
            Ok(())
        };
        // Two spans a call: one at each end.
        call(20)?;
        collector.receives(40)?;
        collector.kill();
        for _ in 0..5 {
            call(20)?;
            std::thread::sleep(Duration::from_millis(200));
        }
        collector.start()?;
        call(20)?;
        collector.receives(280)?;
        let finished = agent.stop()?;
        let summary = finished.summary.context("a summary")?;
        let spans = collector.received()?;
        let mut ids: Vec<_> = spans.iter().map(|span| span.span_id.clone()).collect();
        ids.sort();
        ids.dedup();
        let counted = ["spans.built", "spans.exported", "spool.spans.left"].map(|name| summary.value(name));
        ensure!(
            counted == [280, 280, 0],
            "{protocol}: {counted:?}: {}",
            summary.losses().join(", ")
        );
        ensure!(
            spans.len() == 280 && ids.len() == 280,
            "{protocol}: {} spans, {} ids",
            spans.len(),
            ids.len()
        );
        ensure!(
            summary.value("spool.spans.stored") >= 200,
            "it was never in the spool"
        );
    }
    Ok(())
}
