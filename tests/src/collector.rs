//! The OpenTelemetry Collector, with the configurations that are shipped (`deploy/collector`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::child::{self, Child};
use crate::metrics::ask;
use crate::port;
use crate::wait;
use crate::workload::built;

/// A file of `deploy/collector`.
#[must_use]
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/collector")
        .join(name)
}

/// The program of the shipped manifest, made by the collector's own builder: minutes, the first time.
///
/// # Errors
/// There is no Go, or no module proxy.
pub fn program() -> Result<PathBuf> {
    let sources = [shipped("builder.yaml")];
    built("otelcol", &sources, |output| {
        // `-e`: the builder's tidying up stops at modules that only tests of modules use.
        let mut command = Command::new("sh");
        command.args([
            "-ec",
            "mkdir $0.work; cd $0.work; GOBIN=$PWD go install go.opentelemetry.io/collector/cmd/builder@v0.111.0; \
             GOFLAGS='-buildvcs=false -e' ./builder --config=$1; mv out/otelcol $0; rm -r $0.work",
        ]);
        command.arg(output).args(&sources);
        command
    })
}

/// By `wrapper`, a program that executes it, where there is one.
fn configured(wrapper: &[&str], arguments: &[&str], files: &[PathBuf]) -> Result<Command> {
    let program = program()?;
    let mut words = wrapper.to_vec();
    words.push(program.to_str().context("path in UTF-8")?);
    let mut command = child::command(words[0]);
    command.args(&words[1..]).args(arguments);
    for file in files {
        command.arg("--config").arg(file);
    }
    Ok(command)
}

/// What `otelcol validate` says of these files together.
///
/// # Errors
/// It finds something wrong.
pub fn validate(files: &[PathBuf]) -> Result<()> {
    Child::spawn(configured(&[], &["validate"], files)?)?
        .succeed()
        .map(drop)
}

/// Settings of the shipped files that say where one of several collectors of a machine listens, each as an environment variable.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where OTLP comes in, over gRPC.
    pub grpc: SocketAddr,
    /// The same over HTTP.
    pub http: SocketAddr,
    /// Where its metrics of requests are.
    pub metrics: SocketAddr,
    health: SocketAddr,
}

impl Place {
    /// At this address of the machine, OTLP over gRPC at `port`.
    ///
    /// # Errors
    /// No port is free.
    pub fn at(address: Ipv4Addr, port: u16) -> Result<Self> {
        let with = |port| SocketAddr::from((address, port));
        Ok(Self {
            grpc: with(port),
            http: with(port::free()?),
            metrics: with(port::free()?),
            health: with(port::free()?),
        })
    }

    fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LISTEN_HOST", self.grpc.ip().to_string()),
            ("LISTEN_GRPC", self.grpc.port().to_string()),
            ("LISTEN_HTTP", self.http.port().to_string()),
            ("METRICS", self.metrics.to_string()),
            ("HEALTH", self.health.to_string()),
        ]
    }
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens.
    pub place: Place,
    child: Child,
}

impl Collector {
    /// Starts one of these files together, with such an environment beside that of its place, and waits until it says that it
    /// is well.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(files: &[PathBuf], place: Place, environment: &[(&str, String)]) -> Result<Self> {
        Self::start_through(&[], files, place, environment)
    }

    /// The same by a program that executes it, such as `unshare`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_through(
        wrapper: &[&str],
        files: &[PathBuf],
        place: Place,
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let mut command = configured(wrapper, &[], files)?;
        // Its metrics of its own have a fixed port.
        command.args(["--config", "yaml:service::telemetry::metrics::level: none"]);
        command.envs(place.environment());
        command.envs(environment.iter().map(|(key, value)| (key, value)));
        let mut child = Child::spawn(command)?;
        wait::within(wait::START, "a healthy collector", || {
            child.ensure_running()?;
            let is_healthy = ask(place.health, "/", "").is_ok_and(|(status, _)| status == 200);
            Ok(is_healthy.then_some(()))
        })?;
        Ok(Self { place, child })
    }

    /// What it has written.
    #[must_use]
    pub fn text(&self) -> String {
        self.child.text()
    }

    /// SIGTERM, and the end of all pipelines; what it has written.
    ///
    /// # Errors
    /// It does not end well.
    pub fn stop(mut self) -> Result<String> {
        self.child.signal(Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.child.text());
        Ok(self.child.text())
    }
}
