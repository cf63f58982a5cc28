//! What spanwire does not read makes no span, is counted as unclaimed, and arrives: live and in captures, from its first
//! byte on and joined in the middle.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::capture::{self, Tap};
use spanwire_tests::child::Child;
use spanwire_tests::foreign::{Foreign, Server};
use spanwire_tests::http::{self, Connection};
use spanwire_tests::replay::{count, read};
use spanwire_tests::session::Session;

spanwire_tests::under_both_hook_sets!(in_lines, unreadable, looking_like_requests);
spanwire_tests::under_one_hook_set!(databases, calls, messages);

fn in_lines(hooks: Hooks) -> Result<()> {
    live(hooks, &[Foreign::Redis, Foreign::Memcached, Foreign::Nats])
}

fn databases(hooks: Hooks) -> Result<()> {
    live(
        hooks,
        &[Foreign::Mysql, Foreign::MongoDb, Foreign::MemcachedBinary],
    )
}

fn calls(hooks: Hooks) -> Result<()> {
    let [a, b, c, d] = Foreign::THRIFT;
    live(hooks, &[Foreign::Dubbo, a, b, c, d])
}

fn messages(hooks: Hooks) -> Result<()> {
    live(hooks, &[Foreign::Kafka])
}

fn unreadable(hooks: Hooks) -> Result<()> {
    live(hooks, &[Foreign::Tls, Foreign::Ssh, Foreign::Noise])
}

/// Requests on a connection: its first bytes tell.
const FRESH: usize = 100;
/// Requests on one that is joined late, which is looked at until the sides have taken turns a thousand times.
const LATE: usize = 520;

/// Of each server a client that was busy before spanwire came, and one that begins under its eyes.
fn live(hooks: Hooks, all: &[Foreign]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let go_on = folder.path().join("go-on");
    let servers = all.iter().map(|foreign| foreign.serve());
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let clients = |count: usize, go_on: Option<&Path>| {
        let start = |server: &Server| Child::spawn(server.client(count, go_on)?);
        servers.iter().map(start).collect::<Result<Vec<_>>>()
    };
    let mut late = clients(LATE, Some(&go_on))?;
    for client in &mut late {
        client.line("warm")?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let options = servers.iter().fold(Options::run(hooks), |options, server| {
        options.port(server.service.address.port())
    });
    let session = Session::start(options)?;
    std::fs::write(&go_on, [])?;
    // openssl's server is busy with the first client until its end.
    for client in late {
        client.succeed()?;
    }
    for client in clients(FRESH, None)? {
        client.succeed()?;
    }
    let seen = session.finish(0)?;
    seen.spans_are(&[])?;
    let value = |name: &str| seen.summary.value(name);
    let said = || seen.finished.message();
    for protocol in ["http2", "postgres", "amqp"] {
        ensure!(
            value(&format!("kernel.connections.{protocol}")) == 0,
            "{}",
            said()
        );
    }
    // A key of memcached's may look like a request's target, up to the line's end; and on a connection that was joined late
    // a read may begin with a whole request that is content. What comes behind it is none, which is a loss.
    let claimed = value("kernel.connections.http1");
    let given_up = value("kernel.unclaimed.revoked") + value("kernel.gap.syntax");
    ensure!(claimed <= given_up, "{}", said());
    // Both ends of each, and each of them twice.
    let connections = |foreign: &&Foreign| 4 * foreign.connections() as u64;
    let least: u64 = all.iter().map(|foreign| connections(&foreign)).sum();
    ensure!(value("kernel.connections.joined_late") >= least / 2, "{}", said());
    let unclaimed = claimed + value("kernel.unclaimed.other") + value("kernel.unclaimed.tls");
    ensure!(unclaimed >= least, "{unclaimed} instead of {least}: {}", said());
    ensure!(
        (value("kernel.unclaimed.tls") > 0) == all.contains(&Foreign::Tls),
        "{}",
        said()
    );
    Ok(())
}

/// Where a client sends contents on their own, on a connection that was there before, nothing but the answers says that these
/// are no requests: it may be claimed, and still no span comes of it.
fn looking_like_requests(hooks: Hooks) -> Result<()> {
    const FRAME: &[u8] = b"\0\0\x03\x01\x05\0\0\0\x05\x82\x84\x86";
    let server = Foreign::Memcached.serve()?;
    let mut clients = Vec::new();
    for content in [b"GET /bait HTTP/1.1\r\nHost: bait\r\n\r\n", &*FRAME.repeat(3)] {
        let mut client = http::connect(server.service.address)?;
        store(&mut client, b"before")?;
        clients.push((client, content.to_vec()));
    }
    let session = Session::start(Options::run(hooks).port(server.service.address.port()))?;
    for (client, content) in &mut clients {
        for _ in 0..3 {
            store(client, content)?;
        }
    }
    drop(clients);
    let seen = session.finish(0)?;
    seen.spans_are(&[])?;
    ensure!(
        seen.summary.value("lost.exchanges.incomplete") > 0,
        "{}",
        seen.finished.message()
    );
    Ok(())
}

/// Has memcached keep `content`, which goes in two parts.
fn store(client: &mut Connection<TcpStream>, content: &[u8]) -> Result<()> {
    client.send(format!("set key 0 0 {}\r\n", content.len()))?;
    // Until the server has read that.
    std::thread::sleep(Duration::from_millis(50));
    client.send([content, b"\r\n"].concat())?;
    let mut answer = Vec::new();
    client.exactly(8, &mut answer)?;
    ensure!(answer == b"STORED\r\n", "{}", answer.escape_ascii());
    Ok(())
}

/// How many connections are opened in a capture.
fn opened(file: &Path) -> Result<u64> {
    let mut command = Command::new("tcpdump");
    command.arg("-r").arg(file);
    command.arg("tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn");
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// Nothing comes out of `file`; how many connections are unclaimed for `reason`.
fn unclaimed(file: &[u8], reason: &str) -> Result<u64> {
    let (lines, said) = read(file)?;
    ensure!(lines.is_empty(), "{lines}");
    ensure!(!said.contains("replay.connections.http"), "{said}");
    ensure!(!said.contains("replay.connections.postgres"), "{said}");
    ensure!(!said.contains("replay.connections.amqp"), "{said}");
    Ok(count(&said, &format!("replay.unclaimed.{reason}")))
}

/// The whole capture, then without its first part, whose connections are then all joined late.
fn captured(foreign: Foreign) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("foreign.pcap");
    let server = foreign.serve()?;
    let tap = Tap::start(&file, server.service.address.port(), &["-i", "lo"])?;
    Child::spawn(server.client(FRESH, None)?)?.succeed()?;
    tap.stop()?;
    let whole = std::fs::read(&file)?;
    let reason = if foreign == Foreign::Tls { "tls" } else { "other" };
    let (found, opened) = (unclaimed(&whole, reason)?, opened(&file)?);
    ensure!(found == opened, "{found} of {opened} connections");
    let packets = capture::packets(&whole)?;
    for part in 1..16 {
        let rest = &packets[packets.len() * part / 16..];
        let found = unclaimed(&capture::pcap(1, rest), "joined_late")?;
        // One connection follows the other, and may begin just there.
        let is_due = capture::begin_amid_a_connection(rest);
        ensure!(found > 0 || !is_due, "from {part}/16 on");
    }
    Ok(())
}

#[test]
fn in_a_capture() -> Result<()> {
    let others = [
        Foreign::Redis,
        Foreign::Memcached,
        Foreign::MemcachedBinary,
        Foreign::Nats,
        Foreign::Mysql,
        Foreign::MongoDb,
        Foreign::Kafka,
        Foreign::Dubbo,
        Foreign::Tls,
        Foreign::Ssh,
        Foreign::Noise,
    ];
    for foreign in others.into_iter().chain(Foreign::THRIFT) {
        captured(foreign).with_context(|| format!("{foreign:?}"))?;
    }
    Ok(())
}
