//! What the kernel half hands on of recorded sessions says the same as all of their bytes.
//!
//! The walker of `agent-ebpf/src/framed.rs` is done again here, over what both have in common: the answers of
//! `spanwire_ebpf::frame`.

mod head;

use head::head;
use spanwire::connection::Close;
use spanwire::connection::piece::Piece;
use spanwire::protocol::{Connection, Exchange, Flow, Outcome, Protocol};
use spanwire_ebpf::frame::{self, Frame, mark, postgres};
use std::fs;
use std::path::Path;

/// One direction, as the kernel half keeps it.
struct Half {
    opened: bool,
    /// Bytes of a frame's beginning that wait for more.
    carried: Vec<u8>,
    /// Bytes left of the frame, and how many of them are copied.
    left: usize,
    copy: usize,
    /// What was stepped over since the last piece: bytes, and rows.
    wire: u64,
    rows: u64,
    ends: bool,
    row: bool,
}

impl Half {
    fn new(flow: Flow) -> Self {
        Self {
            opened: flow == Flow::Response,
            carried: Vec::new(),
            left: 0,
            copy: 0,
            wire: 0,
            rows: 0,
            ends: false,
            row: false,
        }
    }
}

/// A connection, as the kernel half hands it on.
struct View {
    number: u8,
    connection: Connection<()>,
    halves: [Half; 2],
    asked: bool,
    exchanges: u64,
    out: Vec<Outcome<()>>,
}

impl View {
    fn new(protocol: Protocol) -> Self {
        Self {
            number: 1 + protocol as u8,
            connection: Connection::marked(protocol),
            halves: [Flow::Request, Flow::Response].map(Half::new),
            asked: false,
            exchanges: 0,
            out: Vec::new(),
        }
    }

    /// Hands on bytes, in which an exchange may begin.
    fn put(&mut self, flow: Flow, data: &[u8], starts: bool, exchange: bool) {
        if data.is_empty() {
            return;
        }
        self.elide(flow);
        let starts = starts.then_some(self.exchanges - u64::from(exchange));
        self.connection
            .read(flow, (), Piece::Bytes { data, starts }, &mut self.out);
    }

    fn elide(&mut self, flow: Flow) {
        let half = &mut self.halves[flow as usize];
        let (wire, content) = (std::mem::take(&mut half.wire), std::mem::take(&mut half.rows));
        if wire > 0 {
            let last = true;
            self.connection
                .read(flow, (), Piece::Elided { wire, content, last }, &mut self.out);
        }
    }

    fn operation(&mut self, flow: Flow, chunk: &[u8]) {
        let mut data = std::mem::take(&mut self.halves[flow as usize].carried);
        data.extend_from_slice(chunk);
        let (mut at, mut from, mut starts, mut exchange) = (0, 0, false, false);
        while at < data.len() {
            let half = &mut self.halves[flow as usize];
            if half.left == 0 {
                let head = head(&data[at..]);
                let frame = if !half.opened {
                    half.opened = !postgres::asks_for_encryption(head);
                    self.asked = !half.opened;
                    frame::opening(self.number, head)
                } else if flow == Flow::Response && self.asked {
                    self.asked = false;
                    Frame::new(1, 1, 0)
                } else {
                    if data.len() - at < frame::header(self.number) as usize {
                        half.carried = data[at..].to_vec();
                        break;
                    }
                    frame::of(self.number, head, flow == Flow::Request)
                };
                assert!(frame.length > 0, "no frame: {}", data[at..].escape_ascii());
                half.left = frame.length as usize;
                half.copy = frame.copy as usize;
                half.ends = frame.marks & mark::ENDS != 0 && frame.copy < frame.length;
                half.row = frame.marks & mark::ROW != 0;
                let begins = frame.marks & mark::EXCHANGE != 0;
                if begins && (exchange || !starts) {
                    self.put(flow, &data[from..at], starts, exchange);
                    from = at;
                }
                if from == at {
                    starts = true;
                    exchange = false;
                }
                exchange |= begins;
                self.exchanges += u64::from(begins);
            }
            let half = &mut self.halves[flow as usize];
            let copied = half.copy.min(data.len() - at);
            half.copy -= copied;
            half.left -= copied;
            at += copied;
            if half.copy > 0 || half.left == 0 {
                continue;
            }
            let skipped = half.left.min(data.len() - at);
            self.put(flow, &data[from..at], starts, exchange);
            at += skipped;
            (from, starts, exchange) = (at, false, false);
            let half = &mut self.halves[flow as usize];
            half.left -= skipped;
            half.wire += skipped as u64;
            if half.left == 0 {
                half.rows += u64::from(half.row);
                if half.ends {
                    self.elide(flow);
                }
            }
        }
        self.put(flow, &data[from..at], starts, exchange);
    }
}

fn exchanges(out: Vec<Outcome<()>>) -> Vec<Exchange<()>> {
    let mut exchanges: Vec<_> = out
        .into_iter()
        .filter_map(|outcome| match outcome {
            Outcome::Exchange(exchange) => Some(exchange),
            Outcome::Lost(_) => None,
        })
        .collect();
    exchanges.sort_by_key(Exchange::number);
    for exchange in &mut exchanges {
        // The kernel half counts messages of both directions as one.
        if let Exchange::Amqp(exchange) = exchange {
            exchange.ordinal = 0;
        }
    }
    exchanges.sort_by_key(Exchange::number);
    exchanges
}

/// A recording: `>` or `<` for who speaks, the length in 32 bits, the bytes.
fn chunks(mut recording: &[u8]) -> Vec<(Flow, &[u8])> {
    let mut chunks = Vec::new();
    while let Some((&[mark, ref length @ ..], rest)) = recording.split_first_chunk::<5>() {
        let (data, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let flow = if mark == b'>' {
            Flow::Request
        } else {
            Flow::Response
        };
        chunks.push((flow, data));
        recording = rest;
    }
    chunks
}

fn check(folder: &str, protocol: Protocol, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/protocol")
        .join(folder);
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_recording = path.extension().is_none_or(|extension| extension == "bin");
        // What begins as HTTP/1.1 is not walked as frames.
        if !is_recording || path.ends_with("curl-upgrade.bin") {
            continue;
        }
        let recording = fs::read(&path).unwrap();
        let chunks = chunks(&recording);
        let (mut whole, mut out) = (Connection::new(protocol), Vec::new());
        let mut view = View::new(protocol);
        for (flow, data) in &chunks {
            whole.read(*flow, (), Piece::Bytes { data, starts: None }, &mut out);
            for part in data.chunks(1000) {
                view.operation(*flow, part);
            }
        }
        whole.close((), Close::Closed, &mut out);
        view.connection.close((), Close::Closed, &mut view.out);
        let (expect, told) = (exchanges(out), exchanges(view.out));
        seen += told.len();
        assert_eq!(told.len(), expect.len(), "{}", path.display());
        for (told, expect) in told.iter().zip(&expect) {
            assert_eq!(told, expect, "{}", path.display());
        }
    }
    assert!(seen >= least, "{seen}");
}

#[test]
fn http2() {
    check("http2/sessions", Protocol::Http2, 300);
}

#[test]
fn postgres() {
    check("postgres/golden/recorded", Protocol::Postgres, 200);
}

#[test]
fn amqp() {
    check("amqp/golden/recorded", Protocol::Amqp, 140);
}
