//! The image that `cargo xtask image` makes, named by `SPANWIRE_IMAGE`: nothing is in it but spanwire, and podman with runc runs it
//! as deploy/container says.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::Turn;
use spanwire_tests::dns::NameServer;
use spanwire_tests::podman::Podman;
use spanwire_tests::receiver::Receiver;
use spanwire_tests::service::python;
use spanwire_tests::span::Kind;
use spanwire_tests::{http, wait};

/// Largest that the image may be, in bytes: nearly all of it is one binary, here of a build without optimization of the whole.
const LARGEST: u64 = 48_000_000;

const NAME: &str = "localhost/spanwire:latest";

/// podman with the image.
fn loaded() -> Result<Podman> {
    let podman = Podman::new()?;
    let archive: PathBuf = std::env::var_os("SPANWIRE_IMAGE")
        .context("SPANWIRE_IMAGE: cargo xtask test packages sets it")?
        .into();
    let archive = std::path::absolute(archive)?;
    podman.output(&["load", "--quiet", "--input", &archive.to_string_lossy()])?;
    Ok(podman)
}

/// As the compose file has it.
const AS_COMPOSED: [&str; 5] = [
    "--privileged",
    "--pid=host",
    "--cgroupns=host",
    "--uts=host",
    "--read-only",
];

#[test]
fn the_image_is_small_and_has_no_shell() -> Result<()> {
    let podman = loaded()?;
    let size: u64 = podman
        .output(&["image", "inspect", "--format", "{{.Size}}", NAME])?
        .trim()
        .parse()?;
    println!("{size} bytes");
    ensure!(size < LARGEST, "{size} bytes");
    let mount = podman.output(&["image", "mount", NAME])?;
    let files = Command::new("find")
        .arg(mount.trim())
        .args(["-type", "f", "-printf", "%P\n"])
        .output()?;
    podman.output(&["image", "unmount", "--force", NAME])?;
    let mut files: Vec<_> = std::str::from_utf8(&files.stdout)?.lines().collect();
    files.sort_unstable();
    ensure!(
        files
            == [
                "etc/nsswitch.conf",
                "etc/ssl/certs/ca-certificates.crt",
                "usr/bin/spanwire"
            ],
        "{files:?}"
    );
    Ok(())
}

const HOST: &str = "collector.shop.test";

/// Ready in the image, with an endpoint by `host`, a SERVER span of a request that a service of the host was asked comes there.
fn traced(options: &[&str], host: &str) -> Result<()> {
    let _turn = Turn::take()?;
    let podman = loaded()?;
    let receiver = Receiver::start()?;
    let folder = tempfile::tempdir()?;
    let service = python::files(folder.path())?;
    let endpoint = format!(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://{host}:{}",
        receiver.http.port()
    );
    let port = format!("SPANWIRE_WATCH_PORT={}", service.address.port());
    let mut all = AS_COMPOSED.to_vec();
    all.extend(["--network=host", "--env", &endpoint, "--env", &port]);
    all.extend(options);
    let mut container = podman.run(&all, NAME, &[])?;
    container.error_line("spanwire ready")?;
    http::connect(service.address)?.call("GET", "/asked", &service.address.to_string(), &[])?;
    let span = wait::until("a span", || {
        container.ensure_running()?;
        let spans = receiver.spans()?;
        Ok(spans.into_iter().find(|span| span.kind == Kind::Server))
    })?;
    ensure!(span.path() == "/asked", "{span:#?}");
    ensure!(span.resource["process.pid"] == service.child.pid(), "{span:#?}");
    Ok(())
}

#[test]
fn in_it_spanwire_sees_the_hosts_requests_and_finds_an_endpoint_in_hosts() -> Result<()> {
    // A network of the host's has the host's names; the option makes a file of its own.
    traced(&["--add-host=collector.in.hosts:127.0.0.1"], "collector.in.hosts")
}

#[test]
fn in_it_spanwire_finds_an_endpoint_by_dns() -> Result<()> {
    let names = NameServer::serve(Ipv4Addr::new(127, 53, 53, 53))?;
    names.add(HOST, Ipv4Addr::LOCALHOST);
    let server = names.address.ip().to_string();
    traced(&[&format!("--dns={server}")], HOST)?;
    ensure!(names.asked() > 0, "nobody asked for the name");
    Ok(())
}
