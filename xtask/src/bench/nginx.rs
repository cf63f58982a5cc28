//! nginx with wrk on the same host: throughput when saturated, latency at a fixed rate; without spanwire and with it.

use super::agent::Agent;
use super::goal::Goal;
use super::load::{Load, run};
use super::report::{Report, Row};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// One worker, nothing logged, 200 bytes (or a page of 4,000) answered from memory: what is left is the cost of the exchange.
const CONFIGURATION: &str = "daemon off;
worker_processes 1;
pid FOLDER/pid;
error_log FOLDER/error.log;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    server {
        listen 127.0.0.1:PORT;
        location / { default_type text/plain; return 200 'BODY'; }
        location /page { default_type text/plain; return 200 'PAGE'; }
    }
}
";

/// Requests a second at which latency is measured: well below saturation of two cores.
const RATE: u32 = 2000;
const SECONDS: u64 = 3;

/// An nginx of our own. Dropped, it is killed.
pub(super) struct Nginx {
    child: Child,
    pub(super) port: u16,
    pub(super) folder: PathBuf,
}

impl Nginx {
    pub(super) fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("spanwire-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        // Free now; nobody else on a bench machine takes it in the next moment.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let configuration = CONFIGURATION
            .replace("FOLDER", &folder.to_string_lossy())
            .replace("PORT", &port.to_string())
            .replace("BODY", &"x".repeat(200))
            .replace("PAGE", &"y".repeat(4000));
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        let program = shell::find("nginx").context("no nginx: cargo xtask setup --tests")?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.join("error.log"))
            .spawn()?;
        let nginx = Self { child, port, folder };
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if started.elapsed() > Duration::from_secs(10) {
                bail!(
                    "nginx does not listen: {}",
                    fs::read_to_string(nginx.folder.join("error.log")).unwrap_or_default()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A master that is killed leaves its worker behind: it has to be asked.
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Rounds of both, each with spanwire first in every other round.
pub(super) fn measure(rounds: usize) -> Result<Report> {
    let about =
        format!("one worker, 200 B; wrk with 16 connections for {SECONDS} s, then {RATE} requests a second");
    let mut report = Report::new("nginx", about);
    let nginx = Nginx::start()?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut by_socket_hooks = true;
    for round in 0..rounds {
        println!("  nginx: round {} of {rounds}", round + 1);
        for turn in 0..2 {
            if (turn + round) % 2 == 0 {
                without.push(sample(&nginx)?);
            } else {
                let agent =
                    Agent::start_or_fail(&["--output", "none", "--port", &nginx.port.to_string()], &[])?;
                by_socket_hooks &= agent.by_socket_hooks;
                let sample = sample(&nginx)?;
                agent.stop()?;
                with.push(sample);
            }
        }
    }
    let rows = [
        (
            "throughput when saturated",
            "requests/s",
            Some(Goal::RatioFrom(0.9)),
        ),
        ("latency p50", "us", None),
        ("latency p95", "us", None),
        ("latency p99", "us", None),
    ];
    for (place, (what, unit, goal)) in rows.into_iter().enumerate() {
        let column = |samples: &[[f64; 4]]| samples.iter().map(|sample| sample[place]).collect::<Vec<_>>();
        let row = Row::paired(what.to_owned(), unit, &column(&with), &column(&without));
        report.push(row.judged(goal.filter(|_| by_socket_hooks)));
    }
    Ok(report)
}

/// Throughput, then p50, p95 and p99.
fn sample(nginx: &Nginx) -> Result<[f64; 4]> {
    let url = format!("http://127.0.0.1:{}/", nginx.port);
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "1", "-c", "16", "-d", &format!("{SECONDS}s"), &url])
        .stderr(Stdio::inherit());
    let said = shell::output(&mut wrk)?;
    let throughput = throughput(&said).with_context(|| format!("wrk said: {said}"))?;
    let length = Duration::from_secs(SECONDS);
    let latencies = run(Load {
        port: nginx.port,
        rate: RATE,
        connections: 16,
        length,
    })?;
    Ok([
        throughput,
        latencies.at(0.5),
        latencies.at(0.95),
        latencies.at(0.99),
    ])
}

/// The number behind `Requests/sec:`; `None` when there were errors too.
fn throughput(said: &str) -> Option<f64> {
    if said.contains("Socket errors") || said.contains("Non-2xx") {
        return None;
    }
    said.lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_with_errors_is_none() {
        let said = "  100 requests in 1.00s\nRequests/sec:  12345.67\nTransfer/sec: 1MB\n";
        assert_eq!(throughput(said), Some(12345.67));
        assert_eq!(
            throughput(&format!("  Socket errors: connect 0, read 1\n{said}")),
            None
        );
    }
}
