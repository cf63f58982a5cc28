//! AMQP 0-9-1 live: the clients of `replay_amqp.rs` at RabbitMQ, each message seen from its client's end, or from both.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spanwire_tests::agent::{Agent, Hooks, Options, Turn};
use spanwire_tests::calls::{self, Timed};
use spanwire_tests::child::Child;
use spanwire_tests::expect::Expected;
use spanwire_tests::messages::{self, Library, Message, Totals};
use spanwire_tests::port;
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};

spanwire_tests::under_both_hook_sets!(libraries, a_hundred_thousand_messages);
spanwire_tests::under_one_hook_set!(with_the_broker, joined_late);

/// What all libraries told, which work side by side, at each concurrency.
fn told(hooks: Hooks, broker: &RabbitMq, count: usize) -> Result<Vec<Message>> {
    let mut told = Vec::new();
    for &concurrency in hooks.concurrency() {
        let mut clients = Vec::new();
        for library in Library::ALL {
            clients.push(Child::spawn(library.work(broker, count, concurrency)?)?);
        }
        for client in clients {
            told.extend(calls::told(&client.succeed()?)?);
        }
    }
    Ok(told)
}

/// The clients alone.
fn libraries(hooks: Hooks) -> Result<()> {
    spans_of(hooks, Options::run(hooks), 1, 300)
}

/// The clients, and the broker as well.
fn with_the_broker(hooks: Hooks) -> Result<()> {
    spans_of(hooks, Options::run(hooks).flag("--broker-spans"), 2, 100)
}

/// What all libraries do with `count` messages each makes spans at so many of its `ends`.
fn spans_of(hooks: Hooks, options: Options, ends: usize, count: usize) -> Result<()> {
    let broker = RabbitMq::start()?;
    let address = broker.service.address;
    let session = Session::start(options.port(address.port()))?;
    let told = told(hooks, &broker, count)?;
    ensure!(told.len() > 5 * count, "{}", told.len());
    // The clients' ends first: their peer's port is known, that of the broker's ends may be any.
    let spans = |end: usize| {
        told.iter()
            .map(move |message| message.spans(address)[end].clone())
    };
    let expected: Vec<Expected> = (0..ends).flat_map(spans).collect();
    session.finish(expected.len())?.exactly_until_closed(&expected)
}

fn a_hundred_thousand_messages(hooks: Hooks) -> Result<()> {
    const CONNECTIONS: usize = 8;
    let count = hooks.share(100_000) as u64;
    let broker = RabbitMq::start()?;
    let options = Options::bare(["run", "--output", "tree", "--hooks", hooks.name()]);
    let agent = Agent::start(&options.port(broker.service.address.port()))?;
    let client = Child::spawn(messages::freight(&broker, count, CONNECTIONS)?)?;
    let told: Vec<Totals> = calls::told(&client.succeed()?)?;
    let all = Totals {
        published: count,
        confirmed: count,
        delivered: count,
    };
    ensure!(told == [all], "{told:?}");
    let finished = agent.stop()?;
    let summary = finished.summary.as_ref().context("a summary")?;
    ensure!(summary.losses().is_empty(), "{}", finished.message());
    let lines = |what: &str| finished.stdout.iter().filter(|line| line.contains(what)).count() as u64;
    let counts = ["→ publish freight-", "← deliver freight-"].map(lines);
    ensure!(counts == [count; 2], "{counts:?}: {}", finished.message());
    ensure!(
        summary.value("spans.built") == 2 * count,
        "{}",
        finished.message()
    );
    Ok(())
}

/// What tells a message's ways apart.
type Way = (String, String, Option<i64>);

fn way(message: &Message) -> Way {
    (message.operation.clone(), message.id.clone(), message.tag)
}

fn way_of(span: &Span) -> Way {
    let text = |name| span.text(name).unwrap_or_default().to_owned();
    let tag = span.attributes.get("messaging.rabbitmq.message.delivery_tag");
    (
        text("messaging.operation.name"),
        text("messaging.message.id"),
        tag.and_then(Value::as_i64),
    )
}

/// Four connections of each library that are busy when spanwire comes.
fn joined_late(hooks: Hooks) -> Result<()> {
    const CONNECTIONS: usize = 4;
    let broker = RabbitMq::start()?;
    let port = broker.service.address.port();
    let turn = Turn::take()?;
    let mut clients = Vec::new();
    for library in Library::ALL {
        let mut command = library.work(&broker, 1000, CONNECTIONS)?;
        command.env("PACE", "25ms");
        clients.push(Child::spawn(command)?);
    }
    let connections = Library::ALL.len() * CONNECTIONS;
    port::connected(port, connections)?;
    let session = Session::start_in(turn, Options::run(hooks).port(port))?;
    let from = calls::all_seen_from()?;
    let mut told: Vec<Timed<Message>> = Vec::new();
    for client in clients {
        told.extend(calls::told(&client.succeed()?)?);
    }
    // How many there are is not known: those before are not seen.
    let seen = session.finish(0)?;
    seen.well_formed()?;
    for kind in [Kind::Producer, Kind::Consumer] {
        let is_it = |told: &&Timed<Message>| (told.told.operation == "publish") == (kind == Kind::Producer);
        let told = told.iter().filter(is_it).map(|Timed { at, told }| Timed {
            at: *at,
            told: way(told),
        });
        let spans = seen.spans.iter().filter(|span| span.kind == kind);
        let spans = spans.map(|span| (span.start, way_of(span))).collect();
        calls::seen_from(from, &told.collect::<Vec<_>>(), spans, connections)
            .with_context(|| format!("{kind:?}: {}", seen.finished.message()))?;
    }
    let told: BTreeMap<Way, &Message> = told.iter().map(|Timed { told, .. }| (way(told), told)).collect();
    for span in &seen.spans {
        let message = told[&way_of(span)];
        says_nothing_wrong(span, message).with_context(|| format!("{span:#?} of {message:?}"))?;
    }
    Ok(())
}

/// What became of a message may be told by what was said before: then it is not known.
fn says_nothing_wrong(span: &Span, message: &Message) -> Result<()> {
    let number = |name| span.attributes.get(name).and_then(Value::as_i64);
    ensure!(
        number("messaging.message.body.size") == Some(message.size),
        "size"
    );
    let key = span.text("messaging.rabbitmq.destination.routing_key");
    ensure!(key == Some(&message.key), "routing key");
    let destination = span.text("messaging.destination.name").unwrap_or_default();
    ensure!(destination.starts_with(&message.exchange), "destination");
    for (name, expected) in [
        ("spanwire.messaging.settlement", &message.settled),
        ("error.type", &message.error),
    ] {
        let found = span.text(name);
        ensure!(found.is_none() || found == expected.as_deref(), "{name}");
    }
    Ok(())
}
