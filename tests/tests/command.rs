//! `spanwire run -- COMMAND`: watches the command and its descendants and nothing else, and ends as it ends.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use spanwire_tests::agent::{self, Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{self, Server};
use spanwire_tests::session::Session;
use spanwire_tests::{port, workload};

spanwire_tests::under_both_hook_sets!(
    only_descendants_are_watched,
    a_server_and_its_client_below_one_shell
);

fn server() -> Result<(Server, SocketAddr)> {
    let (listener, address) = port::listener()?;
    let server = Server::tcp(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"ok")));
    })?;
    Ok((server, address))
}

fn only_descendants_are_watched(hooks: Hooks) -> Result<()> {
    let (_server, address) = server()?;
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    let script = format!(
        "while ! test -e {}; do sleep 0.02; done; curl -sS http://{address}/one http://{address}/two; (curl -sS http://{address}/three); exit 7",
        go.display()
    );
    let session = Session::start(Options::run(hooks).command(["sh", "-c", &script]))?;
    // Neither the server, which is this test, nor a client that has nothing to do with the command is seen.
    let mut other = child::command("curl");
    other.args(["-sS", &format!("http://{address}/other")]);
    Child::spawn(other)?.succeed()?;
    std::fs::write(&go, "")?;
    let seen = session.end_of_command()?;
    ensure!(seen.finished.status == 7, "status {}", seen.finished.status);
    let expected = ["/one", "/two", "/three"].map(|target| {
        Expected::client("GET", target, address)
            .body(2)
            .user_agent("curl/")
            .service("curl")
    });
    seen.exactly(&expected)
}

/// The server is the command's child, started while spanwire already watches: its very first exchange counts.
fn a_server_and_its_client_below_one_shell(hooks: Hooks) -> Result<()> {
    let port = port::free()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let shuttle = workload::go("shuttle")?;
    let shuttle = shuttle.display();
    let script = format!(
        "{shuttle} serve {address} & server=$!
        curl -sS --retry 100 --retry-delay 0 --retry-max-time 20 --retry-connrefused http://{address}/first?length=10 -o /dev/null
        {shuttle} call http://{address}/next 20 4
        kill $server"
    );
    let session = Session::start(Options::run(hooks).command(["sh", "-c", &script]))?;
    let seen = session.end_of_command()?;
    ensure!(seen.finished.status == 0, "{}", seen.finished.message());
    let mut expected: Vec<Expected> = [Expected::server, Expected::client]
        .map(|end| {
            end("GET", "/first?length=10", address)
                .body(10)
                .user_agent("curl/")
        })
        .to_vec();
    for index in 0..20 {
        let target = format!("/next/{index}");
        expected.extend([Expected::server, Expected::client].map(|end| {
            end("GET", &target, address)
                .body(1)
                .user_agent("Go-http-client/1.1")
        }));
    }
    seen.exactly(&expected)
}

#[test]
fn the_status_of_the_command_is_passed_on() -> Result<()> {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let options = Options::bare(["run", "--output", "none"]).command(["sh", "-c", script]);
        let finished = agent::attempt(&options)?;
        ensure!(
            finished.status == status,
            "{script}: {} {}",
            finished.status,
            finished.message()
        );
    }
    Ok(())
}

#[test]
fn a_command_that_is_not_there_is_named() -> Result<()> {
    let options = Options::bare(["run", "--output", "none"]).command(["no-such-command"]);
    let finished = agent::attempt(&options)?;
    ensure!(finished.status != 0, "{}", finished.message());
    ensure!(
        finished.message().contains("no-such-command"),
        "{}",
        finished.message()
    );
    Ok(())
}

/// What the command prints is its own: spanwire adds nothing to it but what it is asked for.
#[test]
fn the_output_of_the_command_is_passed_through() -> Result<()> {
    let options = Options::bare(["run", "--output", "none"]).command(["echo", "hello"]);
    let finished = agent::attempt(&options)?;
    ensure!(finished.stdout == ["hello"], "{:?}", finished.stdout);
    Ok(())
}
