//! A fuzzer's bytes as the pieces of one connection. Shared by the fuzz target and the test over its seed corpus.

use spanwire::connection::Close;
use spanwire::connection::piece::Piece;
use spanwire::protocol::http1::{Connection, Flow, Limits, Outcome};

/// Reads `input` as a row of lines, each a piece: a byte that says what it is, and its text up to byte 0xff.
///
/// `>` and `<` are bytes of the client and of the server, `)` and `(` the same with the next mark, `+` and `-` elided
/// bytes, `}` and `{` the last of them, `?` and `!` a loss, with its length as text; anything else ends a direction.
pub(crate) fn read(input: &[u8]) {
    let limits = Limits {
        head: 512,
        in_flight: 4,
        deferred: 2048,
    };
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    let mut marks = [0_u64; 2];
    let mut requests = 0;
    for (stamp, line) in input.split(|byte| *byte == 0xff).enumerate() {
        let Some((kind, data)) = line.split_first() else {
            continue;
        };
        let number = data
            .iter()
            .take(8)
            .fold(0, |number, byte| number * 10 + u64::from(byte & 15));
        let flow = if b">)+}?".contains(kind) {
            Flow::Request
        } else {
            Flow::Response
        };
        requests += data.iter().filter(|byte| **byte == b'\n').count();
        match kind {
            b'>' | b'<' | b')' | b'(' if !data.is_empty() => {
                let mark = &mut marks[usize::from(flow == Flow::Response)];
                let starts = matches!(kind, b')' | b'(').then_some(*mark);
                *mark += u64::from(starts.is_some());
                connection.read(flow, stamp, Piece::Bytes { data, starts }, &mut out);
            }
            b'+' | b'-' | b'}' | b'{' => {
                let last = matches!(kind, b'}' | b'{');
                connection.read(
                    flow,
                    stamp,
                    Piece::Elided {
                        wire: number,
                        content: number,
                        last,
                    },
                    &mut out,
                );
            }
            b'?' | b'!' => connection.read(flow, stamp, Piece::Gap { length: number }, &mut out),
            _ => connection.end(flow, &mut out),
        }
        assert!(connection.in_flight() <= limits.in_flight);
    }
    connection.close(usize::MAX, Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    for outcome in &out {
        if let Outcome::Exchange(exchange) = outcome {
            assert!(!exchange.request.head.method().is_empty() && !exchange.request.head.target().is_empty());
            assert!(exchange.request.first <= exchange.request.last);
            if let Some(response) = &exchange.response {
                assert!((101..1000).contains(&response.head.status()));
            }
        }
    }
    // Each outcome rests on a line that was seen, of a request or of a response, or on a head that the close cut.
    assert!(out.len() <= requests + input.len() / 2 + 1);
}
