//! The systemd unit that is shipped: what systemd thinks of it, and a real systemd that runs it as it stands.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use spanwire_tests::agent::{self, Agent, Hooks, Options};
use spanwire_tests::child::{self, Child};
use spanwire_tests::receiver::Receiver;
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;
use spanwire_tests::span::{Kind, Span};
use spanwire_tests::systemd::{Manager, folder};
use spanwire_tests::{http, port, wait, workload};

spanwire_tests::live!(
    the_unit_is_right_and_little_exposed,
    the_shipped_configuration_is_right,
    systemd_runs_the_unit_as_it_stands,
    systemd_starts_one_that_hangs_again,
    the_unit_has_the_capabilities_that_are_tried_here,
    without_bpf_perfmon_or_net_admin_it_does_not_start_and_says_why,
    probes_that_are_refused_are_counted_and_said,
    without_ptrace_or_dac_read_search_services_of_other_users_lose_names_and_paths,
);

/// Highest exposure that `systemd-analyze security` may find, in tenths: 0 would be a unit that may do nothing.
const EXPOSURE: &str = "31";

/// Python's file server as a user without any right, with a name of its own in its environment.
fn server() -> Result<Service> {
    let port = port::free()?;
    let mut command = child::command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args([workload::PYTHON, "-m", "http.server", "--bind", "127.0.0.1"]);
    command
        .args(["--protocol", "HTTP/1.1", &port.to_string()])
        .current_dir("/usr/share");
    command.env("OTEL_SERVICE_NAME", "named-by-itself");
    Service::listening(Child::spawn(command)?, port)
}

fn ask(server: &Service, path: &str) -> Result<()> {
    let address = server.address;
    let answer = http::connect(address)?.call("GET", path, &address.to_string(), &[])?;
    ensure!(answer.status() == 404, "{}", answer.status());
    Ok(())
}

fn the_unit_is_right_and_little_exposed() -> Result<()> {
    let unit = folder().join("spanwire.service");
    let text = std::fs::read_to_string(&unit)?;
    // What it starts is not installed here, and its manual pages are not either.
    let copy = tempfile::tempdir()?;
    let copied = copy.path().join("spanwire.service");
    let here: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("Documentation="))
        .collect();
    std::fs::write(&copied, here.join("\n").replace("/usr/bin/spanwire", "/bin/true"))?;
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&copied)
        .output()?;
    let said = String::from_utf8_lossy(&verified.stderr);
    ensure!(verified.status.success() && said.is_empty(), "{said}");
    let judged = Command::new("systemd-analyze")
        .args([
            "security",
            "--offline=true",
            "--threshold",
            EXPOSURE,
            "--no-pager",
        ])
        .arg(&unit)
        .output()?;
    let said = String::from_utf8_lossy(&judged.stdout);
    ensure!(
        judged.status.success(),
        "{}",
        said.lines().last().unwrap_or_default()
    );
    Ok(())
}

fn the_shipped_configuration_is_right() -> Result<()> {
    let file = folder().join("spanwire.yaml");
    let file = file.to_str().context("path in UTF-8")?;
    let checked = agent::attempt_beside(&Options::bare(["config", "check", file]))?;
    ensure!(checked.status == 0, "{}", checked.message());
    ensure!(checked.stderr.is_empty(), "{}", checked.message());
    Ok(())
}

/// Ready, traces a process of another user by its own name, is asked by `spanwire status`, read again, told of by its watchdog,
/// and ended as systemd has it.
fn systemd_runs_the_unit_as_it_stands() -> Result<()> {
    let receiver = Receiver::start()?;
    let server = server()?;
    let default = format!(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://{}\nSPANWIRE_WATCH_PORT={}\n",
        receiver.http,
        server.address.port()
    );
    let manager = Manager::start(&default, "WatchdogSec=9\n")?;
    manager.systemctl("start")?;
    ensure!(manager.property("ActiveState")? == "active", "{}", manager.log());
    let told = manager.property("WatchdogTimestampMonotonic")?;
    let status = manager.succeed(&["spanwire", "status"])?;
    ensure!(status.contains("ready"), "{status}");
    // One that is started by hand finds the service's lock, though it is not the host's.
    let second = manager.run(&["spanwire", "run", "--output", "none"])?;
    ensure!(second.status.code() == Some(agent::ANOTHER_RUNS), "{second:?}");

    ask(&server, "/first")?;
    let of_server = wait::until("a span of the server", || {
        let spans = receiver.spans()?;
        Ok(spans
            .into_iter()
            .find(|span: &Span| span.kind == Kind::Server && span.path() == "/first"))
    })
    .with_context(|| manager.log())?;
    ensure!(
        of_server.resource["service.name"] == "named-by-itself",
        "{of_server:#?}"
    );

    manager.succeed(&[
        "sh",
        "-c",
        "echo 'sampling: {ratio: 0.5}' >>/etc/spanwire/spanwire.yaml",
    ])?;
    manager.systemctl("reload")?;
    wait::until("configuration that is read again", || {
        Ok(manager.log().contains("changed: sampling.ratio").then_some(()))
    })
    .with_context(|| manager.log())?;
    wait::until("word to the watchdog", || {
        Ok((manager.property("WatchdogTimestampMonotonic")? != told).then_some(()))
    })?;
    ensure!(
        manager.succeed(&["ls", "/var/lib/spanwire"])?.contains("spool"),
        "no spool"
    );

    manager.systemctl("stop")?;
    for (property, value) in [("Result", "success"), ("ExecMainStatus", "0"), ("NRestarts", "0")] {
        ensure!(
            manager.property(property)? == value,
            "{property}: {}",
            manager.log()
        );
    }
    ensure!(manager.log().contains("spanwire summary"), "{}", manager.log());
    Ok(())
}

fn systemd_starts_one_that_hangs_again() -> Result<()> {
    let manager = Manager::start("SPANWIRE_WATCH_PORT=1\n", "WatchdogSec=5\nRestartSec=0\n")?;
    manager.systemctl("start")?;
    let first = manager.main_pid()?;
    // One that was slow to begin is not one that hangs.
    ensure!(manager.property("NRestarts")? == "0", "{}", manager.log());
    kill_process(first, Signal::STOP)?;
    wait::within(Duration::from_secs(60), "another process", || {
        let is_active = manager.property("ActiveState")? == "active";
        // Between these two there may be none.
        let is_another = manager.main_pid().is_ok_and(|pid| pid != first);
        Ok((is_active && is_another).then_some(()))
    })
    .with_context(|| manager.log())?;
    Ok(())
}

/// What the unit lets it have, less one capability at a time, each with what that costs: so none is there for nothing. Beside it is
/// [`WIDEST`], which stands for some of them.
const CAPABILITIES: &[&str] = &["bpf", "perfmon", "net_admin", "sys_ptrace", "dac_read_search"];

/// What some kernels ask for before they let functions of programs be probed.
const WIDEST: &str = "sys_admin";

/// A command through which spanwire has all of [`CAPABILITIES`] but `without`.
fn less(without: &str) -> Options {
    having(CAPABILITIES.iter().filter(|name| **name != without))
}

/// A command through which spanwire has no other capabilities than these.
fn having<'a>(capabilities: impl Iterator<Item = &'a &'a str>) -> Options {
    let left: Vec<String> = capabilities.map(|name| format!("+{name}")).collect();
    let bounding = format!("--bounding-set=-all,{}", left.join(","));
    Options::run(Hooks::Socket).through(["setpriv", "--inh-caps=-all", "--no-new-privs", &bounding])
}

fn the_unit_has_the_capabilities_that_are_tried_here() -> Result<()> {
    let text = std::fs::read_to_string(folder().join("spanwire.service"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let mut named: Vec<String> = line
        .context("a list")?
        .split(' ')
        .map(|name| name.trim_start_matches("CAP_").to_lowercase())
        .collect();
    let tried = CAPABILITIES.iter().chain([&WIDEST]);
    let mut tried: Vec<String> = tried.map(|name| (*name).to_owned()).collect();
    named.sort();
    tried.sort();
    ensure!(named == tried, "{named:?}");
    Ok(())
}

fn without_bpf_perfmon_or_net_admin_it_does_not_start_and_says_why() -> Result<()> {
    let needed = [
        ("bpf", "CAP_BPF"),
        ("perfmon", "CAP_PERFMON"),
        ("net_admin", "CAP_NET_ADMIN"),
    ];
    for (capability, name) in needed {
        let refused = agent::attempt(&less(capability))?;
        ensure!(
            refused.status == 1 && refused.message().contains(name),
            "{}",
            refused.message()
        );
    }
    Ok(())
}

fn probes_that_are_refused_are_counted_and_said() -> Result<()> {
    let refused = |options: Options| -> Result<(bool, bool)> {
        let server = server()?;
        let agent = Agent::start(&options.port(server.address.port()))?;
        ask(&server, "/named")?;
        let finished = agent.stop()?;
        let summary = finished.summary.as_ref().context("a summary")?;
        let is_said = finished.message().contains("are not probed");
        Ok((summary.value("probes.refused") > 0, is_said))
    };
    let (is_counted, is_said) = refused(less("nothing"))?;
    ensure!(is_counted == is_said, "counted {is_counted}, said {is_said}");
    let all = refused(having(CAPABILITIES.iter().chain([&WIDEST])))?;
    ensure!(all == (false, false), "{all:?}");
    Ok(())
}

/// The resource of the server's span.
fn resource_without(capability: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    let server = server()?;
    let session = Session::start(less(capability).port(server.address.port()))?;
    ask(&server, "/named")?;
    let seen = session.finish(2)?;
    let span = seen
        .spans
        .iter()
        .find(|span| span.kind == Kind::Server)
        .context("its span")?;
    Ok(span.resource.clone().into_iter().collect())
}

/// Since 6.15 or so CAP_PERFMON alone opens what is in another's memory (`may_access_mm`, fs/proc/base.c), such as its
/// environment, but not where its links lead to.
fn without_ptrace_or_dac_read_search_services_of_other_users_lose_names_and_paths() -> Result<()> {
    const PATH: &str = "process.executable.path";
    let whole = resource_without("nothing")?;
    ensure!(
        whole["service.name"] == "named-by-itself" && whole.contains_key(PATH),
        "{whole:#?}"
    );
    let unlinked = resource_without("sys_ptrace")?;
    ensure!(!unlinked.contains_key(PATH), "{unlinked:#?}");
    let unread = resource_without("dac_read_search")?;
    ensure!(unread["service.name"] != "named-by-itself", "{unread:#?}");
    Ok(())
}
