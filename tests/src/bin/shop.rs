//! What `cargo xtask demo` runs: a shop, spanwire that watches it, and customers.
//!
//! `shop prepare` builds what has to be built. `shop run SPANWIRE [--for SECONDS] [-- ARGUMENTS]` opens the shop, starts
//! `SPANWIRE run` with a filter for the shop's processes and with ARGUMENTS, and lets customers in once it is ready. SIGINT,
//! SIGTERM, SIGHUP or the end of any part ends all.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use spanwire_tests::child;
use spanwire_tests::shop::customers::Customers;
use spanwire_tests::shop::{self, Shop};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// spanwire, whose standard output is ours. Dropped, it is killed.
struct Agent {
    process: Child,
    /// Lines of its standard error, which are shown as well.
    said: Receiver<String>,
}

impl Agent {
    fn start(program: &str, shop: &Shop, arguments: &[String]) -> Result<Self> {
        let mut command = child::command(program);
        command.arg("run");
        for name in shop::PROGRAMS {
            command.args(["--exe", name]);
        }
        for port in shop.ports() {
            command.args(["--port", &port.to_string()]);
        }
        command.args(arguments);
        // A group of its own: Ctrl-C is ours, and spanwire ends before what it watches.
        let command = command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().context("starting spanwire")?;
        let stream = BufReader::new(process.stderr.take().context("standard error is piped")?);
        let (sender, said) = channel();
        thread::spawn(move || {
            for line in stream.lines().map_while(Result::ok) {
                eprintln!("{line}");
                // It is read to its end, whether or not anybody listens.
                let _ = sender.send(line);
            }
        });
        Ok(Self { process, said })
    }

    fn is_ready(&mut self, is_over: impl Fn() -> bool) -> Result<bool> {
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            match self.said.recv_timeout(Duration::from_millis(100)) {
                Ok(line) if line.starts_with("spanwire ready") => return Ok(true),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if is_over() => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("spanwire ended with {}; it said why above", self.process.wait()?)
                }
            }
        }
        bail!("spanwire was not ready after {} s", READY_WITHIN.as_secs())
    }

    fn ensure_running(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => bail!("spanwire ended with {status}"),
            None => Ok(()),
        }
    }

    /// Ends it as a user would, with its summary.
    fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("a process id")?;
        rustix::process::kill_process(pid, Signal::INT).context("SIGINT to spanwire")?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_WITHIN {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "spanwire ended with {status}");
                // Its last lines may still be on their way.
                while self.said.recv_timeout(Duration::from_secs(1)).is_ok() {}
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("spanwire still ran {} s after SIGINT", STOP_WITHIN.as_secs())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the command line asks for.
struct Wanted {
    spanwire: String,
    length: Option<Duration>,
    arguments: Vec<String>,
}

impl Wanted {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let spanwire = words.next().context("which spanwire?")?;
        let mut length = None;
        while let Some(word) = words.next() {
            match &*word {
                "--for" => {
                    let seconds = words.next().context("--for how many seconds?")?;
                    length = Some(Duration::from_secs(
                        seconds.parse().with_context(|| seconds.clone())?,
                    ));
                }
                "--" => break,
                _ => return Err(anyhow!("{word}: not known")),
            }
        }
        Ok(Self {
            spanwire,
            length,
            arguments: words.collect(),
        })
    }
}

fn say(what: &str) {
    eprintln!("demo: {what}");
}

fn run(wanted: &Wanted) -> Result<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Whoever asks twice does not want to wait: what was started gets a signal of its own when we are gone.
        flag::register_conditional_shutdown(signal, 1, stopped.clone())?;
        flag::register(signal, stopped.clone())?;
    }
    let is_over = || stopped.load(Ordering::Relaxed);
    let opened = Shop::open(say, is_over);
    if is_over() {
        return Ok(());
    }
    let mut shop = opened?;
    let mut agent = Agent::start(&wanted.spanwire, &shop, &wanted.arguments)?;
    if agent.is_ready(is_over)? {
        say("customers order at the front; Ctrl-C ends it all");
        let mut customers = Customers::come(shop.front());
        let begun = Instant::now();
        while !is_over() && wanted.length.is_none_or(|length| begun.elapsed() < length) {
            shop.ensure_open()?;
            agent.ensure_running()?;
            customers.ensure_content()?;
            thread::sleep(Duration::from_millis(100));
        }
        let served = customers.served();
        drop(customers);
        say(&format!("{served} orders were answered"));
    }
    agent.stop()
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let result = match words.next().as_deref() {
        Some("prepare") => shop::prepare(say),
        Some("run") => Wanted::parse(words).and_then(|wanted| run(&wanted)),
        _ => Err(anyhow!(
            "shop prepare | shop run SPANWIRE [--for SECONDS] [-- ARGUMENTS]"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
