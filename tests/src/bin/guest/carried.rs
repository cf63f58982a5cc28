//! What goes on with a request beside its context: through a service that asks another one for each request, over both ends of the
//! limits.

use crate::agent::Agent;
use crate::http::{Writes, read_body, read_head, read_response, write};
use crate::workload::{Server, connect};
use anyhow::{Context as _, Result, ensure};
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::{env, fs, thread};

/// Where spanwire is told to carry it on.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] = [
    ("SPANWIRE_PROPAGATE_BAGGAGE", "true"),
    ("SPANWIRE_CORRELATION", "x-request-id"),
];

/// What each request continues.
const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Requests of each kind.
const EACH: usize = 5;

const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8021);

/// Asks a service whose program is called `name`, and compares what comes behind it.
pub(crate) fn through(agent: &Agent, name: &str) -> Result<()> {
    let is_refused = agent
        .said
        .iter()
        .any(|line| line.contains("neither baggage nor ids are carried on"));
    println!(
        "     baggage: {}",
        if is_refused { "refused" } else { "carried on" }
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let target = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The service says what it got instead of an answer.
            let _ = tell(&stream);
        }
    });
    let program = format!("/tmp/{name}");
    fs::copy(env::current_exe()?, &program)?;
    let service =
        Server::spawn(Command::new(program).args(["pass", &SERVICE.to_string(), &target.to_string()]))?;
    let members = |count: usize| {
        let members = (0..count).map(|number| format!("k{number:04}={}", "v".repeat(121)));
        members.collect::<Vec<_>>().join(",")
    };
    for _ in 0..EACH {
        for (field, baggage, id) in [
            ("x-none: 1".to_owned(), None, None),
            ("baggage: a=1,b=2".to_owned(), Some("a=1,b=2".to_owned()), None),
            (format!("baggage: {}", members(64)), Some(members(64)), None),
            (format!("baggage: {}", members(99)), Some(members(64)), None),
            ("x-request-id: 7".to_owned(), None, Some("7")),
        ] {
            let lines = ask(&field)?;
            let told = || {
                let shown = lines.iter().map(|line| &line[..line.len().min(100)]);
                format!(
                    "{} became {:?}",
                    &field[..field.len().min(40)],
                    shown.collect::<Vec<_>>()
                )
            };
            let values = |name: &str| {
                let named = lines.iter().filter_map(|line| line.split_once(": "));
                let named = named.filter(|(field, _)| field.eq_ignore_ascii_case(name));
                named.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
            };
            ensure!(values("traceparent").len() == 1, "{}", told());
            if is_refused {
                let is_carried = |name| !values(name).is_empty();
                ensure!(
                    !is_carried("baggage") && !is_carried("x-request-id"),
                    "{}",
                    told()
                );
                continue;
            }
            ensure!(values("baggage") == Vec::from_iter(baggage), "{}", told());
            let ids = values("x-request-id");
            let is_right = |value: &String| id.map_or(value.len() == 32, |id| value == id);
            ensure!(ids.len() == 1 && ids.iter().all(is_right), "{}", told());
        }
    }
    service.stop()
}

/// Asks with this header line, and a context: where nobody was told of a trace that begins here, nobody is told what it goes on
/// with. The header lines that came to whom the service asks.
fn ask(field: &str) -> Result<Vec<String>> {
    let mut stream = BufReader::new(connect(SERVICE)?);
    let request =
        format!("GET /carried HTTP/1.1\r\nHost: guest.test\r\ntraceparent: {CONTEXT}\r\n{field}\r\n\r\n");
    write(stream.get_mut(), request.as_bytes(), Writes::Whole)?;
    let (status, body) = read_response(&mut stream)?;
    ensure!(status == 200, "{status}");
    Ok(String::from_utf8(body)?.lines().map(str::to_owned).collect())
}

/// `guest pass ADDRESS TARGET`: for each request, asks TARGET with a body, and answers what it answers.
pub(crate) fn pass(address: &str, target: &str) -> Result<()> {
    let target: SocketAddr = target.parse()?;
    // spanwire reads who this is when it hears of its start.
    thread::sleep(std::time::Duration::from_secs(3));
    for stream in TcpListener::bind(address)?.incoming() {
        let mut stream = BufReader::new(stream?);
        // Of who only tries whether anybody listens there is none.
        if read_head(&mut stream)?.is_none() {
            continue;
        }
        let mut asked = BufReader::new(connect(target)?);
        let body = body();
        let head = format!(
            "POST /passed HTTP/1.1\r\nHost: guest.test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.into_bytes(), body].concat();
        write(asked.get_mut(), &request, Writes::Whole)?;
        let (_, answer) = read_response(&mut asked)?;
        respond(stream.get_mut(), &answer)?;
    }
    Ok(())
}

/// Answers with the header lines of a request, if its body is as it was sent.
fn tell(stream: &TcpStream) -> Result<()> {
    let mut from = BufReader::new(stream);
    let head = read_head(&mut from)?.context("no request")?;
    let is_whole = read_body(&mut from, &head)? == body();
    let lines = if is_whole {
        head.join("\n")
    } else {
        "another body".to_owned()
    };
    respond(stream, lines.as_bytes())
}

fn respond(mut stream: impl std::io::Write, body: &[u8]) -> Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    Ok(())
}

/// No two parts of it are the same.
fn body() -> Vec<u8> {
    (0..4000).flat_map(|number: u32| number.to_le_bytes()).collect()
}
