//! What comes out: OTLP over both protocols, lines of OTLP/JSON, trees for a person; and never spanwire itself.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Agent, Hooks, Options};
use spanwire_tests::expect::{Expected, both};
use spanwire_tests::http::{self, Server};
use spanwire_tests::port;
use spanwire_tests::session::{Protocol, Session};
use spanwire_tests::span::{self, Span};
use spanwire_tests::wait;

spanwire_tests::live!(
    exported_over_grpc_and_http_plain_and_compressed,
    lines_of_json_are_the_spans_that_were_exported,
    trees_show_each_request,
    a_closed_standard_output_is_an_end,
    exports_make_no_spans,
    systemd_is_told_that_it_is_ready,
    the_kernel_half_says_what_it_does_when_asked,
    without_exporter_nothing_is_sent,
);

fn server() -> Result<(Server, SocketAddr)> {
    let (listener, address) = port::listener()?;
    let server = Server::tcp(listener, |connection| {
        http::serve(connection, |request| {
            let status = request.target().rsplit('/').next()?.parse().ok()?;
            Some(http::response(status, b"answer"))
        });
    })?;
    Ok((server, address))
}

fn call(address: SocketAddr) -> Result<Vec<Expected>> {
    let mut client = http::connect(address)?;
    let mut expected = Vec::new();
    for status in [200, 404, 503] {
        let target = format!("/out/{status}");
        client.call("GET", &target, &address.to_string(), &[])?;
        expected.extend(both("GET", &target, address, |span| span.status(status).body(6)));
    }
    Ok(expected)
}

fn exported_over_grpc_and_http_plain_and_compressed() -> Result<()> {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for compression in ["none", "gzip"] {
            let (_server, address) = server()?;
            let options = Options::run(Hooks::Syscall)
                .port(address.port())
                .environment("OTEL_EXPORTER_OTLP_COMPRESSION", compression);
            let session = Session::exporting(protocol, options)?;
            let expected = call(address)?;
            session.finish(expected.len())?.exactly(&expected)?;
        }
    }
    Ok(())
}

fn lines_of_json_are_the_spans_that_were_exported() -> Result<()> {
    let (_server, address) = server()?;
    let options = Options::bare(["run", "--output", "otlp-json"]).port(address.port());
    let session = Session::start(options)?;
    let expected = call(address)?;
    let seen = session.finish(expected.len())?;
    seen.exactly(&expected)?;
    let mut printed = Vec::new();
    for line in &seen.finished.stdout {
        printed.extend(span::from_json(line)?);
    }
    let sorted = |mut spans: Vec<Span>| {
        spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
        spans
    };
    let (printed, exported) = (sorted(printed), sorted(seen.spans));
    ensure!(
        printed == exported,
        "printed {printed:#?}, exported {exported:#?}"
    );
    Ok(())
}

/// Nothing is chosen here: the tree is the default, and so is printing without an endpoint.
fn trees_show_each_request() -> Result<()> {
    let (_server, address) = server()?;
    let agent = Agent::start(&Options::bare(["run"]).port(address.port()))?;
    call(address)?;
    let finished = agent.stop()?;
    ensure!(finished.status == 0, "{}", finished.message());
    for status in ["200", "404", "503"] {
        let requests = [
            format!("GET /out/{status}"),
            format!("GET {address}/out/{status}"),
        ];
        for request in requests {
            let column = format!("  {status}  ");
            let shows = |line: &&String| line.contains(&request) && line.contains(&column);
            let lines = finished.stdout.iter().filter(shows);
            ensure!(lines.count() == 1, "{request} in {:#?}", finished.stdout);
        }
    }
    ensure!(
        finished.stdout.iter().all(|line| !line.contains('\u{1b}')),
        "colours in {:#?}",
        finished.stdout
    );
    Ok(())
}

/// `spanwire run | head -1`: it ends when it has more to write and nobody reads, and it ends well.
fn a_closed_standard_output_is_an_end() -> Result<()> {
    let (_server, address) = server()?;
    let pipe = "set -o pipefail; \"$0\" \"$@\" | head -1";
    for form in ["tree", "otlp-json"] {
        let options = Options::bare(["run", "--output", form]).port(address.port());
        let agent = Agent::start(&options.through(["bash", "-c", pipe]))?;
        for _ in 0..5 {
            call(address)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        let finished = agent.finish()?;
        ensure!(finished.status == 0, "{form}: {}", finished.message());
        ensure!(finished.stdout.len() == 1, "{form}: {:?}", finished.stdout);
        let summary = finished.summary.as_ref();
        ensure!(
            summary.is_some_and(|summary| summary.value("spans.built") > 0),
            "{form}: {}",
            finished.message()
        );
        ensure!(
            !finished.message().contains("panicked"),
            "{form}: {}",
            finished.message()
        );
    }
    Ok(())
}

/// Everything is watched here, the test's own receiver as well, and nothing but one exchange of this test's happens.
/// Were its own exports spans, each would make the next.
fn exports_make_no_spans() -> Result<()> {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let (_server, address) = server()?;
        let session = Session::exporting(protocol, Options::run(Hooks::Syscall))?;
        call(address)?;
        session.settle(6);
        std::thread::sleep(Duration::from_secs(2));
        let agent = session.agent.pid();
        let seen = session.finish(6)?;
        seen.well_formed()?;
        let own = |span: &&Span| span.path() == "/v1/traces" || span.resource["process.pid"] == agent;
        let found: Vec<&Span> = seen.spans.iter().filter(own).collect();
        let found: Vec<_> = found.iter().map(|span| (span.kind, &span.attributes)).collect();
        ensure!(found.is_empty(), "{found:?}");
        let called = seen.spans.iter().filter(|span| span.path().starts_with("/out/"));
        ensure!(called.count() == 6, "{} spans", seen.spans.len());
    }
    Ok(())
}

/// sd_notify(3): one datagram.
fn systemd_is_told_that_it_is_ready() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_nonblocking(true)?;
    let options = Options::run(Hooks::Syscall).environment("NOTIFY_SOCKET", path.to_string_lossy());
    let agent = Agent::start(&options)?;
    let mut message = [0; 64];
    let length = wait::until("READY=1", || Ok(socket.recv(&mut message).ok()))?;
    ensure!(message[..length].starts_with(b"READY=1"), "{message:?}");
    ensure!(agent.stop()?.status == 0);
    Ok(())
}

/// Silent unless it is asked for, and then at that level.
fn the_kernel_half_says_what_it_does_when_asked() -> Result<()> {
    let (_server, address) = server()?;
    let said = |level: &str| {
        let options = Options::run(Hooks::Syscall).port(address.port());
        let agent = Agent::start(&options.flag("--kernel-log").flag(level))?;
        call(address)?;
        let finished = agent.stop()?;
        ensure!(finished.status == 0, "{}", finished.message());
        Ok(finished.message())
    };
    let (claimed, message) = ("protocol 1 from position 0", "message at position 0");
    let off = said("off")?;
    ensure!(!off.contains(claimed), "{off}");
    let info = said("info")?;
    ensure!(info.contains(claimed) && !info.contains(message), "{info}");
    let debug = said("debug")?;
    ensure!(debug.contains(claimed) && debug.contains(message), "{debug}");
    Ok(())
}

fn without_exporter_nothing_is_sent() -> Result<()> {
    for (key, value) in [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")] {
        let (_server, address) = server()?;
        let options = Options::run(Hooks::Syscall)
            .port(address.port())
            .environment(key, value);
        let session = Session::start(options)?;
        call(address)?;
        // There is nothing to wait for: what is exported late would come with the end.
        let finished = session.agent.stop()?;
        ensure!(finished.status == 0, "{}", finished.message());
        ensure!(session.receiver.requests() == 0, "{key}={value}");
    }
    Ok(())
}
