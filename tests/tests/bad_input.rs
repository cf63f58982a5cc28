//! Bad input and missing privileges: a message that says what to do, and an exit status that scripts can use.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{self, Hooks, Options};
use spanwire_tests::expect::both;
use spanwire_tests::http::{self, Server};
use spanwire_tests::port;
use spanwire_tests::session::Session;

/// Capture cannot run here.
const CANNOT_RUN: i32 = 1;
/// Usage or configuration.
const USAGE: i32 = 2;
/// `options` end with `status`, and what they say holds each of `words`, without a panic or a backtrace.
fn refused(options: &Options, status: i32, words: &[&str]) -> Result<()> {
    says(&agent::attempt(options)?, status, words)
}

fn says(finished: &agent::Finished, status: i32, words: &[&str]) -> Result<()> {
    let message = finished.message();
    ensure!(finished.status == status, "status {}: {message}", finished.status);
    for word in words {
        ensure!(message.contains(word), "no {word:?} in: {message}");
    }
    ensure!(!message.contains("panicked"), "{message}");
    ensure!(!message.contains("spanwire ready"), "{message}");
    Ok(())
}

/// A copy of spanwire where any user may execute it.
fn executable_by_all() -> Result<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all.clone())?;
    let copy = folder.path().join("spanwire");
    std::fs::copy(agent::binary()?, &copy)?;
    std::fs::set_permissions(&copy, all)?;
    let path = copy.to_str().context("path in UTF-8")?.to_owned();
    Ok((folder, path))
}

#[test]
fn an_ordinary_user_is_told_to_become_root() -> Result<()> {
    let (_folder, copy) = executable_by_all()?;
    // `env` stands in the binary's place, so that it is the copy that runs.
    let shell = format!("exec {copy} run --output none");
    let options = Options::bare([]).through([
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        &shell,
    ]);
    refused(&options, CANNOT_RUN, &["root"])
}

#[test]
fn a_missing_capability_is_named() -> Result<()> {
    let options = Options::bare(["run", "--output", "none"]).through([
        "setpriv",
        "--inh-caps=-all",
        "--bounding-set=-bpf,-sys_admin",
    ]);
    refused(&options, CANNOT_RUN, &["CAP_BPF"])
}

/// In a mount namespace of its own, in which /sys/kernel/btf is empty.
#[test]
fn a_kernel_without_type_information_is_named() -> Result<()> {
    let empty = tempfile::tempdir()?;
    let folder = empty.path().to_str().context("path in UTF-8")?;
    let script = format!("mount --bind {folder} /sys/kernel/btf && exec \"$0\" \"$@\"");
    let hidden = |options: Options| options.through(["unshare", "--mount", "sh", "-c", &script]);
    let run = hidden(Options::run(Hooks::Socket));
    refused(&run, CANNOT_RUN, &["/sys/kernel/btf/vmlinux", "spanwire check"])?;
    let check = agent::attempt(&hidden(Options::bare(["check"])))?;
    let report = check.stdout.join("\n");
    ensure!(check.status == CANNOT_RUN, "status {}: {report}", check.status);
    for words in ["no      BTF", "CONFIG_DEBUG_INFO_BTF", "Capture cannot run"] {
        ensure!(report.contains(words), "no {words:?} in: {report}");
    }
    Ok(())
}

/// In a mount namespace of its own, in which /run cannot be written to.
#[test]
fn a_lock_that_cannot_be_taken_is_named() -> Result<()> {
    let script = "mount -t tmpfs -o ro none /run && exec \"$0\" \"$@\"";
    let sealed = |options: Options| options.through(["unshare", "--mount", "sh", "-c", script]);
    let words = ["/run/spanwire.lock", "make it writable", "RuntimeDirectory"];
    refused(&sealed(Options::run(Hooks::Syscall)), CANNOT_RUN, &words)?;
    let check = agent::attempt(&sealed(Options::bare(["check"])))?;
    let report = check.stdout.join("\n");
    ensure!(check.status == CANNOT_RUN, "status {}: {report}", check.status);
    for words in ["no      lock", "/run/spanwire.lock", "Capture cannot run"] {
        ensure!(report.contains(words), "no {words:?} in: {report}");
    }
    // With the folder that systemd makes for a service, both work.
    let folder = tempfile::tempdir()?;
    let own = folder.path().to_str().context("path in UTF-8")?;
    let given = |options: Options| sealed(options).environment("RUNTIME_DIRECTORY", own);
    let check = agent::attempt(&given(Options::bare(["check"])))?;
    ensure!(check.status == 0, "{}", check.stdout.join("\n"));
    let run = agent::attempt(&given(Options::run(Hooks::Syscall)).command(["true"]))?;
    ensure!(run.status == 0, "{}", run.message());
    ensure!(folder.path().join("spanwire.lock").exists(), "{}", run.message());
    Ok(())
}

/// Only the command and what it starts are watched: what would choose other processes is not silently left out.
#[test]
fn filters_beside_a_command_are_refused() -> Result<()> {
    for (flag, value) in [("--exe", "nginx"), ("--pid", "1"), ("--container", "web")] {
        let options = Options::bare(["run", flag, value]).command(["true"]);
        refused(&options, USAGE, &[flag, "-- COMMAND", "--port"])?;
    }
    let options = Options::bare(["run"]).environment("SPANWIRE_WATCH_EXE", "nginx");
    refused(&options.command(["true"]), USAGE, &["--exe", "environment"])?;
    let ports = Options::bare(["run", "--port", "80", "--output", "none"]).command(["true"]);
    let finished = agent::attempt(&ports)?;
    ensure!(finished.status == 0, "{}", finished.message());
    Ok(())
}

#[test]
fn wrong_flags_are_named() -> Result<()> {
    for (flags, word) in [
        (["run", "--prot", "80"], "--prot"),
        (["run", "--port", "90-10"], "90-10"),
        (["run", "--port", "70000"], "70000"),
        (["run", "--port", "http"], "http"),
        (["run", "--pid", "-5"], "-5"),
        (["run", "--hooks", "kprobes"], "syscall"),
        (["run", "--output", "xml"], "otlp-json"),
        (["run", "--ring-buffer", "5Q"], "5Q"),
        (["run", "--config", "/nowhere.yaml"], "/nowhere.yaml"),
    ] {
        refused(&Options::bare(flags), USAGE, &[word]).with_context(|| flags.join(" "))?;
    }
    refused(&Options::bare(["runn"]), USAGE, &["run"])
}

#[test]
fn wrong_configuration_is_named_with_its_line_and_what_was_meant() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (text, words) in [
        ("capture:\n  hooks: auto\noutptu:\n", ["outptu", ":3", "output"]),
        ("capture:\n  hoks: auto\n", ["hoks", ":2", "hooks"]),
        (
            "capture:\n  ring_buffer: 1M\n  hooks: magic\n",
            ["magic", ":3", "socket"],
        ),
        ("watch:\n  port: [80\n", ["spanwire.yaml", ":3", "YAML"]),
    ] {
        let file = folder.path().join("spanwire.yaml");
        std::fs::write(&file, text)?;
        let options = Options::bare(["run", "--config"]).flag(&file);
        refused(&options, USAGE, &["spanwire.yaml"])?;
        refused(&options, USAGE, &words).with_context(|| text.to_owned())?;
    }
    Ok(())
}

#[test]
fn a_process_that_is_not_there_is_named() -> Result<()> {
    let options = Options::bare(["run", "--pid", "4194303"]);
    let finished = agent::attempt(&options)?;
    ensure!(finished.status != 0, "{}", finished.message());
    ensure!(finished.message().contains("4194303"), "{}", finished.message());
    Ok(())
}

/// The second one goes; the first one goes on.
#[test]
fn a_second_spanwire_is_refused() -> Result<()> {
    let (listener, address) = port::listener()?;
    let _server = Server::tcp(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"ok")));
    })?;
    let options = Options::run(Hooks::Syscall).port(address.port());
    let session = Session::start(options.clone())?;
    let second = agent::attempt_beside(&options)?;
    says(&second, agent::ANOTHER_RUNS, &[&session.agent.pid().to_string()])?;
    let mut client = http::connect(address)?;
    client.call("GET", "/still-there", &address.to_string(), &[])?;
    let expected = both("GET", "/still-there", address, |span| span.body(2));
    session.finish(expected.len())?.exactly(&expected)
}
