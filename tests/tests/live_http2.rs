//! HTTP/2 and gRPC live: the peers of `replay_http2.rs`, each exchange seen from both of its ends.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::de::{DeserializeOwned, IgnoredAny};
use spanwire_tests::agent::{Hooks, Options, Turn};
use spanwire_tests::calls::{self, Call, Peer, Request, Timed};
use spanwire_tests::child::{self, Child};
use spanwire_tests::nghttp;
use spanwire_tests::port;
use spanwire_tests::seen::Seen;
use spanwire_tests::service::Service;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::session::Session;
use spanwire_tests::span::{self, Kind, Span};

spanwire_tests::under_both_hook_sets!(
    http2_of_go_and_node,
    http2_of_nginx_and_curl,
    http2_joined_late,
    grpc,
    fifty_thousand_calls_at_a_hundred_streams,
);
spanwire_tests::under_one_hook_set!(http2_of_nghttp, grpc_joined_late, what_is_lost_is_counted);

spanwire_tests::live!(a_stream_is_shown_while_it_is_open,);

fn http2_of_go_and_node(hooks: Hooks) -> Result<()> {
    let servers = [Peer::NodeHttp, Peer::GoHttp].map(Peer::serve);
    let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let options = servers.iter().fold(Options::run(hooks), |options, server| {
        options.port(server.address.port())
    });
    let session = Session::start(options)?;
    let mut expected = Vec::new();
    for server in &servers {
        for client in [Peer::NodeHttp, Peer::GoHttp] {
            for &concurrency in hooks.concurrency() {
                let client = Child::spawn(client.call(server.address, 120, concurrency)?)?;
                let told: Vec<Request> = calls::told(&client.succeed()?)?;
                ensure!(told.len() == 120, "{}", told.len());
                for request in told {
                    expected.extend(request.spans(server.address)?);
                }
            }
        }
    }
    session.finish(expected.len())?.exactly_until_closed(&expected)
}

/// Kinds of calls of gRPC that succeed.
const ANSWERED: [&str; 4] = ["One", "List", "Send", "Chat"];

fn is_slow(method: &str) -> bool {
    method.ends_with("/Slow")
}

fn grpc(hooks: Hooks) -> Result<()> {
    for (server, name, clients) in [
        (
            Peer::GrpcGo,
            "orders",
            &[
                Peer::GrpcGo,
                Peer::Grpcio,
                Peer::GrpcJs,
                Peer::GrpcJava,
                Peer::Tonic,
            ][..],
        ),
        (Peer::Grpcio, "orders", &[Peer::GrpcGo, Peer::Grpcio]),
        (Peer::GrpcJava, "Orders", &[Peer::GrpcGo, Peer::GrpcJava]),
        (Peer::Tonic, "orders", &[Peer::GrpcGo, Peer::Tonic]),
    ] {
        let server = server.serve()?;
        let session = Session::start(Options::run(hooks).port(server.address.port()))?;
        let mut told: Vec<Call> = Vec::new();
        for client in clients {
            for &concurrency in hooks.concurrency() {
                let client = Child::spawn(client.call(server.address, 128, concurrency)?)?;
                told.extend(calls::told::<Call>(&client.succeed()?)?);
            }
        }
        let (slow, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|call| is_slow(&call.path));
        let mut expected = Vec::new();
        for call in told {
            let [served, called] = call.spans(server.address)?;
            expected.extend([served.service(name), called]);
        }
        let seen = session.finish(expected.len() + 2 * slow.len())?;
        // Some were over before they were sent.
        let at = |kind| {
            seen.spans
                .iter()
                .filter(move |span| span.kind == kind && is_slow(span.subject()))
        };
        let [served, called] = [Kind::Server, Kind::Client].map(|kind| at(kind).count());
        ensure!(
            served <= called && called <= slow.len(),
            "{served} and {called} of {}",
            slow.len()
        );
        for span in seen.spans.iter().filter(|span| is_slow(span.subject())) {
            expected.push(slow[0].given_up(span, server.address));
        }
        seen.exactly_until_closed(&expected)?;
    }
    Ok(())
}

/// nginx, whose file `large` has a megabyte, Go's server, and a capture of both.
fn nginx_and_go(hooks: Hooks) -> Result<(Nginx, Service, Session)> {
    let nginx = Nginx::start(None)?;
    nginx.file("large", &vec![b'x'; 1 << 20])?;
    let go = Peer::GoHttp.serve()?;
    let options = Options::run(hooks)
        .port(nginx.http2.port())
        .port(go.address.port());
    let session = Session::start(options)?;
    Ok((nginx, go, session))
}

fn http2_of_nginx_and_curl(hooks: Hooks) -> Result<()> {
    let (nginx, go, session) = nginx_and_go(hooks)?;
    let mut expected = Vec::new();
    let [known, upgrade] = ["--http2-prior-knowledge", "--http2"];
    for (how, address, path, status, received) in [
        (known, nginx.http2, "/missing?q=1", 404, 153),
        (known, nginx.http2, "/nothing", 204, 0),
        (known, nginx.http2, "/large", 200, 1 << 20),
        (known, go.address, "/item/1?length=7", 200, 7),
        (known, go.address, "/item/2?length=70000", 200, 70_000),
        (upgrade, go.address, "/item/3?length=7", 200, 7),
        (upgrade, go.address, "/item/4?length=70000", 200, 70_000),
    ] {
        let mut command = child::command("curl");
        command.args(["-sS", how, "-o", "/dev/null", &format!("http://{address}{path}")]);
        Child::spawn(command)?.succeed()?;
        let (method, path) = ("GET".to_owned(), path.to_owned());
        let request = Request {
            method,
            path,
            status,
            sent: 0,
            received,
        };
        expected.extend(request.spans(address)?);
    }
    session.finish(expected.len())?.exactly_until_closed(&expected)
}

fn http2_of_nghttp(hooks: Hooks) -> Result<()> {
    let (nginx, go, session) = nginx_and_go(hooks)?;
    let mut expected = Vec::new();
    for (address, requests) in [
        (nginx.http2, nghttp::of_nginx(nginx.http2)?),
        (go.address, nghttp::of_go(go.address)?),
    ] {
        for request in requests {
            expected.extend(request.spans(address)?);
        }
    }
    session.finish(expected.len())?.exactly_until_closed(&expected)
}

/// Starts `client`, and spanwire once it is connected; gives what the client told, what was seen, and from when on that
/// has to be all.
fn join<T: DeserializeOwned>(
    hooks: Hooks,
    port: u16,
    mut client: Command,
) -> Result<(Vec<Timed<T>>, Seen, u64)> {
    client.env("PACE", "20ms");
    let turn = Turn::take()?;
    let client = Child::spawn(client)?;
    port::connected(port, 1)?;
    let session = Session::start_in(turn, Options::run(hooks).port(port))?;
    let from = calls::all_seen_from()?;
    let told = calls::told(&client.succeed()?)?;
    // How many there are is not known: those before are not seen.
    let seen = session.finish(0)?;
    Ok((told, seen, from))
}

const LATE: (usize, usize) = (5000, 20);

fn http2_joined_late(hooks: Hooks) -> Result<()> {
    let server = Peer::NodeHttp.serve()?;
    let client = Peer::NodeHttp.call(server.address, LATE.0, LATE.1)?;
    let (told, seen, from) = join::<Request>(hooks, server.address.port(), client)?;
    for kind in [Kind::Server, Kind::Client] {
        let spans = seen.spans.iter().filter(|span| span.kind == kind);
        let spans = spans.map(|span| (span.start, Request::of(span))).collect();
        calls::seen_from(from, &told, spans, LATE.1)
            .with_context(|| format!("{kind:?}: {}", seen.finished.message()))?;
    }
    Ok(())
}

/// What calls are is said in fields that were sent before, so they may be unknown; there are as many as there were.
fn grpc_joined_late(hooks: Hooks) -> Result<()> {
    for peer in [Peer::GrpcGo, Peer::Grpcio, Peer::GrpcJava, Peer::Tonic] {
        let server = peer.serve()?;
        let mut client = peer.call(server.address, LATE.0, LATE.1)?;
        client.args(ANSWERED);
        let (told, seen, from) = join::<IgnoredAny>(hooks, server.address.port(), client)?;
        let told: Vec<_> = told
            .iter()
            .map(|told| Timed {
                at: told.at,
                told: (),
            })
            .collect();
        for kind in [Kind::Server, Kind::Client] {
            let spans = seen.spans.iter().filter(|span| span.kind == kind);
            let spans = spans.map(|span| (span.start, ())).collect();
            calls::seen_from(from, &told, spans, LATE.1)
                .with_context(|| format!("{kind:?}: {}", seen.finished.message()))?;
        }
    }
    Ok(())
}

fn fifty_thousand_calls_at_a_hundred_streams(hooks: Hooks) -> Result<()> {
    let count = hooks.share(50_000);
    let server = Peer::GrpcGo.serve()?;
    let session = Session::start(Options::run(hooks).port(server.address.port()))?;
    let mut client = Peer::GrpcGo.call(server.address, count, 100)?;
    client.args(ANSWERED);
    let told: Vec<Call> = calls::told(&Child::spawn(client)?.succeed()?)?;
    ensure!(told.len() == count + 1, "{}", told.len());
    let seen = session.finish(2 * told.len())?;
    seen.well_formed()?;
    for kind in [Kind::Server, Kind::Client] {
        let spans = seen.spans.iter().filter(|span| span.kind == kind);
        counted(spans.map(Call::of), &told)
            .with_context(|| format!("{kind:?}: {}", seen.finished.message()))?;
    }
    Ok(())
}

/// Every exchange is a span or in a loss counter, and no span says what was not so: what it does not know is absent.
fn what_is_lost_is_counted(hooks: Hooks) -> Result<()> {
    let server = Peer::NodeHttp.serve()?;
    let options = Options::run(hooks).port(server.address.port());
    let session = Session::start(options.flag("--ring-buffer").flag("4K"))?;
    let client = Child::spawn(Peer::GoHttp.call(server.address, 4000, 50)?)?;
    let told: Vec<Request> = calls::told(&client.succeed()?)?;
    let seen = session.finish(0)?;
    seen.well_formed()?;
    let lost = seen.summary.lost_exchanges();
    let all = 2 * told.len() as u64;
    ensure!(
        seen.spans.len() as u64 + lost == all,
        "{} spans and {lost} lost of {all}: {}",
        seen.spans.len(),
        seen.finished.message()
    );
    for span in &seen.spans {
        let known = |name: &str| span.attributes.contains_key(name);
        let shown = Request::of(span);
        let is_it = |told: &&Request| {
            (told.path == shown.path || shown.path.is_empty())
                && (told.status == shown.status || !known("http.response.status_code"))
                && (told.received == shown.received || !known("http.response.body.size"))
                && (told.sent == shown.sent || !known("http.request.body.size"))
        };
        ensure!(told.iter().any(|told| is_it(&told)), "{span:#?}");
        ensure!(
            !span.error || span.kind == Kind::Client && shown.status == 404,
            "{span:#?}"
        );
    }
    Ok(())
}

/// A stream of three seconds and a half: shown each second with the ids that it is exported with in the end.
fn a_stream_is_shown_while_it_is_open() -> Result<()> {
    let server = Peer::GrpcGo.serve()?;
    let options = Options::bare(["run", "--output", "otlp-json", "--open-after", "1s"]);
    let session = Session::start(options.port(server.address.port()))?;
    let mut client = Peer::GrpcGo.call(server.address, 0, 1)?;
    client.env("HOLD", "700ms").arg("Chat");
    let told: Vec<Call> = calls::told(&Child::spawn(client)?.succeed()?)?;
    let [call] = &*told else { bail!("{told:?}") };
    let seen = session.finish(2)?;
    seen.exactly_until_closed(&call.spans(server.address)?)?;
    let shown = seen.finished.stdout.iter().map(|line| span::from_json(line));
    let shown: Vec<Span> = shown.collect::<Result<Vec<_>>>()?.concat();
    for whole in &seen.spans {
        let shown = shown.iter().filter(|shown| shown.span_id == whole.span_id);
        let (open, over): (Vec<_>, Vec<_>) =
            shown.partition(|shown| shown.attributes.contains_key("spanwire.open"));
        ensure!(over.len() == 1 && (2..=4).contains(&open.len()), "{open:#?}");
        let sent = open.iter().map(|open| Call::of(open).sent);
        ensure!(
            sent.is_sorted() && open.iter().all(|open| !open.error),
            "{open:#?}"
        );
        ensure!(
            open.iter()
                .all(|open| open.trace_id == whole.trace_id && open.end < whole.end)
        );
    }
    Ok(())
}

/// Each of `expected` was found as often.
fn counted<T: Ord + Clone + Debug>(found: impl Iterator<Item = T>, expected: &[T]) -> Result<()> {
    let mut counts: BTreeMap<T, i64> = BTreeMap::new();
    for it in found {
        *counts.entry(it).or_default() += 1;
    }
    for it in expected {
        *counts.entry(it.clone()).or_default() -= 1;
    }
    counts.retain(|_, count| *count != 0);
    ensure!(counts.is_empty(), "too many, or too few: {counts:#?}");
    Ok(())
}
