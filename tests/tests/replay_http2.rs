//! `spanwire replay` of HTTP/2 and gRPC: captures of real peers, against what the clients say they did, and tshark.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spanwire_tests::calls::{self, Call, Peer, Request};
use spanwire_tests::capture::{self, Packet, Tap};
use spanwire_tests::child::{self, Child};
use spanwire_tests::nghttp;
use spanwire_tests::replay::{count, read, same, spans};
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::span::{Kind, Span};
use tempfile::TempDir;

/// Captures what `work` does with the server at `address`.
fn record(address: SocketAddr, work: impl FnOnce() -> Result<()>) -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("calls.pcap");
    let tap = Tap::start(&file, address.port(), &["-i", "lo"])?;
    work()?;
    tap.stop()?;
    Ok((folder, file))
}

/// The spans of a capture in which nothing is missing, and what is said of it.
fn whole(file: &Path) -> Result<(Vec<Span>, String)> {
    let (lines, said) = read(&std::fs::read(file)?)?;
    let spans = spans(&lines)?;
    ensure!(
        !said.contains("replay.gap") && !said.contains("unclaimed"),
        "{said}"
    );
    ensure!(
        !said.contains("lost.messages") && !said.contains("incomplete"),
        "{said}"
    );
    ensure!(
        count(&said, "replay.exchanges.http2") == spans.len() as u64,
        "{said}"
    );
    for span in &spans {
        ensure!(span.kind == Kind::Client && span.start <= span.end, "{span:?}");
        ensure!(span.text("network.protocol.version") == Some("2"), "{span:?}");
        ensure!(
            !span.attributes.keys().any(|name| name.contains("unknown")),
            "{span:?}"
        );
    }
    Ok((spans, said))
}

/// Paths and final statuses of all requests that tshark sees; what was pushed is left out.
fn tshark(file: &Path, port: u16) -> Result<(Vec<String>, Vec<i64>)> {
    let mut command = capture::tshark(file);
    command.args(["-d", &format!("tcp.port=={port},http2"), "-Y", "http2.headers"]);
    command.args(["-T", "fields", "-E", "aggregator=|", "-E", "separator=/t"]);
    command.args(["-e", "http2.headers.path", "-e", "http2.headers.status"]);
    let (mut paths, mut statuses) = (Vec::new(), Vec::new());
    for line in Child::spawn(command)?.succeed()? {
        let (path, status) = line.split_once('\t').unwrap_or((&line, ""));
        paths.extend(path.split('|').filter(|path| !path.is_empty()).map(str::to_owned));
        for status in status.split('|').filter(|status| !status.is_empty()) {
            statuses.push(status.parse()?);
        }
    }
    statuses.retain(|status| *status >= 200);
    let pushed = paths.iter().filter(|path| *path == "/pushed").count();
    paths.retain(|path| path != "/pushed");
    for _ in 0..pushed {
        let at = statuses
            .iter()
            .position(|status| *status == 200)
            .context("a push is answered")?;
        statuses.swap_remove(at);
    }
    Ok((paths, statuses))
}

fn is_what_tshark_sees(spans: &[Span], file: &Path, address: SocketAddr) -> Result<()> {
    let (paths, statuses) = tshark(file, address.port())?;
    let found: Vec<_> = spans.iter().map(Request::of).collect();
    same(found.iter().map(|it| it.path.clone()).collect(), paths)?;
    same(found.iter().map(|it| it.status).collect(), statuses)
}

#[test]
fn http2_of_go_and_node() -> Result<()> {
    for (server, client) in [
        (Peer::NodeHttp, Peer::NodeHttp),
        (Peer::NodeHttp, Peer::GoHttp),
        (Peer::GoHttp, Peer::NodeHttp),
        (Peer::GoHttp, Peer::GoHttp),
    ] {
        let server = server.serve()?;
        let mut told: Vec<Request> = Vec::new();
        let (_folder, file) = record(server.address, || {
            for concurrency in [1, 30] {
                let client = Child::spawn(client.call(server.address, 60, concurrency)?)?;
                told.extend(calls::told::<Request>(&client.succeed()?)?);
            }
            Ok(())
        })?;
        let (spans, said) = whole(&file)?;
        let what = || format!("{client:?}: {said}");
        ensure!(told.len() == 120, "{}", what());
        same(spans.iter().map(Request::of).collect(), told).with_context(what)?;
        is_what_tshark_sees(&spans, &file, server.address).with_context(what)?;
    }
    Ok(())
}

#[test]
fn http2_of_nginx_and_curl() -> Result<()> {
    let nginx = Nginx::start(None)?;
    nginx.file("small", b"hello")?;
    nginx.file("large", &vec![b'x'; 1 << 20])?;
    let (_folder, file) = record(nginx.http2, || {
        // Each on a connection of its own: Debian's curl 7.88 fails where it takes one again that began with HTTP/2.
        for path in ["small", "large", "nothing", "broken", "missing?q=1"] {
            let mut command = child::command("curl");
            command.args(["-sS", "--http2-prior-knowledge", "-o", "/dev/null"]);
            command.arg(format!("http://{}/{path}", nginx.http2));
            Child::spawn(command)?.succeed()?;
        }
        Ok(())
    })?;
    let (spans, said) = whole(&file)?;
    ensure!(spans.len() == 5, "{said}");
    let large = spans.iter().map(Request::of).filter(|it| it.path == "/large");
    ensure!(large.map(|it| it.received).eq([1 << 20]), "{spans:#?}");
    is_what_tshark_sees(&spans, &file, nginx.http2)
}

#[test]
fn http2_of_nghttp() -> Result<()> {
    let nginx = Nginx::start(None)?;
    nginx.file("large", &vec![b'x'; 1 << 20])?;
    let server = Peer::GoHttp.serve()?;
    for (address, work) in [
        (nginx.http2, nghttp::of_nginx as fn(SocketAddr) -> _),
        (server.address, nghttp::of_go),
    ] {
        let mut told = Vec::new();
        let (_folder, file) = record(address, || {
            told = work(address)?;
            Ok(())
        })?;
        let (spans, said) = whole(&file)?;
        same(spans.iter().map(Request::of).collect(), told).with_context(|| said)?;
        // tshark does not follow an upgrade.
        if address == nginx.http2 {
            is_what_tshark_sees(&spans, &file, address)?;
        }
    }
    Ok(())
}

/// What asks for the upgrade is answered on stream 1, and what follows is HTTP/2.
#[test]
fn upgraded_from_http1() -> Result<()> {
    let server = Peer::GoHttp.serve()?;
    let (_folder, file) = record(server.address, || {
        let mut command = child::command("curl");
        command.args(["-sS", "--http2"]);
        for path in ["item/1?length=7", "item/2?length=70000", "item/3?status=404"] {
            command.args(["-o", "/dev/null", &format!("http://{}/{path}", server.address)]);
        }
        Child::spawn(command)?.succeed()?;
        Ok(())
    })?;
    let (spans, said) = whole(&file)?;
    let expected = [
        ("item/1?length=7", 200, 7),
        ("item/2?length=70000", 200, 70_000),
        ("item/3?status=404", 404, 1),
    ];
    let expected = expected.map(|(path, status, received)| Request {
        method: "GET".to_owned(),
        path: format!("/{path}"),
        status,
        sent: 0,
        received,
    });
    same(spans.iter().map(Request::of).collect(), expected.to_vec()).with_context(|| said)
}

#[test]
fn grpc() -> Result<()> {
    for (server, clients) in [
        (
            Peer::GrpcGo,
            &[
                Peer::GrpcGo,
                Peer::Grpcio,
                Peer::GrpcJs,
                Peer::GrpcJava,
                Peer::Tonic,
            ][..],
        ),
        (Peer::Grpcio, &[Peer::GrpcGo, Peer::Grpcio]),
        (Peer::GrpcJava, &[Peer::GrpcJava]),
        (Peer::Tonic, &[Peer::Tonic]),
    ] {
        for client in clients {
            let server = server.serve()?;
            let mut told: Vec<Call> = Vec::new();
            let (_folder, file) = record(server.address, || {
                for concurrency in [1, 30] {
                    let client = Child::spawn(client.call(server.address, 128, concurrency)?)?;
                    told.extend(calls::told::<Call>(&client.succeed()?)?);
                }
                Ok(())
            })?;
            let (spans, said) = whole(&file).with_context(|| format!("{client:?}"))?;
            let what = || format!("{client:?}: {said}");
            let is_slow = |call: &Call| call.path.ends_with("/Slow");
            let (slow, mut found): (Vec<_>, Vec<_>) = spans.iter().map(Call::of).partition(is_slow);
            // Nothing came before the client gave up, or at the same moment. Some were over before they were sent.
            let unanswered = count(&said, "replay.lost.exchanges.unanswered");
            ensure!(
                slow.len() as u64 + unanswered <= 32,
                "{} slow; {}",
                slow.len(),
                what()
            );
            let sent = count(&said, "replay.messages.requests");
            ensure!(spans.len() as u64 + unanswered == sent, "{}", what());
            told.retain(|call| !is_slow(call));
            // How much of a failing call's messages gets out is up to the moment.
            for call in found.iter_mut().chain(&mut told).filter(|call| call.code != 0) {
                call.sent = 0;
            }
            same(found, told).with_context(what)?;
        }
    }
    Ok(())
}

/// The capture that tests rewrite: gRPC and HTTP/2, several clients at once.
static MIXED: LazyLock<Result<Vec<Packet>>> = LazyLock::new(|| {
    let mut packets = Vec::new();
    for (peer, calls) in [(Peer::GrpcGo, 40), (Peer::Grpcio, 40), (Peer::NodeHttp, 36)] {
        let server = peer.serve()?;
        let (_folder, file) = record(server.address, || {
            let mut clients = Vec::new();
            for concurrency in [1, 8] {
                clients.push(Child::spawn(peer.call(server.address, calls, concurrency)?)?);
            }
            for client in clients {
                client.succeed()?;
            }
            Ok(())
        })?;
        packets.extend(capture::packets(&std::fs::read(file)?)?);
    }
    Ok(packets)
});

fn mixed() -> Result<&'static [Packet]> {
    let packets = MIXED.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    Ok(packets)
}

/// The spans of `packets`, and what is said of them.
fn replayed(packets: &[Packet]) -> Result<(Vec<Span>, String)> {
    let (lines, said) = read(&capture::pcap(1, packets))?;
    Ok((spans(&lines)?, said))
}

/// Nothing is found that is not among `all`: fields may be unknown, but none is wrong.
fn nothing_made_up(found: &[Span], all: &[Span]) -> Result<()> {
    // Without its content type a call is a request of HTTP, and without its trailers it ended with the connection.
    // A server may refuse a call while its messages are still on their way, or lost on it.
    let may_differ = |whole: &Span, name: &str| {
        name == "error.type" || whole.error && name == "spanwire.rpc.request.messages"
    };
    let agrees = |whole: &Span, name: &String, value: &Value| match whole.attributes.get(name) {
        Some(known) => known == value || may_differ(whole, name),
        None => ["http.", "url.", "spanwire.", "error.type"]
            .iter()
            .any(|begin| name.starts_with(begin)),
    };
    for span in found {
        let then: Vec<_> = all.iter().filter(|whole| whole.start == span.start).collect();
        // Its answer comes when the client has given up, and counts where that is lost.
        let is_late = span.text("rpc.response.status_code") == Some("DEADLINE_EXCEEDED");
        let is_same = |whole: &&&Span| {
            span.attributes
                .iter()
                .all(|(name, value)| agrees(whole, name, value))
        };
        ensure!(
            then.is_empty() && is_late || then.iter().any(|whole| is_same(&whole)),
            "made up: {span:#?}\nthen: {then:#?}"
        );
    }
    Ok(())
}

#[test]
fn joined_late_all_that_can_be_told_is() -> Result<()> {
    let packets = mixed()?;
    let (all, _) = replayed(packets)?;
    for part in 1..8 {
        let from = packets.len() * part / 8;
        let (found, said) = replayed(&packets[from..])?;
        nothing_made_up(&found, &all).with_context(|| said.clone())?;
        let begin = packets[from].nanoseconds();
        let later: Vec<_> = all.iter().filter(|span| span.start > begin).collect();
        let is_missing = |span: &&&Span| !found.iter().any(|found| found.start == span.start);
        let missing = later.iter().filter(is_missing).count();
        ensure!(
            missing <= 16,
            "{missing} of {} are missing from packet {from} on: {said}",
            later.len()
        );
    }
    Ok(())
}

#[test]
fn no_loss_makes_a_wrong_span() -> Result<()> {
    let packets = mixed()?;
    let (all, _) = replayed(packets)?;
    for round in 0..capture::ROUNDS {
        let some = capture::thinned(packets, round);
        let (found, said) = replayed(&some)?;
        nothing_made_up(&found, &all).with_context(|| format!("{round}: {said}"))?;
    }
    Ok(())
}

#[test]
fn disorder_and_repetition_change_nothing() -> Result<()> {
    let packets = mixed()?;
    let (all, _) = replayed(packets)?;
    let told = |spans: &[Span]| -> Vec<_> {
        let told = |span: &Span| {
            let mut attributes = span.attributes.clone();
            // A server may refuse a call while its messages are still on their way.
            if span.error {
                attributes.remove("spanwire.rpc.request.messages");
            }
            format!("{} {attributes:?} {}", span.name, span.error)
        };
        // An answer that crosses with the client's giving up may come out on either side of it.
        let crosses = |span: &&Span| span.text("rpc.response.status_code") == Some("DEADLINE_EXCEEDED");
        spans.iter().filter(|span| !crosses(span)).map(told).collect()
    };
    for distance in [1, 2, 5] {
        let (found, said) = replayed(&capture::disordered(packets, distance))?;
        same(told(&found), told(&all)).with_context(|| format!("{distance}: {said}"))?;
    }
    ensure!(
        replayed(&capture::doubled(packets))?.0 == all,
        "each packet twice"
    );
    Ok(())
}
