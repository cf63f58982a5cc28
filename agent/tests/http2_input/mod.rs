//! A fuzzer's bytes as the pieces of one connection. Shared by the fuzz target and the test over its seed corpus.

use spanwire::connection::Close;
use spanwire::connection::piece::Piece;
use spanwire::protocol::http2::{Call, Connection, Flow, Limits, Outcome};

/// Reads `input` as a row of pieces: a byte that says what it is, one with its length, and so many bytes.
///
/// `>` and `<` are bytes of the client and of the server, `)` and `(` the same with a mark, `+` and `-` elided bytes of
/// that length, `?` and `!` a loss; `p` is the client's preface.
pub(crate) fn read(input: &[u8]) {
    let limits = Limits {
        head: 512,
        table: 512,
        in_flight: 4,
        held: 2048,
        search: 512,
    };
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    let mut rest = input;
    let mut stamp = 0;
    while let Some(([kind, length], behind)) = rest.split_first_chunk() {
        let flow = if b">)+?p".contains(kind) {
            Flow::Request
        } else {
            Flow::Response
        };
        let number = u64::from(*length);
        let piece = match kind {
            b'+' | b'-' => Piece::Elided {
                wire: number,
                content: number,
                last: false,
            },
            b'?' | b'!' => Piece::Gap { length: number },
            b'p' => Piece::Bytes {
                data: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                starts: None,
            },
            _ => Piece::Bytes {
                data: &behind[..behind.len().min(usize::from(*length))],
                starts: b")(".contains(kind).then_some(number),
            },
        };
        rest = match piece {
            Piece::Bytes { data, .. } if *kind != b'p' => &behind[data.len()..],
            _ => behind,
        };
        connection.read(flow, stamp, piece, &mut out);
        stamp += 1;
        assert!(connection.in_flight() <= limits.in_flight);
    }
    connection.close(usize::MAX, Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    for outcome in &out {
        let Outcome::Exchange(exchange) = outcome else {
            continue;
        };
        assert!(exchange.request.first <= exchange.request.last);
        assert_eq!(exchange.stream % 2, 1);
        let response = exchange.response.as_ref();
        assert!(
            response
                .and_then(|it| it.head.status())
                .is_none_or(|it| (200..1000).contains(&it))
        );
        if let Some(call) = Call::of(exchange) {
            assert!(call.requests.is_none_or(|it| it.count <= input.len() as u64));
        }
    }
    // Each outcome rests on a frame.
    assert!(out.len() <= input.len());
}
