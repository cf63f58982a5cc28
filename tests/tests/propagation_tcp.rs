//! Contexts in options of TCP, between two hosts that have a spanwire each: what one has asked and the other has answered is one
//! trace, whatever the protocol, and whether or not a header could be put there. Nobody else gets such an option.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::database::Driver;
use spanwire_tests::injection::{Client, Keeper, Keeper2, once, plan};
use spanwire_tests::namespaces::Namespaces;
use spanwire_tests::seen::Seen;
use spanwire_tests::service::postgres::{self, Postgres};
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(a_trace_goes_on_at_the_other_host);

spanwire_tests::under_one_hook_set!(
    a_server_from_before_is_asked_again,
    a_header_wins,
    addresses_that_are_refused,
    lost_and_late_segments,
    requests_that_are_sent_together,
    who_has_no_spanwire_gets_no_context,
    clients_that_are_not_enrolled,
    streams_of_http2,
    statements_that_were_prepared,
    statements_of_each_driver,
    a_sender_that_is_killed,
);

/// Says for each request what came: its path, how long its body is, and whether each byte of that is as it should be.
const SERVE: &str = "
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        number = int(self.path.rsplit('/', 1)[1])
        assert body == (b'%08d' % number) * (len(body) // 8), self.path
        os.write(1, f'got {self.path} {len(body)} {self.headers.get(\"traceparent\")}\\n'.encode())
        self.send_response(200)
        self.send_header('Content-Length', str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())
class Server(ThreadingHTTPServer):
    request_queue_size = 128
server = Server(('10.77.0.2', int(sys.argv[1])), Answer)
print('listening', flush=True)
server.serve_forever()
";

/// Asks over so many connections at a time, so often on each, with bodies of up to so many bytes.
const ASK: &str = "
import http.client, sys, threading
address, threads, count, longest = sys.argv[1], *map(int, sys.argv[2:])
failed = []
def ask(name):
    try:
        connection = http.client.HTTPConnection(address, timeout=30)
        for number in range(count):
            path = f'/{name}/{number}'
            body = (b'%08d' % number) * (number * 997 % (longest // 8))
            connection.request('POST', path, body)
            assert connection.getresponse().read().decode() == path
    except BaseException as error:
        failed.append(error)
        raise
all = [threading.Thread(target=ask, args=(name,)) for name in range(threads)]
for thread in all: thread.start()
for thread in all: thread.join()
sys.exit(bool(failed))
";

/// As [`ASK`], but all requests of a connection in one send.
const ASK_TOGETHER: &str = "
import socket, sys
address, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
host, port = address.split(':')
for name in range(threads):
    connection = socket.create_connection((host, int(port)))
    request = 'POST /%d/%d HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 0\\r\\n\\r\\n'
    connection.sendall(''.join(request % (name, number) for number in range(count)).encode())
    got = b''
    while got.count(b'HTTP/1.1 200') < count: got += connection.recv(65536)
    connection.close()
";

/// Requests: connections, on each so many, bodies up to so long.
#[derive(Clone, Copy)]
struct Load(usize, usize, usize);

impl Load {
    const fn count(self) -> usize {
        self.0 * self.1
    }
}

/// What each host's spanwire is started with, where there is one.
#[derive(Clone, Copy)]
struct Flags<'a> {
    near: Option<&'a [&'a str]>,
    far: Option<&'a [&'a str]>,
    /// The server listens before anybody watches it.
    serves_before: bool,
    /// What asks.
    script: &'a str,
}

impl Default for Flags<'_> {
    fn default() -> Self {
        Self {
            near: Some(&["--propagate", "tcp"]),
            far: Some(&["--propagate", "tcp"]),
            serves_before: false,
            script: ASK,
        }
    }
}

/// What both saw, and what the server has printed.
struct Both {
    near: Option<Seen>,
    far: Option<Seen>,
    printed: Vec<String>,
}

fn options(hooks: Hooks, flags: &[&str], pid: u32) -> Options {
    let options = Options::run(hooks).pid(pid);
    flags.iter().fold(options, |options, flag| options.flag(*flag))
}

/// A client on the first host asks a server on the second.
fn ask(hosts: &Namespaces, hooks: Hooks, flags: Flags<'_>, load: Load) -> Result<Both> {
    let folder = tempfile::tempdir()?;
    let [serves, asks] = ["serves", "asks"].map(|name| folder.path().join(name));
    let address = SocketAddr::from(([10, 77, 0, 2], port::free()?));
    let mut server = hosts.python(1);
    server.args(["-c", SERVE, &address.port().to_string()]);
    let mut server = Child::spawn(child::held(&server, &serves))?;
    let mut client = hosts.python(0);
    let Load(threads, count, longest) = load;
    client.args(["-c", flags.script, &address.to_string()]);
    client.args([threads, count, longest].map(|number| number.to_string()));
    let client = Child::spawn(child::held(&client, &asks))?;
    if flags.serves_before {
        std::fs::write(&serves, "")?;
        server.line("listening")?;
    }
    // Whichever is there has the turn; the other comes beside it.
    let near = flags.near.map(|near| options(hooks, near, client.pid()));
    let near = near.map(Session::start).transpose()?;
    let far = flags.far.map(|far| options(hooks, far, server.pid()));
    let far = far
        .map(|options| match &near {
            Some(near) => near.start_beside(options),
            None => Session::start(options),
        })
        .transpose()?;
    if !flags.serves_before {
        std::fs::write(&serves, "")?;
        server.line("listening")?;
    }
    std::fs::write(&asks, "")?;
    client.succeed()?;
    let finish = |session: Option<Session>| session.map(|session| session.finish(load.count())).transpose();
    let (far, near) = (finish(far)?, finish(near)?);
    let printed = server.stdout.all();
    let got = printed.iter().filter(|line| line.starts_with("got ")).count();
    ensure!(got == load.count(), "{got} requests came: {}", server.text());
    Ok(Both { near, far, printed })
}

fn of_kind(seen: &Seen, kind: Kind) -> Vec<&Span> {
    seen.spans.iter().filter(|span| span.kind == kind).collect()
}

fn count(seen: &Seen, name: &str) -> u64 {
    seen.summary.value(&format!("kernel.propagation.{name}"))
}

/// How many spans of the server have the client's span as parent that has asked for the same. No other has a parent.
fn joined(near: &Seen, far: &Seen, expected: usize) -> Result<usize> {
    let asked = of_kind(near, Kind::Client);
    let answered = of_kind(far, Kind::Server);
    // What was lost is counted, and is not what is looked for here.
    let lost = usize::try_from(far.summary.value("lost.exchanges.incomplete"))?;
    ensure!(
        asked.len() == expected && answered.len() + lost == expected,
        "{} asked, {} answered, {expected} expected: {:?} {:?}",
        asked.len(),
        answered.len(),
        near.summary,
        far.summary
    );
    let asked: HashMap<&str, &Span> = asked.into_iter().map(|span| (&*span.span_id, span)).collect();
    let mut children = HashMap::<&str, usize>::new();
    let mut joined = 0;
    for span in answered.into_iter().filter(|span| !span.parent.is_empty()) {
        let parent = asked
            .get(&*span.parent)
            .with_context(|| format!("an orphan: {span:#?}"))?;
        ensure!(
            parent.subject() == span.subject() && parent.trace_id == span.trace_id,
            "{parent:#?}\n{span:#?}"
        );
        *children.entry(&*span.parent).or_default() += 1;
        joined += 1;
    }
    ensure!(children.values().all(|count| *count == 1), "two have one parent");
    Ok(joined)
}

/// Both, where both have a spanwire.
fn both(both: &Both) -> Result<(&Seen, &Seen)> {
    Ok((
        both.near.as_ref().context("nobody asked")?,
        both.far.as_ref().context("nobody answered")?,
    ))
}

fn a_trace_goes_on_at_the_other_host(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("tcp")?;
    for load in [Load(1, 200, 60_000), Load(16, 60, 4_000)] {
        let seen = ask(&hosts, hooks, Flags::default(), load)?;
        let (near, far) = both(&seen)?;
        ensure!(
            joined(near, far, load.count())? == load.count(),
            "{:?}",
            far.summary
        );
        let all = load.count() as u64;
        let told = [count(near, "tcp.sent"), count(far, "tcp.taken")];
        ensure!(told == [all, all], "{told:?}");
        ensure!(seen.printed.iter().all(|line| !line.contains(" 00-")), "a header");
    }
    Ok(())
}

/// The first request of a connection goes without, since nobody knows by then.
fn a_server_from_before_is_asked_again(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("before")?;
    let flags = Flags {
        serves_before: true,
        ..Flags::default()
    };
    let load = Load(8, 20, 4_000);
    let seen = ask(&hosts, hooks, flags, load)?;
    let (near, far) = both(&seen)?;
    let joined = joined(near, far, load.count())?;
    ensure!(
        joined >= load.count() - load.0 && count(near, "tcp.peers") == load.0 as u64,
        "{joined} of {}: {:?}",
        load.count(),
        near.summary
    );
    Ok(())
}

fn a_header_wins(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("header")?;
    let load = Load(4, 50, 4_000);
    let near: &[&str] = &["--propagate", "http1,tcp"];
    for far in [&["--propagate", "tcp"][..], &[]] {
        let flags = Flags {
            near: Some(near),
            far: Some(far),
            ..Flags::default()
        };
        let seen = ask(&hosts, hooks, flags, load)?;
        let (near, far) = both(&seen)?;
        ensure!(
            joined(near, far, load.count())? == load.count(),
            "{:?}",
            far.summary
        );
        let headers = seen.printed.iter().filter(|line| line.contains(" 00-")).count();
        ensure!(headers == load.count(), "{headers} headers");
        ensure!(count(near, "tcp.sent") == 0, "twice: {:?}", near.summary);
    }
    Ok(())
}

fn addresses_that_are_refused(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("refused")?;
    let load = Load(2, 20, 4_000);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    std::fs::write(
        &file,
        "propagate:\n  headers: [tcp]\n  refuse_from: [10.77.0.0/24]\n",
    )?;
    let far = ["--config", file.to_str().context("a path in UTF-8")?];
    let flags = Flags {
        far: Some(&far),
        ..Flags::default()
    };
    let seen = ask(&hosts, hooks, flags, load)?;
    let (near, far) = both(&seen)?;
    ensure!(joined(near, far, load.count())? == 0, "taken over");
    ensure!(
        count(far, "tcp.refused") == load.count() as u64,
        "{:?}",
        far.summary
    );
    Ok(())
}

/// A segment that is lost is sent again, and its option with it. Slow, the rest waits behind.
fn lost_and_late_segments(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("lost")?;
    hosts.lose(0, 3)?;
    hosts.lose(1, 6)?;
    hosts.slow(0, 20_000)?;
    let load = Load(16, 25, 20_000);
    let seen = ask(&hosts, hooks, Flags::default(), load)?;
    let (near, far) = both(&seen)?;
    let joined = joined(near, far, load.count())?;
    // A connection whose SYN was lost has none; and what is sent for the fourth time.
    let without = load.count() - joined;
    let peers = usize::try_from(count(near, "tcp.peers"))?;
    ensure!(
        without <= (load.0 - peers) * load.1 + load.count() / 50 && peers >= load.0 / 2,
        "{joined} of {}: {:?} {:?}",
        load.count(),
        near.summary,
        far.summary
    );
    Ok(())
}

/// Of those nobody can tell the others apart before they are sent: the first has a parent, and the others are counted.
fn requests_that_are_sent_together(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("together")?;
    let flags = Flags {
        script: ASK_TOGETHER,
        ..Flags::default()
    };
    let load = Load(10, 12, 0);
    let seen = ask(&hosts, hooks, flags, load)?;
    let (near, far) = both(&seen)?;
    let joined = joined(near, far, load.count())?;
    let unseen = count(near, "tcp.skipped.unseen");
    ensure!(
        joined >= load.0 - load.0 / 2 && joined <= load.0 && unseen == (load.count() - load.0) as u64,
        "{joined}, {unseen}: {:?} {:?}",
        near.summary,
        far.summary
    );
    Ok(())
}

/// The kinds and lengths of options with spanwire's identifier in what was captured: of a SYN, and of what has data.
fn captured(file: &Path) -> Result<[usize; 3]> {
    let mut read = child::command("tcpdump");
    read.args(["-n", "-r"]).arg(file);
    let text = Child::spawn(read)?.succeed()?.join("\n");
    let lines: Vec<&str> = text.lines().collect();
    let with = |flags: &str, length: usize| {
        let option = |line: &&&str| {
            line.split("unknown-253 0x5357").nth(1).is_some_and(|rest| {
                rest.bytes().take_while(u8::is_ascii_hexdigit).count() == 2 * (length - 4)
            })
        };
        lines
            .iter()
            .filter(|line| line.contains(flags))
            .filter(option)
            .count()
    };
    ensure!(
        lines.iter().any(|line| line.contains("Flags [S]")),
        "nothing captured"
    );
    Ok([with("Flags [S]", 8), with("Flags [S.]", 8), with("Flags [", 28)])
}

/// Only SYNs, and the ends of handshakes, say that spanwire is there. Where both hosts have one, each request has a context.
fn who_has_no_spanwire_gets_no_context(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("alone")?;
    let folder = tempfile::tempdir()?;
    let load = Load(4, 10, 1_000);
    let tcp: Option<&[&str]> = Some(&["--propagate", "tcp"]);
    let none: Option<&[&str]> = Some(&[]);
    for (name, near, far, expected) in [
        ("both", tcp, tcp, [load.0, load.0, load.count()]),
        ("client", tcp, None, [load.0, 0, 0]),
        ("client, and one that does not", tcp, none, [load.0, 0, 0]),
        ("server", None, tcp, [0, 0, 0]),
        ("not asked for", none, none, [0, 0, 0]),
    ] {
        let file = folder.path().join(name.replace([' ', ','], "-"));
        let mut tap = hosts.tcpdump(1);
        tap.arg("-w").arg(&file).arg("tcp");
        let mut tap = Child::spawn(tap)?;
        tap.error_line("tcpdump: listening on")?;
        let flags = Flags {
            near,
            far,
            ..Flags::default()
        };
        let seen = ask(&hosts, hooks, flags, load)?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        tap.signal(Signal::INT)?;
        tap.wait()?;
        let found = captured(&file)?;
        ensure!(found == expected, "{name}: {found:?}, not {expected:?}");
        if let (Some(near), Some(far)) = (&seen.near, &seen.far) {
            let joined = joined(near, far, load.count())?;
            ensure!(joined == expected[2], "{name}: {joined}");
        }
    }
    Ok(())
}

/// Runs `command` under one spanwire, and what answers it under another, on this host: each takes the other for another host's.
fn beside(hooks: Hooks, near: &str, command: &Command, server: u32) -> Result<[Session; 2]> {
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let client = Child::spawn(child::held(command, &turn))?;
    let near = Session::start(options(hooks, &["--propagate", near], client.pid()))?;
    let far = near.start_beside(options(hooks, &["--propagate", "tcp"], server))?;
    std::fs::write(&turn, "")?;
    client.succeed()?;
    Ok([near, far])
}

/// Java, whose sockets the kernel would break were they enrolled, beside clients that get a header elsewhere.
fn clients_that_are_not_enrolled(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for client in [
        Client::JavaHttpClient,
        Client::UrlConnection,
        Client::GoHttp,
        Client::NodeHttp,
        Client::Aiohttp,
    ] {
        let keeper = Keeper::start()?;
        let plan = plan(&client.prefix(), 120, 1);
        let command = client.ask(keeper.address, &plan, 4, folder.path())?;
        let [near, far] = beside(hooks, "tcp", &command, std::process::id())?;
        let (near, far) = (near.finish(plan.len())?, far.finish(plan.len())?);
        let joined = joined(&near, &far, plan.len()).with_context(|| format!("{client:?}"))?;
        // The first of each connection goes without: the keeper listened before.
        ensure!(
            joined + 8 >= plan.len(),
            "{client:?}: {joined} of {}: {:?} {:?}",
            plan.len(),
            near.summary,
            far.summary
        );
        for (path, got) in once(keeper.kept.take()?)? {
            ensure!(got.values("traceparent").is_empty(), "{path}: {got:?}");
        }
    }
    Ok(())
}

/// Streams of one connection, one at a time and side by side: none has another's parent.
fn streams_of_http2(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for client in Client::HTTP2 {
        for (concurrency, share) in [(1, 90), (8, 0)] {
            let keeper = Keeper2::start()?;
            let plan = plan(&client.prefix(), 100, 1);
            let command = client.ask(keeper.address, &plan, concurrency, folder.path())?;
            let [near, far] = beside(hooks, "tcp", &command, std::process::id())?;
            let (near, far) = (near.finish(plan.len())?, far.finish(plan.len())?);
            let joined = joined(&near, &far, plan.len()).with_context(|| format!("{client:?}"))?;
            ensure!(
                joined * 100 >= share * plan.len(),
                "{client:?}, {concurrency} at a time: {joined} of {}: {:?} {:?}",
                plan.len(),
                near.summary,
                far.summary
            );
        }
    }
    Ok(())
}

/// A pool whose statements, prepared and executed many at a time, carry a number in their text and in their answer.
const POOL: &str = "
import asyncio, asyncpg, sys
async def main():
    pool = await asyncpg.create_pool(sys.argv[1], min_size=8, max_size=8)
    async def one(number):
        assert await pool.fetchval(f'SELECT $1::int AS id_{number}', number) == number
    await asyncio.gather(*(one(number) for number in range(int(sys.argv[2]))))
    await pool.close()
asyncio.run(main())
";

fn statements_that_were_prepared(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 400;
    let server = Postgres::start()?;
    let mut command = child::command(&workload::environment("python")?.to_string_lossy());
    command.args([
        "-c",
        POOL,
        &postgres::url(server.service.address),
        &COUNT.to_string(),
    ]);
    let [near, far] = beside(hooks, "tcp", &command, server.service.child.pid())?;
    let numbered = |seen: &mut Seen| {
        seen.spans.retain(|span| span.subject().contains(" AS id_"));
    };
    let (mut near, mut far) = (near.finish(COUNT)?, far.finish(COUNT)?);
    numbered(&mut near);
    numbered(&mut far);
    let joined = joined(&near, &far, COUNT)?;
    ensure!(joined == COUNT, "{joined}: {:?} {:?}", near.summary, far.summary);
    Ok(())
}

/// Of each driver, no statement has another's parent, and of those that ask for one thing at a time all have their own.
fn statements_of_each_driver(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    for driver in [Driver::Psycopg2, Driver::Pg, Driver::Pgx, Driver::Jdbc] {
        let command = driver.work(server.service.address, 20, 4)?;
        let [near, far] = beside(hooks, "tcp", &command, server.service.child.pid())?;
        near.settle(20);
        let (near, far) = (near.finish(20)?, far.finish(20)?);
        let all = of_kind(&near, Kind::Client).len();
        let joined = joined(&near, &far, all).with_context(|| format!("{driver:?}"))?;
        ensure!(
            joined * 2 >= all,
            "{driver:?}: {joined} of {all}: {:?} {:?}",
            near.summary,
            far.summary
        );
    }
    Ok(())
}

/// What was under way goes on, and its bytes are the same.
fn a_sender_that_is_killed(hooks: Hooks) -> Result<()> {
    let hosts = Namespaces::new("killed")?;
    let folder = tempfile::tempdir()?;
    let asks = folder.path().join("asks");
    let address = SocketAddr::from(([10, 77, 0, 2], port::free()?));
    let mut server = hosts.python(1);
    server.args(["-c", SERVE, &address.port().to_string()]);
    let mut client = hosts.python(0);
    client.args(["-c", ASK, &address.to_string(), "8", "400", "20000"]);
    let client = Child::spawn(child::held(&client, &asks))?;
    let near = Session::start(options(hooks, &["--propagate", "tcp"], client.pid()))?;
    let mut server = Child::spawn(server)?;
    let far = near.start_beside(options(hooks, &["--propagate", "tcp"], server.pid()))?;
    server.line("listening")?;
    std::fs::write(&asks, "")?;
    near.settle(400);
    near.agent.kill()?;
    client.succeed()?;
    let seen = far.finish(8 * 400)?;
    let got = server.stdout.all().len() - 1;
    let servers = of_kind(&seen, Kind::Server);
    let with = servers.iter().filter(|span| !span.parent.is_empty()).count();
    ensure!(
        got == 8 * 400 && servers.len() == got && with >= 300 && with < got,
        "{got} came, {} spans, {with} with a parent",
        servers.len()
    );
    Ok(())
}
