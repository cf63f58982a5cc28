//! Clients that mean harm, or are careless: there is never a second context in a request, and what is no context counts for
//! nothing.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Keeper, Outcome, clients, counting, header_of, once, pass_on, propagating};
use spanwire_tests::sends::{Cases, message};
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, wait, workload};

spanwire_tests::under_both_hook_sets!(
    never_a_second_context,
    a_forged_trace_does_not_go_on,
    a_peer_that_reads_slowly,
);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const VALUE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Values of `traceparent` that are none.
fn forged() -> Vec<String> {
    vec![
        String::new(),
        "x".to_owned(),
        VALUE.to_uppercase(),
        VALUE[..54].to_owned(),
        format!("ff{}", &VALUE[2..]),
        format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("{VALUE}-more"),
        format!("{VALUE}, {VALUE}"),
        format!("00-{TRACE}-b7ad6b7169203331-01{}", "f".repeat(8 << 10)),
        "\u{1}\u{7f}".to_owned(),
    ]
}

/// All whose names begin so have a field called `traceparent`, in whatever form.
const OWN: &str = "/own";
/// What is cut where it cannot be borne, or is behind what has no length.
const MAY_BE_SKIPPED: [&str; 2] = ["/cut", "/behind"];

fn cases() -> Cases {
    let mut cases = Cases::default();
    let post = |path: &str, fields: &str| message("POST", path, fields, b"hello");
    for value in forged() {
        let field = format!("traceparent: {value}\r\n");
        cases.add("own-forged", "send", &[], |path| post(&path(), &field));
    }
    for name in ["traceparent", "TRACEPARENT", "TraceParent", "tRACEPARENt"] {
        for colon in [":", ": ", ":\t", " : ", ":\r\n "] {
            let field = format!("{name}{colon}{VALUE}\r\n");
            cases.add("own-name", "send", &[], |path| post(&path(), &field));
        }
    }
    let twice = format!("traceparent: {VALUE}\r\nX-A: b\r\nTraceparent: {VALUE}\r\n");
    cases.add("own-twice", "send", &[], |path| post(&path(), &twice));
    // Far behind other fields, wherever the window of the kernel and the sends end.
    let line = |length: usize| format!("X-Filler: {}\r\n", "f".repeat(length));
    for gap in [
        100, 2000, 4000, 4010, 4020, 4030, 4040, 4050, 4060, 4070, 4080, 4090, 8150, 30_000,
    ] {
        let long = format!("{}traceparent: {VALUE}\r\n", line(gap));
        cases.add("own-behind", "send", &[], |path| post(&path(), &long));
        let many: String = (0..gap / 20).map(|n| format!("X-{n:05}: 01234567\r\n")).collect();
        let many = format!("{many}traceparent: {VALUE}\r\n");
        cases.add("own-behind", "send", &[], |path| post(&path(), &many));
        cases.add("own-behind", "slow", &[60, gap / 2 + 60], |path| {
            post(&path(), &many)
        });
    }
    let thousand: String = (0..1000).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let first = format!("traceparent: {VALUE}\r\n{thousand}");
    cases.add("own-many", "send", &[], |path| post(&path(), &first));
    let last = format!("{thousand}Traceparent: {VALUE}\r\n");
    for way in ["send", "more", "writev"] {
        cases.add("own-many", way, &[], |path| post(&path(), &last));
        cases.add("own-many", way, &[17, 4000, 9000], |path| post(&path(), &last));
    }
    // In the name, and around it.
    let short = format!("X-A: b\r\nTraceParent: {VALUE}\r\nX-C: d\r\n");
    cases.cut_everywhere("own-cut", "slow", |path| post(&path(), &short));
    let ends: Vec<usize> = (1..90).collect();
    cases.add("own-bytes", "slow", &ends, |path| post(&path(), &short));
    // What is no field of that name, though it may look like one.
    for fields in [
        format!("X-A: b\r\n traceparent: {VALUE}\r\n"),
        format!("X-A: b\r\n\ttraceparent: {VALUE}\r\n"),
        format!("X-A: traceparent: {VALUE}\r\n"),
        format!("X-traceparent: {VALUE}\r\n"),
        format!("traceparents: {VALUE}\r\ntraceparen: {VALUE}\r\ntracestate: a=b\r\n"),
        format!("tracestate: {}\r\n", "a=b,".repeat(3000)),
    ] {
        cases.add("free", "send", &[], |path| post(&path(), &fields));
    }
    let request = message("POST", "/inner", &format!("traceparent: {VALUE}\r\n"), b"hello");
    cases.add("free", "send", &[], |path| message("POST", &path(), "", &request));
    // Chunks and trailers that look like requests and like fields, each with a send of its own.
    let head = "POST /chunks/0000 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".len();
    let inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
    for (way, cuts) in [
        ("send", vec![]),
        ("slow", vec![head]),
        ("slow", vec![head, head + 4]),
        ("slow", vec![head, head + 4 + inner.len()]),
    ] {
        cases.add("chunks", way, &cuts, |path| {
            let number: usize = path()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .parse()
                .unwrap_or_default();
            format!(
                "POST /chunks/{number:04} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {:x}\r\n{inner}\r\n0\r\nTraceparent: {VALUE}\r\nX-A: b\r\n\r\n",
                inner.len()
            )
            .into_bytes()
        });
    }
    cases.add("behind-chunks", "send", &[], |path| {
        format!(
            "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTraceparent: {VALUE}\r\n\r\n\
             GET {} HTTP/1.1\r\nHost: a\r\ntraceparent: {VALUE}\r\n\r\n",
            path(),
            path()
        )
        .into_bytes()
    });
    // Every other one has its own.
    let pipelined = |path: &mut dyn FnMut() -> String| {
        let own = format!("X-A: b\r\ntraceparent: {VALUE}\r\n");
        let body = counting(0, 3000);
        [
            message("POST", &path(), "", &body),
            message("POST", &path().replace("/cut", "/cut-own"), &own, &body),
            message("POST", &path(), "", b""),
        ]
        .concat()
    };
    cases.add("cut-pipelined", "send", &[], pipelined);
    for at in [
        50, 3000, 3060, 3070, 3080, 3090, 3100, 3120, 3140, 3150, 6200, 6255,
    ] {
        cases.add("cut-pipelined", "slow", &[at], pipelined);
    }
    cases
}

fn never_a_second_context(hooks: Hooks) -> Result<()> {
    let cases = cases();
    let (plain, got, seen) = cases.without_and_with(hooks)?;
    let spans = clients(&seen);
    let (mut injected, mut left) = (0, 0);
    for (path, plain) in &plain {
        let got = &got[path];
        let span = spans
            .get(path.as_str())
            .with_context(|| format!("no span of {path}"))?;
        let mut expected = plain.clone();
        let at = expected
            .head
            .iter()
            .take_while(|line| !line.starts_with("trailer "))
            .count();
        expected.head.insert(at, header_of(span));
        let has_own = plain.head.iter().any(|line| {
            let name = line.split(':').next().unwrap_or_default();
            name.trim_end().eq_ignore_ascii_case("traceparent")
        });
        ensure!(has_own || !path.starts_with(OWN), "{plain:#?}");
        if *got == expected && !has_own {
            injected += 1;
        } else {
            ensure!(got == plain, "{path}: {got:#?}, not {plain:#?}");
            let may_be = has_own || MAY_BE_SKIPPED.iter().any(|start| path.starts_with(start));
            ensure!(may_be, "nothing was injected into {path}: {got:#?}");
            left += 1;
        }
    }
    let counted = Outcome::of(&seen);
    ensure!(
        counted.injected == injected && counted.own + counted.skipped == left,
        "{injected} and {left}: {:?}",
        seen.summary
    );
    Ok(())
}

fn a_forged_trace_does_not_go_on(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let service = pass_on(keeper.address)?;
    let session = Session::start(propagating(hooks).pid(service.child.pid()))?;
    let mut fields: Vec<String> = forged()
        .iter()
        .map(|value| format!("traceparent: {value}\r\n"))
        .collect();
    fields.push(format!("X-A: b\r\n traceparent: {VALUE}\r\n"));
    fields.push(format!("tracestate: {}\r\n", "a=b,".repeat(300)));
    fields.push(format!("traceparent: zz{}\r\n", &VALUE[2..]));
    let genuine = fields.len();
    // Far behind others, and with more of a state than there may be.
    let many: String = (0..80).map(|n| format!("x-{n}: {n}\r\n")).collect();
    fields.push(format!("{many}traceparent: {VALUE}\r\n"));
    fields.push(format!(
        "traceparent: {VALUE}\r\ntracestate: {}\r\n",
        "a=b,".repeat(3000)
    ));
    for (number, field) in fields.iter().enumerate() {
        let field = format!("Connection: close\r\n{field}");
        let request = message("GET", &format!("/on/{number}"), &field, b"");
        let mut connection = TcpStream::connect(service.address)?;
        connection.write_all(&request)?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{field:.200}: {answer}");
    }
    let seen = session.finish(2 * fields.len())?;
    let got = once(keeper.kept.take()?)?;
    let spans = clients(&seen);
    let servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    let servers: HashMap<&str, &Span> = servers.map(|span| (span.path(), span)).collect();
    ensure!(got.len() == fields.len(), "{} of {}", got.len(), fields.len());
    for (number, field) in fields.iter().enumerate() {
        let path = format!("/on/{number}");
        let (span, server) = (spans[path.as_str()], servers[path.as_str()]);
        let told = || format!("{:.200}: {span:#?}\n{server:#?}\n{:#?}", field, got[&path]);
        let context = format!("00-{}-{}-01", span.trace_id, span.span_id);
        ensure!(got[&path].values("traceparent") == [&context], "{}", told());
        ensure!(
            span.parent == server.span_id && span.trace_id == server.trace_id,
            "{}",
            told()
        );
        ensure!((span.trace_id == TRACE) == (number >= genuine), "{}", told());
        // No more of it than the specification wants to be handed on.
        ensure!(server.state.len() <= 512 && span.state.len() <= 512, "{}", told());
    }
    Ok(())
}

/// Rounds of `press.py`, each on a connection of its own.
const ROUNDS: usize = 20;

/// Gives what came in each round.
type Reader = JoinHandle<Result<Vec<Vec<u8>>>>;

/// All that comes in each round, to a server that reads little at a time.
fn pressed() -> Result<(SocketAddr, Reader)> {
    let (listener, address) = port::listener()?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 30_000)?;
    let reader = std::thread::spawn(move || {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(wait::LIMIT))?;
            let (mut all, mut part) = (Vec::new(), vec![0; 5_000]);
            loop {
                let count = stream.read(&mut part)?;
                all.extend_from_slice(&part[..count]);
                if count == 0 {
                    break;
                }
                if all.len().is_multiple_of(7) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            rounds.push(all);
        }
        Ok(rounds)
    });
    Ok((address, reader))
}

/// `bytes` without what was injected, and how often something was.
fn without_contexts(bytes: &[u8]) -> (Vec<u8>, u64) {
    const NAME: &[u8] = b"traceparent: 00-";
    const LINE: usize = 70;
    let (mut rest, mut plain, mut count) = (bytes, Vec::new(), 0);
    while let Some(at) = memmem(rest, NAME) {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[(at + LINE).min(rest.len())..];
        count += 1;
    }
    plain.extend_from_slice(rest);
    (plain, count)
}

fn memmem(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Of a send of which the kernel takes a part, the application is told how many bytes that were: what was injected does not count,
/// and is never in the part that is left.
fn a_peer_that_reads_slowly(hooks: Hooks) -> Result<()> {
    let press = |address: SocketAddr| -> Result<()> {
        let mut client = child::command(&workload::environment("python")?.to_string_lossy());
        client
            .arg(workload::file("propagation/press.py")?)
            .args([address.to_string(), ROUNDS.to_string()]);
        Child::spawn(client)?.succeed_within(4 * wait::LIMIT).map(drop)
    };
    let rounds = |reader: Reader| reader.join().expect("the reader does not panic");
    let (address, reader) = pressed()?;
    press(address)?;
    let expected = rounds(reader)?;
    let (address, reader) = pressed()?;
    let session = Session::start(propagating(hooks).port(address.port()))?;
    press(address)?;
    let seen = session.finish(0)?;
    let mut injected = 0;
    for (number, (got, expected)) in rounds(reader)?.iter().zip(&expected).enumerate() {
        let (plain, count) = without_contexts(got);
        injected += count;
        let differs = plain
            .iter()
            .zip(expected)
            .position(|(got, expected)| got != expected);
        ensure!(
            plain == *expected,
            "round {number}: {} bytes and not {}, from {differs:?} on",
            plain.len(),
            expected.len()
        );
    }
    ensure!(injected > 0, "{:?}", seen.summary);
    ensure!(
        Outcome::of(&seen).injected == injected,
        "{injected}: {:?}",
        seen.summary
    );
    Ok(())
}
