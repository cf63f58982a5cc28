//! A fuzzer's bytes as the pieces of one connection. Shared by the fuzz target and the test over its seed corpus.

use spanwire::connection::Close;
use spanwire::connection::piece::Piece;
use spanwire::protocol::amqp::{Array, Connection, Flow, Limits, Outcome, Table, Value, frames, opening};

/// Reads `input` as a row of pieces: a byte that says what it is, a length of two bytes (big-endian), and as many bytes
/// as that says where it has any.
///
/// `>` and `<` are bytes of the client and of the server, `)` and `(` the same with the next mark, `+` and `-` elided
/// bytes, anything else a loss: of the client where it is even.
pub(crate) fn read(mut input: &[u8]) {
    let limits = Limits {
        header: 64,
        in_flight: 4096,
        channels: 4,
    };
    let _ = (opening(input), frames(input));
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    let (mut marks, mut most) = (0, 0);
    let mut stamp = 0_usize;
    while let Some((&[kind, ref length @ ..], rest)) = input.split_first_chunk::<3>() {
        let length = u16::from_be_bytes(*length);
        let has_bytes = b"><)(".contains(&kind);
        let (data, rest) = rest.split_at(if has_bytes {
            usize::from(length).min(rest.len())
        } else {
            0
        });
        input = rest;
        stamp += 1;
        let wire = u64::from(length);
        let flow = match kind {
            b'>' | b')' | b'+' => Flow::Request,
            b'<' | b'(' | b'-' => Flow::Response,
            other if other % 2 == 0 => Flow::Request,
            _ => Flow::Response,
        };
        let piece = match kind {
            _ if has_bytes && data.is_empty() => continue,
            b'>' | b'<' => Piece::Bytes { data, starts: None },
            b')' | b'(' => {
                marks += 1;
                Piece::Bytes {
                    data,
                    starts: Some(marks),
                }
            }
            b'+' | b'-' => Piece::Elided {
                wire,
                content: wire,
                last: false,
            },
            _ => Piece::Gap { length: wire },
        };
        // A frame takes eight bytes at least, or seven and what is elided.
        most += 2 + data.len() / 7;
        connection.read(flow, stamp, piece, &mut out);
        assert!(connection.in_flight() <= most);
        // Each costs 256 bytes on top, and of each direction a message a channel may be on its way.
        assert!(connection.in_flight() <= limits.in_flight / 256 + 2 * limits.channels);
    }
    connection.close(usize::MAX, Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    for outcome in &out {
        let Outcome::Exchange(exchange) = outcome else {
            continue;
        };
        assert!(exchange.first <= exchange.last);
        let properties = exchange.content.properties();
        if let Some(headers) = properties.headers {
            table(headers, 8);
        }
        let _ = exchange.content.header("traceparent");
    }
    // Each outcome rests on a frame of its own, and on what was not one.
    assert!(out.len() <= 2 * most);
}

fn table(fields: Table<'_>, depth: u8) {
    for (_, field) in fields {
        value(field, depth);
    }
}

fn array(values: Array<'_>, depth: u8) {
    for one in values {
        value(one, depth);
    }
}

fn value(one: Value<'_>, depth: u8) {
    match one {
        Value::Table(fields) if depth > 0 => table(fields, depth - 1),
        Value::Array(values) if depth > 0 => array(values, depth - 1),
        _ => {}
    }
}
