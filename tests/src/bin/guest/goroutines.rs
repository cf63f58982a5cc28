//! Which request a goroutine handles: of a server in Go that asks another for each of its requests, several at a time.

use crate::Verdict;
use crate::agent::{Agent, Start};
use crate::http::{Writes, read_response, write};
use crate::spans;
use crate::workload::{Server, connect};
use anyhow::{Context as _, Result, bail, ensure};
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// `tests/workloads/relay.go`, where the initramfs has it.
const BINARY: &str = "/bin/relay";

const SERVER: u16 = 8008;
const RELAY: u16 = 8011;

/// Connections at a time, and requests on each.
const AT_ONCE: usize = 4;
const EACH: usize = 5;

/// In guests that are given it: what it asks for has the request that it is for as its parent.
pub(crate) fn assert(verdict: &mut Verdict) {
    if Path::new(BINARY).exists() {
        verdict.assert("Go: what a handler asks for is for its request", run());
    } else {
        println!("     Go: no program of it in this guest");
    }
}

fn run() -> Result<()> {
    let server = Server::own(&address(SERVER).to_string(), "-")?;
    drop(connect(address(SERVER))?);
    let mut relay = Command::new(BINARY);
    relay.args([address(RELAY).to_string(), address(SERVER).to_string()]);
    let relay = Server::spawn(&mut relay)?;
    drop(connect(address(RELAY))?);
    let agent = match Agent::start_with("auto", &["--exe", "relay"])? {
        Start::Ready(agent) => agent,
        Start::Refused(said) => bail!("refused: {said}"),
    };
    // It reads what it watches, and probes it.
    thread::sleep(Duration::from_secs(5));
    let asked = thread::scope(|scope| {
        let asking: Vec<_> = (0..AT_ONCE).map(|of| scope.spawn(move || ask(of))).collect();
        asking
            .into_iter()
            .try_for_each(|asking| asking.join().ok().context("a client died")?)
    });
    relay.stop()?;
    server.stop()?;
    let ended = agent.stop()?;
    asked?;
    let told = spans::within(&ended)?;
    // An emulated machine may look at nothing for a while. Where nothing but system calls is hooked, an answer may then be read
    // before the call returns that sent the request.
    let early = ended.summary.value("kernel.gap.syntax");
    let all = AT_ONCE * EACH;
    ensure!(
        told <= all && told as u64 + early >= all as u64,
        "{told} of {all}: {:?}",
        ended.summary
    );
    Ok(())
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn ask(of: usize) -> Result<()> {
    let mut stream = BufReader::new(connect(address(RELAY))?);
    for index in 0..EACH {
        let path = format!("/relayed/{of}/{index}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: guest.test\r\n\r\n");
        write(stream.get_mut(), request.as_bytes(), Writes::Whole)?;
        let (status, body) = read_response(&mut stream)?;
        ensure!(status == 200 && body == path.as_bytes(), "{path}: {status}");
    }
    Ok(())
}
