//! What HTTP/1.1 allows on a connection, byte by byte, between a client and a server that the test writes itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::bulk::pattern;
use spanwire_tests::cases;
use spanwire_tests::expect::{Expected, both};
use spanwire_tests::http::{self, Connection, Server};
use spanwire_tests::port;
use spanwire_tests::service::node;
use spanwire_tests::session::Session;

spanwire_tests::under_both_hook_sets!(
    all_on_their_own_ports,
    websocket,
    heads_over_the_limit,
    a_stream_of_events
);

fn all_on_their_own_ports(hooks: Hooks) -> Result<()> {
    cases::exactly(
        hooks,
        spanwire_tests::cases![
            pipelined_and_answered_one_by_one,
            pipelined_and_answered_in_one_write,
            chunked_both_ways,
            without_content,
            interim_responses,
            tunnel,
            content_to_the_end_of_the_connection,
            fifty_mebibytes_both_ways,
            content_that_waits_for_its_receiver,
            heads_inside_of_content,
            all_forms_of_targets,
        ],
    )
}

/// A server of the test and a connection to it.
struct Bench {
    address: SocketAddr,
    host: String,
    client: Connection<TcpStream>,
    _server: Server,
}

fn bench(
    listener: TcpListener,
    serve: impl Fn(Connection<TcpStream>) + Send + Sync + 'static,
) -> Result<Bench> {
    let address = listener.local_addr()?;
    let server = Server::tcp(listener, serve)?;
    Ok(Bench {
        address,
        host: address.to_string(),
        client: http::connect(address)?,
        _server: server,
    })
}

/// A listener and a spanwire that watches it.
fn watched(hooks: Hooks) -> Result<(Session, TcpListener)> {
    let (listener, address) = port::listener()?;
    Ok((
        Session::start(Options::run(hooks).port(address.port()))?,
        listener,
    ))
}

/// Answers with as many bytes as the path's last segment says.
fn counted(request: &http::Message) -> Option<Vec<u8>> {
    let size = request.target().rsplit('/').next()?.parse().ok()?;
    Some(http::response(200, &pattern(1, size)))
}

/// Ten requests whose answers all differ in length, in one write.
fn pipeline(bench: &mut Bench, name: &str) -> Result<Vec<Expected>> {
    let requests: String = (1..=10)
        .map(|id| http::request("GET", &format!("/{name}/{}", id * 7), &bench.host, 0))
        .collect();
    bench.client.send(requests)?;
    let mut expected = Vec::new();
    for id in 1..=10 {
        ensure!(bench.client.response("GET")?.body.len() == id * 7);
        expected.extend(both(
            "GET",
            &format!("/{name}/{}", id * 7),
            bench.address,
            |span| span.body(id as u64 * 7),
        ));
    }
    Ok(expected)
}

fn pipelined_and_answered_one_by_one(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, |connection| http::serve(connection, counted))?;
    pipeline(&mut bench, "one-by-one")
}

fn pipelined_and_answered_in_one_write(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, |mut connection| {
        let mut answers = Vec::new();
        while let Ok(Some(request)) = connection.read_request() {
            answers.extend(counted(&request).unwrap_or_default());
            if request.target().ends_with("/70") && connection.send(&answers).is_err() {
                return;
            }
        }
    })?;
    pipeline(&mut bench, "in-one-write")
}

fn chunked_both_ways(listener: TcpListener) -> Result<Vec<Expected>> {
    const CHUNKS: &str =
        "5;name=value\r\nhello\r\nA;x=\"y;z\"\r\n0123456789\r\n0\r\nX-Checksum: 7\r\nX-Other: 8\r\n\r\n";
    let mut bench = bench(listener, |connection| {
        http::serve(connection, |request| {
            let size = request.body.len();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n";
            (size == 15).then(|| format!("{head}{CHUNKS}").into_bytes())
        });
    })?;
    let mut expected = Vec::new();
    for id in 1..=3 {
        let target = format!("/chunked/{id}");
        let head = format!(
            "PUT {target} HTTP/1.1\r\nhost: {}\r\nTRANSFER-ENCODING: chunked\r\n\r\n",
            bench.host
        );
        let message = format!("{head}{CHUNKS}");
        // Cut in other places each time: in the head, in a chunk's size, in a chunk.
        for part in message.as_bytes().chunks(17 * id) {
            bench.client.send(part)?;
        }
        let answer = bench.client.response("PUT")?;
        ensure!(answer.text() == "hello0123456789");
        expected.extend(both("PUT", &target, bench.address, |span| {
            span.request_body(15).body(15)
        }));
    }
    Ok(expected)
}

/// Responses that never have content, whatever their Content-Length says; the next one must not be taken for it.
fn without_content(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, |connection| {
        http::serve(connection, |request| {
            let status = request.target().rsplit('/').next()?;
            Some(format!("HTTP/1.1 {status} X\r\nContent-Length: 1000\r\n\r\n").into_bytes())
        });
    })?;
    let mut expected = Vec::new();
    for (method, status) in [
        ("HEAD", 200),
        ("GET", 304),
        ("HEAD", 404),
        ("GET", 304),
        ("HEAD", 500),
    ] {
        let target = format!("/empty/{status}");
        let answer = bench.client.call(method, &target, &bench.host, &[])?;
        ensure!(answer.status() == status, "{answer:?}");
        expected.extend(both(method, &target, bench.address, |span| {
            span.status(status).bodiless()
        }));
    }
    Ok(expected)
}

fn interim_responses(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, |mut connection| {
        while let Ok(Some(head)) = connection.head() {
            let length = head.header("content-length").and_then(|text| text.parse().ok());
            let mut body = Vec::new();
            let early = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
            let served = connection
                .send("HTTP/1.1 100 Continue\r\n\r\n")
                .and_then(|()| connection.exactly(length.unwrap_or(0), &mut body))
                .and_then(|()| connection.send(early))
                .and_then(|()| connection.send(http::response(201, b"made")));
            if served.is_err() {
                return;
            }
        }
    })?;
    let mut expected = Vec::new();
    for id in 1..=2 {
        let target = format!("/interim/{id}");
        bench.client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n",
            bench.host
        ))?;
        let go_on = bench.client.head()?.context("100")?;
        ensure!(go_on.status() == 100);
        bench.client.send("abcdef")?;
        ensure!(bench.client.response("POST")?.status() == 201);
        expected.extend(both("POST", &target, bench.address, |span| {
            span.status(201).request_body(6).body(4)
        }));
    }
    Ok(expected)
}

/// A line that would be a request, were it one.
const NOT_A_REQUEST: &str = "GET /not-a-request HTTP/1.1\r\nHost: nowhere\r\n\r\n";

fn websocket(hooks: Hooks) -> Result<()> {
    let server = node::serve()?;
    let address = server.address;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let mut client = http::connect(address)?;
    let plain = client.call("GET", "/before?length=3", &address.to_string(), &[])?;
    ensure!(plain.status() == 200);
    client.send(format!(
        "GET /socket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ))?;
    let upgraded = client.response("GET")?;
    ensure!(upgraded.status() == 101, "{upgraded:?}");
    for message in [NOT_A_REQUEST, "\u{81}\u{5}hello", NOT_A_REQUEST] {
        client.send(message)?;
        let mut echo = Vec::new();
        client.exactly(message.len(), &mut echo)?;
        ensure!(echo == message.as_bytes());
    }
    let mut expected = both("GET", "/before?length=3", address, |span| span.body(3)).to_vec();
    expected.extend(both("GET", "/socket", address, |span| {
        span.status(101).bodiless()
    }));
    session.finish(expected.len())?.exactly(&expected)
}

/// A proxy that is asked for a tunnel: what goes through it is not its own HTTP any more.
fn tunnel(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, |mut connection| {
        let Ok(Some(_)) = connection.head() else { return };
        if connection
            .send("HTTP/1.1 200 Connection established\r\n\r\n")
            .is_err()
        {
            return;
        }
        let mut inside = Vec::new();
        if connection.exactly(NOT_A_REQUEST.len(), &mut inside).is_ok() {
            let _ = connection.send(inside);
            connection.drain();
        }
    })?;
    bench
        .client
        .request("CONNECT", "db.test:5432", "db.test:5432", &[])?;
    ensure!(bench.client.head()?.context("200")?.status() == 200);
    bench.client.send(NOT_A_REQUEST)?;
    let mut echo = Vec::new();
    bench.client.exactly(NOT_A_REQUEST.len(), &mut echo)?;
    let expected = both("CONNECT", "db.test:5432", bench.address, |span| {
        span.is("server.address", "db.test")
            .is("server.port", 5432)
            .bodiless()
    });
    Ok(expected.to_vec())
}

fn content_to_the_end_of_the_connection(listener: TcpListener) -> Result<Vec<Expected>> {
    let bench = bench(listener, |mut connection| {
        if connection.head().is_ok_and(|head| head.is_some()) {
            // Several writes, so that the end is not that of one.
            let sent = connection.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n");
            let parts = (0..20).try_for_each(|seed| connection.send(pattern(seed, 1000)));
            let _ = sent.and(parts);
        }
    })?;
    let mut expected = Vec::new();
    for version in ["1.0", "1.1"] {
        let mut client = http::connect(bench.address)?;
        let target = format!("/close/{version}");
        client.send(format!(
            "GET {target} HTTP/{version}\r\nHost: {}\r\n\r\n",
            bench.host
        ))?;
        ensure!(client.response("GET")?.body.len() == 20_000);
        expected.extend(both("GET", &target, bench.address, |span| {
            span.body(20_000).is("network.protocol.version", version)
        }));
    }
    Ok(expected)
}

fn fifty_mebibytes_both_ways(listener: TcpListener) -> Result<Vec<Expected>> {
    const SIZE: usize = 50 << 20;
    let mut bench = bench(listener, |connection| {
        http::serve(connection, |request| {
            let same = request.body == pattern(50, SIZE);
            same.then(|| http::response(200, &request.body))
        });
    })?;
    let body = pattern(50, SIZE);
    let answer = bench.client.call("PUT", "/large", &bench.host, &body)?;
    ensure!(answer.body == body, "other bytes came back");
    let mut expected = both("PUT", "/large", bench.address, |span| {
        span.request_body(SIZE as u64).body(SIZE as u64)
    })
    .to_vec();
    // The connection goes on behind all that.
    let answer = bench.client.call("PUT", "/large/again", &bench.host, &body)?;
    ensure!(answer.body == body, "other bytes came back");
    expected.extend(both("PUT", "/large/again", bench.address, |span| {
        span.request_body(SIZE as u64).body(SIZE as u64)
    }));
    Ok(expected)
}

/// More than sockets hold, in one write: its record is there long after that of the server, which has the head at once.
fn content_that_waits_for_its_receiver(listener: TcpListener) -> Result<Vec<Expected>> {
    const SIZE: usize = 32 << 20;
    const WAITS: Duration = Duration::from_millis(500);
    let mut bench = bench(listener, |mut connection| {
        let mut body = Vec::new();
        if matches!(connection.head(), Ok(Some(_))) {
            thread::sleep(WAITS);
            let is_whole = connection.exactly(SIZE, &mut body).is_ok() && body == pattern(32, SIZE);
            let _ = connection.send(http::response(if is_whole { 200 } else { 400 }, b"read"));
        }
    })?;
    let answer = bench
        .client
        .call("PUT", "/slow", &bench.host, &pattern(32, SIZE))?;
    ensure!(answer.status() == 200, "{answer:?}");
    Ok(both("PUT", "/slow", bench.address, |span| {
        span.request_body(SIZE as u64).body(4)
    })
    .to_vec())
}

/// Content that begins a write, and looks like a head in every way but its place.
fn heads_inside_of_content(listener: TcpListener) -> Result<Vec<Expected>> {
    const NOT_A_RESPONSE: &str = "HTTP/1.1 500 Not a response\r\nContent-Length: 0\r\n\r\n";
    let mut bench = bench(listener, |mut connection| {
        while let Ok(Some(_)) = connection.read_request() {
            let length = 3 * NOT_A_RESPONSE.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let parts = [&head, NOT_A_RESPONSE, NOT_A_RESPONSE, NOT_A_RESPONSE];
            if parts.iter().any(|part| connection.send(part).is_err()) {
                return;
            }
        }
    })?;
    let mut expected = Vec::new();
    for id in 1..=3 {
        let target = format!("/inside/{id}");
        let length = 2 * NOT_A_REQUEST.len();
        bench
            .client
            .send(http::request("POST", &target, &bench.host, length))?;
        bench.client.send(NOT_A_REQUEST)?;
        bench.client.send(NOT_A_REQUEST)?;
        let answer = bench.client.response("POST")?;
        expected.extend(both("POST", &target, bench.address, |span| {
            span.request_body(length as u64).body(answer.body.len() as u64)
        }));
    }
    Ok(expected)
}

fn all_forms_of_targets(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, |connection| {
        http::serve(connection, |_| Some(http::response(200, b"")));
    })?;
    let (address, host) = (bench.address, bench.host.clone());
    let mut expected = Vec::new();
    for (method, target) in [
        ("OPTIONS", "*"),
        ("DELETE", "/a/b;c=d/%7Ee?x=1&y=%20"),
        ("PATCH", "//double//slash"),
    ] {
        bench.client.call(method, target, &host, &[])?;
        expected.extend(both(method, target, address, |span| span));
    }
    bench.client.call("BREW", "/pot", &host, &[])?;
    expected.extend(both("BREW", "/pot", address, Expected::unknown_method));

    bench
        .client
        .call("GET", "http://shop.test:8080/absolute?q=1", &host, &[])?;
    expected.extend(both("GET", "/absolute?q=1", address, |span| {
        span.is("server.address", "shop.test").is("server.port", 8080)
    }));
    let url = "http://shop.test:8080/absolute?q=1";
    let client = expected.pop().context("the client's span")?.is("url.full", url);
    expected.push(client);

    // Names in any case, blanks around values, a field folded over two lines.
    let agent = "User-agent:   odd/1.0 \r\nx-folded: one\r\n two\r\n";
    bench.client.send(format!(
        "GET /fields HTTP/1.1\r\nHOST:{host}\r\n{agent}Content-length: 0\r\n\r\n"
    ))?;
    bench.client.response("GET")?;
    expected.extend(both("GET", "/fields", address, |span| {
        span.is("user_agent.original", "odd/1.0").request_body(0)
    }));
    Ok(expected)
}

/// Heads of 60 KiB are read whole; of one of 100 KiB what is in front of the limit is kept, and the cut is told and
/// counted.
fn heads_over_the_limit(hooks: Hooks) -> Result<()> {
    let (session, listener) = watched(hooks)?;
    let mut bench = bench(listener, |connection| {
        http::serve(connection, |request| {
            let padding = "p".repeat(request.target().rsplit('/').next()?.parse().ok()?);
            let head = format!("HTTP/1.1 200 OK\r\nX-Padding: {padding}\r\nContent-Length: 2\r\n\r\n");
            Some(format!("{head}ok").into_bytes())
        });
    })?;
    let mut expected = Vec::new();
    for (target, size) in [
        ("/request/60/10", 60 << 10),
        ("/request/100/10", 100 << 10),
        ("/response/10/60000", 10),
        ("/response/10/100000", 10),
        ("/after/10/10", 10),
    ] {
        let padding = "p".repeat(size);
        let message = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nX-Padding: {padding}\r\nUser-Agent: last/1\r\n\r\n",
            bench.host
        );
        bench.client.send(message)?;
        ensure!(bench.client.response("GET")?.text() == "ok");
        expected.extend(both("GET", target, bench.address, |span| {
            let whole = |span: Expected| span.is("user_agent.original", "last/1");
            match target {
                "/request/100/10" => span.body(2).is("spanwire.request.head.truncated", true),
                "/response/10/100000" => whole(span).body(2).is("spanwire.response.head.truncated", true),
                _ => whole(span).body(2),
            }
        }));
    }
    let seen = session.finish(expected.len())?;
    seen.spans_are(&expected)?;
    let losses = seen.summary.losses();
    ensure!(losses == ["cut.heads 4", "kernel.cut.heads 4"], "{losses:?}");
    Ok(())
}

/// The span ends with the stream; its first byte is an event at its own time.
fn a_stream_of_events(hooks: Hooks) -> Result<()> {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let (session, listener) = watched(hooks)?;
    let mut bench = bench(listener, move |mut connection| {
        let Ok(Some(_)) = connection.read_request() else {
            return;
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let begun = connection.send(format!("{head}9\r\ndata: 1\n\n\r\n"));
        let waited = released.lock().is_ok_and(|released| released.recv().is_ok());
        if begun.is_ok() && waited {
            let _ = connection.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n");
            connection.drain();
        }
    })?;
    bench.client.request("GET", "/events", &bench.host, &[])?;
    bench.client.head()?.context("a response")?;
    let mut first = Vec::new();
    bench.client.exactly(14, &mut first)?;
    let middle = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    release.send(())?;
    bench.client.exactly(19, &mut first)?;
    let expected = both("GET", "/events", bench.address, |span| span.body(18));
    let seen = session.finish(expected.len())?;
    seen.exactly(&expected)?;
    for span in &seen.spans {
        let first_byte = span.events[0].1;
        ensure!(
            first_byte < middle && middle < span.end,
            "{first_byte} {middle} {span:?}"
        );
    }
    Ok(())
}
