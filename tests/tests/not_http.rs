//! What is no HTTP/1 makes no span, and is counted with the reason.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::bulk::pattern;
use spanwire_tests::child::{self, Child};
use spanwire_tests::http::{self, Server};
use spanwire_tests::port;
use spanwire_tests::service::Service;
use spanwire_tests::session::Session;

spanwire_tests::under_both_hook_sets!(tls, redis, http2_by_prior_knowledge, random_bytes, nearly_http);

/// An HTTPS server of openssl's, and the folder with its key.
fn https() -> Result<(Service, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let port = port::free()?;
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "certificate.pem",
        ])
        .current_dir(folder.path())
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut command = child::command("openssl");
    command
        .current_dir(folder.path())
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-key",
            "key.pem",
            "-cert",
            "certificate.pem",
        ])
        .args(["-accept", &format!("127.0.0.1:{port}")]);
    Ok((Service::listening(Child::spawn(command)?, port)?, folder))
}

fn tls(hooks: Hooks) -> Result<()> {
    let (server, _folder) = https()?;
    let address = server.address;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let mut curl = child::command("curl");
    curl.args(["-sSk", &format!("https://{address}/")]);
    Child::spawn(curl)?.succeed()?;
    let seen = session.finish(0)?;
    seen.spans_are(&[])?;
    let value = seen.summary.value("kernel.unclaimed.tls");
    ensure!(value == 2, "both ends are counted once: {:?}", seen.summary);
    Ok(())
}

fn redis(hooks: Hooks) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = port::free()?;
    let mut command = child::command("redis-server");
    command
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .arg(folder.path());
    let server = Service::listening(Child::spawn(command)?, port)?;
    let session = Session::start(Options::run(hooks).port(port))?;
    let mut client = http::connect(server.address)?;
    for (command, answer) in [
        ("*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
        (
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16\r\nGET / HTTP/1.1\r\n\r\n",
            "+OK\r\n",
        ),
        ("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$16\r\nGET / HTTP/1.1\r\n\r\n"),
    ] {
        client.send(command)?;
        let mut bytes = Vec::new();
        client.exactly(answer.len(), &mut bytes)?;
        ensure!(bytes == answer.as_bytes(), "{}", String::from_utf8_lossy(&bytes));
    }
    let seen = session.finish(0)?;
    seen.spans_are(&[])?;
    let value = seen.summary.value("kernel.unclaimed.other");
    ensure!(value == 2, "both ends are counted once: {:?}", seen.summary);
    Ok(())
}

/// Sends each of `messages` on a connection of its own to a server that answers with the same bytes.
fn echoed(hooks: Hooks, messages: &[Vec<u8>]) -> Result<spanwire_tests::seen::Seen> {
    let (listener, address) = port::listener()?;
    let _server = Server::tcp(listener, |mut connection| {
        let mut bytes = Vec::new();
        while connection.exactly(1, &mut bytes).is_ok() {
            if connection.send(&bytes).is_err() {
                return;
            }
            bytes.clear();
        }
    })?;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    for message in messages {
        echo(address, message)?;
    }
    session.finish(0)
}

fn echo(address: SocketAddr, message: &[u8]) -> Result<()> {
    let mut client = http::connect(address)?;
    client.send(message)?;
    let mut bytes = Vec::new();
    client.exactly(message.len(), &mut bytes)?;
    ensure!(bytes == message, "other bytes came back");
    Ok(())
}

fn http2_by_prior_knowledge(hooks: Hooks) -> Result<()> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let seen = echoed(hooks, &[preface.to_vec()])?;
    seen.spans_are(&[])?;
    let value = seen.summary.value("kernel.connections.http2");
    ensure!(value == 2, "both ends are counted once: {:?}", seen.summary);
    Ok(())
}

fn random_bytes(hooks: Hooks) -> Result<()> {
    let messages: Vec<Vec<u8>> = (1..=50)
        .map(|seed| pattern(seed, 1 + (seed as usize * 37) % 2000))
        .collect();
    let seen = echoed(hooks, &messages)?;
    seen.spans_are(&[])?;
    ensure!(seen.summary.not_http() >= 100, "{:?}", seen.summary);
    Ok(())
}

/// Begins as HTTP does, and is none.
fn nearly_http(hooks: Hooks) -> Result<()> {
    let messages = [
        "GET\0/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/3.7\r\nHost: a\r\n\r\n",
        "GET /no-version\r\n\r\n",
        "POST nothing at all, but text that goes on and on and on\r\n",
        "HTTP/1.1 abc Not a status\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        "DELETE FROM users WHERE name = 'x';\n",
        "OPTIONS\n",
    ];
    let messages = messages.map(|message| message.as_bytes().to_vec());
    let seen = echoed(hooks, &messages)?;
    seen.spans_are(&[])?;
    ensure!(
        seen.summary.not_http() >= messages.len() as u64,
        "{:?}",
        seen.summary
    );
    Ok(())
}
