//! `spanwire run -- COMMAND`: watches the command and its descendants and nothing else, and ends as it ends.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use spanwire_tests::agent::{self, Agent, Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{self, Server};
use spanwire_tests::session::Session;
use spanwire_tests::{port, wait, workload};
use tempfile::TempDir;

spanwire_tests::under_both_hook_sets!(
    only_descendants_are_watched,
    a_server_and_its_client_below_one_shell
);

spanwire_tests::live!(
    the_status_of_the_command_is_passed_on,
    signals_are_passed_on_to_the_command,
    a_second_signal_ends_spanwire_alone,
    what_the_terminal_sends_is_not_sent_twice,
    a_command_that_cannot_be_started_is_named,
    the_output_of_the_command_is_passed_through,
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

/// Waits in small steps, so that a trap is taken soon; writes a file once the traps are set.
fn trapping(folder: &TempDir, traps: &str) -> Result<(PathBuf, PathBuf)> {
    let (script, ready) = (folder.path().join("command"), folder.path().join("ready"));
    let text = format!(
        "#!/bin/sh\n{traps}\n: > {}\nwhile :; do sleep 0.05; done\n",
        ready.display()
    );
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    Ok((script, ready))
}

/// Whoever is told to end is the command, which may take its time for it: spanwire ends as it does.
fn signals_are_passed_on_to_the_command() -> Result<()> {
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM")] {
        let folder = tempfile::tempdir()?;
        let (script, ready) = trapping(
            &folder,
            &format!("trap 'sleep 1; echo cleaned up; exit 3' {name}"),
        )?;
        let agent = Agent::start(&Options::bare(["run", "--output", "none"]).command([script]))?;
        wait::until("traps", || Ok(ready.exists().then_some(())))?;
        let finished = agent.interrupt(signal)?;
        ensure!(
            finished.status == 3,
            "{name}: {} {}",
            finished.status,
            finished.message()
        );
        ensure!(finished.stdout == ["cleaned up"], "{name}: {:?}", finished.stdout);
        ensure!(finished.summary.is_some(), "{name}: {}", finished.message());
    }
    Ok(())
}

/// A command that does not end for one signal can still be left behind.
fn a_second_signal_ends_spanwire_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let heard = folder.path().join("heard");
    let (script, ready) = trapping(&folder, &format!("trap ': > {}' INT TERM", heard.display()))?;
    let agent = Agent::start(&Options::bare(["run", "--output", "none"]).command([script]))?;
    wait::until("traps", || Ok(ready.exists().then_some(())))?;
    agent.signal(Signal::INT)?;
    wait::until("the first signal", || Ok(heard.exists().then_some(())))?;
    let finished = agent.interrupt(Signal::TERM)?;
    ensure!(
        finished.status == 143,
        "{} {}",
        finished.status,
        finished.message()
    );
    ensure!(finished.summary.is_some(), "{}", finished.message());
    Ok(())
}

/// Ctrl-C reaches the command by itself: from spanwire it would be a second one, which many programs take for "at once".
fn what_the_terminal_sends_is_not_sent_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (script, ready) = trapping(
        &folder,
        "n=0; trap 'n=$((n + 1)); sleep 0.5; test $n = 1 || exit 9; late=1' INT",
    )?;
    let text =
        std::fs::read_to_string(&script)?.replace("sleep 0.05;", "sleep 0.05; test -z \"$late\" || exit 5;");
    std::fs::write(&script, text)?;
    // `exec`: the shell of `script` would take the signal for itself, and die of it where it is dash.
    // What types is told when `script` is over, which it is at once where another spanwire runs.
    let over = folder.path().join("over");
    let terminal = format!(
        "rm -f {over}
        (until test -e {ready} -o -e {over}; do sleep 0.05; done; printf '\\003'; until test -e {over}; do sleep 0.05; done) |
        (script -qec \"exec $0 $*\" /dev/null; status=$?; : > {over}; exit $status)",
        over = over.display(),
        ready = ready.display(),
    );
    let options = Options::bare(["run", "--output", "none"]).command([script]);
    let finished = agent::attempt(&options.through(["sh", "-c", &terminal]))?;
    ensure!(finished.status == 5, "{} {:?}", finished.status, finished.stdout);
    Ok(())
}

/// With the statuses of env(1) and of shells.
fn a_command_that_cannot_be_started_is_named() -> Result<()> {
    for (command, status) in [("no-such-command", 127), ("/etc/passwd", 126)] {
        let options = Options::bare(["run", "--output", "none"]).command([command]);
        let finished = agent::attempt(&options)?;
        ensure!(
            finished.status == status && finished.message().contains(command),
            "{} {}",
            finished.status,
            finished.message()
        );
    }
    Ok(())
}

/// What the command prints is its own: spanwire adds nothing to it but what it is asked for.
fn the_output_of_the_command_is_passed_through() -> Result<()> {
    let options = Options::bare(["run", "--output", "none"]).command(["echo", "hello"]);
    let finished = agent::attempt(&options)?;
    ensure!(finished.stdout == ["hello"], "{:?}", finished.stdout);
    Ok(())
}
