//! Golden cases: what the client and the server put on the wire, and what has to come out.

use super::*;
use crate::connection::piece::Piece;

mod heads;
mod losses;

/// Reads the parts of `input` in order, stamped 1, 2, ... Each begins with its kind: `> ` bytes of the client, `< `
/// of the server, `>N `/`<N ` the same with the kernel's mark N, `>~W,C` elided (`!` behind it: last), `>?N` a gap,
/// `>.` the end of that direction. Then closes, stamped 99, and compares what came out, a line each.
fn check(input: &[&str], expect: &[&str]) {
    assert_eq!(run(Limits::default(), input, Close::Closed), expect, "{input:#?}");
}

fn run(limits: Limits, input: &[&str], how: Close) -> Vec<String> {
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    for (stamp, part) in (1_u32..).zip(input) {
        let flow = if part.starts_with('>') {
            Flow::Request
        } else {
            Flow::Response
        };
        match part.as_bytes()[1] {
            b'.' => connection.end(flow, &mut out),
            b'?' => {
                let length = part[2..].parse().expect("gap");
                connection.read(flow, stamp, Piece::Gap { length }, &mut out);
            }
            b'~' => {
                let (wire, content) = part[2..].trim_end_matches('!').split_once(',').expect("elided");
                let [wire, content] = [wire, content].map(|number| number.parse().expect("number"));
                connection.read(
                    flow,
                    stamp,
                    Piece::Elided {
                        wire,
                        content,
                        last: part.ends_with('!'),
                    },
                    &mut out,
                );
            }
            _ => {
                let (mark, data) = part[1..].split_once(' ').expect("kind");
                let starts = (!mark.is_empty()).then(|| mark.parse().expect("mark"));
                connection.read(
                    flow,
                    stamp,
                    Piece::Bytes {
                        data: data.as_bytes(),
                        starts,
                    },
                    &mut out,
                );
            }
        }
    }
    connection.close(99, how, &mut out);
    assert_eq!(connection.in_flight(), 0);
    out.iter().map(line).collect()
}

/// `ordinal method target body first-last [*] : status body first-last [*] : ending @ended`; a star says incomplete,
/// a dash for `body` that there is none, and `cut` that the head was.
fn line(outcome: &Outcome<u32>) -> String {
    let exchange = match outcome {
        Outcome::Exchange(exchange) => exchange,
        Outcome::Lost(reason) => return format!("{reason:?}"),
    };
    let Exchange {
        ordinal,
        request,
        response,
        ending,
        ended,
    } = &**exchange;
    let star = |complete: bool| if complete { "" } else { "*" };
    let scissors = |cut: bool| if cut { " cut" } else { "" };
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let size = |body: Option<u64>| body.map_or("-".to_owned(), |size| size.to_string());
    let response = response.as_ref().map_or("-".to_owned(), |it| {
        format!(
            "{} {} {}-{}{}{}",
            it.head.status(),
            size(it.body),
            it.first,
            it.last,
            star(it.complete),
            scissors(it.head.is_cut())
        )
    });
    let (method, target) = (text(request.head.method()), text(request.head.target()));
    let Request {
        first,
        last,
        complete,
        ..
    } = request;
    let ending = match ending {
        Ending::Complete => String::new(),
        Ending::Upgraded => " upgraded".to_owned(),
        Ending::Unseen => " unseen".to_owned(),
        Ending::Close(how) => format!(" {how:?}"),
    };
    format!(
        "{ordinal} {method} {target} {} {first}-{last}{}{} : {response}{ending} @{ended}",
        size(request.body),
        star(*complete),
        scissors(request.head.is_cut())
    )
}

const GET: &str = "> GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "< HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn plain() {
    check(&[GET, OK], &["0 GET /a - 1-1 : 200 2 2-2 @2"]);
    check(
        &[GET, OK, GET, OK],
        &["0 GET /a - 1-1 : 200 2 2-2 @2", "1 GET /a - 3-3 : 200 2 4-4 @4"],
    );
    check(
        &["> GET /a HT", "> TP/1.1\r\nHost: h\r", "> \n\r\n", OK],
        &["0 GET /a - 1-3 : 200 2 4-4 @4"],
    );
    check(&[], &[]);
}

#[test]
fn pipelined() {
    let both =
        "> GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /c HTTP/1.1\r\n\r\n";
    let answers = "< HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\nHTTP/1.1 202 B\r\nContent-Length: 1\r\n\r\nx";
    check(
        &[both, answers, "< HTTP/1.1 204 C\r\n\r\n"],
        &[
            "0 GET /a - 1-1 : 201 0 2-2 @2",
            "1 PUT /b 3 1-1 : 202 1 2-2 @2",
            "2 GET /c - 1-1 : 204 - 3-3 @3",
        ],
    );
}

#[test]
fn bodies() {
    check(
        &[
            "> POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n",
            "> 0\r\nTrailer: t\r\n\r\n",
            "< HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n5\r\nabc",
            "< de\r\n0\r\n\r\n",
        ],
        &["0 POST /a 3 1-2 : 200 5 3-4 @4"],
    );
    // Transfer-Encoding over Content-Length, several equal lengths, a length of a list.
    check(
        &[
            "> POST /a HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "< HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2, 2\r\n\r\nhi",
            GET,
            OK,
        ],
        &["0 POST /a 0 1-1 : 200 2 2-2 @2", "1 GET /a - 3-3 : 200 2 4-4 @4"],
    );
    let until_end = "< HTTP/1.0 200 OK\r\n\r\nsome";
    check(
        &[GET, until_end, "<  thing", "<."],
        &["0 GET /a - 1-1 : 200 10 2-3 @3"],
    );
    check(&[GET, until_end, "<  thing"], &["0 GET /a - 1-1 : 200 10 2-3 @3"]);
    let reset = run(Limits::default(), &[GET, until_end], Close::Reset);
    assert_eq!(reset, ["0 GET /a - 1-1 : 200 4 2-2* Reset @99"]);
}

#[test]
fn without_body() {
    let head = "> HEAD /a HTTP/1.1\r\n\r\n";
    check(
        &[head, "< HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", GET, OK],
        &["0 HEAD /a - 1-1 : 200 - 2-2 @2", "1 GET /a - 3-3 : 200 2 4-4 @4"],
    );
    check(
        &[
            GET,
            "< HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n",
            GET,
            "< HTTP/1.1 204 X\r\n\r\n",
            GET,
            OK,
        ],
        &[
            "0 GET /a - 1-1 : 304 - 2-2 @2",
            "1 GET /a - 3-3 : 204 - 4-4 @4",
            "2 GET /a - 5-5 : 200 2 6-6 @6",
        ],
    );
}

#[test]
fn interim_responses_are_not_final() {
    check(
        &[
            "> PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            "< HTTP/1.1 100 Continue\r\n\r\n",
            "> hi",
            "< HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            OK,
        ],
        &["0 PUT /a 2 1-3 : 200 2 5-5 @5"],
    );
    check(
        &[
            ">4 GET / HTTP/1.1\r\n\r\n",
            "<4 HTTP/1.1 100 C\r\n\r\n",
            "<4 HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ],
        &["4 GET / - 1-1 : 200 0 3-3 @3"],
    );
}

#[test]
fn tunnels() {
    let connect = "> CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
    let hello = "> \x16\x03\x01\x02\x00";
    let accepted = "< HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x16\x03\x03";
    check(
        &[connect, accepted, hello, "< \x17\x03"],
        &["0 CONNECT h:443 - 1-1 : 200 - 2-2 upgraded @2"],
    );
    check(
        &[connect, hello, accepted],
        &["0 CONNECT h:443 - 1-1 : 200 - 3-3 upgraded @3"],
    );
    check(
        &[
            connect,
            "< HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
            GET,
            OK,
        ],
        &[
            "0 CONNECT h:443 - 1-1 : 407 2 2-2 @2",
            "1 GET /a - 3-3 : 200 2 4-4 @4",
        ],
    );
    // The next request's record comes before the refusal's.
    check(
        &[
            connect,
            GET,
            "< HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
            OK,
        ],
        &[
            "0 CONNECT h:443 - 1-1 : 407 2 3-3 @3",
            "1 GET /a - 2-2 : 200 2 4-4 @4",
        ],
    );
    let upgrade = "> GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    check(
        &[
            upgrade,
            "< HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02",
            "> \x03GET",
        ],
        &["0 GET /ws - 1-1 : 101 - 2-2 upgraded @2"],
    );
    check(
        &[upgrade, GET, OK, OK],
        &["0 GET /ws - 1-1 : 200 2 3-3 @3", "1 GET /a - 2-2 : 200 2 4-4 @4"],
    );
    check(&[connect, hello], &["0 CONNECT h:443 - 1-1 : - Closed @99"]);
}

#[test]
fn aborted() {
    check(&[GET], &["0 GET /a - 1-1 : - Closed @99"]);
    check(
        &["> POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"],
        &["0 POST /a 3 1-1* : - Closed @99"],
    );
    check(&["> GET /a HTTP/1.1\r\nHos"], &["HeadUnfinished"]);
    check(
        &[
            "> GET /a HTTP/1.1\r\nHos",
            "< HTTP/1.1 408 X\r\nContent-Length: 0\r\n\r\n",
        ],
        &["HeadUnfinished"],
    );
    check(
        &[GET, "< HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"],
        &["0 GET /a - 1-1 : 200 3 2-2* Closed @99"],
    );
    check(
        &[GET, "< HTTP/1.1 200 OK\r\nCont"],
        &["0 GET /a - 1-1 : - Closed @99"],
    );
}

#[test]
fn an_early_response_waits_for_its_request() {
    let post = "> POST /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc";
    check(
        &[post, OK, "> def", GET, OK],
        &["0 POST /a 6 1-3 : 200 2 2-2 @2", "1 GET /a - 4-4 : 200 2 5-5 @5"],
    );
    check(&[post, OK], &["0 POST /a 3 1-1* : 200 2 2-2 @2"]);
}

#[test]
fn responses_may_come_before_their_requests() {
    check(&[OK, GET], &["0 GET /a - 2-2 : 200 2 1-1 @1"]);
    let head = "> HEAD /a HTTP/1.1\r\n\r\n";
    check(
        &["< HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", OK, head, GET],
        &["0 HEAD /a - 3-3 : 200 - 1-1 @1", "1 GET /a - 4-4 : 200 2 2-2 @2"],
    );
    check(
        &["< HTTP/1.0 200 OK\r\n\r\nab", "<.", "< ", GET],
        &["0 GET /a - 4-4 : 200 2 1-1 @1"],
    );
    check(&[OK], &["ResponseWithoutRequest"]);
    check(
        &[GET, OK, OK],
        &["0 GET /a - 1-1 : 200 2 2-2 @2", "ResponseWithoutRequest"],
    );
    let limits = Limits {
        deferred: 200,
        ..Limits::default()
    };
    assert_eq!(
        run(limits, &[OK, OK, OK, OK], Close::Closed),
        ["ResponseWithoutRequest"; 4]
    );
}

#[test]
fn too_many_in_flight() {
    let limits = Limits {
        in_flight: 2,
        ..Limits::default()
    };
    let expect = [
        "TooManyInFlight",
        "1 GET /a - 2-2 : - Closed @99",
        "2 GET /a - 3-3 : - Closed @99",
    ];
    assert_eq!(run(limits, &[GET, GET, GET], Close::Closed), expect);
}
