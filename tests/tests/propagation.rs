//! Context that spanwire puts into requests: each carries the one of its own span, and is else as it was, to the byte.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::calls::Peer;
use spanwire_tests::carried::{self, carry_their_own, each_carries_its_own, spans_of};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{Connection, Server};
use spanwire_tests::injection::{
    Client, Keeper, Keeper2, Outcome, Planned, clients, counting, header_of, large, once, patience, plan,
    propagating, requests, wanted,
};
use spanwire_tests::seen::Seen;
use spanwire_tests::sends::{Cases, message};
use spanwire_tests::session::Session;
use spanwire_tests::span::Kind;
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(
    http1_of_each_client,
    http1_however_it_is_sent,
    a_client_that_waits_in_its_reads,
    what_is_sent_at_once_comes_at_once,
    http2_of_each_client,
    http2_however_it_is_cut,
    grpc_of_each_client,
);

/// Each server's span is a child of the client's of the same request, which is the first of its trace, unless the application
/// names another.
fn both_ends_meet(seen: &Seen) -> Result<()> {
    let spans = clients(seen);
    for span in seen.spans.iter().filter(|span| span.kind == Kind::Server) {
        let path = span.path();
        let client = spans
            .get(path)
            .with_context(|| format!("nobody asked: {span:#?}"))?;
        let is_own = WITH_THEIR_OWN.iter().any(|own| path.starts_with(own));
        ensure!(
            (is_own || client.parent.is_empty())
                && span.parent == client.span_id
                && span.trace_id == client.trace_id,
            "{client:#?}\n{span:#?}"
        );
    }
    Ok(())
}

/// What each client is to ask for.
fn plans(clients: &[Client], count: usize) -> Vec<(Client, Vec<Planned>)> {
    let clients = wanted(clients).into_iter();
    clients
        .map(|client| (client, plan(&client.prefix(), count, large(count))))
        .collect()
}

fn http1_of_each_client(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let count = requests(hooks, 500)?;
    let plans = plans(&Client::HTTP1, count);
    let ask_all = || -> Result<_> {
        for (client, plan) in &plans {
            Child::spawn(client.ask(keeper.address, plan, 4, folder.path())?)?
                .succeed_within(patience(count))
                .with_context(|| format!("{client:?}"))?;
            keeper.kept.say_pace(client);
        }
        once(keeper.kept.take()?)
    };
    let plain = ask_all()?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    let got = ask_all()?;
    let all: Vec<Expected> = plans
        .iter()
        .flat_map(|(_, plan)| plan)
        .flat_map(|planned| spans_of(planned, keeper.address))
        .collect();
    let seen = session.finish(all.len())?;
    each_carries_its_own(&plain, &got, &seen).with_context(|| format!("{:?}", seen.summary))?;
    seen.exactly(&all)?;
    both_ends_meet(&seen)?;
    let outcome = Outcome {
        injected: plain.len() as u64,
        ..Outcome::default()
    };
    ensure!(Outcome::of(&seen) == outcome, "{:?}", seen.summary);
    Ok(())
}

/// It is not told that there is nothing for it, whatever wakes it; for that, its sockets are left after their first request.
fn a_client_that_waits_in_its_reads(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let runs: Vec<_> = (0..3)
        .map(|run| plan(&format!("waiting/{run}"), 100, 4))
        .collect();
    let ask_all = || -> Result<_> {
        for plan in &runs {
            Child::spawn(Client::Waiting.ask(keeper.address, plan, 1, folder.path())?)?.succeed()?;
        }
        once(keeper.kept.take()?)
    };
    let plain = ask_all()?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    let got = ask_all()?;
    let all: Vec<Expected> = runs
        .iter()
        .flatten()
        .flat_map(|planned| spans_of(planned, keeper.address))
        .collect();
    let seen = session.finish(all.len())?;
    let spans = clients(&seen);
    let mut expected = plain;
    for first in runs.iter().filter_map(|plan| plan.first()) {
        let got = expected.get_mut(&first.path).context("it was planned")?;
        got.head.push(header_of(spans[first.path.as_str()]));
    }
    ensure!(got == expected, "{got:#?}, not {expected:#?}");
    seen.exactly(&all)?;
    both_ends_meet(&seen)?;
    let value = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
    let counted = (value("injected"), value("skipped.blocking"));
    ensure!(counted == (3, 297), "{:?}", seen.summary);
    Ok(())
}

/// Asks without TCP_NODELAY, once it is known who this is.
const ASK: &str = "
import socket, sys, time
time.sleep(1)
connection = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=30)
for number in range(int(sys.argv[2])):
    connection.sendall(f'POST /{number} HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 2\\r\\n\\r\\nok'.encode())
    assert connection.recv(100).endswith(b'ok')
";

/// The kernel sends each piece of what was injected into by itself. Of a client that leaves Nagle's algorithm on, the second would
/// wait for the first one's acknowledgement, and that for 40 ms.
fn what_is_sent_at_once_comes_at_once(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 50;
    let (listener, address) = port::listener()?;
    let reads = Arc::new(Mutex::new(Vec::new()));
    let keep = reads.clone();
    let _server = Server::tcp(listener, move |connection: Connection<TcpStream>| {
        let mut socket = connection.socket();
        let mut read = vec![0; 10_000];
        while let Ok(count @ 1..) = socket.read(&mut read) {
            let read = String::from_utf8_lossy(&read[..count]).into_owned();
            let is_last = read.ends_with("ok");
            keep.lock().expect("no holder panics").push(read);
            if is_last
                && socket
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .is_err()
            {
                return;
            }
        }
    })?;
    let session = Session::start(propagating(hooks).port(address.port()))?;
    let mut ask = child::command(workload::PYTHON);
    ask.args(["-c", ASK, &address.port().to_string(), &COUNT.to_string()]);
    Child::spawn(ask)?.succeed()?;
    let seen = session.finish(2 * COUNT)?;
    let spans = clients(&seen);
    let expected: Vec<String> = (0..COUNT)
        .map(|number| {
            let path = format!("/{number}");
            let header = header_of(spans.get(path.as_str()).with_context(|| path.clone())?);
            Ok(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{header}\r\n\r\nok"
            ))
        })
        .collect::<Result<_>>()?;
    let reads = reads.lock().expect("no holder panics");
    ensure!(*reads == expected, "{reads:#?}, not {expected:#?}");
    Ok(())
}

const OWN: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
const OWN_IN_CAPITALS: &str = "TRACEPARENT: 00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01\r\n";
const B3: &str = "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1\r\n";
const SEVERAL: &str = "X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7\r\nX-B3-SpanId: e457b5a2e4d86bd1\r\n";
const JAEGER: &str = "uber-trace-id: 80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:0:1\r\n";

/// What the paths begin with of requests that carry a context of the application's own.
const WITH_THEIR_OWN: [&str; 2] = ["/own", "/pipelined-own"];

/// What the paths begin with of requests whose heads are cut, some of them where they cannot be borne, or that are behind a
/// body whose length is not known, or one that may fill the send queue. Into all others a context is injected.
const MAY_BE_SKIPPED: [&str; 4] = ["/cut", "/pipelined-cut", "/pipelined-chunked", "/pipelined-large"];

fn cases() -> Cases {
    let mut cases = Cases::default();
    let get = |path: &str, fields: &str| message("GET", path, fields, b"");
    // One send, in each way.
    for way in ["send", "more", "cork", "writev", "zerocopy"] {
        cases.add("whole", way, &[], |path| get(&path(), "Accept: */*\r\n"));
        cases.add("whole", way, &[], |path| get(&path(), ""));
        for size in [1, 16, 4000, 4096, 70_000, 1 << 20] {
            let body = counting(0, size);
            cases.add("whole", way, &[], |path| {
                message("POST", &path(), "X-A: b\r\n", &body)
            });
            // The head alone, then the body.
            let length = message("POST", "/head/000", "X-A: b\r\n", &body).len() - size;
            cases.add("head", way, &[length], |path| {
                let path = path();
                let number: usize = path[6..].parse().unwrap_or_default();
                message("POST", &format!("/head/{number:03}"), "X-A: b\r\n", &body)
            });
        }
    }
    // Cut in two at each byte; at each byte of the end of a head, each byte with a send of its own.
    cases.cut_everywhere("cut", "send", |path| {
        message("POST", &path(), "X-Some: thing\r\nAccept: */*\r\n", b"hello")
    });
    cases.cut_everywhere("cut-slow", "slow", |path| {
        message("POST", &path(), "X-Some: thing\r\n", b"GET / HTTP/1.1\r\n\r\n")
    });
    cases.cut_everywhere("cut-more", "more", |path| get(&path(), "X-Some: thing\r\n"));
    cases.add("cut-bytes", "send", &(1..60).collect::<Vec<_>>(), |path| {
        get(&path(), "X-Some: things-that-are-long\r\n")
    });
    for (name, fields) in [
        ("own-first", format!("{OWN}X-A: b\r\n")),
        ("own-last", format!("X-A: b\r\n{OWN}")),
        ("own-capitals", format!("X-A: b\r\n{OWN_IN_CAPITALS}X-B: c\r\n")),
        ("own-b3", B3.to_owned()),
        ("own-several", SEVERAL.to_owned()),
        ("own-jaeger", JAEGER.to_owned()),
    ] {
        cases.add(name, "send", &[], |path| get(&path(), &fields));
        cases.add(name, "send", &[], |path| {
            message("POST", &path(), &fields, b"hello")
        });
        cases.cut_everywhere(name, "send", |path| get(&path(), &fields));
    }
    // One behind the other, in one send and cut everywhere.
    let pipelined = |path: &mut dyn FnMut() -> String| {
        [
            get(&path(), ""),
            message("POST", &path(), "X-A: b\r\n", b"hello"),
            message("PUT", &path(), "", &counting(0, 300)),
            get(&path(), "X-C: d\r\n"),
        ]
        .concat()
    };
    for way in ["send", "writev", "more", "zerocopy"] {
        cases.add("pipelined", way, &[], pipelined);
    }
    cases.cut_everywhere("pipelined-cut", "send", pipelined);
    // And several times, so that what one cut has left undone meets the next.
    let several =
        |path: &mut dyn FnMut() -> String| [pipelined(path), pipelined(path), pipelined(path)].concat();
    let shortest = several(&mut || "/pipelined-cut/1".to_owned()).len();
    let mut seed = 1u64;
    let mut below = |limit: usize| {
        // Knuth's, as MMIX has it.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % limit
    };
    for number in 0..300 {
        let cuts: BTreeSet<_> = (0..2 + number % 40).map(|_| 1 + below(shortest - 1)).collect();
        let cuts: Vec<_> = cuts.into_iter().collect();
        cases.add("pipelined-cut", "send", &cuts, several);
    }
    cases.add("pipelined-own", "send", &[], |path| {
        (0..8).flat_map(|_| get(&path(), OWN)).collect()
    });
    cases.add("pipelined-many", "send", &[], |path| {
        (0..60).flat_map(|_| get(&path(), "X-A: b\r\n")).collect()
    });
    for size in [4000, 16_384, 65_536, 200_000, 1 << 20] {
        cases.add("pipelined-large", "send", &[], |path| {
            [message("POST", &path(), "", &counting(0, size)), get(&path(), "")].concat()
        });
    }
    // Of unknown length, with another behind it.
    cases.add("pipelined-chunked", "send", &[], |path| {
        let chunked = get(&path(), "Transfer-Encoding: chunked\r\n");
        [chunked, b"5\r\nhello\r\n0\r\n\r\n".to_vec(), get(&path(), "")].concat()
    });
    // Long ones.
    for length in [5, 10, 16, 20, 33, 60] {
        let long = format!("X-Long: {}\r\n", "l".repeat(length << 10));
        cases.add("long-line", "send", &[], |path| get(&path(), &long));
        cases.add("long-line", "send", &[], |path| {
            message("POST", &path(), &long, b"hello")
        });
        let fields: String = (0..length * 10)
            .map(|n| format!("X-Field-{n:05}: {}\r\n", "f".repeat(83)))
            .collect();
        cases.add("long-head", "send", &[], |path| get(&path(), &fields));
        cases.add("long-head", "send", &[4096, 5000], |path| {
            message("POST", &path(), &fields, b"hello")
        });
        let last = format!("{fields}{OWN}");
        cases.add("own-long", "send", &[], |path| get(&path(), &last));
    }
    for length in (3900..4200).step_by(7) {
        let long = format!("X-Long: {}\r\nX-A: b\r\n", "l".repeat(length));
        cases.add("long-around", "send", &[], |path| {
            message("POST", &path(), &long, b"hello")
        });
    }
    let many: String = (0..1000).map(|n| format!("x-{n}: {n}\r\n")).collect();
    cases.add("many", "send", &[], |path| get(&path(), &many));
    cases.add("long-target", "send", &[], |path| {
        get(&format!("{}?{}", path(), "q".repeat(3 << 10)), "")
    });
    // What is allowed, and not usual.
    cases.add("lenient-bare", "send", &[], |path| {
        format!("GET {} HTTP/1.1\nHost: a\n\n", path()).into_bytes()
    });
    cases.add("lenient-old", "send", &[], |path| {
        format!("GET {} HTTP/1.0\r\n\r\n", path()).into_bytes()
    });
    cases.add("lenient-short", "send", &[], |path| {
        format!("GET {} HTTP/1.1\r\n\r\n", path()).into_bytes()
    });
    let inner = message("POST", "/inner", "", b"hello");
    for cut in [0, 20, 50] {
        let length = message("POST", "/inner/000", "", &inner).len() - inner.len();
        cases.add("body", "send", &[length + cut], |path| {
            let path = path();
            message("POST", &format!("/body/{:0>4}", &path[6..]), "", &inner)
        });
    }
    cases
}

fn http1_however_it_is_sent(hooks: Hooks) -> Result<()> {
    let cases = cases();
    let (plain, got, seen) = cases.without_and_with(hooks)?;
    let spans = clients(&seen);
    let (mut outcome, mut own) = (Outcome::default(), 0);
    for (path, plain) in &plain {
        let bare = path.split('?').next().unwrap_or_default();
        let span = spans.get(bare).with_context(|| format!("no span of {path}"))?;
        let mut injected = plain.clone();
        injected.head.push(header_of(span));
        let is_own = WITH_THEIR_OWN.iter().any(|own| path.starts_with(own));
        if got[path] == injected && !is_own {
            outcome.injected += 1;
        } else {
            ensure!(got[path] == *plain, "{path}: {:#?}, not {injected:#?}", got[path]);
            if is_own {
                own += 1;
            } else {
                let may_be = MAY_BE_SKIPPED.iter().any(|cut| path.starts_with(cut));
                ensure!(may_be, "nothing was injected into {path}");
                outcome.skipped += 1;
            }
        }
    }
    // Of an own context that is cut it cannot be told that it is one.
    let counted = Outcome::of(&seen);
    ensure!(
        counted.injected == outcome.injected
            && counted.own <= own
            && counted.own + counted.skipped == own + outcome.skipped,
        "{own} and {outcome:?}, counted {counted:?}: {:?}",
        seen.summary
    );
    ensure!(
        seen.spans.len() == 2 * cases.requests,
        "{} spans",
        seen.spans.len()
    );
    seen.counted()?;
    let losses = seen.summary.losses();
    ensure!(losses.is_empty(), "losses: {losses:?}");
    both_ends_meet(&seen)
}

/// A frame that a send cuts is left alone, which is rare.
fn http2_of_each_client(hooks: Hooks) -> Result<()> {
    http2(hooks, &Client::HTTP2, 50)
}

fn http2_however_it_is_cut(hooks: Hooks) -> Result<()> {
    http2(hooks, &[Client::CutHttp2], 1)
}

/// At most one request in so many is left alone.
fn http2(hooks: Hooks, of: &[Client], skipped_at_most: u64) -> Result<()> {
    let keeper = Keeper2::start()?;
    let folder = tempfile::tempdir()?;
    let count = requests(hooks, 500)?;
    let plans = plans(of, count);
    let ask_all = || -> Result<_> {
        for (client, plan) in &plans {
            Child::spawn(client.ask(keeper.address, plan, 20, folder.path())?)?
                .succeed_within(patience(count))
                .with_context(|| format!("{client:?}"))?;
            keeper.kept.say_pace(client);
        }
        once(keeper.kept.take()?)
    };
    let plain = ask_all()?;
    let session = Session::start(propagating(hooks).port(keeper.address.port()))?;
    let got = ask_all()?;
    let all: Vec<Expected> = plans
        .iter()
        .flat_map(|(_, plan)| plan)
        .flat_map(|planned| {
            spans_of(planned, keeper.address).map(|span| span.is("network.protocol.version", "2"))
        })
        .collect();
    let seen = session.finish(all.len())?;
    let carried = carry_their_own(&plain, &got, &seen)?;
    seen.exactly_until_closed(&all)?;
    both_ends_meet(&seen)?;
    let outcome = Outcome::of(&seen);
    let all =
        outcome.injected == carried && outcome.own == 0 && outcome.skipped + carried == plain.len() as u64;
    ensure!(all, "{carried} of {}: {:?}", plain.len(), seen.summary);
    let enough = outcome.skipped * skipped_at_most <= plain.len() as u64;
    ensure!(enough && carried > 0, "{:?}", seen.summary);
    Ok(())
}

fn grpc_of_each_client(hooks: Hooks) -> Result<()> {
    const CLIENTS: [Peer; 3] = [Peer::GrpcGo, Peer::Grpcio, Peer::GrpcJs];
    let count = requests(hooks, 500)?;
    carried::calls(hooks, count, |address| {
        let call = |client: Peer| client.call(address, count, 50);
        wanted(&CLIENTS).into_iter().map(call).collect()
    })
}
