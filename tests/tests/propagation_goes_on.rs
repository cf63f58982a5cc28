//! Injection goes on: on connections that were open before, while spanwire comes and goes, over services, hosts and brokers.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use spanwire_tests::agent::{Agent, Hooks};
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Keeper, clients, header_of, once, pass_on, propagating};
use spanwire_tests::namespaces::Namespaces;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, wait, workload};

spanwire_tests::under_both_hook_sets!(a_connection_that_was_open, between_two_hosts, a_trace_goes_on,);

/// Asks for /kept/0, /kept/1 and so on, on one connection, until there is a file.
const KEEP_ASKING: &str = "
import http.client, os, sys, time
address, file = sys.argv[1:]
connection = http.client.HTTPConnection(address, timeout=30)
number = 0
while not os.path.exists(file):
    body = b'b' * (number % 3 * 1000)
    connection.request('POST', f'/kept/{number}', body, {'X-Number': str(number)})
    socket = connection.sock
    assert connection.getresponse().read() == b'ok'
    assert connection.sock is socket
    number += 1
    time.sleep(0.001)
print(number)
";

/// Once there are so many more requests which all carry a context, or none.
fn goes_on(keeper: &Keeper, carries: bool, count: usize) -> Result<()> {
    let what = format!("{count} requests that carry a context: {carries}");
    wait::until(&what, || {
        let last = keeper.kept.last(count);
        let all = last.len() == count
            && last
                .iter()
                .all(|got| got.values("traceparent").len() == usize::from(carries));
        Ok(all.then_some(()))
    })
}

fn a_connection_that_was_open(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let folder = tempfile::tempdir()?;
    let end = folder.path().join("end");
    let mut client = child::command(workload::PYTHON);
    client
        .args(["-c", KEEP_ASKING, &keeper.address.to_string()])
        .arg(&end);
    let client = Child::spawn(client)?;
    goes_on(&keeper, false, 20)?;
    let options = propagating(hooks).port(keeper.address.port());
    for _ in 0..3 {
        let agent = Agent::start(&options)?;
        if let Err(stalled) = goes_on(&keeper, true, 20) {
            return Err(stalled.context(agent.stop()?.message()));
        }
        agent.kill()?;
        goes_on(&keeper, false, 20)?;
    }
    let session = Session::start(options)?;
    if let Err(stalled) = goes_on(&keeper, true, 20) {
        return Err(stalled.context(session.finish(0)?.finished.message()));
    }
    session.agent.signal(Signal::STOP)?;
    keeper.kept.more(50)?;
    goes_on(&keeper, true, 20)?;
    session.agent.signal(Signal::CONT)?;
    goes_on(&keeper, true, 20)?;
    let seen = session.finish(0)?;
    goes_on(&keeper, false, 20)?;
    std::fs::write(&end, "")?;
    let count: usize = client.succeed()?.concat().parse()?;
    let got = once(keeper.kept.take()?)?;
    ensure!(got.len() == count, "{} of {count}", got.len());
    // The last spanwire's, from one request on without a gap until it went.
    let spans = clients(&seen);
    let mut carried = Vec::new();
    for number in 0..count {
        let path = format!("/kept/{number}");
        let got = &got[&path];
        let values = got.values("traceparent");
        ensure!(values.len() <= 1, "{got:#?}");
        if let Some(span) = spans.get(path.as_str())
            && let Some(value) = values.first()
        {
            ensure!(
                header_of(span) == format!("traceparent: {value}"),
                "{got:#?}, not of {span:#?}"
            );
            carried.push(number);
        }
    }
    ensure!(carried.len() >= 70, "{carried:?}");
    ensure!(
        carried.windows(2).all(|two| two[0] + 1 == two[1]),
        "a gap: {carried:?}"
    );
    // What was on its way when spanwire came, and when it ended, may have been seen at one end.
    let servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    let (met, alone): (Vec<_>, Vec<_>) = servers.partition(|span| spans.contains_key(span.path()));
    let edges = alone.iter().map(|span| span.path()).collect::<Vec<_>>();
    ensure!(edges.len() <= 2, "nobody asked: {edges:?}, {:?}", seen.summary);
    for span in met {
        let client = spans[span.path()];
        ensure!(
            span.parent == client.span_id && span.trace_id == client.trace_id,
            "{client:#?}\n{span:#?}"
        );
    }
    Ok(())
}

/// Prints the context of each request, or nothing.
const PRINT: &str = "
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_GET(self):
        print('got', self.path, *(self.headers.get_all('traceparent') or []), flush=True)
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
server = ThreadingHTTPServer(('10.77.0.2', int(sys.argv[1])), Answer)
print('listening', flush=True)
server.serve_forever()
";

const ASK_FAR: &str = "
import http.client, os, sys, time
port, count, file = sys.argv[1:]
while not os.path.exists(file): time.sleep(0.01)
connection = http.client.HTTPConnection('10.77.0.2', int(port), timeout=30)
for number in range(int(count)):
    connection.request('GET', f'/far/{number}', headers={'X-Long': 'l' * (number % 50 * 100)})
    assert connection.getresponse().read() == b'ok'
";

/// The client's host alone is watched: what the server gets is what links it. Some packets are lost on the way.
fn between_two_hosts(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 200;
    let hosts = Namespaces::new(&format!("{hooks:?}"))?;
    for end in 0..2 {
        hosts.lose(end, 2)?;
    }
    let port = port::free()?.to_string();
    let mut server = hosts.python(1);
    server.args(["-c", PRINT, &port]);
    let mut server = Child::spawn(server)?;
    server.line("listening")?;
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let mut client = hosts.python(0);
    client.args(["-c", ASK_FAR, &port, &COUNT.to_string()]).arg(&turn);
    let client = Child::spawn(client)?;
    let session = Session::start(propagating(hooks).pid(client.pid()))?;
    std::fs::write(&turn, "")?;
    client.succeed()?;
    let seen = session.finish(COUNT)?;
    let spans = clients(&seen);
    ensure!(
        spans.len() == COUNT && seen.spans.len() == COUNT,
        "{} spans",
        seen.spans.len()
    );
    let expected: Vec<String> = (0..COUNT)
        .map(|number| {
            let path = format!("/far/{number}");
            let header = header_of(spans[path.as_str()]);
            format!("got {path} {}", header.trim_start_matches("traceparent: "))
        })
        .collect();
    let printed = server.stdout.all();
    ensure!(printed[1..] == expected, "{printed:#?}, not {expected:#?}");
    Ok(())
}

/// What a service asks while it serves a request is part of that request's trace, with its flags, and says so on the wire; where
/// the request is part of none, or of one that is not well-formed, of the one that begins here.
fn a_trace_goes_on(hooks: Hooks) -> Result<()> {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let keeper = Keeper::start()?;
    let service = pass_on(keeper.address)?;
    let session = Session::start(propagating(hooks).pid(service.child.pid()))?;
    let fields = [
        format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01"),
        format!("traceparent:00-{TRACE}-00f067aa0ba902b7-00"),
        format!("TraceParent: cc-{TRACE}-00f067aa0ba902b7-01-what-will-come"),
        format!("traceparent: 00-{TRACE}-0000000000000000-01"),
        "x-none: 1".to_owned(),
    ];
    for (number, field) in fields.iter().enumerate() {
        let mut curl = child::command("curl");
        curl.args(["-sS", "-o", "/dev/null", "-H", "X-Long: ", "-H", field]);
        curl.arg(format!("http://{}/on/{number}", service.address));
        Child::spawn(curl)?.succeed()?;
    }
    // What others do not keep is not kept here, and goes on all the same.
    let unkept = 1;
    let count = 2 * (fields.len() - 1);
    let seen = session.finish(count)?;
    let got = once(keeper.kept.take()?)?;
    let spans = clients(&seen);
    let servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    let servers: HashMap<&str, &Span> = servers.map(|span| (span.path(), span)).collect();
    ensure!(seen.spans.len() == count, "{} spans", seen.spans.len());
    ensure!(seen.summary.value("spans.unsampled") == 2, "{:?}", seen.summary);
    for number in 0..fields.len() {
        let path = format!("/on/{number}");
        let told = got[&path].values("traceparent");
        if number == unkept {
            let parts: Vec<_> = told.iter().flat_map(|context| context.split('-')).collect();
            ensure!(
                matches!(*parts, ["00", TRACE, span, "00"] if span != "00f067aa0ba902b7"),
                "{:#?}",
                got[&path]
            );
            continue;
        }
        let span = spans.get(path.as_str()).with_context(|| path.clone())?;
        let server = servers.get(path.as_str()).with_context(|| path.clone())?;
        let expected = format!("00-{}-{}-01", span.trace_id, span.span_id);
        ensure!(told == [&expected], "{:#?}, not {expected}", got[&path]);
        ensure!(
            span.parent == server.span_id && span.trace_id == server.trace_id,
            "{span:#?}\n{server:#?}"
        );
        ensure!(
            (span.trace_id == TRACE) == (number < 3),
            "{number}: {}",
            span.trace_id
        );
    }
    Ok(())
}
