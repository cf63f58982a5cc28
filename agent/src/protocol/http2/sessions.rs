//! Sessions of real peers, recorded between them, against what the client says it did.
//!
//! Each `.bin` is a row of chunks in the order in which a proxy saw them: `>` of the client or `<` of the server, the
//! length in 32 bits, the bytes. Each `.txt` was written by the client, a line an exchange:
//!
//! - `node-0`, `node-64k`: Node 20 on both sides, with header tables of 256 and 0, 16384 and 65536 bytes; 1xx and
//!   trailers; tens of streams at once. `node-nginx`: nginx 1.22. Stream, method, path, status, bytes each way.
//! - `grpcio`: Python's grpcio 1.85 on both sides; all four kinds of call, failures, a deadline, a cancellation.
//!   Method, status, messages each way (`-`: nothing came), message of a failure.
//! - `grpc-go`: grpc-go 1.76 on both sides, 200 calls at once. The same, `x` for what the client cannot see.
//! - `curl-upgrade`: curl 7.88 upgrades from HTTP/1.1, and goes on; Go's h2c. Method, URL, status, bytes.

use super::*;
use crate::connection::piece::Piece;
use crate::protocol::http1;

struct Session {
    bytes: &'static [u8],
    notes: &'static str,
}

macro_rules! session {
    ($name:literal) => {
        Session {
            bytes: include_bytes!(concat!("sessions/", $name, ".bin")),
            notes: include_str!(concat!("sessions/", $name, ".txt")),
        }
    };
}

impl Session {
    fn chunks(&self) -> Vec<(Flow, &'static [u8])> {
        let (mut rest, mut chunks) = (self.bytes, Vec::new());
        while let Some(([mark, length @ ..], behind)) = rest.split_first_chunk::<5>() {
            let (data, next) = behind.split_at(u32::from_be_bytes(*length) as usize);
            let flow = if *mark == b'>' {
                Flow::Request
            } else {
                Flow::Response
            };
            chunks.push((flow, data));
            rest = next;
        }
        chunks
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<_> = self.notes.lines().map(str::to_owned).collect();
        notes.sort();
        notes
    }
}

/// Reads chunks, each in pieces of `size` bytes.
fn read(late: bool, chunks: &[(Flow, &[u8])], size: usize) -> Vec<Outcome<usize>> {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    if late {
        for flow in [Flow::Request, Flow::Response] {
            connection.read(flow, 0, Piece::Gap { length: 0 }, &mut out);
        }
    }
    for (stamp, (flow, chunk)) in (1..).zip(chunks) {
        for data in chunk.chunks(size) {
            connection.read(*flow, stamp, Piece::Bytes { data, starts: None }, &mut out);
        }
    }
    connection.close(usize::MAX, Close::Closed, &mut out);
    out
}

fn exchanges(out: &[Outcome<usize>]) -> Vec<&Exchange<usize>> {
    out.iter()
        .filter_map(|outcome| match outcome {
            Outcome::Exchange(exchange) => Some(&**exchange),
            Outcome::Lost(_) => None,
        })
        .collect()
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("?".to_owned(), |bytes| bytes.escape_ascii().to_string())
}

/// An exchange as Node's client notes it.
fn note(exchange: &Exchange<usize>) -> String {
    let Exchange {
        stream,
        request,
        response,
        ..
    } = exchange;
    let response = response.as_ref().expect("a response");
    format!(
        "{stream} {} {} {} {} {}",
        text(request.head.method()),
        text(request.head.path()),
        response
            .head
            .status()
            .map_or("?".to_owned(), |status| status.to_string()),
        request.body.unwrap_or(0),
        response.body.unwrap_or(0)
    )
}

#[test]
fn node_and_nginx() {
    for session in [session!("node-0"), session!("node-64k"), session!("node-nginx")] {
        for size in [1, 7, 1460, usize::MAX] {
            let out = read(false, &session.chunks(), size);
            let mut notes: Vec<_> = exchanges(&out).into_iter().map(note).collect();
            notes.sort();
            assert_eq!(notes, session.notes());
            assert_eq!(out.len(), notes.len());
        }
    }
}

#[test]
fn what_node_says_besides() {
    let session = session!("node-64k");
    let out = read(false, &session.chunks(), usize::MAX);
    for exchange in exchanges(&out) {
        let path = exchange.request.head.path().expect("a path");
        let response = exchange.response.as_ref().expect("a response");
        assert_eq!(exchange.request.head.field("user-agent"), Some(&b"node"[..]));
        assert_eq!(response.head.field("x-id"), Some(path));
        let has_trailers = path.escape_ascii().to_string().contains("trailers");
        let trailer = response
            .trailers
            .as_ref()
            .and_then(|trailers| trailers.field("x-trailer"));
        assert_eq!(trailer, has_trailers.then_some(path));
    }
}

/// A call as the client notes it.
fn call(exchange: &Exchange<usize>) -> String {
    let call = Call::of(exchange).expect("a call");
    let count = |messages: Option<Messages>| messages.map_or("-".to_owned(), |it| it.count.to_string());
    let status = call.status.and_then(StatusCode::name).unwrap_or("?");
    let (method, message) = (call.method.unwrap_or_default(), call.message.unwrap_or_default());
    let (requests, responses) = (count(call.requests), count(call.responses));
    format!("/{method} {status} {requests} {responses} {message}")
        .trim_end()
        .to_owned()
}

#[test]
fn grpcio() {
    let session = session!("grpcio");
    // What the client calls so, it says with CANCEL: when that was has to be compared with the timeout.
    let notes: Vec<_> = session
        .notes()
        .iter()
        .map(|note| note.replace("DEADLINE_EXCEEDED", "CANCELLED"))
        .collect();
    for size in [1, 7, 1460, usize::MAX] {
        let out = read(false, &session.chunks(), size);
        let mut calls: Vec<_> = exchanges(&out).into_iter().map(call).collect();
        calls.sort();
        assert_eq!(calls, notes);
        assert_eq!(out.len(), calls.len());
    }
    let out = read(false, &session.chunks(), usize::MAX);
    let calls: Vec<_> = exchanges(&out).into_iter().filter_map(Call::of).collect();
    let compressed = |call: &Call| call.requests.map_or(0, |messages| messages.compressed);
    assert_eq!(calls.iter().map(compressed).sum::<u64>(), 3);
    assert_eq!(calls.iter().filter(|call| call.timeout.is_some()).count(), 13);
}

#[test]
fn grpc_go() {
    let session = session!("grpc-go");
    for size in [1, 1460, usize::MAX] {
        let out = read(false, &session.chunks(), size);
        let mut calls: Vec<_> = exchanges(&out)
            .into_iter()
            .map(|exchange| {
                let (call, complete) = (call(exchange), exchange.ending == Ending::Complete);
                let mut words = call.split(' ').take(4).collect::<Vec<_>>();
                if !complete && words[0].ends_with("Say") {
                    // The deadline, as above.
                    words[1] = "DEADLINE_EXCEEDED";
                }
                if words[1] != "OK" && words[1] != "CANCELLED" {
                    words[3] = "x";
                }
                words.join(" ")
            })
            .collect();
        calls.sort();
        assert_eq!(calls, session.notes());
        assert_eq!(out.len(), calls.len());
    }
}

#[test]
fn curl_upgrades() {
    let session = session!("curl-upgrade");
    for size in [1, 7, usize::MAX] {
        let mut first = http1::Connection::new(http1::Limits::default());
        let (mut second, mut asked, mut out) = (None, Vec::new(), Vec::new());
        for (stamp, (flow, chunk)) in (1..).zip(session.chunks()) {
            for data in chunk.chunks(size) {
                let piece = Piece::Bytes { data, starts: None };
                let Some(second) = &mut second else {
                    first.read(flow, stamp, piece, &mut asked);
                    if let Some(http1::Outcome::Exchange(exchange)) = asked.pop() {
                        let upgraded =
                            Connection::upgraded(Limits::default(), &mut first, exchange, &mut out);
                        second = Some(upgraded.expect("an upgrade"));
                    }
                    continue;
                };
                second.read(flow, stamp, piece, &mut out);
            }
        }
        let mut second = second.expect("an upgrade");
        second.close(usize::MAX, Close::Closed, &mut out);
        let told = exchanges(&out).into_iter().map(|exchange| {
            let response = exchange.response.as_ref().expect("a response");
            let field = |name| text(exchange.request.head.field(name));
            format!(
                "{} {}://{}{} {} {} 2",
                field(":method"),
                field(":scheme"),
                field(":authority"),
                field(":path"),
                response.head.status().unwrap_or(0),
                response.body.unwrap_or(0)
            )
        });
        assert_eq!(told.collect::<Vec<_>>(), session.notes());
        assert_eq!(
            exchanges(&out)[0].request.head.field("user-agent"),
            Some(&b"curl/7.88.1"[..])
        );
        assert_eq!(out.len(), 3);
    }
}

#[test]
fn joined_late_all_that_follows_is_told_and_nothing_wrong() {
    for session in [
        session!("node-0"),
        session!("node-64k"),
        session!("node-nginx"),
        session!("grpcio"),
        session!("grpc-go"),
    ] {
        let chunks = session.chunks();
        let whole = read(false, &chunks, usize::MAX);
        for from in 0..chunks.len() {
            let late = read(true, &chunks[from..], usize::MAX);
            // Whatever began behind, as long as enough follows to prove the frames.
            let began = |it: &&&Exchange<usize>| it.request.first > from && from + 8 < chunks.len();
            let all = exchanges(&whole);
            let expect: Vec<_> = all.iter().filter(began).map(|it| it.stream).collect();
            let told = exchanges(&late);
            for stream in expect {
                assert!(
                    told.iter().any(|it| it.stream == stream),
                    "{stream} of {from}: {late:?}"
                );
            }
            for told in told {
                let same = all.iter().find(|it| it.stream == told.stream).expect("a stream");
                for name in [":method", ":path", "user-agent", "content-type", "grpc-timeout"] {
                    let value = told.request.head.field(name);
                    assert!(
                        value.is_none() || value == same.request.head.field(name),
                        "{told:?}"
                    );
                }
                let [told, same] = [told, same].map(|it| it.response.as_ref());
                if let (Some(told), Some(same)) = (told, same) {
                    assert!(told.head.status().is_none() || told.head.status() == same.head.status());
                    assert!(told.body.is_none() || told.body == same.body, "{told:?}");
                }
            }
        }
    }
}
