//! PostgreSQL live: the clients of `replay_postgres.rs`, each statement seen from both of its ends.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use spanwire_tests::agent::{Agent, Hooks, Options, Turn};
use spanwire_tests::calls::{self, Timed};
use spanwire_tests::child::{self, Child};
use spanwire_tests::database::{self, Driver, Statement};
use spanwire_tests::replay;
use spanwire_tests::service::pgbouncer::{PgBouncer, Pooling};
use spanwire_tests::service::postgres::{self, Logged, Postgres};
use spanwire_tests::session::Session;
use spanwire_tests::span::Kind;

spanwire_tests::under_both_hook_sets!(drivers, pgbench_over_tcp, pgbench_over_a_unix_socket, joined_late,);
spanwire_tests::under_one_hook_set!(psql, through_pgbouncer, what_is_lost_is_counted);

fn drivers(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let address = server.service.address;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let mut told = Vec::new();
    for driver in Driver::ALL {
        for &concurrency in hooks.concurrency() {
            let command = driver.work(address, 300, concurrency)?;
            let lines = Child::spawn(command)?
                .succeed()
                .with_context(|| format!("{driver:?}"))?;
            told.extend(calls::told(&lines)?);
        }
    }
    ensure!(told.len() > 3000, "{}", told.len());
    let expected = database::spans(&server.logged()?, &told, address);
    session.finish(expected.len())?.exactly(&expected)
}

/// Each statement of a script as it was sent, at both ends.
fn psql(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let options = Options::run(hooks).port(server.service.address.port());
    let session = Session::start(options.flag("--no-redact"))?;
    Child::spawn(server.script()?)?.succeed()?;
    let logged = server.logged()?;
    ensure!(logged.len() > 15, "{}", logged.len());
    let seen = session.finish(2 * logged.len())?;
    seen.well_formed()?;
    ensure!(seen.summary.losses().is_empty(), "{}", seen.finished.message());
    for kind in [Kind::Server, Kind::Client] {
        let spans = seen
            .spans
            .iter()
            .filter(|span| span.kind == kind)
            .map(Statement::of);
        let logged = logged.iter().cloned();
        replay::same(
            spans.map(|Statement { text, code, .. }| (text, code)).collect(),
            logged.map(|Logged { text, code }| (text, code)).collect(),
        )
        .with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

/// Each statement has four ends: the client's, both of PgBouncer's and the server's, and what PgBouncer asks by itself two.
fn through_pgbouncer(hooks: Hooks) -> Result<()> {
    for (pooling, drivers) in [
        (Pooling::Transaction, &[Driver::Psycopg2][..]),
        (Pooling::Session, &[Driver::Pgx, Driver::TokioPostgres]),
    ] {
        let server = Postgres::start()?;
        let pool = PgBouncer::start(&server, pooling)?;
        let folder = tempfile::tempdir()?;
        let [near, far] = [&pool.service, &server.service].map(|service| service.address);
        let options = Options::run(hooks).port(near.port()).port(far.port());
        let session = Session::start(options)?;
        let mut told = Vec::new();
        for driver in drivers {
            for &concurrency in hooks.concurrency() {
                let mut command = driver.work(near, 100, concurrency)?;
                // PgBouncer tells a server when its next client goes by another name.
                command.env("PGAPPNAME", concurrency.to_string());
                let lines = Child::spawn(command)?
                    .succeed()
                    .with_context(|| format!("{driver:?}"))?;
                told.extend(calls::told(&lines)?);
            }
        }
        // Prepared, but by no name: what has one is not there in the next transaction.
        Child::spawn(unnamed(&pool, folder.path())?)?.succeed()?;
        let logged = server.logged()?;
        let is_its_own = |logged: &Logged| PgBouncer::is_its_own(&logged.text);
        let (own, asked): (Vec<_>, Vec<_>) = logged.into_iter().partition(is_its_own);
        ensure!(
            !own.is_empty() && asked.len() > told.len(),
            "{} of its own",
            own.len()
        );
        let expected = [
            database::spans(&asked, &told, near),
            database::spans(&asked, &told, far),
            database::spans(&own, &[], far),
        ]
        .concat();
        session
            .finish(expected.len())?
            .exactly(&expected)
            .with_context(|| format!("{pooling:?}"))?;
    }
    Ok(())
}

/// Statements of the extended protocol through `pool`.
fn unnamed(pool: &PgBouncer, folder: &Path) -> Result<Command> {
    let script = folder.join("script.sql");
    std::fs::write(&script, ALONE)?;
    let mut command = child::command("pgbench");
    command.args(["-n", "-M", "extended", "-c", "20", "-t", "3", "-f"]);
    command.arg(script).arg(postgres::url(pool.service.address));
    Ok(command)
}

/// Five statements a transaction, three of them without waiting for each other.
const PIPELINE: &str = r"\set id random(1, 100)
\startpipeline
SELECT balance FROM accounts WHERE id = :id;
SELECT id FROM accounts WHERE id < :id;
SELECT name FROM accounts WHERE id = :id;
\endpipeline
SELECT 1;
SELECT 2;
";

/// What pgbench sends as one statement, five times a transaction.
const ALONE: &str = r"\set id random(1, 100)
SELECT balance FROM accounts WHERE id = :id;
SELECT id FROM accounts WHERE id < :id;
SELECT name FROM accounts WHERE id = :id;
SELECT 1;
SELECT 2;
";

/// Of every statement that pgbench says it made, five a transaction, there are two spans, and no others. `watch` takes its
/// processes.
fn pgbench(
    transactions: usize,
    client: impl Fn() -> Command,
    watch: impl FnOnce(&[u32]) -> Options,
) -> Result<()> {
    const CLIENTS: usize = 10;
    let folder = tempfile::tempdir()?;
    let mut clients = Vec::new();
    for (mode, script) in [
        ("simple", ALONE),
        ("extended", ALONE),
        ("prepared", ALONE),
        ("extended", PIPELINE),
        ("prepared", PIPELINE),
    ] {
        let [file, turn] = ["sql", "turn"].map(|end| folder.path().join(format!("{}.{end}", clients.len())));
        std::fs::write(&file, script)?;
        let mut command = client();
        command.args(["-n", "-M", mode, "-c", &CLIENTS.to_string()]);
        command.args(["-t", &transactions.to_string(), "-f"]);
        command.arg(&file).arg("shop");
        clients.push((Child::spawn(child::held(&command, &turn))?, turn));
    }
    let processes: Vec<u32> = clients.iter().map(|(client, _)| client.pid()).collect();
    let agent = Agent::start(&watch(&processes))?;
    let mut statements = 0;
    for (client, turn) in clients {
        std::fs::write(turn, "")?;
        let said = client.succeed()?;
        let all = CLIENTS * transactions;
        let done = format!("number of transactions actually processed: {all}/{all}");
        ensure!(said.contains(&done), "{said:#?}");
        statements += 5 * all as u64;
    }
    let finished = agent.stop()?;
    let summary = finished.summary.as_ref().context("a summary")?;
    ensure!(summary.losses().is_empty(), "{}", finished.message());
    ensure!(
        summary.value("spans.built") == 2 * statements,
        "spans of both ends of {statements} statements: {}",
        finished.message()
    );
    Ok(())
}

fn pgbench_over_tcp(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let options = Options::run(hooks).port(server.service.address.port());
    pgbench(hooks.share(1000), || server.client("pgbench"), |_| options)
}

/// Of the server, the processes that it starts for its clients, and the clients: no port tells whose a Unix socket is.
fn pgbench_over_a_unix_socket(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let options = Options::run(hooks).pid(server.service.child.pid());
    pgbench(
        hooks.share(500),
        || server.local_client("pgbench"),
        |clients| clients.iter().copied().fold(options, Options::pid),
    )
}

/// When each transaction of pgbench's own log began (`--log` with `--rate`): it ended at a time, so many microseconds behind
/// its schedule, of which it was late by so many.
fn begun(folder: &Path) -> Result<Vec<Timed<()>>> {
    let mut begun = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            continue;
        }
        for line in std::fs::read_to_string(path)?.lines() {
            let fields: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            let &[_, _, took, _, seconds, microseconds, late] = &*fields else {
                bail!("{line}");
            };
            let at = (seconds * 1_000_000 + microseconds + late - took) * 1000;
            begun.push(Timed { at, told: () });
        }
    }
    Ok(begun)
}

/// Three times four connections that are busy when spanwire comes, one statement a transaction.
fn joined_late(hooks: Hooks) -> Result<()> {
    const CLIENTS: usize = 4;
    let server = Postgres::start()?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("script.sql");
    std::fs::write(
        &script,
        "\\set id random(1, 100)\nSELECT name FROM accounts WHERE id = :id;\n",
    )?;
    let turn = Turn::take()?;
    let mut clients = Vec::new();
    for mode in ["simple", "extended", "prepared"] {
        let mut command = server.client("pgbench");
        command.args([
            "-n",
            "-M",
            mode,
            "-c",
            &CLIENTS.to_string(),
            "-T",
            "7",
            "-R",
            "400",
        ]);
        command
            .arg("--log")
            .arg("--log-prefix")
            .arg(folder.path().join(mode));
        command.arg("-f").arg(&script).arg("shop");
        clients.push(Child::spawn(command)?);
    }
    let options = Options::run(hooks).port(server.service.address.port());
    let session = Session::start_in(turn, options)?;
    let from = calls::all_seen_from()?;
    for client in clients {
        client.succeed()?;
    }
    let told = begun(folder.path())?;
    // How many there are is not known: those before are not seen.
    let seen = session.finish(0)?;
    seen.well_formed()?;
    for kind in [Kind::Server, Kind::Client] {
        let spans = seen.spans.iter().filter(|span| span.kind == kind);
        let spans = spans.map(|span| (span.start, ())).collect();
        calls::seen_from(from, &told, spans, 3 * CLIENTS)
            .with_context(|| format!("{kind:?}: {}", seen.finished.message()))?;
    }
    for span in &seen.spans {
        ensure!(!span.error, "{span:?}");
        // What was prepared before is known by its name alone.
        let text = span.text("db.query.text");
        ensure!(
            text.is_none_or(|text| text.starts_with("SELECT name FROM accounts WHERE id = ")),
            "{span:?}"
        );
    }
    Ok(())
}

fn what_is_lost_is_counted(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let options = Options::run(hooks).port(server.service.address.port());
    let session = Session::start(options.flag("--ring-buffer").flag("4K"))?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("script.sql");
    std::fs::write(&script, ALONE)?;
    let mut command = server.client("pgbench");
    command.args(["-n", "-M", "extended", "-c", "10", "-t", "200", "-f"]);
    Child::spawn({
        command.arg(&script).arg("shop");
        command
    })?
    .succeed()?;
    let seen = session.finish(0)?;
    seen.well_formed()?;
    let lost = seen.summary.lost_exchanges();
    // A message that nobody could read may have been a statement, or what is around one.
    let unread = seen.summary.value("lost.messages.unparsed");
    let missing = 2 * 10_000 - seen.spans.len() as u64;
    ensure!(
        (lost - unread..=lost).contains(&missing),
        "{} spans and {lost} lost: {}",
        seen.spans.len(),
        seen.finished.message()
    );
    for span in &seen.spans {
        ensure!(!span.error && span.text("db.query.text").is_some(), "{span:?}");
    }
    Ok(())
}
