//! Every system call that moves bytes through a socket, on every kind of stream socket, in both directions.

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::{Expected, Matcher};
use spanwire_tests::peer::{CASES, Case, HEADS_FROM_FILES, SEVERAL_MESSAGES, TCP_CASES, case};
use spanwire_tests::seen::Seen;
use spanwire_tests::session::Session;
use spanwire_tests::{port, workload};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

spanwire_tests::under_both_hook_sets!(
    over_ipv4,
    over_ipv6,
    over_unix_sockets,
    heads_from_files_are_seen_or_counted,
    several_messages_in_a_call_are_seen_or_counted,
    bodies_that_no_memory_saw,
    bodies_from_files_over_unix_sockets,
    io_uring_at_one_end_is_seen_or_counted,
);

spanwire_tests::live!(io_uring_at_both_ends_is_seen_or_counted,);

/// A family of `peer.c`, and where its server listens.
enum Place {
    Ip(SocketAddr),
    Unix(tempfile::TempDir),
}

struct Run {
    seen: Seen,
    expected: Vec<Expected>,
}

/// Runs `peer.c` over `cases` and gives what was seen of it, and one span from each end for each exchange.
fn run(hooks: Hooks, place: &Place, cases: &[Case]) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    let mut command = child::command(&workload::c("peer")?.to_string_lossy());
    let path = match place {
        Place::Ip(address) => {
            let family = if address.is_ipv4() { "tcp4" } else { "tcp6" };
            command.arg(family).arg(address.port().to_string());
            String::new()
        }
        Place::Unix(folder) => {
            let path = folder.path().join("socket").to_string_lossy().into_owned();
            command.arg("unix").arg(&path);
            path
        }
    };
    command
        .arg("/syscalls")
        .args(cases.iter().map(Case::to_string))
        .env("GO", &go);
    let mut peer = Child::spawn(command)?;
    let server: u32 = peer.line("server ")?.parse()?;
    let client: u32 = peer.line("client ")?.parse()?;
    let session = Session::start(Options::run(hooks).pid(server).pid(client))?;
    std::fs::write(&go, "")?;
    peer.succeed()?;

    let mut expected = Vec::new();
    for case in cases {
        for target in case.targets("/syscalls") {
            let ends = match place {
                Place::Ip(address) => {
                    [Expected::server, Expected::client].map(|end| end("POST", &target, *address))
                }
                Place::Unix(_) => [
                    Expected::server_unix("POST", &target, "localhost"),
                    Expected::client_unix("POST", &target, "localhost", &path),
                ],
            };
            let [at_server, at_client] = ends.map(|span| span.request_body(case.request).body(case.response));
            expected.extend([at_server.pid(server), at_client.pid(client)]);
        }
    }
    Ok(Run {
        seen: session.finish(expected.len())?,
        expected,
    })
}

fn ipv4() -> Result<Place> {
    Ok(Place::Ip((Ipv4Addr::LOCALHOST, port::free()?).into()))
}

fn exactly(run: &Run) -> Result<()> {
    run.seen.exactly(&run.expected)
}

fn over_ipv4(hooks: Hooks) -> Result<()> {
    exactly(&run(hooks, &ipv4()?, &[&CASES[..], &TCP_CASES].concat())?)
}

fn over_ipv6(hooks: Hooks) -> Result<()> {
    let place = Place::Ip((Ipv6Addr::LOCALHOST, port::free()?).into());
    exactly(&run(hooks, &place, &[&CASES[..], &TCP_CASES].concat())?)
}

fn over_unix_sockets(hooks: Hooks) -> Result<()> {
    exactly(&run(hooks, &Place::Unix(tempfile::tempdir()?), &CASES)?)
}

/// What no hook shows may be missing, but then it is counted as a gap, and nothing that is there may be wrong.
fn right_or_counted(run: &Run) -> Result<()> {
    run.seen.well_formed()?;
    let missing = run.expected.len() - run.seen.spans.len();
    let mut rest = run.expected.clone();
    for span in &run.seen.spans {
        let index = rest.iter().position(|expected| expected.is_this(span));
        rest.swap_remove(index.with_context(|| format!("wrong: {:?} {:?}", span.kind, span.attributes))?);
    }
    let gaps = run.seen.summary.losses();
    ensure!(
        missing == 0 || !gaps.is_empty(),
        "{missing} spans missing, and no gap is counted"
    );
    Ok(())
}

fn heads_from_files_are_seen_or_counted(hooks: Hooks) -> Result<()> {
    right_or_counted(&run(hooks, &ipv4()?, &HEADS_FROM_FILES)?)
}

fn several_messages_in_a_call_are_seen_or_counted(hooks: Hooks) -> Result<()> {
    right_or_counted(&run(hooks, &ipv4()?, &SEVERAL_MESSAGES)?)
}

/// Bodies that the receiver splices on never are in its memory; how long they were may remain unknown.
fn bodies_that_no_memory_saw(hooks: Hooks) -> Result<()> {
    let mut run = run(hooks, &ipv4()?, &[case("write", "splice", 300, 30_000)])?;
    for expected in &mut run.expected {
        *expected = expected
            .clone()
            .with("http.request.body.size", Matcher::IsIfAny(300.into()))
            .with("http.response.body.size", Matcher::IsIfAny(30_000.into()));
    }
    right_or_counted(&run)
}

/// What goes through a ring is in no system call's arguments.
fn io_uring_at_one_end_is_seen_or_counted(hooks: Hooks) -> Result<()> {
    let cases = [case("write", "ring", 100, 3000), case("ring", "read", 100, 3000)];
    right_or_counted(&run(hooks, &ipv4()?, &cases)?)
}

/// Hook set `syscall` learns nothing of a connection that is used through a ring only, nor that there was one.
fn io_uring_at_both_ends_is_seen_or_counted() -> Result<()> {
    right_or_counted(&run(Hooks::Socket, &ipv4()?, &[case("ring", "ring", 100, 3000)])?)
}

fn bodies_from_files_over_unix_sockets(hooks: Hooks) -> Result<()> {
    let place = Place::Unix(tempfile::tempdir()?);
    let cases = [
        case("sendfile", "read", 100, 300_000),
        case("splice", "read", 100, 300_000),
    ];
    right_or_counted(&run(hooks, &place, &cases)?)
}
