//! The first promise: services under load answer with the same bytes, without an error and without a stall, when
//! spanwire comes, when it goes, and when it is killed. A call that is not answered within the limit is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Agent, Hooks, Options};
use spanwire_tests::bulk::{self, Call, pattern};
use spanwire_tests::child::{self, Child};
use spanwire_tests::expect::both;
use spanwire_tests::service::Service;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::service::node;
use spanwire_tests::session::Session;
use spanwire_tests::{port, wait, workload};

spanwire_tests::under_both_hook_sets!(load_with_and_without, killed_and_restarted_under_load);

spanwire_tests::live!(probes_can_be_left_out,);

const SIZES: [usize; 5] = [1, 200, 5_000, 70_000, 1 << 20];

/// nginx with files of all sizes, which hands `/proxy/` on to Node.
fn services() -> Result<(Nginx, Service)> {
    let upstream = node::serve()?;
    let nginx = Nginx::start(Some(upstream.address))?;
    for size in SIZES {
        nginx.file(&format!("file-{size}"), &pattern(size as u64, size))?;
    }
    Ok((nginx, upstream))
}

/// `count` calls, in turn to files and through the proxy.
fn calls(count: usize) -> Vec<Call> {
    let bodies = SIZES.map(|size| Arc::new(pattern(size as u64, size)));
    let proxied = SIZES.map(|size| Arc::new(vec![b'n'; size]));
    (0..count)
        .map(|index| {
            let size = SIZES[index / 2 % SIZES.len()];
            let of = |bodies: &[Arc<Vec<u8>>; 5]| bodies[index / 2 % SIZES.len()].clone();
            if index % 2 == 0 {
                Call {
                    target: format!("/file-{size}?{index}"),
                    body: of(&bodies),
                }
            } else {
                Call {
                    target: format!("/proxy/{index}?length={size}"),
                    body: of(&proxied),
                }
            }
        })
        .collect()
}

fn load_with_and_without(hooks: Hooks) -> Result<()> {
    let (nginx, upstream) = services()?;
    let (front, back) = (nginx.service.address, upstream.address);
    let calls = calls(1000);
    bulk::run(front, 20, &calls).context("without spanwire")?;
    let session = Session::start(Options::run(hooks).port(front.port()).port(back.port()))?;
    bulk::run(front, 20, &calls).context("with spanwire")?;
    let mut expected = Vec::new();
    for call in &calls {
        let alike = |span: spanwire_tests::expect::Expected| span.body(call.body.len() as u64);
        expected.extend(both("GET", &call.target, front, alike));
        if call.target.starts_with("/proxy/") {
            let [server, client] = both("GET", &call.target, back, |span| {
                alike(span).is("server.port", front.port())
            });
            let url = format!("http://{front}{}", call.target);
            expected.extend([server, client.is("url.full", url)]);
        }
    }
    session.finish(expected.len())?.exactly(&expected)?;
    bulk::run(front, 20, &calls).context("after spanwire")
}

fn killed_and_restarted_under_load(hooks: Hooks) -> Result<()> {
    let (nginx, upstream) = services()?;
    let (front, back) = (nginx.service.address, upstream.address);
    let options = Options::run(hooks).port(front.port()).port(back.port());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let calls = calls(200);
            while !done.load(Ordering::Acquire) {
                // Few enough that the kernel's verifier gets its turn on a machine with two cores.
                bulk::run(front, 5, &calls)?;
            }
            anyhow::Ok(())
        });
        let killed = (0..3).try_for_each(|_| Agent::start(&options)?.kill());
        done.store(true, Ordering::Release);
        load.join().expect("no thread panics").context("under load")?;
        killed
    })?;
    // Nothing is left of the killed ones: the next one sees each exchange, once.
    let session = Session::start(options)?;
    let calls: Vec<Call> = calls(200).into_iter().step_by(2).collect();
    bulk::run(front, 10, &calls)?;
    let expected: Vec<_> = calls
        .iter()
        .flat_map(|call| {
            both("GET", &call.target, front, |span| {
                span.body(call.body.len() as u64)
            })
        })
        .collect();
    session.finish(expected.len())?.exactly(&expected)
}

/// Probes are put into the files of runtimes, and into none where that is not wanted.
fn probes_can_be_left_out() -> Result<()> {
    let port = port::free()?;
    let mut server = child::command(workload::PYTHON);
    server.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
    let server = Service::listening(Child::spawn(server)?, port)?;
    for (probes, expected) in [("true", true), ("false", false)] {
        let options = Options::run(Hooks::Socket).environment("SPANWIRE_PROBES", probes);
        let agent = Agent::start(&options.pid(server.child.pid()))?;
        let held = wait::within(Duration::from_secs(2), "a probed file", || {
            let held = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))?;
            let mut held = held.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
            // The interpreter itself, or its library.
            Ok(held.find(|path| path.to_string_lossy().contains("python")))
        });
        ensure!(held.is_ok() == expected, "{probes}: {held:?}");
        agent.stop()?;
    }
    Ok(())
}
