//! Context in messages of AMQP, from each client library: every message carries that of its own publish and is else as it was,
//! to the byte.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Hooks;
use spanwire_tests::calls;
use spanwire_tests::child::Child;
use spanwire_tests::injection::{Outcome, large, propagating, requests, wanted};
use spanwire_tests::messages::{Library, Message};
use spanwire_tests::publishers::{self, Got, Publisher};
use spanwire_tests::seen::Seen;
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};

spanwire_tests::under_one_hook_set!(messages_of_each_library, messages_of_java_by_another_name);

/// The context that some of them have of their own: its trace and its span.
const OWN: (&str, &str) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");

/// Whether a message is of the kinds that publish.py gives a context of their own.
fn has_own(key: &str) -> bool {
    key.ends_with(['3', '7'])
}

/// Whether it is of the kind whose header frame is longer than any peer has to take.
fn is_too_long(key: &str) -> bool {
    key.ends_with('8')
}

/// Of one that cuts most.
const ALWAYS: usize = 1;

/// Of clients that send each message by itself.
const RARE: usize = 50;

/// Of Netty, which sends what threads have written side by side as far as there is room: seen of one in 20.
const OFTEN: usize = 5;

fn messages_of_each_library(hooks: Hooks) -> Result<()> {
    let broker = RabbitMq::start()?;
    each_carries_its_own(hooks, &broker, &Publisher::ALL, requests(hooks, 400)?, RARE)?;
    each_carries_its_own(hooks, &broker, &[Publisher::Cut], requests(hooks, 1000)?, ALWAYS)?;
    match hooks {
        Hooks::Socket => messages_of_java(hooks, &broker),
        Hooks::Syscall => Ok(()),
    }
}

/// Where the kernel is right, Java is injected into; here it is under a name of which spanwire knows that it bears that.
fn messages_of_java_by_another_name(hooks: Hooks) -> Result<()> {
    let broker = RabbitMq::start()?;
    each_carries_its_own(
        hooks,
        &broker,
        &[Publisher::AmqpClient],
        requests(hooks, 200)?,
        OFTEN,
    )?;
    sockets_that_block_are_left_alone(hooks, &broker)
}

/// They are left within their first send, which is no message yet.
fn sockets_that_block_are_left_alone(hooks: Hooks, broker: &RabbitMq) -> Result<()> {
    const COUNT: usize = 50;
    let publish = || publishers::publish(Publisher::AmqpClientBlocking, broker, COUNT, 1);
    let plain = publish()?;
    let session = Session::start(propagating(hooks).port(broker.service.address.port()))?;
    let got = publish()?;
    let seen = session.finish(2 * COUNT)?;
    ensure!(got == plain, "{got:#?}, not {plain:#?}");
    let blocking = seen.summary.value("kernel.propagation.skipped.blocking");
    ensure!(
        (Outcome::of(&seen), blocking) == (Outcome::default(), COUNT as u64),
        "{:?}",
        seen.summary
    );
    Ok(())
}

/// Frames that a send cuts are left alone, and are counted: one in `cut_at_most`.
fn each_carries_its_own(
    hooks: Hooks,
    broker: &RabbitMq,
    publishers: &[Publisher],
    count: usize,
    cut_at_most: usize,
) -> Result<()> {
    let publish_all = || -> Result<BTreeMap<String, Got>> {
        let mut all = BTreeMap::new();
        for publisher in wanted(publishers) {
            let got = publishers::publish(publisher, broker, count, large(count));
            all.extend(got.with_context(|| format!("{publisher:?}"))?);
        }
        Ok(all)
    };
    let plain = publish_all()?;
    let session = Session::start(propagating(hooks).port(broker.service.address.port()))?;
    let got = publish_all()?;
    let count = plain.len();
    let seen = session.finish(2 * count)?;
    ensure!(plain.keys().eq(got.keys()), "{} messages, not {count}", got.len());
    let (publishes, deliveries) = (of(&seen, Kind::Producer), of(&seen, Kind::Consumer));
    ensure!(
        publishes.len() == count && deliveries.len() == count && seen.spans.len() == 2 * count,
        "{} publishes, {} deliveries, {} spans",
        publishes.len(),
        deliveries.len(),
        seen.spans.len()
    );
    let (mut outcome, mut cut) = (Outcome::default(), 0);
    for (key, plain) in &plain {
        let (publish, delivery) = (publishes[key.as_str()], deliveries[key.as_str()]);
        let told = || {
            format!(
                "{publish:#?}\n{delivery:#?}\n{:#?}\nnot {plain:#?}\n{:?}",
                got[key], seen.summary
            )
        };
        let value = format!("00-{}-{}-01", publish.trace_id, publish.span_id);
        let injected = plain.with("traceparent", &value)?;
        if has_own(key) {
            ensure!(got[key] == *plain, "{}", told());
            ensure!(
                (&*publish.trace_id, &*publish.parent) == OWN && publish.trace_id == delivery.trace_id,
                "{}",
                told()
            );
            outcome.own += 1;
        } else if got[key] == injected {
            ensure!(publish.parent.is_empty(), "{}", told());
            ensure!(
                delivery.parent == publish.span_id && delivery.trace_id == publish.trace_id,
                "{}",
                told()
            );
            outcome.injected += 1;
        } else {
            // It is left alone; its delivery is then below nothing.
            ensure!(got[key] == *plain && delivery.parent.is_empty(), "{}", told());
            outcome.skipped += 1;
            cut += usize::from(!is_too_long(key));
        }
    }
    ensure!(cut * cut_at_most <= count, "{cut} of {count}: {:?}", seen.summary);
    // A frame with a context of its own may be cut as well.
    let told = Outcome::of(&seen);
    ensure!(
        told.injected == outcome.injected
            && told.own <= outcome.own
            && (outcome.own - told.own) * cut_at_most as u64 <= outcome.own
            && told.own + told.skipped == outcome.own + outcome.skipped,
        "{outcome:?}: {:?}",
        seen.summary
    );
    seen.counted()?;
    let losses = seen.summary.losses();
    ensure!(losses.is_empty(), "losses: {losses:?}");
    Ok(())
}

/// The spans of a kind by their routing keys.
fn of(seen: &Seen, kind: Kind) -> HashMap<&str, &Span> {
    let spans = seen.spans.iter().filter(|span| span.kind == kind);
    spans
        .map(|span| {
            let key = span.text("messaging.rabbitmq.destination.routing_key");
            (key.unwrap_or_default(), span)
        })
        .collect()
}

/// Where enrolled sockets answer FIONREAD with 0, Java's are left alone: it works as ever, and all spans are there.
fn messages_of_java(hooks: Hooks, broker: &RabbitMq) -> Result<()> {
    let address = broker.service.address;
    let session = Session::start(propagating(hooks).port(address.port()))?;
    let client = Child::spawn(Library::AmqpClient.work(broker, 200, 4)?)?;
    let told: Vec<Message> = calls::told(&client.succeed()?)?;
    let expected: Vec<_> = told
        .iter()
        .map(|message| message.spans(address)[0].clone())
        .collect();
    let seen = session.finish(expected.len())?;
    seen.exactly_until_closed(&expected)?;
    let is_left_alone = seen.finished.message().contains("this kernel answers FIONREAD");
    let enrolled = seen.summary.value("kernel.propagation.enrolled");
    ensure!(
        is_left_alone == (enrolled == 0) && is_left_alone == (Outcome::of(&seen) == Outcome::default()),
        "{}",
        seen.finished.message()
    );
    Ok(())
}
