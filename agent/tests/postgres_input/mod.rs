//! A fuzzer's bytes as the pieces of one connection. Shared by the fuzz target and the test over its seed corpus.

use spanwire::connection::Close;
use spanwire::connection::piece::Piece;
use spanwire::protocol::postgres::{Connection, Flow, Limits, Outcome, opening};
use spanwire::span::sql::{Lexer, summary};

/// Reads `input` as a row of pieces: a byte that says what it is, a length of two bytes (big-endian), and as many bytes
/// as that says where it has any.
///
/// `>` and `<` are bytes of the client and of the server, `)` and `(` the same with the next mark, `+` and `-` elided
/// bytes, `}` and `{` the same with rows in them, anything else a loss: of the client where it is even.
pub(crate) fn read(mut input: &[u8]) {
    let limits = Limits {
        text: 64,
        statements: 4,
        statement_bytes: 256,
        in_flight: 4096,
        deferred: 2048,
    };
    let _ = opening(input);
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    let (mut marks, mut frames) = (0, 0);
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
            b'>' | b')' | b'+' | b'}' => Flow::Request,
            b'<' | b'(' | b'-' | b'{' => Flow::Response,
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
            b'+' | b'-' | b'}' | b'{' => Piece::Elided {
                wire,
                content: u64::from(matches!(kind, b'}' | b'{')),
                last: false,
            },
            _ => Piece::Gap { length: wire },
        };
        frames += 1 + data.len() / 5;
        connection.read(flow, stamp, piece, &mut out);
        assert!(connection.in_flight() <= frames);
    }
    connection.close(usize::MAX, Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    for outcome in &out {
        let Outcome::Exchange(exchange) = outcome else {
            continue;
        };
        assert!(exchange.request.first <= exchange.request.last);
        if let Some(response) = &exchange.response {
            assert!(response.first <= response.last);
        }
        if let Some(text) = &exchange.request.text {
            assert!(text.bytes.len() <= limits.text);
            check_sql(&String::from_utf8_lossy(&text.bytes), text.is_cut);
        }
    }
    // Each outcome rests on a frame of its own.
    assert!(out.len() <= 2 * frames);
}

fn check_sql(text: &str, is_cut: bool) {
    assert_eq!(Lexer::new(text).map(|token| token.text).collect::<String>(), text);
    let summary = summary(text, is_cut);
    assert!(summary.text.chars().count() <= 255);
}
