//! Conversations whose every byte is known: as a capture file, and over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};

use crate::capture::{self, Packet};
use crate::wait;

/// What a client sends, and what is answered to all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The client's bytes.
    pub request: Vec<u8>,
    /// The server's.
    pub response: Vec<u8>,
}

impl Round {
    /// A round of these bytes.
    #[must_use]
    pub fn new(request: impl Into<Vec<u8>>, response: impl Into<Vec<u8>>) -> Self {
        Self {
            request: request.into(),
            response: response.into(),
        }
    }
}

/// One connection.
pub type Talk = Vec<Round>;

/// Longest payload of a packet, in bytes.
const SEGMENT: usize = 16_384;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;

const SYN: u8 = 2;
const ACK: u8 = 16;

/// A capture file of `talks`, one after the other, with a server at port 8080.
#[must_use]
pub fn pcap(talks: &[Talk]) -> Vec<u8> {
    let mut packets = Vec::new();
    for (number, talk) in (20_000_u16..).zip(talks) {
        let mut sides = Sides {
            ports: [number, 8080],
            sent: [1, 1],
            packets: &mut packets,
        };
        sides.segment(0, SYN, &[]);
        sides.segment(1, SYN | ACK, &[]);
        sides.segment(0, ACK, &[]);
        for round in talk {
            for (from, bytes) in [(0, &round.request), (1, &round.response)] {
                bytes
                    .chunks(SEGMENT)
                    .for_each(|bytes| sides.segment(from, ACK, bytes));
            }
        }
    }
    capture::pcap(ETHERNET, &packets)
}

/// The two ends of a connection: their ports, and how many bytes each has sent.
struct Sides<'p> {
    ports: [u16; 2],
    sent: [u32; 2],
    packets: &'p mut Vec<Packet>,
}

impl Sides<'_> {
    fn segment(&mut self, from: usize, flags: u8, bytes: &[u8]) {
        let to = 1 - from;
        let mut frame = vec![0; 12];
        frame.extend([8, 0]);
        let length = u16::try_from(40 + bytes.len()).expect("a segment");
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        for end in [from, to] {
            frame.extend([10, 0, 0, 1 + end as u8]);
        }
        for end in [from, to] {
            frame.extend(self.ports[end].to_be_bytes());
        }
        frame.extend(self.sent[from].to_be_bytes());
        frame.extend(self.sent[to].to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(bytes);
        self.sent[from] += bytes.len() as u32 + u32::from(flags & SYN != 0);
        let number = self.packets.len() as u32;
        // A packet each 10 us.
        let time = [1_700_000_000 + number / 100_000, number % 100_000 * 10];
        self.packets.push(Packet { time, data: frame });
    }
}

/// Talks over loopback, each on a connection of its own, to whoever listens there for it.
///
/// # Errors
/// A socket fails, or a round is not over in time.
pub fn converse(listener: &TcpListener, address: SocketAddr, talks: &[Talk]) -> Result<()> {
    for talk in talks {
        let mut client = TcpStream::connect(address)?;
        let (mut server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(wait::LIMIT))?;
            end.set_nodelay(true)?;
        }
        for round in talk {
            pass(&mut client, &mut server, &round.request).context("a request")?;
            pass(&mut server, &mut client, &round.response).context("a response")?;
        }
    }
    Ok(())
}

/// Sends `bytes`, and has them read in as large pieces as they come.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let mut buffer = [0; SEGMENT];
    for piece in bytes.chunks(SEGMENT) {
        from.write_all(piece)?;
        let mut left = piece.len();
        while left > 0 {
            let read = to.read(&mut buffer[..left.min(SEGMENT)])?;
            anyhow::ensure!(read > 0, "the connection ended");
            left -= read;
        }
    }
    Ok(())
}

/// HTTP/1.1.
pub mod http1 {
    use super::Round;

    /// A request with `method`, `target` and lines of fields, answered with 200 and more lines.
    #[must_use]
    pub fn round(method: &str, target: &str, fields: &str, answer: &str) -> Round {
        let request = format!("{method} {target} HTTP/1.1\r\n{fields}\r\n");
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{answer}\r\nok");
        Round::new(request, response)
    }
}

/// HTTP/2 with literal fields that are never indexed.
pub mod http2 {
    use super::{Round, Talk};

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// RFC 7541, section 5.2, without Huffman.
    fn text(text: &str) -> Vec<u8> {
        let mut bytes = match text.len() {
            length @ 0..127 => vec![length as u8],
            length => {
                let (mut rest, mut bytes) = (length - 127, vec![127]);
                while rest >= 128 {
                    bytes.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                bytes.push(rest as u8);
                bytes
            }
        };
        bytes.extend(text.as_bytes());
        bytes
    }

    fn head(fields: &[(&str, &str)], flags: u8, stream: u32) -> Vec<u8> {
        let block = fields
            .iter()
            .flat_map(|(name, value)| [vec![0x10], text(name), text(value)].concat());
        frame(HEADERS, END_HEADERS | flags, stream, &block.collect::<Vec<_>>())
    }

    /// Calls of gRPC, each of a path and with a message of its status.
    #[must_use]
    pub fn calls(calls: &[(String, String)]) -> Talk {
        let mut talk = vec![Round::new(
            [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(SETTINGS, 0, 0, &[]),
            ]
            .concat(),
            frame(SETTINGS, 0, 0, &[]),
        )];
        for (stream, (path, message)) in (1..).step_by(2).zip(calls) {
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "e.com"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ];
            let asked = [head(&fields, 0, stream), frame(DATA, END_STREAM, stream, &[0; 5])].concat();
            let answer = head(
                &[(":status", "200"), ("content-type", "application/grpc")],
                0,
                stream,
            );
            let trailers = head(
                &[("grpc-status", "5"), ("grpc-message", message)],
                END_STREAM,
                stream,
            );
            talk.push(Round::new(asked, [answer, trailers].concat()));
        }
        talk
    }

    /// Requests of a target each.
    #[must_use]
    pub fn requests(targets: &[String]) -> Talk {
        let mut talk = calls(&[]);
        for (stream, target) in (1..).step_by(2).zip(targets) {
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", target),
                (":authority", "e.com"),
            ];
            let asked = head(&fields, END_STREAM, stream);
            talk.push(Round::new(asked, head(&[(":status", "200")], END_STREAM, stream)));
        }
        talk
    }
}

/// PostgreSQL's protocol, version 3.
pub mod postgres {
    use super::Round;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    fn ready() -> Vec<u8> {
        message(b'Z', b"I")
    }

    /// A session of `database`.
    #[must_use]
    pub fn startup(database: &str) -> Round {
        let body = [
            &[0, 3, 0, 0],
            &b"user\0app\0database\0"[..],
            database.as_bytes(),
            b"\0\0",
        ]
        .concat();
        let length = (body.len() as u32 + 4).to_be_bytes();
        let authenticated = message(b'R', &[0; 4]);
        Round::new([&length[..], &body].concat(), [authenticated, ready()].concat())
    }

    /// A simple query that returns nothing.
    #[must_use]
    pub fn query(text: &str) -> Round {
        let asked = message(b'Q', &[text.as_bytes(), b"\0"].concat());
        Round::new(asked, [message(b'C', b"SELECT 0\0"), ready()].concat())
    }

    /// A statement that is prepared under `name`, and executed.
    #[must_use]
    pub fn prepared(name: &str) -> Round {
        let name = name.as_bytes();
        let asked = [
            message(b'P', &[name, b"\0SELECT a FROM t\0\0\0"].concat()),
            message(b'B', &[b"\0", name, b"\0\0\0\0\0\0\0"].concat()),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        let answered = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'C', b"SELECT 0\0"),
            ready(),
        ];
        Round::new(asked.concat(), answered.concat())
    }
}

/// AMQP 0-9-1.
pub mod amqp {
    use super::Round;

    const METHOD: u8 = 1;
    const HEADER: u8 = 2;

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&[kind], &channel.to_be_bytes()[..], &length, payload, &[0xce]].concat()
    }

    fn short(text: &str) -> Vec<u8> {
        [
            &[u8::try_from(text.len()).expect("a short string")],
            text.as_bytes(),
        ]
        .concat()
    }

    /// Opens a connection, and channel 1.
    #[must_use]
    pub fn opening() -> [Round; 2] {
        let start = [
            &[0, 10, 0, 10, 0, 9],
            &[0; 4][..],
            b"\0\0\0\x05PLAIN\0\0\0\x05en_US",
        ]
        .concat();
        let open = frame(METHOD, 1, &[0, 20, 0, 10, 0]);
        let opened = frame(METHOD, 1, &[0, 20, 0, 11, 0, 0, 0, 0]);
        [
            Round::new(b"AMQP\0\0\x09\x01", frame(METHOD, 0, &start)),
            Round::new(open, opened),
        ]
    }

    /// Publishes an empty message.
    #[must_use]
    pub fn publish(exchange: &str, key: &str, header: &str, id: &str) -> Round {
        let method = [&[0, 60, 0, 40, 0, 0][..], &short(exchange), &short(key), &[0]].concat();
        let value = [&(header.len() as u32).to_be_bytes()[..], header.as_bytes()].concat();
        let table = [short("x-any"), vec![b'S'], value].concat();
        let length = (table.len() as u32).to_be_bytes();
        // Headers, correlation-id and message-id.
        let flags = 1_u16 << 13 | 1 << 10 | 1 << 7;
        let properties = [&flags.to_be_bytes()[..], &length, &table, &short(id), &short(id)].concat();
        let content = [&[0, 60, 0, 0][..], &[0; 8], &properties].concat();
        Round::new(
            [frame(METHOD, 1, &method), frame(HEADER, 1, &content)].concat(),
            [],
        )
    }
}
