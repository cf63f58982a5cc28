//! Context that spanwire puts behind statements of PostgreSQL: each simple query that takes one has that of its own span, and
//! means what it meant before.

use std::collections::HashMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use spanwire_tests::agent::{Agent, Hooks, Options};
use spanwire_tests::calls;
use spanwire_tests::child::{self, Child};
use spanwire_tests::database::{self, Driver};
use spanwire_tests::http::{Connection, Server};
use spanwire_tests::injection::Outcome;
use spanwire_tests::seen::Seen;
use spanwire_tests::service::pgbouncer::{PgBouncer, Pooling};
use spanwire_tests::service::postgres::{self, Logged, Postgres};
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(of_each_client);
spanwire_tests::under_one_hook_set!(
    however_it_is_sent,
    meaning,
    loaded_while_it_comes_and_goes,
    where_no_comment_is_borne
);

fn propagating(hooks: Hooks) -> Options {
    Options::run(hooks).flag("--propagate").flag("sql")
}

/// Length of ` /*traceparent='VALUE'*/`.
const COMMENT: usize = 74;

/// A context of the application's own.
const OWN: &str = "traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'";

/// A text, and what its context says: trace and span.
fn apart(text: &str) -> (&str, Option<[&str; 2]>) {
    let is_own = text.contains(OWN);
    let context = text
        .len()
        .checked_sub(COMMENT)
        .filter(|_| !is_own)
        .and_then(|at| {
            let (statement, comment) = text.split_at_checked(at)?;
            let value = comment
                .strip_prefix(" /*traceparent='00-")?
                .strip_suffix("-01'*/")?;
            let (trace, span) = value.split_once('-')?;
            let is_hex = |id: &str| id.bytes().all(|digit| digit.is_ascii_hexdigit());
            (trace.len() == 32 && span.len() == 16 && is_hex(trace) && is_hex(span))
                .then_some((statement, Some([trace, span])))
        });
    context.unwrap_or((text, None))
}

/// Spans of clients by their ids.
fn clients(seen: &Seen) -> HashMap<&str, &Span> {
    let spans = seen.spans.iter().filter(|span| span.kind == Kind::Client);
    spans.map(|span| (span.span_id.as_str(), span)).collect()
}

/// The span that a context names, of which there is one alone, and the server's below it.
fn named<'a>(context: [&str; 2], clients: &HashMap<&str, &'a Span>) -> Result<&'a Span> {
    let [trace, span] = context;
    let client = clients
        .get(span)
        .with_context(|| format!("nobody's: {context:?}"))?;
    ensure!(client.trace_id == trace, "{context:?}: {client:#?}");
    Ok(client)
}

fn of_each_client(hooks: Hooks) -> Result<()> {
    const DRIVERS: [Driver; 4] = [Driver::Psycopg2, Driver::Psycopg, Driver::Pg, Driver::Asyncpg];
    let server = Postgres::start()?;
    let address = server.service.address;
    let session = Session::start(propagating(hooks).port(address.port()))?;
    let mut told = Vec::new();
    for driver in DRIVERS {
        let command = driver.work(address, hooks.share(300), 3)?;
        let lines = Child::spawn(command)?
            .succeed()
            .with_context(|| format!("{driver:?}"))?;
        told.extend(calls::told(&lines)?);
    }
    let mut logged = server.logged()?;
    let mut contexts = Vec::new();
    for Logged { text, .. } in &mut logged {
        let (statement, context) = apart(text);
        ensure!(!statement.contains("traceparent"), "{text}");
        let statement = statement.to_owned();
        contexts.extend(context.map(|context| (statement.clone(), context.map(str::to_owned))));
        *text = statement;
    }
    let expected = database::spans(&logged, &told, address);
    let seen = session.finish(expected.len())?;
    seen.exactly(&expected)?;
    let outcome = Outcome::of(&seen);
    ensure!(
        contexts.len() >= told.len() / 4
            && outcome
                == (Outcome {
                    injected: contexts.len() as u64,
                    ..Outcome::default()
                }),
        "{} of {}: {outcome:?}",
        contexts.len(),
        logged.len()
    );
    let spans = clients(&seen);
    let servers: HashMap<&str, &Span> = seen
        .spans
        .iter()
        .filter(|span| span.kind == Kind::Server)
        .map(|span| (span.parent.as_str(), span))
        .collect();
    let mut ids = std::collections::HashSet::new();
    for (statement, [trace, span]) in &contexts {
        let client = named([trace, span], &spans)?;
        ensure!(ids.insert(span), "{span} twice");
        let below = servers
            .get(client.span_id.as_str())
            .context("nobody received it")?;
        ensure!(below.trace_id == *trace, "{statement}: {below:#?}");
    }
    Ok(())
}

/// Bytes of one connection behind its beginning, and how they are sent.
#[derive(Clone, Debug, Serialize)]
struct Case {
    way: &'static str,
    /// Each byte as the character of that number.
    sends: Vec<String>,
    answers: usize,
}

/// What is expected of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It has a context.
    Carries,
    /// It has none.
    Bare,
    /// Its first bytes may have been sent before it was there.
    Either,
}

#[derive(Debug, Default)]
struct Cases {
    all: Vec<Case>,
    /// What was sent, by the number in its text.
    fates: HashMap<String, Fate>,
}

/// A message with its type and its length.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

impl Cases {
    /// A number that no other statement has, to be in a statement that has such a fate.
    fn number(&mut self, fate: Fate) -> String {
        let number = format!("{}", 100_000 + self.fates.len());
        self.fates.insert(number.clone(), fate);
        number
    }

    fn add(&mut self, way: &'static str, bytes: &[u8], cuts: &[usize], answers: usize) {
        let mut sends = Vec::new();
        let mut from = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            sends.push(bytes[from..cut].iter().map(|byte| char::from(*byte)).collect());
            from = cut;
        }
        self.all.push(Case { way, sends, answers });
    }

    /// One query, in one send; `#` in the text is the number.
    fn one(&mut self, text: &str, fate: Fate) {
        let bytes = query(&text.replace('#', &self.number(fate)));
        self.add("send", &bytes, &[], 1);
    }
}

fn cases() -> Cases {
    use Fate::{Bare, Carries, Either};
    let mut cases = Cases::default();
    for text in [
        "SELECT #",
        "select #;",
        "\n\t   Select # ",
        "SELECT #; SELECT 2; BEGIN",
        "INSERT INTO a VALUES (#)",
        "WITH a AS (SELECT #) SELECT * FROM a",
        "SELECT '#",
        "SELECT $$#",
        "SELECT \"#",
        "COMMIT; -#",
        "SELECT # */ 1",
    ] {
        cases.one(text, Carries);
    }
    for text in [
        "SELECT # -- comment",
        "SELECT # --",
        "SELECT # -- comment\n",
        "SELECT # /* comment */",
        "SELECT # /* open",
        "/* first */ SELECT #",
        "SELECT '/*#'",
        &format!("SELECT # /*{OWN}*/"),
        &format!("/*{OWN}*/ SELECT #"),
        &format!("SELECT # /*action='a',{OWN},tracestate='a%3D1'*/"),
        "PREPARE p# AS SELECT 1",
        "SHOW #",
        "SET a = #",
        "START_REPLICATION #",
        "IDENTIFY_SYSTEM #",
        "; #",
        "EXPLAIN SELECT #",
        "DO $$#$$",
    ] {
        cases.one(text, Bare);
    }
    // No text at all, none that ends, and one that ends early.
    cases.add("send", &query(""), &[], 1);
    cases.add("send", &query(" "), &[], 1);
    let number = cases.number(Bare);
    cases.add(
        "send",
        &message(b'Q', format!("SELECT {number}").as_bytes()),
        &[],
        1,
    );
    let number = cases.number(Bare);
    cases.add("send", &query(&format!("SELECT {number}\0 more")), &[], 1);
    // Texts around what is looked at together.
    for length in (1..200)
        .chain(3900..4120)
        .step_by(9)
        .chain([5000, 20_000, 70_000, 1 << 20])
    {
        let filler = "x".repeat(length);
        cases.one(
            &format!("SELECT #, '{filler}'"),
            if length < 4000 { Carries } else { Either },
        );
        cases.one(&format!("SELECT #, '{filler}' -- {filler}"), Bare);
        cases.one(&format!("SELECT #, '{filler}' /*{OWN}*/"), Bare);
        cases.one(
            &format!("{}SELECT #", " ".repeat(length)),
            if length <= 128 { Carries } else { Bare },
        );
    }
    // Several in one send, in each way, with others in between.
    for way in ["send", "writev", "more"] {
        for count in [2, 3, 20, 200] {
            let bytes: Vec<u8> = (0..count)
                .flat_map(|_| query(&format!("SELECT {}", cases.number(Carries))))
                .collect();
            let cuts = if way == "writev" { &[25_usize][..] } else { &[] };
            cases.add(way, &bytes, cuts, count);
        }
        let mut prepared = || {
            let number = cases.number(Bare);
            let parse = message(b'P', format!("s\0SELECT {number}\0\0\0").as_bytes());
            let bind = message(b'B', b"\0s\0\0\0\0\0\0\0");
            let execute = message(b'E', b"\0\0\0\0\0");
            [parse, bind, execute, message(b'S', b"")].concat()
        };
        let (first, last) = (prepared(), prepared());
        let middle = query(&format!("SELECT {}", cases.number(Carries)));
        cases.add(way, &[first, middle, last].concat(), &[], 3);
        // What is copied looks like queries.
        let copy = query(&format!("COPY a FROM STDIN /{}", cases.number(Carries)));
        let inner = query(&format!("SELECT {}", cases.number(Bare)));
        let last = query(&format!("SELECT {}", cases.number(Carries)));
        let data = message(b'd', &inner.repeat(3));
        cases.add(
            way,
            &[copy.clone(), data, message(b'c', b""), last].concat(),
            &[],
            2,
        );
    }
    // Copied data that a send begins with.
    let copy = query(&format!("COPY a FROM STDIN /{}", cases.number(Carries)));
    let inner = query(&format!("SELECT {}", cases.number(Bare)));
    let data = message(b'd', &inner.repeat(3));
    let cuts = [copy.len(), copy.len() + 5, copy.len() + 5 + inner.len()];
    cases.add("slow", &[copy, data, message(b'c', b"")].concat(), &cuts, 1);
    // Cut in two at each byte, and each byte for itself.
    let length = query("SELECT 100000, 'a'").len();
    for way in ["send", "slow", "more", "writev"] {
        for cut in 1..length {
            let bytes = query(&format!("SELECT {}, 'a'", cases.number(Either)));
            cases.add(way, &bytes, &[cut], 1);
        }
    }
    for cut in 1..2 * length {
        let fate = if cut < length { Either } else { Carries };
        let first = query(&format!("SELECT {}, 'a'", cases.number(fate)));
        let second = query(&format!("SELECT {}, 'a'", cases.number(Either)));
        cases.add("slow", &[first, second].concat(), &[cut], 2);
    }
    let bytes = query(&format!("SELECT {}, 'a'", cases.number(Either)));
    cases.add("send", &bytes, &(1..bytes.len()).collect::<Vec<_>>(), 1);
    cases
}

/// Takes messages as a server of PostgreSQL does, and keeps what came on each connection behind its beginning.
fn serve(mut socket: &TcpStream) -> Result<Vec<u8>> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(socket);
    let mut kept = Vec::new();
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
    reader.read_exact(&mut startup)?;
    let (done, ready) = (message(b'C', b"SELECT 1\0"), message(b'Z', b"I"));
    socket.write_all(&[message(b'R', &[0; 4]), message(b'Z', b"I")].concat())?;
    loop {
        let mut head = [0; 5];
        reader.read_exact(&mut head)?;
        let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        reader.read_exact(&mut body)?;
        match head[0] {
            b'X' => return Ok(kept),
            b'Q' if body.starts_with(b"COPY") => socket.write_all(&message(b'G', &[0, 0, 0]))?,
            b'Q' | b'c' => socket.write_all(&[&done[..], &ready].concat())?,
            b'P' => socket.write_all(&message(b'1', b""))?,
            b'B' => socket.write_all(&message(b'2', b""))?,
            b'E' => socket.write_all(&done)?,
            b'S' => socket.write_all(&ready)?,
            _ => {}
        }
        kept.extend(head);
        kept.extend(body);
    }
}

type Kept = Arc<Mutex<Vec<Result<Vec<u8>>>>>;

/// All that came, each connection's for itself, in an order of its own.
fn sent(file: &std::path::Path, address: SocketAddr, kept: &Kept) -> Result<Vec<Vec<u8>>> {
    let mut client = child::command(workload::PYTHON);
    client.arg(workload::file("propagation/query.py")?);
    client.arg(address.to_string()).arg(file);
    Child::spawn(client)?.succeed()?;
    let kept = std::mem::take(&mut *kept.lock().expect("no holder panics"));
    kept.into_iter().collect()
}

/// What came on a connection.
#[derive(Debug, Default)]
struct Came {
    /// Without its contexts.
    bare: Vec<u8>,
    /// These, with the texts that they were behind.
    contexts: Vec<(String, [String; 2])>,
    queries: u64,
}

fn came(mut bytes: &[u8]) -> Came {
    let mut came = Came::default();
    let Came {
        bare,
        contexts,
        queries,
    } = &mut came;
    while let [kind, rest @ ..] = bytes {
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let (body, behind) = rest[4..].split_at(length - 4);
        bytes = behind;
        *queries += u64::from(*kind == b'Q');
        let text = std::str::from_utf8(body)
            .ok()
            .and_then(|text| text.strip_suffix('\0'));
        if *kind == b'Q'
            && let Some((statement, Some(context))) = text.map(apart)
        {
            bare.extend(query(statement));
            contexts.push((statement.to_owned(), context.map(str::to_owned)));
        } else {
            bare.extend(message(*kind, body));
        }
    }
    came
}

fn however_it_is_sent(hooks: Hooks) -> Result<()> {
    let (listener, address) = port::listener()?;
    let kept = Kept::default();
    let keep = Arc::clone(&kept);
    let _server = Server::tcp(listener, move |connection: Connection<TcpStream>| {
        let came = serve(connection.socket());
        keep.lock().expect("no holder panics").push(came);
    })?;
    let folder = tempfile::tempdir()?;
    let cases = cases();
    let file = folder.path().join("cases");
    std::fs::write(&file, serde_json::to_vec(&cases.all)?)?;
    let mut plain = sent(&file, address, &kept)?;
    let options = propagating(hooks).port(address.port()).flag("--no-redact");
    let session = Session::start(options)?;
    let got = sent(&file, address, &kept)?;
    let seen = session.finish(cases.fates.len())?;
    let (mut bare, mut contexts, mut queries) = (Vec::new(), Vec::new(), 0);
    for came in got.iter().map(|bytes| came(bytes)) {
        bare.push(came.bare);
        contexts.extend(came.contexts);
        queries += came.queries;
    }
    plain.sort();
    bare.sort();
    for (plain, bare) in plain.iter().zip(&bare) {
        ensure!(
            plain == bare,
            "{}, not {}",
            &bare.escape_ascii().to_string()[..400.min(bare.len())],
            &plain.escape_ascii().to_string()[..400.min(plain.len())]
        );
    }
    ensure!(plain.len() == bare.len(), "{} of {}", bare.len(), plain.len());
    let spans = clients(&seen);
    let mut fates = cases.fates.clone();
    for (statement, [trace, span]) in &contexts {
        let client = named([trace, span], &spans).with_context(|| format!("{:?}", seen.summary))?;
        if statement.len() < 1000 {
            ensure!(
                client.text("db.query.text") == Some(statement),
                "{statement}: {client:#?}"
            );
        }
        let digits = statement.split(|character: char| !character.is_ascii_digit());
        let number = digits
            .into_iter()
            .find(|number| number.len() == 6 && fates.contains_key(*number));
        let number = number.with_context(|| format!("twice: {statement}"))?;
        ensure!(fates.remove(number) != Some(Fate::Bare), "{statement}");
    }
    let missing: Vec<_> = fates.iter().filter(|(_, fate)| **fate == Fate::Carries).collect();
    ensure!(missing.is_empty(), "no context: {missing:?}");
    let outcome = Outcome::of(&seen);
    let unfit = seen.summary.value("kernel.propagation.skipped.unfit");
    ensure!(
        outcome.injected == contexts.len() as u64 && outcome.injected + outcome.skipped + unfit == queries,
        "{outcome:?} and {unfit} of {queries}, {} came",
        contexts.len()
    );
    Ok(())
}

/// Statements that end in every way come to the same.
fn meaning(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let address = server.service.address;
    let ask = || -> Result<Vec<String>> {
        let mut command = child::command(&workload::environment("python")?.to_string_lossy());
        command.arg(workload::file("propagation/meaning.py")?);
        command.arg(postgres::url(address));
        Child::spawn(command)?.succeed()
    };
    let plain = ask()?;
    let session = Session::start(propagating(hooks).port(address.port()))?;
    let got = ask()?;
    let seen = session.finish(2 * plain.len())?;
    let differ: Vec<_> = plain
        .iter()
        .zip(&got)
        .filter(|(plain, got)| plain != got)
        .collect();
    ensure!(differ.is_empty() && plain.len() == got.len(), "{differ:#?}");
    ensure!(
        Outcome::of(&seen).injected as usize > plain.len() / 2,
        "{:?}",
        seen.summary
    );
    Ok(())
}

/// Load goes on while spanwire comes, is killed and is stopped: each statement is executed as it was written, but for one context
/// at most behind it.
fn loaded_while_it_comes_and_goes(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("script.sql");
    std::fs::write(
        &script,
        "\\set id random(1, 100)\nSELECT balance FROM accounts WHERE id = :id;\nSELECT id FROM accounts WHERE id < :id;\n\
         UPDATE accounts SET balance = balance + 1 WHERE id = :id;\n",
    )?;
    let mut loads = Vec::new();
    for connections in [&["-C"][..], &[]] {
        let mut load = server.client("pgbench");
        load.args(["-n", "-M", "simple", "-c", "4", "-T", "8", "-R", "400"]);
        load.args(connections).arg("-f").arg(&script).arg("shop");
        loads.push(Child::spawn(load)?);
    }
    let options = propagating(hooks).port(server.service.address.port());
    let pause = || std::thread::sleep(std::time::Duration::from_millis(500));
    for _ in 0..2 {
        let agent = Agent::start(&options)?;
        pause();
        agent.kill()?;
        let agent = Agent::start(&options)?;
        pause();
        agent.signal(rustix::process::Signal::STOP)?;
        pause();
        agent.signal(rustix::process::Signal::CONT)?;
        let finished = agent.stop()?;
        ensure!(finished.status == 0, "{}", finished.message());
    }
    for load in loads {
        let said = load.succeed()?;
        let is_whole = said
            .iter()
            .any(|line| line.starts_with("number of failed transactions: 0 "));
        ensure!(is_whole, "{said:#?}");
    }
    let mut carried = 0;
    for Logged { text, code } in server.logged()? {
        let (statement, context) = apart(&text);
        carried += usize::from(context.is_some());
        let statement = statement.trim_end_matches(';');
        let number = statement
            .rsplit(' ')
            .next()
            .is_some_and(|id| id.parse::<u32>().is_ok());
        let is_known = [
            "SELECT balance FROM accounts WHERE id = ",
            "SELECT id FROM accounts WHERE id < ",
        ]
        .iter()
        .chain(&["UPDATE accounts SET balance = balance + 1 WHERE id = "])
        .any(|known| statement.starts_with(known) && number);
        ensure!(is_known && code.is_none(), "{text}: {code:?}");
    }
    ensure!(carried > 100, "{carried}");
    Ok(())
}

/// Each of these statements as a simple query.
const EXECUTE: &str = "
import sys
import psycopg2
connection = psycopg2.connect(sys.argv[1])
connection.autocommit = True
cursor = connection.cursor()
for statement in sys.argv[2:]:
    cursor.execute(statement)
";

/// Commands of replication and of PgBouncer's console work as before, and a context passes PgBouncer.
fn where_no_comment_is_borne(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let pool = PgBouncer::start(&server, Pooling::Transaction)?;
    let execute = |port: u16, database: &str, statements: &[&str]| -> Result<()> {
        let mut command = child::command(&workload::environment("python")?.to_string_lossy());
        let to = format!("host=127.0.0.1 port={port} user=clerk password=secret {database}");
        command.args(["-c", EXECUTE, &to]).args(statements);
        Child::spawn(command)?.succeed().map(drop)
    };
    let (near, far) = (pool.service.address.port(), server.service.address.port());
    let options = propagating(hooks).port(near).port(far);
    let session = Session::start(options)?;
    execute(
        far,
        "dbname=shop replication=database",
        &[
            "IDENTIFY_SYSTEM",
            "SHOW server_version",
            "CREATE_REPLICATION_SLOT a TEMPORARY PHYSICAL",
            "SELECT 1",
        ],
    )?;
    execute(
        near,
        "dbname=pgbouncer",
        &[
            "SHOW POOLS",
            "SHOW VERSION",
            "SHOW CLIENTS",
            "RELOAD",
            "PAUSE",
            "RESUME",
        ],
    )?;
    execute(
        near,
        "dbname=shop",
        &["SELECT 2", "BEGIN; SELECT 3; COMMIT", "VALUES (4)"],
    )?;
    let logged = server.logged()?;
    let seen = session.finish(0)?;
    let spans = clients(&seen);
    let mut carried = Vec::new();
    for Logged { text, code } in &logged {
        ensure!(code.is_none(), "{text}: {code:?}");
        if let (statement, Some(context)) = apart(text) {
            named(context, &spans)?;
            carried.push(statement);
        }
    }
    carried.sort_unstable();
    ensure!(
        carried == ["BEGIN; SELECT 3; COMMIT", "SELECT 1", "SELECT 2", "VALUES (4)"],
        "{carried:?} of {logged:#?}"
    );
    ensure!(Outcome::of(&seen).injected == 4, "{:?}", seen.summary);
    Ok(())
}
