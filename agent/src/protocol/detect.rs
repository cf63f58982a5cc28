//! Which protocol a direction's first bytes belong to, and which one a connection speaks that was joined late.

use super::postgres::{Frames, Opening};
use super::{Flow, Protocol};

/// What the first bytes of one direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Too few bytes to tell.
    NeedMore,
    /// This protocol; which way the direction goes.
    Is(Protocol, Flow),
    /// Certainly none that is read.
    None(Foreign),
}

/// What it is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// A TLS record of the handshake, or an alert (RFC 8446, section 5.1).
    Tls,
    /// Nothing that is known here.
    Other,
}

/// What a piece says of a connection that was joined late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing.
    None,
    /// With it a connection begins, or all that matters on it: this protocol, from its first byte on.
    Opening(Protocol, Flow),
    /// A message begins, or a frame: this protocol, in its middle.
    Sure(Protocol, Flow),
    /// The same, but for a coincidence: one of the other direction has to say so too.
    Weak(Protocol, Flow),
}

/// How well bytes match one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    No,
    /// So far, but too few to be certain.
    SoFar,
    Yes,
}

/// As much of a method is looked at; registered ones have at most 17 bytes.
const METHOD: usize = 32;
/// Longest request target that is waited for.
const TARGET: usize = 64 << 10;

/// Tells from `data`, the first bytes of a direction, what it carries.
///
/// It answers as soon as it is certain, and an answer once given stays the same however many bytes are added.
#[must_use]
pub fn detect(data: &[u8]) -> Detection {
    // Empty lines before a request are ignored (RFC 9112, section 2.2).
    let blank = data
        .iter()
        .take(METHOD)
        .take_while(|byte| matches!(**byte, b'\r' | b'\n'))
        .count();
    let matches = [
        (pattern(data, TLS), Detection::None(Foreign::Tls)),
        // The client's preface (RFC 9113, section 3.4).
        (
            pattern(data, HTTP2_PREFACE),
            Detection::Is(Protocol::Http2, Flow::Request),
        ),
        (
            pattern(data, HTTP2_SETTINGS),
            Detection::Is(Protocol::Http2, Flow::Response),
        ),
        (
            pattern(data, STATUS_LINE),
            Detection::Is(Protocol::Http1, Flow::Response),
        ),
        (
            request_line(&data[blank..]),
            Detection::Is(Protocol::Http1, Flow::Request),
        ),
        (postgres(data), Detection::Is(Protocol::Postgres, Flow::Request)),
        (amqp(data), Detection::Is(Protocol::Amqp, Flow::Request)),
    ];
    if let Some((_, detection)) = matches.iter().find(|(how, _)| *how == Match::Yes) {
        *detection
    } else if matches.iter().any(|(how, _)| *how == Match::SoFar) {
        Detection::NeedMore
    } else {
        Detection::None(Foreign::Other)
    }
}

/// Tells from `piece`, sent in one go on a connection that was joined late, what that carries.
#[must_use]
pub fn sign(piece: &[u8]) -> Sign {
    match detect(piece) {
        Detection::Is(protocol @ Protocol::Http1, flow) => return Sign::Sure(protocol, flow),
        Detection::Is(Protocol::Postgres, _) if !super::postgres::is_opening(piece) => {}
        Detection::Is(protocol, Flow::Request) => return Sign::Opening(protocol, Flow::Request),
        // A server's first SETTINGS are mostly zeroes.
        Detection::Is(_, Flow::Response) | Detection::NeedMore | Detection::None(_) => {}
    }
    if let Some(flow) = super::http2::recognise(piece) {
        return Sign::Sure(Protocol::Http2, flow);
    }
    if let Some(flow) = super::amqp::frames(piece) {
        return Sign::Sure(Protocol::Amqp, flow);
    }
    match super::postgres::recognise(piece) {
        Some(Frames { flow, certain: true }) => Sign::Sure(Protocol::Postgres, flow),
        Some(Frames { flow, certain: false }) => Sign::Weak(Protocol::Postgres, flow),
        None => Sign::None,
    }
}

/// Handshake (22) or alert (21), version 3.0 to 3.4, and a record length of at most 2^14 + 256.
const TLS: &[fn(u8) -> bool] = &[
    |it| matches!(it, 21 | 22),
    |it| it == 3,
    |it| it <= 4,
    |it| it <= 0x41,
];

const HTTP2_PREFACE: &[fn(u8) -> bool] = &[
    |it| it == b'P',
    |it| it == b'R',
    |it| it == b'I',
    |it| it == b' ',
    |it| it == b'*',
    |it| it == b' ',
    |it| it == b'H',
    |it| it == b'T',
    |it| it == b'T',
    |it| it == b'P',
    |it| it == b'/',
    |it| it == b'2',
];

/// What a server begins with, which need not wait for the client (RFC 9113, section 3.4): SETTINGS of less than 43
/// parameters on stream 0.
const HTTP2_SETTINGS: &[fn(u8) -> bool] = &[
    |it| it == 0,
    |it| it == 0,
    |it| it % 6 == 0,
    |it| it == 4,
    |it| it == 0,
    |it| it == 0,
    |it| it == 0,
    |it| it == 0,
    |it| it == 0,
];

const VERSION: &[fn(u8) -> bool] = &[
    |it| it == b'H',
    |it| it == b'T',
    |it| it == b'T',
    |it| it == b'P',
    |it| it == b'/',
    |it| it == b'1',
    |it| it == b'.',
    |it| it.is_ascii_digit(),
    |it| matches!(it, b'\r' | b'\n'),
];

const STATUS_LINE: &[fn(u8) -> bool] = &[
    VERSION[0],
    VERSION[1],
    VERSION[2],
    VERSION[3],
    VERSION[4],
    VERSION[5],
    VERSION[6],
    VERSION[7],
    |it| it == b' ',
    |it| matches!(it, b'1'..=b'9'),
    |it| it.is_ascii_digit(),
    |it| it.is_ascii_digit(),
    |it| matches!(it, b' ' | b'\r' | b'\n'),
];

/// Matches `data`'s beginning byte by byte.
fn pattern(data: &[u8], pattern: &[fn(u8) -> bool]) -> Match {
    if !data.iter().zip(pattern).all(|(byte, matches)| matches(*byte)) {
        Match::No
    } else if data.len() < pattern.len() {
        Match::SoFar
    } else {
        Match::Yes
    }
}

/// A packet that opens a connection.
fn postgres(data: &[u8]) -> Match {
    match super::postgres::opening(data) {
        Opening::NeedMore => Match::SoFar,
        Opening::Client => Match::Yes,
        Opening::Other => Match::No,
    }
}

/// A client's protocol header.
fn amqp(data: &[u8]) -> Match {
    match super::amqp::opening(data) {
        super::amqp::Opening::NeedMore => Match::SoFar,
        super::amqp::Opening::Client => Match::Yes,
        super::amqp::Opening::Other => Match::No,
    }
}

/// `method SP request-target SP HTTP-version CRLF`
fn request_line(line: &[u8]) -> Match {
    use super::http1::{is_target, is_token};
    let method = line
        .iter()
        .take(METHOD + 1)
        .take_while(|byte| is_token(**byte))
        .count();
    match line.get(method) {
        None if method <= METHOD => return Match::SoFar,
        Some(b' ') if (1..=METHOD).contains(&method) => {}
        _ => return Match::No,
    }
    let rest = &line[method + 1..];
    let target = rest
        .iter()
        .take(TARGET + 1)
        .take_while(|byte| is_target(**byte))
        .count();
    match rest.get(target) {
        None if target <= TARGET => Match::SoFar,
        Some(b' ') if (1..=TARGET).contains(&target) => pattern(&rest[target + 1..], VERSION),
        _ => Match::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Detects at every prefix length: `NeedMore` below `certain` bytes, `expect` from there on.
    fn check(input: &[u8], certain: usize, expect: Detection) {
        for length in 0..=input.len() {
            let expect = if length < certain {
                Detection::NeedMore
            } else {
                expect
            };
            assert_eq!(
                detect(&input[..length]),
                expect,
                "{}",
                input[..length].escape_ascii()
            );
        }
    }

    #[test]
    fn requests() {
        check(
            b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            15,
            Detection::Is(Protocol::Http1, Flow::Request),
        );
        check(
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            19,
            Detection::Is(Protocol::Http1, Flow::Request),
        );
        check(
            b"PROPFIND http://h/\xff HTTP/1.0\nA",
            29,
            Detection::Is(Protocol::Http1, Flow::Request),
        );
        check(
            b"CONNECT h:443 HTTP/1.1\r\n\r\n\x16\x03",
            23,
            Detection::Is(Protocol::Http1, Flow::Request),
        );
        check(
            b"OPTIONS * HTTP/1.1\r\n",
            19,
            Detection::Is(Protocol::Http1, Flow::Request),
        );
        check(
            b"HTTP / HTTP/1.1\r\n",
            16,
            Detection::Is(Protocol::Http1, Flow::Request),
        );
    }

    #[test]
    fn responses() {
        check(
            b"HTTP/1.1 200 OK\r\n\r\n",
            13,
            Detection::Is(Protocol::Http1, Flow::Response),
        );
        check(
            b"HTTP/1.0 404\n",
            13,
            Detection::Is(Protocol::Http1, Flow::Response),
        );
    }

    #[test]
    fn postgres_clients() {
        check(
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            8,
            Detection::Is(Protocol::Postgres, Flow::Request),
        );
        check(
            b"\0\0\0\x11\0\x03\0\0user\0me\0\0",
            13,
            Detection::Is(Protocol::Postgres, Flow::Request),
        );
    }

    #[test]
    fn amqp_clients() {
        check(
            b"AMQP\0\0\x09\x01\x01",
            8,
            Detection::Is(Protocol::Amqp, Flow::Request),
        );
        check(b"AMQP\0\x01\0\0", 6, Detection::None(Foreign::Other));
    }

    #[test]
    fn others() {
        let other = Detection::None(Foreign::Other);
        check(b"\x16\x03\x01\x02\x00\x01", 4, Detection::None(Foreign::Tls));
        check(b"\x16\x03\x09\x02\x00\x01", 3, other);
        check(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            12,
            Detection::Is(Protocol::Http2, Flow::Request),
        );
        check(b"*1\r\n$4\r\nPING\r\n", 3, other);
        check(b"PING\r\n", 5, other);
        check(b"SSH-2.0-OpenSSH_9.6\r\n", 20, other);
        check(b"\0\0\0\x08\x04\xd2\x16\x31", 8, other);
        check(b"GET /\r\n", 6, other);
        check(b"GET  / HTTP/1.1\r\n", 5, other);
        check(b"GET / HTTP/1.1 \r\n", 15, other);
        check(b"HTTP/1.1 099 X\r\n", 10, other);
        check(b"HTTP/2 200\r\n", 6, other);
        check(&[b'A'; 100], METHOD + 1, other);
        let long = [b"GET ".as_slice(), &[b'a'; TARGET + 1]].concat();
        assert_eq!(detect(&long[..long.len() - 1]), Detection::NeedMore);
        assert_eq!(detect(&long), other);
    }
}
