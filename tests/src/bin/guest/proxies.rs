//! Contexts injected into what nginx and HAProxy ask for: event loops that nobody here wrote, with bodies that pass through in both
//! directions, and are the same behind them to the byte.

use crate::Verdict;
use crate::agent::{Agent, Start};
use crate::http::{Writes, read_response, write};
use crate::propagation::is_restrained;
use crate::spans;
use crate::workload::{BODIES, Server, connect};
use anyhow::{Context as _, Result, bail, ensure};
use spanwire_tests::injection::counting;
use std::collections::BTreeSet;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

/// Whom they ask.
const SERVER: u16 = 8008;

const PROXIES: &[Proxy] = &[
    Proxy {
        name: "nginx",
        asks: true,
        needs: None,
        port: 8009,
        ways: &["copied", "sendfile", "streamed"],
        arguments: &["/bin/nginx", "-e", "stderr", "-p", "/tmp", "-c", "/tmp/nginx.conf"],
        configuration: "\
user root; daemon off; master_process off; pid /tmp/nginx.pid; error_log stderr warn;
events { worker_connections 64; }
http {
  access_log off; client_max_body_size 20m; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u;
  scgi_temp_path /tmp/s;
  upstream server { server 127.0.0.1:8008; keepalive 4; }
  server {
    listen 127.0.0.1:8009;
    proxy_http_version 1.1; proxy_set_header Connection \"\";
    location /copied/ { proxy_pass http://server; }
    location /sendfile/ { proxy_pass http://server; sendfile on; }
    location /streamed/ { proxy_pass http://server; proxy_request_buffering off; }
  }
}
",
    },
    Proxy {
        name: "haproxy",
        asks: false,
        // Not every guest is given it: see `processor` in xtask/src/kernels/boot.rs.
        needs: Some("cx16"),
        port: 8010,
        ways: &["copied"],
        arguments: &["/bin/haproxy", "-db", "-f", "/tmp/haproxy.conf"],
        configuration: "\
defaults
  mode http
  timeout connect 30s
  timeout client 30s
  timeout server 30s
  http-reuse always
listen proxy
  bind 127.0.0.1:8010
  server server 127.0.0.1:8008
",
    },
];

/// Requests in each way of a proxy: with no body, and with one of so many bytes.
const SIZES: [Option<usize>; 12] = [
    None,
    None,
    None,
    Some(0),
    Some(1),
    Some(4_999),
    Some(5_000),
    Some(16_384),
    Some(16_385),
    Some(65_536),
    Some(1 << 20),
    Some(10 << 20),
];

/// A proxy in front of the server that answers with the contexts of a request, and its body.
struct Proxy {
    name: &'static str,
    /// It asks how many bytes wait on a socket (FIONREAD).
    asks: bool,
    /// What the processor has to have, as /proc/cpuinfo calls it.
    needs: Option<&'static str>,
    port: u16,
    /// What paths begin with of requests that it sends each in another way.
    ways: &'static [&'static str],
    /// The program first. It reads its configuration from `/tmp/NAME.conf`.
    arguments: &'static [&'static str],
    configuration: &'static str,
}

/// Watches the proxies alone, so that what they ask for has the contexts that they were sent with, and no other.
pub(crate) fn assert(verdict: &mut Verdict) {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    for proxy in PROXIES {
        if !Path::new(proxy.arguments[0]).exists() {
            println!("     injection: no {} in this guest", proxy.name);
            continue;
        }
        let missing = proxy
            .needs
            .filter(|flag| !processor.split_whitespace().any(|it| it == *flag));
        if let Some(flag) = missing {
            println!(
                "     injection: {} cannot run on a processor without {flag}",
                proxy.name
            );
            continue;
        }
        verdict.assert(&format!("injection: what {} asks for", proxy.name), proxy.run());
    }
}

impl Proxy {
    fn run(&self) -> Result<()> {
        let server = Server::own(&format!("127.0.0.1:{SERVER}"), BODIES)?;
        drop(connect(SocketAddr::from((Ipv4Addr::LOCALHOST, SERVER)))?);
        fs::write(format!("/tmp/{}.conf", self.name), self.configuration)?;
        let (program, arguments) = self.arguments.split_first().context("no program")?;
        let proxy = Server::spawn(Command::new(program).args(arguments))?;
        if let Err(error) = self.connect() {
            proxy.stop()?;
            return Err(error);
        }
        let flags = ["--exe", self.name, "--propagate", "http1"];
        let agent = match Agent::start_with("auto", &flags)? {
            Start::Ready(agent) => agent,
            Start::Refused(said) => bail!("refused: {said}"),
        };
        let restrained = is_restrained(&agent);
        // It reads what it watches.
        thread::sleep(Duration::from_secs(3));
        let contexts = self.ask()?;
        proxy.stop()?;
        server.stop()?;
        let ended = agent.stop()?;
        if restrained && self.asks {
            let touched = contexts.iter().find(|context| !context.is_empty());
            ensure!(touched.is_none(), "{touched:?} on a kernel where it may stall");
            return Ok(());
        }
        let distinct: BTreeSet<_> = contexts.iter().collect();
        ensure!(
            distinct.len() == contexts.len(),
            "{} of {} are distinct: {contexts:?}",
            distinct.len(),
            contexts.len()
        );
        spans::are_of_clients(&ended, contexts.iter())
    }

    fn connect(&self) -> Result<std::net::TcpStream> {
        connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
    }

    /// The contexts that the server saw, of requests in each of its ways. Each body came as it was planned, and came back so.
    fn ask(&self) -> Result<Vec<String>> {
        let mut stream = BufReader::new(self.connect()?);
        let mut contexts = Vec::new();
        for way in self.ways {
            for (index, size) in SIZES.into_iter().enumerate() {
                let method = size.map_or("GET", |_| "POST");
                let body = counting(index, size.unwrap_or(0));
                let head = format!(
                    "{method} /{way}/{index} HTTP/1.1\r\nHost: guest.test\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                write(
                    stream.get_mut(),
                    &[head.as_bytes(), &body].concat(),
                    Writes::Whole,
                )?;
                let told = || format!("{way}/{index}, {size:?}");
                let (status, answer) = read_response(&mut stream).with_context(told)?;
                ensure!(status == 200, "{}: {status}", told());
                let end = answer.iter().position(|byte| *byte == b'\n');
                let (context, back) = answer.split_at(end.unwrap_or(answer.len()));
                let context = String::from_utf8_lossy(context).into_owned();
                ensure!(back.get(1..) == Some(&*body), "{}: {context}", told());
                contexts.push(context);
            }
        }
        Ok(contexts)
    }
}
