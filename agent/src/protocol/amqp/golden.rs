//! Conversations after the specification and RabbitMQ's documentation.

use super::*;
use crate::connection::piece::Piece;

mod flows;
mod losses;

pub(super) type Conversation = Vec<(Flow, Vec<u8>)>;

pub(super) use super::recognise::PROTOCOL;

/// A frame.
pub(super) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind][..], &channel.to_be_bytes(), &size, payload, b"\xce"].concat()
}

/// A method frame.
pub(super) fn method(channel: u16, class: u16, number: u16, arguments: &[u8]) -> Vec<u8> {
    let payload = [&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat();
    frame(1, channel, &payload)
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn route(to: &str) -> Vec<u8> {
    let (exchange, key) = to.split_once(':').unwrap();
    [short(exchange), short(key)].concat()
}

/// The client's half of a connection's and channel 1's opening, with a password.
pub(super) fn hello() -> Vec<u8> {
    let login = [
        b"\0\0\0\0".as_slice(),
        &short("PLAIN"),
        b"\0\0\0\x07\0u\0pass",
        &short("en_US"),
    ]
    .concat();
    [
        PROTOCOL.to_vec(),
        method(0, 10, 11, &login),
        method(0, 10, 31, b"\x07\xff\0\x02\0\0\0\x3c"),
        method(0, 10, 40, b"\x01/\0\0"),
        open(1),
    ]
    .concat()
}

/// The server's.
pub(super) fn welcome() -> Vec<u8> {
    [
        method(0, 10, 10, b"\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US"),
        method(0, 10, 30, b"\x07\xff\0\x02\0\0\0\x3c"),
        method(0, 10, 41, b"\0"),
        open_ok(1),
    ]
    .concat()
}

pub(super) fn open(channel: u16) -> Vec<u8> {
    method(channel, 20, 10, b"\0")
}

pub(super) fn open_ok(channel: u16) -> Vec<u8> {
    method(channel, 20, 11, b"\0\0\0\0")
}

/// channel.close.
pub(super) fn shut(channel: u16, code: u16) -> Vec<u8> {
    let arguments = [&code.to_be_bytes()[..], &short("why"), &[0; 4]].concat();
    method(
        channel,
        if channel == 0 { 10 } else { 20 },
        if channel == 0 { 50 } else { 40 },
        &arguments,
    )
}

pub(super) fn shut_ok(channel: u16) -> Vec<u8> {
    method(
        channel,
        if channel == 0 { 10 } else { 20 },
        if channel == 0 { 51 } else { 41 },
        b"",
    )
}

pub(super) fn select(channel: u16) -> Vec<u8> {
    method(channel, 85, 10, b"\0")
}

pub(super) fn select_ok(channel: u16) -> Vec<u8> {
    method(channel, 85, 11, b"")
}

/// Content of `size` bytes, with a message id, in bodies of at most `most` bytes.
pub(super) fn content(channel: u16, id: &str, size: usize, most: usize) -> Vec<u8> {
    let header = [
        b"\0\x3c\0\0".as_slice(),
        &(size as u64).to_be_bytes(),
        b"\0\x80",
        &short(id),
    ]
    .concat();
    let mut bytes = frame(2, channel, &header);
    // It looks like frames, and is none.
    let body = [b"\x01\0\x01\0\0\0\x03".as_slice(), b"\xce"]
        .concat()
        .repeat(size / 8 + 1);
    for body in body[..size].chunks(most) {
        bytes.extend(frame(3, channel, body));
    }
    bytes
}

/// basic.publish of five bytes, to `exchange:key`.
pub(super) fn publish(channel: u16, to: &str, id: &str) -> Vec<u8> {
    [
        method(channel, 60, 40, &[b"\0\0", &route(to)[..], b"\0"].concat()),
        content(channel, id, 5, 100),
    ]
    .concat()
}

/// The same, mandatory.
pub(super) fn mandatory(channel: u16, to: &str, id: &str) -> Vec<u8> {
    [
        method(channel, 60, 40, &[b"\0\0", &route(to)[..], b"\x01"].concat()),
        content(channel, id, 5, 100),
    ]
    .concat()
}

/// basic.return, no route.
pub(super) fn come_back(channel: u16, to: &str, id: &str) -> Vec<u8> {
    let arguments = [b"\x01\x38", &short("NO_ROUTE")[..], &route(to)].concat();
    [method(channel, 60, 50, &arguments), content(channel, id, 5, 100)].concat()
}

pub(super) fn deliver(channel: u16, consumer: &str, tag: u64, to: &str, id: &str) -> Vec<u8> {
    let arguments = [&short(consumer)[..], &tag.to_be_bytes(), b"\0", &route(to)].concat();
    [method(channel, 60, 60, &arguments), content(channel, id, 5, 100)].concat()
}

pub(super) fn consume(channel: u16, queue: &str, consumer: &str, bits: u8) -> Vec<u8> {
    let arguments = [b"\0\0", &short(queue)[..], &short(consumer), &[bits], &[0; 4]].concat();
    method(channel, 60, 20, &arguments)
}

pub(super) fn consume_ok(channel: u16, consumer: &str) -> Vec<u8> {
    method(channel, 60, 21, &short(consumer))
}

pub(super) fn declare(channel: u16, queue: &str) -> Vec<u8> {
    method(
        channel,
        50,
        10,
        &[b"\0\0", &short(queue)[..], b"\0", &[0; 4]].concat(),
    )
}

pub(super) fn declare_ok(channel: u16, queue: &str) -> Vec<u8> {
    method(channel, 50, 11, &[&short(queue)[..], &[0; 8]].concat())
}

pub(super) fn get(channel: u16, queue: &str, no_ack: bool) -> Vec<u8> {
    method(
        channel,
        60,
        70,
        &[b"\0\0", &short(queue)[..], &[no_ack.into()]].concat(),
    )
}

pub(super) fn got(channel: u16, tag: u64, to: &str, id: &str) -> Vec<u8> {
    let arguments = [&tag.to_be_bytes()[..], b"\x01", &route(to), &[0; 4]].concat();
    [method(channel, 60, 71, &arguments), content(channel, id, 5, 100)].concat()
}

pub(super) fn got_nothing(channel: u16) -> Vec<u8> {
    method(channel, 60, 72, b"\0")
}

pub(super) fn ack(channel: u16, tag: u64, multiple: bool) -> Vec<u8> {
    method(
        channel,
        60,
        80,
        &[&tag.to_be_bytes()[..], &[multiple.into()]].concat(),
    )
}

pub(super) fn nack(channel: u16, tag: u64, bits: u8) -> Vec<u8> {
    method(channel, 60, 120, &[&tag.to_be_bytes()[..], &[bits]].concat())
}

pub(super) fn reject(channel: u16, tag: u64) -> Vec<u8> {
    method(channel, 60, 90, &[&tag.to_be_bytes()[..], &[1]].concat())
}

pub(super) fn heartbeat() -> Vec<u8> {
    frame(8, 0, b"")
}

/// One outcome in a line.
pub(super) fn line<S>(outcome: &Outcome<S>) -> String {
    let it = match outcome {
        Outcome::Lost(reason) => return format!("{reason:?}"),
        Outcome::Exchange(exchange) => exchange,
    };
    let id = it.content.properties().message_id.unwrap_or(b"-");
    let mut line = format!("{:?} {}:{}", it.operation, it.exchange, it.routing_key);
    if let Some(delivery) = &it.delivery {
        line += &format!(":{} #{}", it.queue.as_deref().unwrap_or("?"), delivery.tag);
    }
    line += &format!(" {} {}", String::from_utf8_lossy(id), it.content.body_size);
    if let Some(code) = it.returned {
        line += &format!(" returned {code}");
    }
    format!("{line} {:?}", it.ending)
}

pub(super) fn bytes(data: &[u8]) -> Piece<'_> {
    Piece::Bytes { data, starts: None }
}

pub(super) fn outcomes<'a>(pieces: impl IntoIterator<Item = (Flow, Piece<'a>)>) -> Vec<Outcome<usize>> {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    let mut stamp = 0;
    for (flow, piece) in pieces {
        stamp += 1;
        connection.read(flow, stamp, piece, &mut out);
    }
    connection.close(stamp + 1, Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    out
}

/// Lines of all outcomes, in alphabetical order: which comes out first depends on what was read first.
pub(super) fn read<'a>(pieces: impl IntoIterator<Item = (Flow, Piece<'a>)>) -> Vec<String> {
    let mut lines: Vec<_> = outcomes(pieces).iter().map(line).collect();
    lines.sort_unstable();
    lines
}

/// A turn of the client, one of the server, and so on.
pub(super) fn turns<const N: usize>(turns: [Vec<u8>; N]) -> Conversation {
    let flows = [Flow::Request, Flow::Response].into_iter().cycle();
    let turns = flows.zip(turns).filter(|(_, data)| !data.is_empty());
    turns.collect()
}

pub(super) fn pieces(conversation: &Conversation) -> impl Iterator<Item = (Flow, Piece<'_>)> {
    conversation.iter().map(|(flow, data)| (*flow, bytes(data)))
}

pub(super) fn late() -> [(Flow, Piece<'static>); 2] {
    [Flow::Request, Flow::Response].map(|flow| (flow, Piece::Gap { length: 0 }))
}

/// What comes of turns behind an opening: in their order, one direction wholly before the other, and byte by byte.
fn check<const N: usize>(script: [Vec<u8>; N], expect: &[&str]) {
    let conversation: Conversation = turns([hello(), welcome()])
        .into_iter()
        .chain(turns(script))
        .collect();
    let mut expect: Vec<_> = expect.iter().map(|line| (*line).to_owned()).collect();
    expect.sort_unstable();
    assert_eq!(read(pieces(&conversation)), expect);
    for first in [Flow::Request, Flow::Response] {
        let (ahead, behind): (Vec<_>, Vec<_>) = pieces(&conversation).partition(|(flow, _)| *flow == first);
        assert_eq!(read(ahead.into_iter().chain(behind)), expect, "{first:?} first");
    }
    let single = conversation
        .iter()
        .flat_map(|(flow, data)| data.chunks(1).map(|byte| (*flow, bytes(byte))));
    assert_eq!(read(single), expect, "byte by byte");
}
