//! `spanwire replay` of PostgreSQL: captures of real clients, against the server's own log and tshark.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spanwire_tests::calls;
use spanwire_tests::capture::{self, Packet, Tap};
use spanwire_tests::child::Child;
use spanwire_tests::database::{Driver, Statement};
use spanwire_tests::replay::{count, read, read_with, same, spans};
use spanwire_tests::service::postgres::{Logged, Postgres};
use spanwire_tests::span::{Kind, Span};
use tempfile::TempDir;

/// A capture, and what server and clients say of it.
struct Recording {
    file: PathBuf,
    port: u16,
    logged: Vec<Logged>,
    told: Vec<Statement>,
    _folder: TempDir,
}

impl Recording {
    /// Captures what `work` does with a cluster of its own.
    fn of(work: impl FnOnce(&Postgres) -> Result<Vec<Statement>>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("statements.pcap");
        let server = Postgres::start()?;
        let port = server.service.address.port();
        let tap = Tap::start(&file, port, &["-i", "lo"])?;
        let told = work(&server)?;
        tap.stop()?;
        Ok(Self {
            file,
            port,
            logged: server.logged()?,
            told,
            _folder: folder,
        })
    }

    fn packets(&self) -> Result<Vec<Packet>> {
        capture::packets(&std::fs::read(&self.file)?)
    }

    /// Every statement of the log and of the clients is a span, and every span one of the log's. What fails in Parse or
    /// Bind has an Execute behind it here, which no client holds back for the answer to a Bind.
    fn check(&self) -> Result<()> {
        let (lines, said) = read_with(&["--no-redact"], &std::fs::read(&self.file)?)?;
        let spans = spans(&lines)?;
        let mut found: Vec<_> = spans.iter().map(Statement::of).collect();
        let logged = self.logged.iter();
        same(
            found.iter().map(|it| (&*it.text, it.code.as_deref())).collect(),
            logged.map(|it| (&*it.text, it.code.as_deref())).collect(),
        )
        .with_context(|| said.clone())?;
        for told in &self.told {
            let at = found.iter().position(|found| found == told);
            let at = at.with_context(|| format!("no span: {told:?}"))?;
            found.swap_remove(at);
        }
        for span in &spans {
            ensure!(span.kind == Kind::Client && span.start <= span.end, "{span:?}");
            ensure!(span.text("db.system.name") == Some("postgresql"), "{span:?}");
            ensure!(span.text("db.namespace").is_some(), "{span:?}");
            ensure!(
                span.error == span.text("db.response.status_code").is_some(),
                "{span:?}"
            );
        }
        let skipped = count(&said, "skipped.statements");
        let sent = requests(&self.file, self.port)?;
        ensure!(spans.len() as u64 + skipped == sent, "{sent} on the wire: {said}");
        ensure!(
            count(&said, "replay.exchanges.postgres") == spans.len() as u64,
            "{said}"
        );
        ensure!(!said.contains("lost.") && !said.contains("replay.gap"), "{said}");
        Ok(())
    }
}

/// How many messages of Query and Execute tshark sees.
fn requests(file: &Path, port: u16) -> Result<u64> {
    let mut command = capture::tshark(file);
    command.args(["-d", &format!("tcp.port=={port},pgsql"), "-Y", "pgsql"]);
    command.args(["-T", "fields", "-E", "aggregator=|", "-e", "pgsql.type"]);
    let lines = Child::spawn(command)?.succeed()?;
    let types = lines.iter().flat_map(|line| line.split('|'));
    Ok(types
        .filter(|kind| matches!(*kind, "Simple query" | "Execute"))
        .count() as u64)
}

const PIPELINE: &str = r"\set id random(1, 100)
\startpipeline
SELECT balance FROM accounts WHERE id = :id;
UPDATE accounts SET balance = balance + 1 WHERE id = :id;
SELECT name FROM accounts WHERE id = :id;
\endpipeline
SELECT 1;
";

#[test]
fn psql() -> Result<()> {
    let recording = Recording::of(|server| {
        Child::spawn(server.script()?)?.succeed()?;
        Ok(Vec::new())
    })?;
    recording.check()?;
    let (lines, _) = read(&std::fs::read(&recording.file)?)?;
    for secret in ["dollar", "nested", "it\\'s", "news, 'extra"] {
        ensure!(!lines.contains(secret), "{secret} is shown");
    }
    Ok(())
}

#[test]
fn pgbench() -> Result<()> {
    let recording = Recording::of(|server| {
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("pipeline.sql");
        std::fs::write(&script, PIPELINE)?;
        let run = |arguments: &[&str]| {
            let mut command = server.client("pgbench");
            command.args(arguments).arg("shop");
            Child::spawn(command)?.succeed()
        };
        run(&["-i", "-q", "-I", "dtgp"])?;
        for mode in ["simple", "extended", "prepared"] {
            run(&["-n", "-M", mode, "-c", "4", "-t", "25"])?;
        }
        let script = script.to_str().context("a path in UTF-8")?;
        for mode in ["extended", "prepared"] {
            run(&["-n", "-M", mode, "-c", "4", "-t", "25", "-f", script])?;
        }
        Ok(Vec::new())
    })?;
    ensure!(recording.logged.len() > 2900, "{}", recording.logged.len());
    recording.check()
}

#[test]
fn drivers() -> Result<()> {
    for driver in Driver::ALL {
        let recording = Recording::of(|server| {
            let mut told = Vec::new();
            for concurrency in [1, 10] {
                let command = driver.work(server.service.address, 120, concurrency)?;
                told.extend(calls::told(&Child::spawn(command)?.succeed()?)?);
            }
            Ok(told)
        })?;
        ensure!(
            recording.told.len() >= 240,
            "{driver:?}: {:?}",
            recording.told.len()
        );
        recording.check().with_context(|| format!("{driver:?}"))?;
    }
    Ok(())
}

/// The captures that tests rewrite: all drivers at once, and those that wait for an answer before they go on.
static MIXED: LazyLock<Result<Recording>> = LazyLock::new(|| at_once(&Driver::ALL));
static WAITING: LazyLock<Result<Recording>> = LazyLock::new(|| {
    let waits = |driver: &Driver| *driver != Driver::TokioPostgres;
    at_once(&Driver::ALL.into_iter().filter(waits).collect::<Vec<_>>())
});

fn at_once(drivers: &[Driver]) -> Result<Recording> {
    Recording::of(|server| {
        let mut clients = Vec::new();
        for driver in drivers {
            clients.push(Child::spawn(driver.work(server.service.address, 24, 2)?)?);
        }
        for client in clients {
            client.succeed()?;
        }
        Ok(Vec::new())
    })
}

fn made(recording: &'static LazyLock<Result<Recording>>) -> Result<&'static Recording> {
    recording.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn mixed() -> Result<&'static Recording> {
    made(&MIXED)
}

/// The spans of `packets`, and what is said of them.
fn replayed(packets: &[Packet]) -> Result<(Vec<Span>, String)> {
    let (lines, said) = read(&capture::pcap(1, packets))?;
    Ok((spans(&lines)?, said))
}

/// Nothing is found that is not among `all`, though what was lost may be missing from it.
fn nothing_made_up(found: &[Span], all: &[Span]) -> Result<()> {
    // Where the end was lost, the connection's end is the exchange's.
    let vague = ["error.type"];
    let is_same = |span: &Span, whole: &Span| {
        let agrees = |(name, value): (&String, &Value)| {
            whole.attributes.get(name) == Some(value)
                || vague.contains(&&**name)
                || name.starts_with("spanwire.")
        };
        whole.start == span.start && span.attributes.iter().all(agrees)
    };
    for span in found {
        let whole = all.iter().any(|whole| is_same(span, whole));
        let then = || all.iter().filter(|whole| whole.start == span.start);
        ensure!(
            whole,
            "made up: {span:#?}, then: {:#?}",
            then().collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// The spans that are missing where a capture is read from a part of it on, and what is said of it.
fn joined_late(recording: &Recording, part: usize) -> Result<(u64, String)> {
    let packets = recording.packets()?;
    let (all, _) = replayed(&packets)?;
    let from = packets.len() * part / 8;
    let (found, said) = replayed(&packets[from..])?;
    nothing_made_up(&found, &all).with_context(|| said.clone())?;
    let begins = packets[from].nanoseconds();
    let later = all.iter().filter(|span| span.start > begins);
    let is_missing = |span: &&Span| !found.iter().any(|found| found.start == span.start);
    Ok((later.filter(is_missing).count() as u64, said))
}

#[test]
fn joined_late_all_that_can_be_told_is() -> Result<()> {
    for part in 1..8 {
        // Each connection has one in flight, and its next one may only show which connection it is.
        let (missing, said) = joined_late(made(&WAITING)?, part)?;
        ensure!(
            missing <= 3 * 2 * (Driver::ALL.len() as u64 - 1),
            "{missing} are missing from part {part} on: {said}"
        );
        // Whose answers they are is not guessed where a client goes on without them: the rest is counted.
        let (missing, said) = joined_late(mixed()?, part)?;
        let counted = count(&said, "lost.exchanges.incomplete");
        ensure!(
            missing <= 3 * 2 * Driver::ALL.len() as u64 + counted,
            "{missing} are missing from part {part} on: {said}"
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
    }
    Ok(())
}

#[test]
fn disorder_and_repetition_change_nothing() -> Result<()> {
    let packets = mixed()?.packets()?;
    let (all, _) = replayed(&packets)?;
    let told = |spans: &[Span]| -> Vec<_> {
        let told = |span: &Span| format!("{} {:?} {}", span.name, span.attributes, span.error);
        spans.iter().map(told).collect()
    };
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
