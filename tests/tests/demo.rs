//! `cargo xtask demo`: traces of all of the shop come out, and however it ends, nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};
use spanwire_tests::agent::{self, Turn};
use spanwire_tests::child::{self, Child};
use spanwire_tests::span::{self, Span};
use spanwire_tests::wait;
use tempfile::TempDir;

spanwire_tests::live!(
    whole_traces_come_out_and_ctrl_c_leaves_nothing,
    it_ends_after_the_seconds_that_it_was_given,
    the_end_of_a_part_is_the_end_of_all,
    killed_while_it_runs_or_while_it_starts_it_leaves_no_process,
    stopped_while_it_starts_it_leaves_nothing,
    a_spanwire_that_does_not_start_is_an_error,
);

/// Services of which spans are to come, and what the trace of an order has them all.
const ORDER: [&str; 4] = ["front", "pricing", "stock", "postgres"];

/// A demo with a folder of its own, by whose name in their environment or arguments its processes are found.
struct Demo {
    shop: Child,
    folder: TempDir,
    _turn: Turn,
}

impl Demo {
    fn start(arguments: &[&str]) -> Result<Self> {
        let turn = Turn::take()?;
        let folder = tempfile::tempdir()?;
        // PostgreSQL is another user.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let mut command = child::command(env!("CARGO_BIN_EXE_shop"));
        command.env("TMPDIR", folder.path());
        command.arg("run").arg(agent::binary()?).args(arguments);
        Ok(Self {
            shop: Child::spawn(command)?,
            folder,
            _turn: turn,
        })
    }

    /// Waits until `is_enough` of the spans that came so far.
    fn shows(&mut self, is_enough: impl Fn(&[Span]) -> bool) -> Result<()> {
        self.shop.error_line("demo: customers")?;
        wait::until("traces of the shop", || {
            self.shop.ensure_running()?;
            let lines = self.shop.stdout.all();
            let spans: Vec<_> = lines
                .iter()
                .map(|line| span::from_json(line))
                .collect::<Result<_>>()?;
            Ok(is_enough(&spans.concat()).then_some(()))
        })
    }

    /// Its processes, but for zombies that nobody has waited for.
    fn processes(&self) -> Result<Vec<(i32, String)>> {
        let mark = self.folder.path().to_str().context("a path in UTF-8")?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let Some(process) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            let text = |name: &str| {
                let bytes = std::fs::read(path.join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let all = format!("{}{}", text("cmdline"), text("environ"));
            if all.contains(mark) {
                found.push((process, all));
            }
        }
        Ok(found)
    }

    /// All of its processes come to their end, and where `is_tidy` its folders as well.
    fn is_gone(&self, is_tidy: bool) -> Result<()> {
        let gone = wait::within(Duration::from_secs(15), "the end of all processes", || {
            Ok(self.processes()?.is_empty().then_some(()))
        });
        gone.with_context(|| format!("{:?}", self.processes()))?;
        let left = std::fs::read_dir(self.folder.path())?.count();
        ensure!(!is_tidy || left == 0, "{left} folders were left");
        Ok(())
    }
}

fn services(spans: &[Span]) -> BTreeSet<&str> {
    let names = spans
        .iter()
        .filter_map(|span| span.resource.get("service.name")?.as_str());
    names.collect()
}

/// Whether a trace has spans of all services that take part in an order, all below one.
fn has_whole_order(spans: &[Span]) -> bool {
    let mut traces: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(&span.trace_id).or_default().push(span.clone());
    }
    traces.values().any(|trace| {
        let roots = trace.iter().filter(|span| span.parent.is_empty()).count();
        roots == 1 && services(trace) == BTreeSet::from(ORDER)
    })
}

fn whole_traces_come_out_and_ctrl_c_leaves_nothing() -> Result<()> {
    let mut demo = Demo::start(&["--", "--output", "otlp-json"])?;
    demo.shows(|spans| {
        let is_failing = spans.iter().any(|span| span.error);
        let is_shipped = services(spans).contains("shipping");
        has_whole_order(spans) && is_shipped && is_failing
    })?;
    // The shop itself is one of them.
    ensure!(demo.processes()?.len() > 10, "{:?}", demo.processes());
    demo.shop.signal(Signal::INT)?;
    let status = demo.shop.wait()?;
    ensure!(status.success(), "{status}: {}", demo.shop.text());
    ensure!(demo.shop.stderr.first("spanwire summary").is_some());
    demo.is_gone(true)
}

fn it_ends_after_the_seconds_that_it_was_given() -> Result<()> {
    let mut demo = Demo::start(&["--for", "2"])?;
    demo.shop.error_line("demo: customers")?;
    let status = demo.shop.wait()?;
    ensure!(status.success(), "{status}: {}", demo.shop.text());
    demo.is_gone(true)
}

fn the_end_of_a_part_is_the_end_of_all() -> Result<()> {
    let mut demo = Demo::start(&[])?;
    demo.shop.error_line("demo: customers")?;
    let processes = demo.processes()?;
    let of_pricing = |(_, text): &&(i32, String)| text.contains("OTEL_SERVICE_NAME=pricing");
    let (pricing, _) = processes.iter().find(of_pricing).context("pricing runs")?;
    kill(*pricing)?;
    ensure!(demo.shop.wait()?.code() == Some(1), "{}", demo.shop.text());
    let said = demo.shop.error_line("error: ")?;
    ensure!(said.starts_with("pricing: "), "{said}");
    demo.is_gone(true)
}

fn killed_while_it_runs_or_while_it_starts_it_leaves_no_process() -> Result<()> {
    for line in ["demo: customers", "demo: pricing"] {
        let mut demo = Demo::start(&[])?;
        demo.shop.error_line(line)?;
        kill(i32::try_from(demo.shop.pid())?)?;
        demo.is_gone(false)?;
    }
    Ok(())
}

/// Asked to stop before it was ready.
fn stopped_while_it_starts_it_leaves_nothing() -> Result<()> {
    let mut demo = Demo::start(&[])?;
    demo.shop.error_line("demo: RabbitMQ")?;
    demo.shop.signal(Signal::TERM)?;
    demo.shop.wait()?;
    demo.is_gone(true)
}

fn a_spanwire_that_does_not_start_is_an_error() -> Result<()> {
    let mut demo = Demo::start(&["--", "--no-such-flag"])?;
    ensure!(demo.shop.wait()?.code() == Some(1), "{}", demo.shop.text());
    demo.shop
        .error_line("error: spanwire ended with exit status: 2")?;
    demo.is_gone(true)
}

fn kill(process: i32) -> Result<()> {
    let process = Pid::from_raw(process).context("a process")?;
    Ok(rustix::process::kill_process(process, Signal::KILL)?)
}
