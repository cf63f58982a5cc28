//! What begins like HTTP/1 and is none makes no span of it, and is counted with the reason.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::http::{self, Server};
use spanwire_tests::port;
use spanwire_tests::session::Session;

spanwire_tests::under_both_hook_sets!(http2_by_prior_knowledge, nearly_http);

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
