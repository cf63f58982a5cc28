//! Selectors of processes, live: what they select, what becomes of it when they or the processes change, and what `spanwire
//! services` says of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use spanwire_tests::agent::{self, Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{self, Server};
use spanwire_tests::service::{Service, python};
use spanwire_tests::session::Session;
use spanwire_tests::{port, wait, workload};

spanwire_tests::under_both_hook_sets!(
    ports_are_those_that_a_process_listens_on_be_it_later,
    another_program_in_the_same_process_is_decided_anew,
);
spanwire_tests::under_one_hook_set!(
    services_are_told_with_the_reason,
    a_selection_has_rules_of_its_own
);

/// Python's file server, with `/hello` of 5 bytes.
fn files(folder: &Path, port: u16, options: &[&str]) -> Result<Service> {
    std::fs::write(folder.join("hello"), "hello")?;
    python::files_at(port, folder, options)
}

fn hello(address: SocketAddr) -> Result<()> {
    let answer = http::connect(address)?.call("GET", "/hello", &address.to_string(), &[])?;
    ensure!(answer.text() == "hello", "{answer:?}");
    Ok(())
}

fn settings(folder: &Path, text: &str) -> Result<()> {
    Ok(std::fs::write(folder.join("spanwire.yaml"), text)?)
}

fn configured(hooks: Hooks, folder: &Path) -> Options {
    Options::run(hooks)
        .flag("--config")
        .flag(folder.join("spanwire.yaml"))
}

/// What is told, by process.
fn services(flags: &[&str]) -> Result<BTreeMap<u64, Value>> {
    let mut options = Options::bare(["services", "--json"]);
    for flag in flags {
        options = options.flag(*flag);
    }
    let told = agent::attempt_beside(&options)?;
    ensure!(told.status == 0, "{}", told.message());
    let told: Value = serde_json::from_str(&told.stdout.join("\n"))?;
    ensure!(told["left_out"] == 0, "{told}");
    let processes = told["processes"].as_array().context("a list")?.iter();
    let by_pid = processes.map(|it| Some((it["pid"].as_u64()?, it.clone())));
    by_pid.collect::<Option<_>>().context("processes with numbers")
}

/// Until the agent has decided of a process as is told.
fn decided(service: &Service, why: &str) -> Result<()> {
    let pid = u64::from(service.child.pid());
    wait::until(&format!("{why} of {pid}"), || {
        let told = services(&["--all"])?;
        let process = told.get(&pid).context("it is there")?;
        Ok((process["why"] == why).then_some(()))
    })
}

fn ports_are_those_that_a_process_listens_on_be_it_later(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [before, after, other] = [port::free()?, port::free()?, port::free()?];
    let include = |ports: &str| format!("watch: {{include: [{{ports: [{ports}]}}]}}\n");
    settings(folder.path(), &include(&format!("{before}, {after}")))?;
    let first = files(folder.path(), before, &[])?;
    let session = Session::start(configured(hooks, folder.path()))?;
    // It is no longer Python that starts when it begins to listen.
    let second = files(folder.path(), after, &[])?;
    let third = files(folder.path(), other, &[])?;
    decided(&second, "watch.include[0]")?;
    for service in [&first, &second, &third] {
        hello(service.address)?;
    }
    settings(folder.path(), &include(&other.to_string()))?;
    session.agent.signal(Signal::HUP)?;
    decided(&third, "watch.include[0]")?;
    decided(&first, "not asked for")?;
    for service in [&first, &second, &third] {
        hello(service.address)?;
    }
    let expected =
        [&first, &second, &third].map(|service| Expected::server("GET", "/hello", service.address).body(5));
    session.finish(3)?.exactly(&expected)
}

fn another_program_in_the_same_process_is_decided_anew(hooks: Hooks) -> Result<()> {
    let (listener, address) = port::listener()?;
    let _server = Server::tcp(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"ok")));
    })?;
    let folder = tempfile::tempdir()?;
    settings(
        folder.path(),
        "watch: {include: [{executables: ['python3*']}], exclude: [{command_lines: ['* unwanted']}]}\n",
    )?;
    let session = Session::start(configured(hooks, folder.path()))?;
    let code = format!(
        "import os, sys, time, urllib.request\n\
         urllib.request.urlopen('http://{address}/before').read()\n\
         os.execvp('curl', ['curl', '-sS', 'http://{address}/curl', 'http://{address}/curl'])\n"
    );
    for wanted in ["wanted", "unwanted"] {
        let mut python = child::command(workload::PYTHON);
        python.args(["-c", &code, wanted]);
        Child::spawn(python)?.succeed()?;
    }
    let expected = Expected::client("GET", "/before", address)
        .body(2)
        .user_agent("Python-urllib/");
    session.finish(1)?.exactly(&[expected])
}

fn services_are_told_with_the_reason(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [watched, excluded, other] = [port::free()?, port::free()?, port::free()?];
    settings(
        folder.path(),
        &format!(
            "watch:\n  include:\n    - {{executables: [nobody]}}\n    - {{ports: [{watched}, {excluded}], service_name: files}}\n  \
             exclude: [{{ports: [{excluded}]}}]\n"
        ),
    )?;
    let first = files(folder.path(), watched, &[])?;
    let second = files(folder.path(), excluded, &[])?;
    let third = files(folder.path(), other, &["--cgi"])?;
    let session = Session::start(configured(hooks, folder.path()))?;
    for service in [&first, &second, &third] {
        hello(service.address)?;
    }
    let pid = |service: &Service| u64::from(service.child.pid());
    let told = wait::until("what was seen", || {
        let told = services(&["--all"])?;
        let seen = told
            .get(&pid(&first))
            .is_some_and(|it| it["seen"] != Value::Array(Vec::new()));
        Ok(seen.then_some(told))
    })?;
    let python = &told[&pid(&first)];
    ensure!(
        python["service"] == "files" && python["watched"] == true,
        "{python}"
    );
    ensure!(python["why"] == "watch.include[1]", "{python}");
    ensure!(python["runtime"]["name"] == "cpython", "{python}");
    ensure!(python["listens"] == serde_json::json!([watched]), "{python}");
    let seen = serde_json::json!([{"protocol": "http1", "role": "server", "port": watched}]);
    ensure!(python["seen"] == seen, "{python}");
    let injection = serde_json::json!({
        "protocols": [], "connections": 0, "enrolled": 0, "why_not": "not asked for (propagate.headers)",
    });
    let mut said = python["injection"].clone();
    said["connections"] = 0.into();
    ensure!(said == injection, "{python}");
    for (pid, why) in [
        (pid(&second), "excluded by watch.exclude[0]"),
        (pid(&third), "not asked for"),
        (u64::from(session.agent.pid()), "own process"),
    ] {
        let process = &told[&pid];
        ensure!(process["watched"] == false && process["why"] == why, "{process}");
        ensure!(process.get("injection").is_none(), "{process}");
    }
    ensure!(
        told[&pid(&third)]["listens"] == serde_json::json!([other]),
        "{told:?}"
    );
    // Without --all, those that are watched.
    let few = services(&[])?;
    ensure!(few.keys().eq([&pid(&first)]), "{few:?}");
    let table = agent::attempt_beside(&Options::bare(["services"]))?.stdout;
    ensure!(table.len() == 2 && table[0].starts_with("PID "), "{table:?}");
    ensure!(table[1].contains(" yes: watch.include[1] "), "{table:?}");
    let expected = Expected::server("GET", "/hello", first.address)
        .body(5)
        .service("files");
    session.finish(1)?.exactly(&[expected])
}

fn a_selection_has_rules_of_its_own(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [kept, dropped] = [port::free()?, port::free()?];
    settings(
        folder.path(),
        &format!(
            "watch:\n  include:\n    - {{ports: [{kept}], service_name: kept, redaction: strict}}\n    \
             - {{ports: [{dropped}], service_name: dropped, sample: 0}}\n"
        ),
    )?;
    let first = files(folder.path(), kept, &[])?;
    let second = files(folder.path(), dropped, &[])?;
    let session = Session::start(configured(hooks, folder.path()))?;
    for service in [&first, &second] {
        for _ in 0..10 {
            let address = service.address;
            let path = "/hello?id=4711";
            http::connect(address)?.call("GET", path, &address.to_string(), &[])?;
        }
    }
    let seen = session.finish(10)?;
    ensure!(seen.spans.len() == 10, "{:#?}", seen.spans);
    for span in &seen.spans {
        ensure!(span.resource["service.name"] == "kept", "{span:#?}");
        let text = format!("{span:?}");
        ensure!(!text.contains("4711") && text.contains("REDACTED"), "{text}");
    }
    Ok(())
}
