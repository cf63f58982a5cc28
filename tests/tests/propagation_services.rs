//! A trace goes through services that are asked by gRPC, HTTP/2 and messages: what each says on the wire is what is exported.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Got, Keeper, clients, header_of, once, pass_on, propagating};
use spanwire_tests::seen::Seen;
use spanwire_tests::service::Service;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

mod before_the_send {
    spanwire_tests::under!(Socket, behind_nginx);
}

spanwire_tests::under_both_hook_sets!(streams_of_goroutines);
spanwire_tests::under_one_hook_set!(
    streams_that_name_their_trace,
    contexts_of_other_encoders,
    headers_of_other_formats,
    messages_of_pika
);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What came carries the context of the span by which it was sent, and nothing else.
fn each_carries_its_own(got: &BTreeMap<String, Got>, seen: &Seen) -> Result<()> {
    let spans = clients(seen);
    for (path, got) in got {
        let span = spans
            .get(path.as_str())
            .with_context(|| format!("no span of {path}"))?;
        let values = got.values("traceparent");
        ensure!(
            values.len() == 1 && header_of(span) == format!("traceparent: {}", values[0]),
            "{got:#?}, not of {span:#?}"
        );
    }
    Ok(())
}

/// The spans of each request, by what is in its paths.
fn by_request<'a>(seen: &'a Seen, ids: &'a [String]) -> Result<HashMap<&'a str, Vec<&'a Span>>> {
    let mut requests: HashMap<&str, Vec<&Span>> = HashMap::new();
    for span in &seen.spans {
        let subject = span.subject();
        let is_of = |id: &&String| subject.split('/').any(|part| part == id.as_str());
        let id = ids.iter().find(is_of).with_context(|| format!("{span:#?}"))?;
        requests.entry(id).or_default().push(span);
    }
    Ok(requests)
}

/// Services of Go, of which the last asks a keeper.
struct Streams(Vec<Service>);

impl Streams {
    fn start(keeper: &Keeper) -> Result<Self> {
        let kept = keeper.address.to_string();
        let program = workload::go_program("streams")?;
        let mut services = Vec::new();
        let mut serve = |name: &str, arguments: &[&str]| -> Result<String> {
            let port = port::free()?;
            let mut command = child::command(&program.to_string_lossy());
            command.args([name, &port.to_string()]).args(arguments);
            command.env("TRACE", TRACE);
            let service = Service::listening(Child::spawn(command)?, port)?;
            let address = service.address.to_string();
            services.push(service);
            Ok(address)
        };
        let store = serve("store", &[&kept])?;
        let attic = serve("attic", &[&kept])?;
        let call = serve("call", &[&kept, "", &store, &attic])?;
        serve("front", &[&call])?;
        Ok(Self(services))
    }

    fn front(&self) -> SocketAddr {
        self.0[self.0.len() - 1].address
    }

    fn watched(&self, hooks: Hooks) -> Options {
        let pids = self.0.iter().map(|service| service.child.pid());
        pids.fold(propagating(hooks).flag("--no-redact"), Options::pid)
    }
}

/// By HTTP/1 to gRPC, and from there by HTTP/1 and both servers of HTTP/2 to HTTP/1. Half of the requests come with a trace.
fn streams_of_goroutines(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 40;
    let keeper = Keeper::start()?;
    let chain = Streams::start(&keeper)?;
    let front = chain.front();
    let options = chain.watched(hooks);
    let session = Session::start(options)?;
    let ids: Vec<String> = (0..COUNT).map(|number| format!("ID-{number}")).collect();
    let mut curl = child::command("curl");
    curl.args(["-sS", "--fail", "--parallel", "--parallel-max", "8"]);
    for (number, id) in ids.iter().enumerate() {
        if number > 0 {
            curl.arg("--next");
        }
        curl.args(["-sS", "--fail", "-o", "/dev/null"]);
        if number % 2 == 0 {
            let field = format!("traceparent: 00-{TRACE}-{:016x}-01", number + 1);
            curl.args(["-H", &field, "-H", &format!("tracestate: came={id},a=1")]);
        }
        curl.arg(format!("http://{front}/order/{id}"));
    }
    Child::spawn(curl)?.succeed()?;
    let seen = session.finish(12 * ids.len())?;
    let got = once(keeper.kept.take()?)?;
    ensure!(got.len() == 3 * ids.len(), "{} requests", got.len());
    each_carries_its_own(&got, &seen)?;
    let requests = by_request(&seen, &ids)?;
    let mut missing = 0;
    for (number, id) in ids.iter().enumerate() {
        let state = format!("came={id},a=1");
        let states: &[&str] = if number % 2 == 0 { &[&state] } else { &[] };
        for (path, got) in got
            .iter()
            .filter(|(path, _)| path.split('/').any(|part| part == id))
        {
            let came = got.values("tracestate");
            ensure!(
                came.is_empty() || came == states,
                "{path}: {got:#?}, not {states:?}"
            );
            missing += usize::from(came != states);
        }
        let spans = &requests[id.as_str()];
        let trace = &spans[0].trace_id;
        ensure!(
            spans.len() == 12 && spans.iter().all(|span| span.trace_id == *trace),
            "{id}: {spans:#?}"
        );
        ensure!((trace == TRACE) == (number % 2 == 0), "{id}: {trace}");
    }
    // A block that is read in two parts is not looked at for one.
    let cut = seen.summary.value("kernel.propagation.states.cut");
    ensure!(
        missing as u64 <= cut && missing * 20 <= got.len(),
        "{missing} are missing: {:?}",
        seen.summary
    );
    Ok(())
}

/// A client of gRPC says which trace its calls belong to, by fields that are coded and whose names are soon in the dynamic table.
/// What the service asks for them says the same. Where a call names the same span as one before, all of the field is in the table:
/// what is asked for that is exported as part of the trace, and says nothing on the wire. So does a `tracestate` that is coded.
fn streams_that_name_their_trace(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 30;
    const AGAIN: usize = 20;
    let keeper = Keeper::start()?;
    let chain = Streams::start(&keeper)?;
    let session = Session::start(chain.watched(hooks))?;
    let ids: Vec<String> = (0..COUNT).map(|number| format!("ID-{number}")).collect();
    for (number, id) in ids.iter().enumerate() {
        let what = if number < AGAIN { "own" } else { "again" };
        let mut curl = child::command("curl");
        curl.args(["-sS", "--fail", "-o", "/dev/null"]);
        curl.arg(format!("http://{}/{what}/{id}", chain.front()));
        Child::spawn(curl)?.succeed()?;
    }
    let seen = session.finish(10 * ids.len())?;
    let got = once(keeper.kept.take()?)?;
    ensure!(got.len() == 3 * COUNT, "{} requests", got.len());
    let is_told = |path: &str| {
        ids[..=AGAIN]
            .iter()
            .any(|id| path.split('/').any(|part| part == id))
    };
    let (told, untold): (BTreeMap<_, _>, BTreeMap<_, _>) =
        got.into_iter().partition(|(path, _)| is_told(path));
    ensure!(told.len() == 3 * (AGAIN + 1), "{} are told", told.len());
    each_carries_its_own(&told, &seen)?;
    for (path, got) in told.iter().chain(&untold) {
        let parents = got.values("traceparent");
        ensure!(
            got.values("tracestate").is_empty() && parents.iter().all(|parent| parent.contains(TRACE)),
            "{path}: {got:#?}"
        );
        ensure!(parents.len() == usize::from(is_told(path)), "{path}: {got:#?}");
    }
    for (id, spans) in by_request(&seen, &ids)? {
        let named = spans.iter().filter(|span| span.trace_id == TRACE).count();
        let state = format!("own={id}");
        let states = spans.iter().filter(|span| span.state == state).count();
        ensure!(spans.len() == 10 && named == 9 && states >= 2, "{id}: {spans:#?}");
    }
    let of = |name: &str| seen.summary.value(&format!("kernel.propagation.{name}"));
    ensure!(
        of("skipped.untold") == 5 * (COUNT - AGAIN - 1) as u64 && of("states.cut") == (AGAIN + 1) as u64,
        "{:?}",
        seen.summary
    );
    Ok(())
}

/// Asks by HTTP/2 for /own/ID-0 and so on, each on behalf of another span of a trace.
const ASK_BY_NODE: &str = "
const http2 = require('node:http2');
const [address, trace, count] = process.argv.slice(1);
const client = http2.connect(`http://${address}`);
const ask = (number) => new Promise((resolve, reject) => {
  const span = (number + 1).toString(16).padStart(16, '0');
  const stream = client.request({
    ':path': `/own/ID-${number}`, 'x-before': 'b'.repeat(number % 50), traceparent: `00-${trace}-${span}-01`, 'x-behind': `${number}`,
  });
  stream.on('error', reject).on('end', resolve).resume();
});
(async () => {
  for (let number = 0; number < Number(count); number += 1) await ask(number);
  client.close();
})();
";

/// The same by what Python's httpx speaks HTTP/2 with.
const ASK_BY_H2: &str = "
import socket, sys
import h2.connection, h2.events
address, trace, count = sys.argv[1:]
host, port = address.split(':')
connection = h2.connection.H2Connection()
sock = socket.create_connection((host, int(port)))
sock.settimeout(30)
connection.initiate_connection()
sock.sendall(connection.data_to_send())
for number in range(int(count)):
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, [
        (':method', 'GET'), (':scheme', 'http'), (':authority', address), (':path', f'/own/ID-{number}'),
        ('x-before', 'b' * (number % 50)), ('traceparent', f'00-{trace}-{number + 1:016x}-01'), ('x-behind', str(number)),
    ], end_stream=True)
    sock.sendall(connection.data_to_send())
    ended = False
    while not ended:
        for event in connection.receive_data(sock.recv(65536)):
            ended |= isinstance(event, h2.events.StreamEnded)
        sock.sendall(connection.data_to_send())
";

/// What encoders of other libraries make of the field is read as well. The clients are not watched.
fn contexts_of_other_encoders(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 100;
    let python = workload::environment("python")?;
    let python = python.to_string_lossy();
    for (program, option, source) in [("node", "-e", ASK_BY_NODE), (&*python, "-c", ASK_BY_H2)] {
        let keeper = Keeper::start()?;
        let port = port::free()?;
        let mut command = child::command(&workload::go_program("streams")?.to_string_lossy());
        command.args(["store", &port.to_string(), &keeper.address.to_string()]);
        let store = Service::listening(Child::spawn(command)?, port)?;
        let session = Session::start(propagating(hooks).pid(store.child.pid()).flag("--no-redact"))?;
        let mut client = child::command(program);
        client.args([
            option,
            source,
            &store.address.to_string(),
            TRACE,
            &COUNT.to_string(),
        ]);
        Child::spawn(client)?.succeed()?;
        let seen = session.finish(2 * COUNT)?;
        let got = once(keeper.kept.take()?)?;
        ensure!(
            got.len() == COUNT && seen.spans.len() == 2 * COUNT,
            "{} requests",
            got.len()
        );
        each_carries_its_own(&got, &seen)?;
        for span in &seen.spans {
            let id = span.path().split('/').find_map(|part| part.strip_prefix("ID-"));
            let number: u64 = id.unwrap_or_default().parse()?;
            let is_right = span.kind == Kind::Client || span.parent == format!("{:016x}", number + 1);
            ensure!(span.trace_id == TRACE && is_right, "{program}: {span:#?}");
        }
    }
    Ok(())
}

/// nginx is left alone where it would stall in a sockhash, so nothing on the wire says what it is asked for. What is asked for
/// that further on names the trace that is exported, with a connection for each request and with some that are kept.
fn behind_nginx(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 50;
    let keeper = Keeper::start()?;
    let service = pass_on(keeper.address)?;
    let nginx = Nginx::with_workers(2, Some(service.address))?;
    let workers = child::children(nginx.service.child.pid(), 2)?;
    let options = workers.into_iter().fold(propagating(hooks), Options::pid);
    let session = Session::start(options.pid(service.child.pid()))?;
    let mut curl = child::command("curl");
    curl.args(["-sS", "--fail", "--parallel", "--parallel-max", "8"]);
    for path in ["once", "proxy"] {
        curl.arg("-o").arg("/dev/null");
        curl.arg(format!("http://{}/{path}/[1-{COUNT}]", nginx.service.address));
    }
    Child::spawn(curl)?.succeed()?;
    let seen = session.finish(2 * 4 * COUNT)?;
    let got = once(keeper.kept.take()?)?;
    ensure!(got.len() == 2 * COUNT, "{} requests", got.len());
    for (path, got) in got {
        let spans: Vec<_> = seen.spans.iter().filter(|span| span.path() == path).collect();
        let of_service =
            |span: &&&Span| span.kind == Kind::Client && span.resource["process.pid"] == service.child.pid();
        let last = spans.iter().find(of_service).with_context(|| path.clone())?;
        ensure!(
            spans.len() == 4 && spans.iter().all(|span| span.trace_id == last.trace_id),
            "{spans:#?}"
        );
        let told = header_of(last);
        ensure!(
            got.values("traceparent") == [told.trim_start_matches("traceparent: ")],
            "{got:#?}, not {told}"
        );
    }
    Ok(())
}

/// Of headers in other formats, the kernel half knows that they are there. A `traceparent` counts more, but not where it is there
/// twice.
fn headers_of_other_formats(hooks: Hooks) -> Result<()> {
    let b3 = format!("b3: {TRACE}-00f067aa0ba902b7-1");
    let parent = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
    let cases: [(&[&str], bool); 6] = [
        (&[&b3], false),
        (
            &["X-B3-TraceId: 4bf92f3577b34da6", "X-B3-SpanId: 00f067aa0ba902b7"],
            false,
        ),
        (&["uber-trace-id: 4bf92f3577b34da6:f067aa0ba902b7:0:1"], false),
        (&[&b3, &parent], true),
        (&[&parent, &b3], true),
        (&[&parent, &parent], false),
    ];
    let keeper = Keeper::start()?;
    let service = pass_on(keeper.address)?;
    let session = Session::start(propagating(hooks).pid(service.child.pid()))?;
    for (number, (fields, _)) in cases.iter().enumerate() {
        let mut curl = child::command("curl");
        curl.args(["-sS", "-o", "/dev/null"]);
        curl.args(fields.iter().flat_map(|field| ["-H", field]));
        curl.arg(format!("http://{}/on/{number}", service.address));
        Child::spawn(curl)?.succeed()?;
    }
    let seen = session.finish(2 * cases.len())?;
    let got = once(keeper.kept.take()?)?;
    let spans = clients(&seen);
    for (number, (fields, told)) in cases.iter().enumerate() {
        let path = format!("/on/{number}");
        let span = spans.get(path.as_str()).with_context(|| path.clone())?;
        let values = got[&path].values("traceparent");
        ensure!(values.len() == usize::from(*told), "{fields:?}: {values:?}");
        ensure!(
            values
                .iter()
                .all(|value| header_of(span) == format!("traceparent: {value}")),
            "{fields:?}: {values:?}, not of {span:#?}"
        );
    }
    Ok(())
}

/// From a publish to what its consumer asks for it; some messages name their trace themselves, among other headers.
fn messages_of_pika(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 100;
    let (keeper, broker) = (Keeper::start()?, RabbitMq::start()?);
    let folder = tempfile::tempdir()?;
    let turn = folder.path().join("turn");
    let messages = |what: &str| -> Result<_> {
        let mut command = child::command(&workload::environment("python")?.to_string_lossy());
        command.arg(workload::file("propagation/consume.py")?);
        let port = broker.service.address.port().to_string();
        command.args([what, &port, &COUNT.to_string(), &keeper.address.to_string()]);
        command.env("TRACE", TRACE);
        Ok(command)
    };
    let mut consumer = Child::spawn(messages("consume")?)?;
    consumer.line("listening")?;
    let publisher = Child::spawn(child::held(&messages("publish")?, &turn))?;
    let options = propagating(hooks).pid(consumer.pid()).pid(publisher.pid());
    let session = Session::start(options.flag("--no-redact"))?;
    std::fs::write(turn, "")?;
    publisher.succeed()?;
    consumer.succeed()?;
    let seen = session.finish(3 * COUNT)?;
    let got = once(keeper.kept.take()?)?;
    ensure!(got.len() == COUNT, "{} requests", got.len());
    let number = |path: &str| -> usize { path.trim_start_matches("/ID-").parse().unwrap_or_default() };
    each_carries_its_own(&got, &seen)?;
    for (path, got) in &got {
        let state = format!("own={}", number(path));
        let states: &[&str] = if number(path) % 10 == 8 { &[&state] } else { &[] };
        ensure!(got.values("tracestate") == states, "{path}: {got:#?}");
    }
    let ids: Vec<String> = (0..COUNT).map(|number| format!("ID-{number}")).collect();
    for (id, spans) in by_request(&seen, &ids)? {
        let is_own = number(&format!("/{id}")) % 5 == 3;
        let roots = spans.iter().filter(|span| span.parent.is_empty()).count();
        let trace = &spans[0].trace_id;
        ensure!(
            spans.len() == 3
                && spans.iter().all(|span| span.trace_id == *trace)
                && roots == usize::from(!is_own)
                && (trace == TRACE) == is_own,
            "{id}: {spans:#?}"
        );
    }
    Ok(())
}
