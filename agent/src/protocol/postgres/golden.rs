//! Conversations after PostgreSQL's documentation, sections "Message Flow" and "Message Formats".

use super::*;
use crate::connection::piece::Piece;

mod flows;
mod losses;

/// A frame.
pub(super) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

/// A packet without a type.
pub(super) fn packet(body: &[u8]) -> Vec<u8> {
    frame(0, body).split_off(1)
}

pub(super) fn startup() -> Vec<u8> {
    packet(b"\0\x03\0\0user\0me\0database\0shop\0application_name\0psql\0\0")
}

/// AuthenticationOk, two of ParameterStatus, BackendKeyData, ReadyForQuery.
pub(super) fn welcome() -> Vec<u8> {
    [
        frame(b'R', &[0; 4]),
        frame(b'S', b"server_version\x0015.18\0"),
        frame(b'S', b"client_encoding\0UTF8\0"),
        frame(b'K', b"\0\0\0\x01\0\0\0\x02"),
        ready(b'I'),
    ]
    .concat()
}

pub(super) fn query(text: &str) -> Vec<u8> {
    frame(b'Q', format!("{text}\0").as_bytes())
}

pub(super) fn parse(name: &str, text: &str) -> Vec<u8> {
    frame(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

/// Bind, with a parameter that is a secret.
pub(super) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    frame(
        b'B',
        format!("{portal}\0{statement}\0\0\0\0\x01\0\0\0\x06secret\0\0").as_bytes(),
    )
}

pub(super) fn describe(kind: char, name: &str) -> Vec<u8> {
    frame(b'D', format!("{kind}{name}\0").as_bytes())
}

pub(super) fn close(kind: char, name: &str) -> Vec<u8> {
    frame(b'C', format!("{kind}{name}\0").as_bytes())
}

pub(super) fn execute(portal: &str) -> Vec<u8> {
    frame(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

pub(super) fn sync() -> Vec<u8> {
    frame(b'S', b"")
}

/// Each character is a frame without a body.
pub(super) fn bare(tags: &str) -> Vec<u8> {
    tags.bytes().flat_map(|tag| frame(tag, b"")).collect()
}

pub(super) fn columns() -> Vec<u8> {
    frame(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0")
}

pub(super) fn rows(count: usize) -> Vec<u8> {
    frame(b'D', b"\0\x01\0\0\0\x06Z\0\0\0\x05I").repeat(count)
}

pub(super) fn done(tag: &str) -> Vec<u8> {
    frame(b'C', format!("{tag}\0").as_bytes())
}

pub(super) fn ready(status: u8) -> Vec<u8> {
    frame(b'Z', &[status])
}

pub(super) fn error(code: &str) -> Vec<u8> {
    frame(
        b'E',
        format!("SERROR\0VERROR\0C{code}\0Msome message\0\0").as_bytes(),
    )
}

pub(super) fn notice() -> Vec<u8> {
    frame(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0")
}

/// Parse, Bind, Describe, Execute of the unnamed ones.
pub(super) fn unnamed(text: &str) -> Vec<u8> {
    [parse("", text), bind("", ""), describe('P', ""), execute("")].concat()
}

/// One outcome in a line.
pub(super) fn line<S>(outcome: &Outcome<S>) -> String {
    let exchange = match outcome {
        Outcome::Lost(reason) => return format!("{reason:?}"),
        Outcome::Exchange(exchange) => exchange,
    };
    let request = &exchange.request;
    let mut line = match request.protocol {
        Protocol::Simple => "Q".to_owned(),
        Protocol::Extended => "E".to_owned(),
    };
    if let Some(name) = &request.statement {
        line += &format!(" {name}:");
    }
    match &request.text {
        Some(text) => line += &format!(" {}", String::from_utf8_lossy(&text.bytes)),
        None => line += " ?",
    }
    if request.text.as_ref().is_some_and(|text| text.is_cut) {
        line += "...";
    }
    line += " ->";
    match &exchange.response {
        None => line += " nothing",
        Some(response) => {
            if let Some(command) = &response.command {
                line += &format!(" {command}");
            }
            if let Some(rows) = response.returned {
                line += &format!(" returned {rows}");
            }
            if let Some(rows) = response.affected {
                line += &format!(" affected {rows}");
            }
            if let Some(failure) = &response.failure {
                line += &format!(" error {}", failure.code().unwrap_or("?"));
            }
            if response.suspended {
                line += " suspended";
            }
            if let Some(transaction) = response.transaction {
                line += &format!(" {transaction:?}");
            }
        }
    }
    if let Ending::Close(how) = exchange.ending {
        line += &format!(" {how:?}");
    }
    line
}

pub(super) type Conversation = Vec<(Flow, Vec<u8>)>;

/// Turns of client and server, the client's first.
pub(super) fn turns(turns: impl IntoIterator<Item = Vec<u8>>) -> Conversation {
    let flows = [Flow::Request, Flow::Response].into_iter().cycle();
    flows.zip(turns).filter(|(_, data)| !data.is_empty()).collect()
}

/// What comes of pieces.
pub(super) fn read<'a>(pieces: impl IntoIterator<Item = (Flow, Piece<'a>)>) -> Vec<String> {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    for (flow, piece) in pieces {
        connection.read(flow, (), piece, &mut out);
    }
    connection.close((), Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    let text = format!("{out:?}");
    assert!(!text.contains("secret"));
    out.iter().map(line).collect()
}

pub(super) fn bytes(data: &[u8]) -> Piece<'_> {
    Piece::Bytes { data, starts: None }
}

/// Reads `conversation` from its first byte in many ways, which must all come to `expect`.
fn check(conversation: &Conversation, expect: &[&str]) {
    let whole = || conversation.iter().map(|(flow, data)| (*flow, bytes(data)));
    assert_eq!(read(whole()), expect);
    for first in [Flow::Request, Flow::Response] {
        let ahead = whole().filter(|(flow, _)| *flow == first);
        let behind = whole().filter(|(flow, _)| *flow != first);
        assert_eq!(read(ahead.chain(behind)), expect, "{first:?} ahead");
    }
    let single = conversation
        .iter()
        .flat_map(|(flow, data)| data.chunks(1).map(|byte| (*flow, bytes(byte))));
    assert_eq!(read(single), expect, "byte by byte");
    for (turn, (flow, data)) in conversation.iter().enumerate() {
        for at in 1..data.len() {
            let (before, after) = data.split_at(at);
            let mut pieces: Vec<_> = whole().collect();
            pieces.splice(turn..=turn, [(*flow, bytes(before)), (*flow, bytes(after))]);
            assert_eq!(read(pieces), expect, "split at {at} in turn {turn}");
        }
    }
}

/// The same behind an opening.
fn check_session(conversation: impl IntoIterator<Item = Vec<u8>>, expect: &[&str]) {
    check(
        &turns([startup(), welcome()].into_iter().chain(conversation)),
        expect,
    );
}
