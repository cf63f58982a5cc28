//! A trace goes through services that are asked by gRPC, HTTP/2 and messages: what each says on the wire is what is exported.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Got, Keeper, clients, header_of, once, propagating};
use spanwire_tests::seen::Seen;
use spanwire_tests::service::Service;
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::session::Session;
use spanwire_tests::span::Span;
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(streams_of_goroutines, messages_of_pika);

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

/// By HTTP/1 to gRPC, and from there by HTTP/1 and both servers of HTTP/2 to HTTP/1. Half of the requests come with a trace.
fn streams_of_goroutines(hooks: Hooks) -> Result<()> {
    const COUNT: usize = 40;
    let keeper = Keeper::start()?;
    let kept = keeper.address.to_string();
    let program = workload::go_program("streams")?;
    let mut services = Vec::new();
    let mut serve = |name: &str, arguments: &[&str]| -> Result<String> {
        let port = port::free()?;
        let mut command = child::command(&program.to_string_lossy());
        command.args([name, &port.to_string()]).args(arguments);
        let service = Service::listening(Child::spawn(command)?, port)?;
        let address = service.address.to_string();
        services.push(service);
        Ok(address)
    };
    let store = serve("store", &[&kept])?;
    let attic = serve("attic", &[&kept])?;
    let call = serve("call", &[&kept, "", &store, &attic])?;
    let front = serve("front", &[&call])?;
    let options = services.iter().fold(propagating(hooks), |options, service| {
        options.pid(service.child.pid())
    });
    let session = Session::start(options.flag("--no-redact"))?;
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
            curl.args(["-H", &field]);
        }
        curl.arg(format!("http://{front}/order/{id}"));
    }
    Child::spawn(curl)?.succeed()?;
    let seen = session.finish(12 * COUNT)?;
    let got = once(keeper.kept.take()?)?;
    ensure!(got.len() == 3 * COUNT, "{} requests", got.len());
    each_carries_its_own(&got, &seen)?;
    let requests = by_request(&seen, &ids)?;
    for (number, id) in ids.iter().enumerate() {
        let spans = &requests[id.as_str()];
        let trace = &spans[0].trace_id;
        ensure!(
            spans.len() == 12 && spans.iter().all(|span| span.trace_id == *trace),
            "{id}: {spans:#?}"
        );
        ensure!((trace == TRACE) == (number % 2 == 0), "{id}: {trace}");
    }
    Ok(())
}

/// From a publish to what its consumer asks for it.
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
    each_carries_its_own(&got, &seen)?;
    let ids: Vec<String> = (0..COUNT).map(|number| format!("ID-{number}")).collect();
    for (id, spans) in by_request(&seen, &ids)? {
        let roots = spans.iter().filter(|span| span.parent.is_empty()).count();
        ensure!(
            spans.len() == 3 && roots == 1 && spans.iter().all(|span| span.trace_id == spans[0].trace_id),
            "{id}: {spans:#?}"
        );
    }
    Ok(())
}
