//! Trace context that requests carry: their spans join the trace that it names.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::injection::{Keeper, clients, header_of, once, pass_on, propagating};
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::service::postgres::Postgres;
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::workload;

spanwire_tests::under_both_hook_sets!(each_protocol_has_its_place_for_it, an_untrusted_origin);

/// Ids of request `number`, which no other has.
fn ids(number: u32) -> [String; 2] {
    [
        format!("{number:08x}{:024x}", 7),
        format!("{number:08x}{:08x}", 9),
    ]
}

fn traceparent(number: u32) -> String {
    let [trace, span] = ids(number);
    format!("00-{trace}-{span}-01")
}

/// curl, with these header fields.
fn curl(url: &str, options: &[&str], fields: &[String]) -> Command {
    let mut command = child::command("curl");
    command.args(["-sS", "-o", "/dev/null"]).args(options);
    for field in fields {
        command.args(["-H", field]);
    }
    command.arg(url);
    command
}

const PUBLISH: &str = "
import pika, sys
port, *parents = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', int(port)))
channel = connection.channel()
queue = channel.queue_declare('', exclusive=True).method.queue
for parent in parents:
    properties = pika.BasicProperties(headers={'traceparent': parent, 'tracestate': 'a=1', 'n': 7})
    channel.basic_publish('', queue, b'body', properties)
for method, _, _ in channel.consume(queue):
    channel.basic_ack(method.delivery_tag)
    if method.delivery_tag == len(parents):
        break
connection.close()
";

fn each_protocol_has_its_place_for_it(hooks: Hooks) -> Result<()> {
    let (nginx, postgres, broker) = (Nginx::start(None)?, Postgres::start()?, RabbitMq::start()?);
    let ports = [
        nginx.service.address,
        nginx.http2,
        postgres.service.address,
        broker.service.address,
    ];
    let options = ports.iter().fold(Options::run(hooks), |options, address| {
        options.port(address.port())
    });
    let session = Session::start(options)?;

    let http1 = |number: u32| format!("http://{}/nothing?n={number}", nginx.service.address);
    let field = |name: &str, value: &str| format!("{name}: {value}");
    let w3c = |number: u32| {
        vec![
            field("TraceParent", &traceparent(number)),
            field("tracestate", "a=1"),
        ]
    };
    let [trace, span] = ids(3);
    let b3 = vec![field("b3", &format!("{trace}-{span}-1"))];
    let [trace, span] = ids(4);
    let several = vec![field("X-B3-TraceId", &trace), field("X-B3-SpanId", &span)];
    let [trace, span] = ids(5);
    let jaeger = vec![field("uber-trace-id", &format!("{trace}:{span}:0:1"))];
    let http2 = format!("http://{}/nothing?n=2", nginx.http2);
    let malformed = vec![field("traceparent", "00-0-0-01")];
    for command in [
        curl(&http1(1), &[], &w3c(1)),
        curl(&http2, &["--http2-prior-knowledge"], &w3c(2)),
        curl(&http1(3), &[], &b3),
        curl(&http1(4), &[], &several),
        curl(&http1(5), &[], &jaeger),
        curl(&http1(90), &[], &[field("X-Request-Id", "r-90")]),
        curl(&http1(91), &[], &malformed),
    ] {
        Child::spawn(command)?.succeed()?;
    }
    let mut psql = postgres.client("psql");
    psql.args(["-q", "-c"]);
    psql.arg(format!(
        "SELECT 6 /*traceparent='{}',tracestate='a%3D1'*/",
        traceparent(6)
    ));
    psql.arg("shop");
    Child::spawn(psql)?.succeed()?;
    let mut pika = child::command(&workload::environment("python")?.to_string_lossy());
    pika.args(["-c", PUBLISH, &broker.service.address.port().to_string()]);
    pika.args([traceparent(7), traceparent(8)]);
    Child::spawn(pika)?.succeed()?;

    // Seven requests and a statement at both ends, two messages where they are published and delivered.
    let count = 2 * 8 + 2 * 2;
    let seen = session.finish(count)?;
    ensure!(
        seen.spans.len() == count,
        "{}: {:#?}",
        seen.spans.len(),
        seen.spans
    );
    ensure!(
        seen.summary.value("malformed.contexts") == 2,
        "{}",
        seen.finished.message()
    );
    for number in 1..=8 {
        let [trace, parent] = ids(number);
        let senders: Vec<&Span> = seen.spans.iter().filter(|span| span.parent == parent).collect();
        let kinds: Vec<Kind> = senders.iter().map(|span| span.kind).collect();
        let both = if matches!(number, 7 | 8) {
            // What the broker does in between has no span.
            ensure!(
                kinds.len() == 2 && kinds.contains(&Kind::Producer) && kinds.contains(&Kind::Consumer),
                "{number}: {kinds:?}"
            );
            senders
        } else {
            ensure!(kinds == [Kind::Client], "{number}: {kinds:?}");
            let receiver = seen.spans.iter().filter(|span| span.parent == senders[0].span_id);
            let both: Vec<&Span> = senders.iter().copied().chain(receiver).collect();
            ensure!(
                both.len() == 2 && both[1].kind == Kind::Server,
                "{number}: {both:#?}"
            );
            both
        };
        ensure!(
            both.iter().all(|span| span.trace_id == trace),
            "{number}: {both:#?}"
        );
        let state = if matches!(number, 3..=5) { "" } else { "a=1" };
        ensure!(both.iter().all(|span| span.state == state), "{number}: {both:#?}");
    }
    // The others begin traces of their own.
    for number in [90, 91] {
        let query = format!("n={number}");
        let of_it = |span: &&Span| {
            let text = span.text("url.query").or(span.text("url.full"));
            text.is_some_and(|text| text.ends_with(&query))
        };
        let both: Vec<&Span> = seen.spans.iter().filter(of_it).collect();
        let [one, other] = both[..] else {
            bail!("{number}: {both:#?}");
        };
        let (client, server) = if one.kind == Kind::Client {
            (one, other)
        } else {
            (other, one)
        };
        let correlation = (number == 90).then(|| serde_json::json!(["r-90"]));
        ensure!(
            both.iter()
                .all(|span| span.attributes.get("http.request.header.x-request-id") == correlation.as_ref()),
            "{both:#?}"
        );
        ensure!(
            client.parent.is_empty() && server.parent == client.span_id,
            "{both:#?}"
        );
        ensure!(
            client.trace_id == server.trace_id && both.iter().all(|span| span.state.is_empty()),
            "{both:#?}"
        );
        let others = seen.spans.iter().filter(|span| span.trace_id == client.trace_id);
        ensure!(others.count() == 2, "{client:#?}");
    }
    Ok(())
}

/// What comes from a range of addresses that is not trusted begins a trace, which is linked to the one that was named; what the
/// service asks for it says the same on the wire.
fn an_untrusted_origin(hooks: Hooks) -> Result<()> {
    let keeper = Keeper::start()?;
    let service = pass_on(keeper.address)?;
    let options = propagating(hooks).pid(service.child.pid());
    let session = Session::start(options.environment("SPANWIRE_REFUSE_FROM", "127.0.5.0/24, 2001:db8::/32"))?;
    let from = ["127.0.0.1", "127.0.5.7"];
    for (number, address) in (1..).zip(from) {
        let url = format!("http://{}/from/{address}", service.address);
        let fields = [
            format!("traceparent: {}", traceparent(number)),
            "tracestate: a=1".to_owned(),
        ];
        Child::spawn(curl(&url, &["--interface", address], &fields))?.succeed()?;
    }
    let seen = session.finish(4)?;
    ensure!(seen.spans.len() == 4, "{:#?}", seen.spans);
    let got = once(keeper.kept.take()?)?;
    let asked = clients(&seen);
    for (number, address) in (1..).zip(from) {
        let path = format!("/from/{address}");
        let mut servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
        let server = servers
            .find(|span| span.path() == path)
            .with_context(|| path.clone())?;
        let client = asked.get(path.as_str()).with_context(|| path.clone())?;
        let [trace, parent] = ids(number);
        if address == "127.0.0.1" {
            ensure!(server.trace_id == trace && server.parent == parent, "{server:#?}");
            ensure!(server.links.is_empty() && server.state == "a=1", "{server:#?}");
        } else {
            ensure!(
                server.trace_id != trace && server.parent.is_empty(),
                "{server:#?}"
            );
            ensure!(server.state.is_empty(), "{server:#?}");
            ensure!(server.links == [[trace, parent, "a=1".to_owned()]], "{server:#?}");
        }
        ensure!(
            client.trace_id == server.trace_id && client.parent == server.span_id && client.links.is_empty(),
            "{client:#?}\n{server:#?}"
        );
        let header = header_of(client);
        let said = header.trim_start_matches("traceparent: ");
        ensure!(
            got[&path].values("traceparent") == [said],
            "{:#?}, not {said}",
            got[&path]
        );
    }
    Ok(())
}
