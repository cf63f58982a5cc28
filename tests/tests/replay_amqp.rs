//! `spanwire replay` of AMQP 0-9-1: captures of RabbitMQ's clients, against what they say they did and tshark.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spanwire_tests::calls;
use spanwire_tests::capture::{self, Packet, Tap};
use spanwire_tests::child::Child;
use spanwire_tests::expect;
use spanwire_tests::messages::{Library, Message};
use spanwire_tests::replay::{count, read, same, spans};
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::span::Span;
use tempfile::TempDir;

/// A capture, and what the clients say of it.
struct Recording {
    file: PathBuf,
    port: u16,
    told: Vec<Message>,
    _folder: TempDir,
}

impl Recording {
    /// Captures what `work` does with a broker of its own.
    fn of(work: impl FnOnce(&RabbitMq) -> Result<Vec<Message>>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("messages.pcap");
        let broker = RabbitMq::start()?;
        let port = broker.service.address.port();
        // Clients that do not wait send a lot at once.
        let tap = Tap::start(&file, port, &["-i", "lo", "-B", "262144"])?;
        let told = work(&broker)?;
        tap.stop()?;
        Ok(Self {
            file,
            port,
            told,
            _folder: folder,
        })
    }

    fn packets(&self) -> Result<Vec<Packet>> {
        capture::packets(&std::fs::read(&self.file)?)
    }

    /// Every message that a client tells is a span, every span one of those, and each attribute is accounted for.
    fn check(&self) -> Result<()> {
        let (lines, said) = read(&std::fs::read(&self.file)?)?;
        let spans = spans(&lines)?;
        let broker = SocketAddr::from(([127, 0, 0, 1], self.port));
        let told: Vec<_> = self
            .told
            .iter()
            .map(|message| message.spans(broker)[0].clone())
            .collect();
        expect::compare(&spans, &told).with_context(|| said.clone())?;
        ensure!(spans.iter().all(|span| span.start <= span.end), "times");
        let sent = on_the_wire(&self.file, self.port)?;
        ensure!(spans.len() as u64 == sent, "{sent} on the wire: {said}");
        ensure!(count(&said, "replay.exchanges.amqp") == sent, "{said}");
        ensure!(!said.contains("lost.") && !said.contains("replay.gap"), "{said}");
        Ok(())
    }
}

/// A span in one line.
fn shown(span: &Span) -> String {
    let attributes = serde_json::json!(span.attributes);
    format!("{:?} {} {} {attributes}", span.kind, span.name, span.error)
}

/// How many methods of basic.publish, deliver and get-ok tshark sees.
fn on_the_wire(file: &Path, port: u16) -> Result<u64> {
    let mut command = capture::tshark(file);
    command.args([
        "-d",
        &format!("tcp.port=={port},amqp"),
        "-Y",
        "amqp.method.class == 60",
    ]);
    command.args(["-T", "fields", "-E", "aggregator=,"]);
    command.args(["-e", "amqp.method.class", "-e", "amqp.method.method"]);
    let mut messages = 0;
    for line in Child::spawn(command)?.succeed()? {
        let (classes, methods) = line.split_once('\t').context("two fields")?;
        let both = classes.split(',').zip(methods.split(','));
        messages += both
            .filter(|both| matches!(both, ("60", "40" | "60" | "71")))
            .count() as u64;
    }
    Ok(messages)
}

#[test]
fn libraries() -> Result<()> {
    for library in Library::ALL {
        let recording = Recording::of(|broker| {
            let mut told = Vec::new();
            for concurrency in [1, 10] {
                let command = library.work(broker, 120, concurrency)?;
                told.extend(calls::told(&Child::spawn(command)?.succeed()?)?);
            }
            Ok(told)
        })?;
        ensure!(
            recording.told.len() > 400,
            "{library:?}: {}",
            recording.told.len()
        );
        recording.check().with_context(|| format!("{library:?}"))?;
    }
    Ok(())
}

/// The capture that tests rewrite: all libraries at once.
static MIXED: LazyLock<Result<Recording>> = LazyLock::new(|| {
    Recording::of(|broker| {
        let mut clients = Vec::new();
        for library in Library::ALL {
            clients.push(Child::spawn(library.work(broker, 96, 2)?)?);
        }
        let mut told = Vec::new();
        for client in clients {
            told.extend(calls::told(&client.succeed()?)?);
        }
        Ok(told)
    })
});

fn mixed() -> Result<&'static Recording> {
    MIXED.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// The spans of `packets`, and what is said of them.
fn replayed(packets: &[Packet]) -> Result<(Vec<Span>, String)> {
    let (lines, said) = read(&capture::pcap(1, packets))?;
    Ok((spans(&lines)?, said))
}

/// Nothing is found that is not among `all`, though what became of it, or the queue that it came from, may be missing.
fn nothing_made_up(found: &[Span], all: &[Span]) -> Result<()> {
    let vague = [
        "error.type",
        "messaging.destination.name",
        "messaging.destination.anonymous",
    ];
    for span in found {
        let is_it = |whole: &&Span| {
            let agrees = |(name, value): (&String, &Value)| {
                whole.attributes.get(name) == Some(value) || vague.contains(&&**name)
            };
            whole.start == span.start && whole.kind == span.kind && span.attributes.iter().all(agrees)
        };
        let whole = all
            .iter()
            .find(is_it)
            .with_context(|| format!("made up: {span:#?}"))?;
        let [part, name] = [span, whole].map(|it| it.text("messaging.destination.name").unwrap_or_default());
        ensure!(name.starts_with(part), "{part} instead of {name}");
        let error = span.text("error.type");
        let is_known = error == whole.text("error.type") || error == Some("connection_closed");
        ensure!(error.is_none() || is_known, "{span:#?}\n{whole:#?}");
    }
    Ok(())
}

#[test]
fn joined_late_all_that_can_be_told_is() -> Result<()> {
    let packets = mixed()?.packets()?;
    let (all, _) = replayed(&packets)?;
    for part in 1..8 {
        let from = packets.len() * part / 8;
        let (found, said) = replayed(&packets[from..])?;
        nothing_made_up(&found, &all).with_context(|| said.clone())?;
        let begins = packets[from].nanoseconds();
        let later = all.iter().filter(|span| span.start > begins);
        let is_missing = |span: &&Span| {
            !found
                .iter()
                .any(|it| it.start == span.start && it.kind == span.kind)
        };
        // Of each connection, what goes on when it is joined.
        let missing = later.filter(is_missing).count();
        ensure!(
            missing <= 3 * 2 * Library::ALL.len(),
            "{missing} are missing from packet {from} on: {said}"
        );
    }
    Ok(())
}

#[test]
fn no_loss_makes_a_wrong_span() -> Result<()> {
    let packets = mixed()?.packets()?;
    let (all, _) = replayed(&packets)?;
    for round in 0..capture::ROUNDS {
        let some = capture::thinned(&packets, round);
        let (found, said) = replayed(&some)?;
        nothing_made_up(&found, &all).with_context(|| format!("{round}: {said}"))?;
        ensure!(replayed(&some)?.0 == found, "{round}: not the same again");
    }
    Ok(())
}

#[test]
fn disorder_and_repetition_change_nothing() -> Result<()> {
    let recording = mixed()?;
    recording.check()?;
    let packets = recording.packets()?;
    let (all, _) = replayed(&packets)?;
    let told = |spans: &[Span]| spans.iter().map(shown).collect::<Vec<_>>();
    for distance in [1, 2, 5, 8] {
        let (found, said) = replayed(&capture::disordered(&packets, distance))?;
        same(told(&found), told(&all)).with_context(|| format!("{distance}: {said}"))?;
    }
    ensure!(
        replayed(&capture::doubled(&packets))?.0 == all,
        "each packet twice"
    );
    Ok(())
}
