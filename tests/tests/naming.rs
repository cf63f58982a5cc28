//! Routes, dropped requests, and what comes along with a request, in live traffic.

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::port;
use spanwire_tests::session::Session;
use spanwire_tests::span::Kind;
use spanwire_tests::wire::{self, Round, http1};

const SETTINGS: &str = "
http: {captured_request_headers: [x-correlation-id]}
baggage: {attributes: [tenant, access_token]}
routes:
  learn: true
  templates:
    - {paths: ['/files/**']}
spans:
  rename:
    - {pattern: '^GET /legacy/(.*)', name: 'legacy $1'}
  drop:
    - {user_agents: ['kube-probe/*']}
    - {paths: [/quiet]}
";

fn get(path: &str, fields: &str, status: u16) -> Round {
    let mut round = http1::round("GET", path, &format!("host: e.com\r\n{fields}"), "");
    round.response = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n").into();
    round
}

#[test]
fn servers_spans_are_named_after_routes_and_some_are_dropped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("spanwire.yaml");
    std::fs::write(&settings, SETTINGS)?;
    let (listener, address) = port::listener()?;
    let options = Options::run(Hooks::Socket)
        .flag("--config")
        .flag(&settings)
        .port(address.port());
    let session = Session::start(options.environment("SPANWIRE_LEARN_ROUTES", "true"))?;
    let talk = [
        ("/orders/12?a=b", "", 200, "GET /orders/{id}", "/orders/{id}"),
        (
            "/orders/13/items/7f9c2ba4",
            "",
            500,
            "GET /orders/{id}/items/{id}",
            "/orders/{id}/items/{id}",
        ),
        ("/not/there", "", 404, "GET", ""),
        ("/files/a/b", "", 404, "GET /files/**", "/files/**"),
        ("/legacy/cgi", "", 200, "legacy cgi", "/legacy/cgi"),
        (
            "/orders/14",
            "baggage: tenant=a%20b;p=1, other=x, access_token=abc\r\nx-correlation-id: 7f9c\r\n",
            200,
            "GET /orders/{id}",
            "/orders/{id}",
        ),
    ];
    let probes = [("/", "user-agent: kube-probe/1.29\r\n"), ("/quiet?x=1", "")];
    let mut rounds: Vec<_> = talk
        .iter()
        .map(|(path, fields, status, ..)| get(path, fields, *status))
        .collect();
    rounds.extend(probes.map(|(path, fields)| get(path, fields, 200)));
    wire::converse(&listener, address, &[rounds])?;
    let seen = session.finish(2 * talk.len())?;
    let servers = seen.spans.iter().filter(|span| span.kind == Kind::Server);
    let mut servers: Vec<_> = servers.collect();
    servers.sort_by_key(|span| span.start);
    let told: Vec<_> = servers
        .iter()
        .map(|span| (&*span.name, span.text("http.route").unwrap_or_default()))
        .collect();
    let expect: Vec<_> = talk.iter().map(|(.., name, route)| (*name, *route)).collect();
    ensure!(told == expect, "{told:?}");
    ensure!(seen.spans.len() == 2 * talk.len(), "{} spans", seen.spans.len());
    let dropped = seen.summary.value("spans.dropped");
    ensure!(dropped == 4, "{dropped} dropped");
    for span in seen.spans.iter().filter(|span| span.text("tenant").is_some()) {
        ensure!(
            span.text("tenant") == Some("a b") && span.text("access_token") == Some("REDACTED"),
            "{span:?}"
        );
        ensure!(span.text("other").is_none(), "{span:?}");
        ensure!(
            span.attributes["http.request.header.x-correlation-id"] == serde_json::json!(["7f9c"]),
            "{span:?}"
        );
    }
    ensure!(
        seen.spans
            .iter()
            .filter(|span| span.text("tenant").is_some())
            .count()
            == 2,
        "both ends"
    );
    // Of a client, nobody knows which of the server's routes it asks for.
    let clients = seen.spans.iter().filter(|span| span.kind == Kind::Client);
    ensure!(
        clients
            .clone()
            .all(|span| span.name == "GET" && span.text("http.route").is_none())
    );
    Ok(())
}
