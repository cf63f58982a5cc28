//! Golden cases: frames that the client and the server put on the wire, and what has to come out.

use super::*;
use crate::connection::piece::Piece;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ALL: u8 = END_STREAM | END_HEADERS;

/// `:method: GET`, `:scheme: http`, `:path: /`
const GET: &[u8] = b"\x82\x86\x84";
/// `:status: 200`
const OK: &[u8] = b"\x88";
/// A trailer, `t: v`, that is not added to the table.
const TRAILER: &[u8] = b"\0\x01t\x01v";

/// What a side does.
enum Act {
    Bytes(Flow, Vec<u8>),
    Elided(Flow, u64),
    Gap(Flow, u64),
}

/// A frame of the client.
fn c(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Act {
    Act::Bytes(Flow::Request, frame(kind, flags, stream, payload))
}

/// A frame of the server.
fn s(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Act {
    Act::Bytes(Flow::Response, frame(kind, flags, stream, payload))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Reads acts, stamped 1, 2, ..., after the preface; then closes, stamped 99, and compares what came out.
fn check(acts: &[Act], expect: &[&str]) {
    assert_eq!(run(Limits::default(), acts), expect);
}

fn run(limits: Limits, acts: &[Act]) -> Vec<String> {
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    let preface = Piece::Bytes {
        data: frame::PREFACE,
        starts: None,
    };
    connection.read(Flow::Request, 0, preface, &mut out);
    for (stamp, act) in (1_u32..).zip(acts) {
        let (flow, piece) = match act {
            Act::Bytes(flow, data) => (flow, Piece::Bytes { data, starts: None }),
            Act::Elided(flow, wire) => {
                let (wire, content) = (*wire, *wire);
                let last = false;
                (flow, Piece::Elided { wire, content, last })
            }
            Act::Gap(flow, length) => (flow, Piece::Gap { length: *length }),
        };
        connection.read(*flow, stamp, piece, &mut out);
    }
    connection.close(99, Close::Closed, &mut out);
    out.iter().map(line).collect()
}

/// `stream method path body first-last [*] : status body first-last [*] : ending @ended`; a star says incomplete, `~`
/// that bytes may be lost, a dash that there is none, and `?` that it is unknown.
fn line(outcome: &Outcome<u32>) -> String {
    let exchange = match outcome {
        Outcome::Exchange(exchange) => exchange,
        Outcome::Lost(reason) => return format!("{reason:?}"),
    };
    let text = |bytes: Option<&[u8]>| bytes.map_or("?".to_owned(), |bytes| bytes.escape_ascii().to_string());
    let rest = |message: &Message<u32>| {
        let body = message.body.map_or("-".to_owned(), |body| body.to_string());
        let star = if message.complete { "" } else { "*" };
        let lossy = if message.lossy { "~" } else { "" };
        let cut = if message.head.is_cut() { " cut" } else { "" };
        let trailers = message.trailers.as_ref().map_or("", |_| " trailers");
        format!(
            "{body} {}-{}{star}{lossy}{cut}{trailers}",
            message.first, message.last
        )
    };
    let (request, response) = (&exchange.request, exchange.response.as_ref());
    let response = response.map_or("-".to_owned(), |response| {
        let status = response
            .head
            .status()
            .map_or("?".to_owned(), |status| status.to_string());
        format!("{status} {}", rest(response))
    });
    let ending = match exchange.ending {
        Ending::Complete => String::new(),
        Ending::Reset { by, code } => format!(" {by:?} {}", code.name()),
        other => format!(" {other:?}"),
    };
    let head = &request.head;
    let (method, path) = (text(head.method()), text(head.path()));
    format!(
        "{} {method} {path} {} : {response}{ending} @{}",
        exchange.stream,
        rest(request),
        exchange.ended
    )
}

#[test]
fn plain() {
    check(
        &[
            c(HEADERS, ALL, 1, GET),
            s(HEADERS, END_HEADERS, 1, OK),
            s(DATA, END_STREAM, 1, b"hello"),
        ],
        &["1 GET / - 1-1 : 200 5 2-3 @3"],
    );
    check(
        &[c(HEADERS, ALL, 1, GET), s(HEADERS, ALL, 1, OK)],
        &["1 GET / - 1-1 : 200 - 2-2 @2"],
    );
    check(
        &[
            c(HEADERS, ALL, 1, GET),
            s(HEADERS, END_HEADERS, 1, OK),
            s(DATA, 0, 1, b"a"),
            s(HEADERS, ALL, 1, TRAILER),
        ],
        &["1 GET / - 1-1 : 200 1 2-4 trailers @4"],
    );
    check(&[], &[]);
}

#[test]
fn interleaved_and_stepped_over() {
    check(
        &[
            c(HEADERS, END_HEADERS, 1, GET),
            c(HEADERS, ALL, 3, GET),
            c(PING, 0, 0, b"12345678"),
            s(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"),
            s(HEADERS, ALL, 3, b"\x8d"),
            s(0xfa, 0xff, 7, b"unknown"),
            c(DATA, 0x9, 1, b"\x02abc\0\0"),
            s(HEADERS, END_HEADERS, 1, OK),
            s(DATA, 0x9, 1, b"\x01\0"),
        ],
        &["3 GET / - 2-2 : 404 - 5-5 @5", "1 GET / 3 1-7 : 200 0 8-9 @9"],
    );
}

#[test]
fn interim_responses() {
    let early: &[u8] = b"\x08\x03103";
    check(
        &[
            c(HEADERS, ALL, 1, GET),
            s(HEADERS, END_HEADERS, 1, early),
            s(HEADERS, ALL, 1, OK),
        ],
        &["1 GET / - 1-1 : 200 - 3-3 @3"],
    );
}

#[test]
fn a_response_may_end_before_its_request() {
    let answered = |rest| {
        let mut acts = vec![c(HEADERS, END_HEADERS, 1, GET), s(HEADERS, ALL, 1, OK)];
        acts.extend(rest);
        acts
    };
    check(
        &answered([c(DATA, END_STREAM, 1, b"abc")].into_iter().collect::<Vec<_>>()),
        &["1 GET / 3 1-3 : 200 - 2-2 @2"],
    );
    check(
        &answered(vec![s(RST_STREAM, 0, 1, &[0; 4])]),
        &["1 GET / - 1-1* : 200 - 2-2 @2"],
    );
    check(&answered(Vec::new()), &["1 GET / - 1-1* : 200 - 2-2 @2"]);
    // The response was read first.
    check(
        &[s(HEADERS, ALL, 1, OK), c(HEADERS, ALL, 1, GET)],
        &["1 GET / - 2-2 : 200 - 1-1 @1"],
    );
}

#[test]
fn resets() {
    check(
        &[
            c(HEADERS, ALL, 1, GET),
            c(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            s(HEADERS, ALL, 1, OK),
            c(HEADERS, ALL, 3, GET),
            s(HEADERS, END_HEADERS, 3, OK),
            s(RST_STREAM, 0, 3, &[0, 0, 0, 2]),
        ],
        &[
            "1 GET / - 1-1 : - Request CANCEL @2",
            "3 GET / - 4-4 : 200 - 5-5* Response INTERNAL_ERROR @6",
        ],
    );
}

#[test]
fn goaway_refuses_what_is_above_it() {
    check(
        &[
            c(HEADERS, ALL, 1, GET),
            c(HEADERS, ALL, 3, GET),
            s(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
            c(HEADERS, ALL, 5, GET),
            s(HEADERS, ALL, 1, OK),
        ],
        &[
            "3 GET / - 2-2 : - GoAway(ErrorCode(0)) @3",
            "5 GET / - 4-4 : - GoAway(ErrorCode(0)) @4",
            "1 GET / - 1-1 : 200 - 5-5 @5",
        ],
    );
}

#[test]
fn connect_ends_with_its_head() {
    let connect: &[u8] = b"\x02\x07CONNECT\x01\x03h:1";
    check(
        &[
            c(HEADERS, END_HEADERS, 1, connect),
            s(HEADERS, END_HEADERS, 1, OK),
            c(DATA, 0, 1, b"any"),
            s(DATA, END_STREAM, 1, b"thing"),
        ],
        &["1 CONNECT ? - 1-1* : 200 - 2-2* Upgraded @2"],
    );
    let extended: &[u8] = b"\x02\x07CONNECT\0\x09:protocol\x09websocket\x86\x84";
    check(
        &[
            c(HEADERS, END_HEADERS, 1, extended),
            s(HEADERS, END_HEADERS, 1, OK),
        ],
        &["1 CONNECT / - 1-1* : 200 - 2-2* Upgraded @2"],
    );
    check(
        &[c(HEADERS, ALL, 1, extended), s(HEADERS, ALL, 1, b"\x8d")],
        &["1 CONNECT / - 1-1 : 404 - 2-2 @2"],
    );
}

#[test]
fn what_is_promised_is_not_told_but_adds_to_the_table() {
    check(
        &[
            c(HEADERS, ALL, 1, GET),
            s(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x48\x03201"),
            s(HEADERS, ALL, 2, OK),
            s(HEADERS, ALL, 1, b"\xbe"),
        ],
        &["1 GET / - 1-1 : 201 - 4-4 @4"],
    );
}

#[test]
fn header_blocks_in_parts() {
    check(
        &[
            c(HEADERS, END_STREAM, 1, &GET[..1]),
            c(CONTINUATION, 0, 1, &GET[1..2]),
            c(CONTINUATION, END_HEADERS, 1, &GET[2..]),
            s(HEADERS, ALL, 1, OK),
        ],
        &["1 GET / - 1-3 : 200 - 4-4 @4"],
    );
    // Something in between.
    check(
        &[c(HEADERS, END_STREAM, 1, GET), c(PING, 0, 0, &[0; 8])],
        &["Unparsed(Continuation)"],
    );
    check(&[c(HEADERS, END_STREAM, 1, GET)], &["HeadUnfinished"]);
}

#[test]
fn heads_over_the_limit_are_cut() {
    let limits = Limits {
        head: 100,
        ..Limits::default()
    };
    let long = [GET, b"\x40\x01a\x28", &[b'x'; 40]].concat();
    let acts = [
        c(HEADERS, ALL, 1, &long),
        // What was too much for the head is in the table all the same: this refers to it.
        c(HEADERS, ALL, 3, &[GET, b"\x7e\x01y"].concat()),
        s(HEADERS, ALL, 1, OK),
        s(HEADERS, ALL, 3, OK),
    ];
    assert_eq!(
        run(limits, &acts),
        ["1 GET / - 1-1 cut : 200 - 3-3 @3", "3 GET / - 2-2 : 200 - 4-4 @4"]
    );
}

#[test]
fn more_in_flight_than_the_limit() {
    let limits = Limits {
        in_flight: 2,
        ..Limits::default()
    };
    let mut acts: Vec<_> = [1, 3, 5].map(|stream| c(HEADERS, ALL, stream, GET)).into();
    acts.extend([1, 3, 5].map(|stream| s(HEADERS, ALL, stream, OK)));
    assert_eq!(
        run(limits, &acts),
        [
            "TooManyInFlight",
            "3 GET / - 2-2 : 200 - 5-5 @5",
            "5 GET / - 3-3 : 200 - 6-6 @6"
        ]
    );
}

#[test]
fn not_http2() {
    check(&[c(HEADERS, ALL, 1, b"\x80")], &["Unparsed(Fields(Index))"]);
    check(&[c(HEADERS, ALL, 1, b"\xbe")], &["Unparsed(Fields(Index))"]);
    check(
        &[c(HEADERS, ALL, 1, b"\x82\x40")],
        &["Unparsed(Fields(Truncated))"],
    );
    check(
        &[c(HEADERS, ALL, 1, b"\x82\x20")],
        &["Unparsed(Fields(SizeUpdate))"],
    );
    check(
        &[c(HEADERS, ALL, 1, b"\0\x81\0\0")],
        &["Unparsed(Fields(Huffman))"],
    );
    check(
        &[c(HEADERS, ALL, 1, b"\xff\xff\xff\xff\xff\xff\xff")],
        &["Unparsed(Fields(Integer))"],
    );
    check(&[c(HEADERS, ALL, 1, TRAILER)], &["Unparsed(Head)"]);
    check(&[c(HEADERS, ALL | 0x8, 1, b"\x09a")], &["Unparsed(Padding)"]);
    check(&[c(HEADERS, ALL, 0, GET)], &["Unparsed(Frame)"]);
    check(&[c(RST_STREAM, 0, 1, b"abc")], &["Unparsed(Frame)"]);
    check(&[c(CONTINUATION, 0, 1, b"abc")], &["Unparsed(Continuation)"]);
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    let data = b"PRI * HTTP/2.0\r\n\r\nSX";
    connection.read(Flow::Request, (), Piece::Bytes { data, starts: None }, &mut out);
    assert!(connection.is_done());
    assert_eq!(out, [Outcome::Lost(Reason::Unparsed(Malformed::Preface))]);
}

#[test]
fn losses_within_content_lose_nothing_else() {
    let mut cut = frame(DATA, END_STREAM, 1, b"0123456789");
    cut.truncate(12);
    let acts = |missing| {
        [
            c(HEADERS, ALL, 1, GET),
            s(HEADERS, END_HEADERS, 1, OK),
            Act::Bytes(Flow::Response, cut.clone()),
            missing,
        ]
    };
    let told = ["1 GET / - 1-1 : 200 10 2-4 @4"];
    check(&acts(Act::Gap(Flow::Response, 7)), &told);
    check(&acts(Act::Elided(Flow::Response, 7)), &told);
    check(
        &acts(Act::Gap(Flow::Response, 8)),
        &["1 GET / - 1-1 : 200 - 2-3*~ Unseen @3"],
    );
}

#[test]
fn a_head_of_which_a_part_is_lost_is_an_exchange_lost() {
    let mut cut = frame(HEADERS, ALL, 1, GET);
    cut.truncate(10);
    let next = || {
        [
            c(HEADERS, ALL, 3, GET),
            c(HEADERS, ALL, 5, GET),
            s(HEADERS, ALL, 3, OK),
        ]
    };
    let lost = [Act::Bytes(Flow::Request, cut), Act::Gap(Flow::Request, 0)];
    let acts: Vec<_> = lost.into_iter().chain(next()).collect();
    let told = [
        "Incomplete",
        "3 GET / - 3-3 : 200 - 5-5 @5",
        "5 GET / - 4-4 : - Close(Closed) @99",
    ];
    check(&acts, &told);
    let lost = [c(HEADERS, END_STREAM, 1, GET), Act::Gap(Flow::Request, 0)];
    let acts: Vec<_> = lost.into_iter().chain(next()).collect();
    check(&acts, &told);
}

#[test]
fn behind_a_loss_frames_in_a_row_are_taken_up() {
    let acts = [
        c(HEADERS, ALL, 1, GET),
        Act::Gap(Flow::Response, 0),
        Act::Gap(Flow::Request, 0),
        // Two frames of the client, of which the first is a head.
        c(HEADERS, END_HEADERS, 5, &[GET, b"\xbe"].concat()),
        c(DATA, END_STREAM, 5, b"abc"),
        s(HEADERS, ALL, 3, OK),
        s(HEADERS, END_HEADERS, 5, OK),
        s(DATA, END_STREAM, 5, b"abc"),
    ];
    check(
        &acts,
        &[
            "ResponseWithoutRequest",
            "5 GET / 3 4-5 : 200 3 7-8 @8",
            "Incomplete",
        ],
    );
}

#[test]
fn directions_are_recognised_by_frames_in_a_row() {
    let requests = [
        frame(HEADERS, ALL, 3, GET),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    ]
    .concat();
    let responses = [
        frame(HEADERS, END_HEADERS, 3, OK),
        frame(DATA, END_STREAM, 3, b"abc"),
    ]
    .concat();
    assert_eq!(recognise(&requests), Some(Flow::Request));
    assert_eq!(recognise(&responses), Some(Flow::Response));
    assert_eq!(recognise(&requests[..12]), None);
    for other in [
        &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        &[0; 64],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"",
    ] {
        assert_eq!(recognise(other), None, "{}", other.escape_ascii());
    }
}
