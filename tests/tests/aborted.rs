//! Exchanges that do not end as they should: each still has its spans, and these say how it ended.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, Result};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::cases;
use spanwire_tests::expect::Expected;
use spanwire_tests::http::{self, Connection, Server, Stream};
use spanwire_tests::session::Session;
use spanwire_tests::{port, wait};

spanwire_tests::under_both_hook_sets!(broken_off_by_either_side, spanwire_stops_before_the_response);

fn broken_off_by_either_side(hooks: Hooks) -> Result<()> {
    cases::exactly(
        hooks,
        spanwire_tests::cases![
            client_closes_before_the_response,
            client_resets_before_the_response,
            server_closes_before_the_response,
            server_resets_before_the_response,
            server_closes_in_the_middle_of_the_response,
            client_resets_in_the_middle_of_the_response,
            client_closes_in_the_middle_of_its_request,
        ],
    )
}

/// How a side that broke the connection off itself may call it.
const OWN_DOING: &[&str] = &["connection_closed", "connection_reset"];

/// Makes the next close send a reset.
fn reset(stream: &TcpStream) -> Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(
        stream,
        Some(Duration::ZERO),
    )?)
}

/// A server that hands each request's connection to the test and does nothing more.
struct Bench {
    address: SocketAddr,
    client: Connection<TcpStream>,
    accepted: Receiver<Connection<TcpStream>>,
    _server: Server,
}

fn bench(listener: TcpListener, target: &str, length: usize) -> Result<Bench> {
    let address = listener.local_addr()?;
    let (hand_over, accepted): (Sender<Connection<TcpStream>>, _) = mpsc::channel();
    let server = Server::tcp(listener, move |mut connection| {
        if connection.head().is_ok_and(|head| head.is_some()) {
            let _ = hand_over.send(connection);
        }
    })?;
    let mut client = http::connect(address)?;
    client.send(http::request("POST", target, &address.to_string(), length))?;
    Ok(Bench {
        address,
        client,
        accepted,
        _server: server,
    })
}

impl Bench {
    /// The server's end, once it has read the request's head.
    fn served(&self) -> Result<Connection<TcpStream>> {
        Ok(self.accepted.recv_timeout(wait::LIMIT)?)
    }

    fn ends(&self, target: &str) -> [Expected; 2] {
        [Expected::server, Expected::client].map(|end| end("POST", target, self.address))
    }
}

fn client_closes_before_the_response(listener: TcpListener) -> Result<Vec<Expected>> {
    let bench = bench(listener, "/left", 0)?;
    let mut served = bench.served()?;
    let [server, client] = bench.ends("/left");
    bench.client.socket().close(Shutdown::Both)?;
    drop(bench.client);
    served.drain();
    drop(served);
    Ok(vec![
        server.unanswered("connection_closed"),
        client.unanswered("connection_closed"),
    ])
}

fn client_resets_before_the_response(listener: TcpListener) -> Result<Vec<Expected>> {
    let bench = bench(listener, "/reset", 0)?;
    let mut served = bench.served()?;
    let [server, client] = bench.ends("/reset");
    reset(bench.client.socket())?;
    drop(bench.client);
    served.drain();
    drop(served);
    Ok(vec![
        server.unanswered("connection_reset"),
        client.unanswered("connection_closed").error_one_of(OWN_DOING),
    ])
}

fn server_closes_before_the_response(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, "/refused", 0)?;
    let [server, client] = bench.ends("/refused");
    drop(bench.served()?);
    bench.client.drain();
    drop(bench.client);
    Ok(vec![
        server.unanswered("connection_closed"),
        client.unanswered("connection_closed"),
    ])
}

fn server_resets_before_the_response(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, "/crashed", 0)?;
    let [server, client] = bench.ends("/crashed");
    let served = bench.served()?;
    reset(served.socket())?;
    drop(served);
    bench.client.drain();
    drop(bench.client);
    Ok(vec![
        server.unanswered("connection_closed").error_one_of(OWN_DOING),
        client.unanswered("connection_reset"),
    ])
}

fn server_closes_in_the_middle_of_the_response(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, "/half", 0)?;
    let [server, client] = bench.ends("/half");
    let mut served = bench.served()?;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")?;
    drop(served);
    bench.client.drain();
    drop(bench.client);
    Ok(vec![
        server.broken_off("connection_closed"),
        client.broken_off("connection_closed"),
    ])
}

fn client_resets_in_the_middle_of_the_response(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, "/enough", 0)?;
    let [server, client] = bench.ends("/enough");
    let mut served = bench.served()?;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n0123456789")?;
    bench.client.head()?.context("a response")?;
    reset(bench.client.socket())?;
    drop(bench.client);
    served.drain();
    drop(served);
    Ok(vec![
        server.broken_off("connection_reset"),
        client.broken_off("connection_closed").error_one_of(OWN_DOING),
    ])
}

fn client_closes_in_the_middle_of_its_request(listener: TcpListener) -> Result<Vec<Expected>> {
    let mut bench = bench(listener, "/upload", 1000)?;
    let [server, client] = bench.ends("/upload");
    let mut served = bench.served()?;
    bench.client.send("0123456789")?;
    drop(bench.client);
    served.drain();
    drop(served);
    Ok(vec![
        server.unanswered("connection_closed"),
        client.unanswered("connection_closed"),
    ])
}

fn spanwire_stops_before_the_response(hooks: Hooks) -> Result<()> {
    let (listener, address) = port::listener()?;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let bench = bench(listener, "/pending", 0)?;
    let mut served = bench.served()?;
    let ends = bench.ends("/pending");
    let seen = session.finish(0)?;
    seen.exactly(&ends.map(|span| span.unanswered("spanwire_stopped")))?;
    // The exchange itself goes on as if nothing had been.
    served.send(http::response(200, b"late"))?;
    let mut client = bench.client;
    let answer = client.response("POST")?;
    anyhow::ensure!(answer.text() == "late");
    Ok(())
}
