//! Golden cases: what the client and the server put on the wire, and what has to come out.

use super::*;
use crate::connection::piece::Piece;

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
    } = exchange;
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
fn old_forms() {
    check(
        &["> \r\n\r\nGET /a HTTP/1.1\nHost:h\n\n", OK],
        &["0 GET /a - 1-1 : 200 2 2-2 @2"],
    );
    check(&["> \r\n", "> \n", GET, OK], &["0 GET /a - 3-3 : 200 2 4-4 @4"]);
    check(
        &[GET, "< HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"],
        &["0 GET /a - 1-1 : 200 0 2-2 @2"],
    );
    check(
        &[GET, "< HTTP/1.1 200 \r\nCONTENT-LENGTH:1\r\n\r\nx"],
        &["0 GET /a - 1-1 : 200 1 2-2 @2"],
    );
    check(
        &[
            "> POST /a HTTP/1.1\r\nContent-Length:\r\n 3\r\nX: a\r\n\tb\r\n\r\nabc",
            OK,
        ],
        &["0 POST /a 3 1-1 : 200 2 2-2 @2"],
    );
    check(
        &["> GET /a HTTP/1.0\r\n\r\n", "< HTTP/1.0 200 OK\r\n\r\nhi"],
        &["0 GET /a - 1-1 : 200 2 2-2 @2"],
    );
    let keep = "< HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx";
    let get = "> GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    check(
        &[get, keep, get, keep],
        &["0 GET /a - 1-1 : 200 1 2-2 @2", "1 GET /a - 3-3 : 200 1 4-4 @4"],
    );
}

#[test]
fn targets() {
    for target in ["http://h:8080/p?q=1", "*", "/p?a=b%20c", "/\u{fc}"] {
        let request = format!("> OPTIONS {target} HTTP/1.1\r\n\r\n");
        let expect = format!(
            "0 OPTIONS {} - 1-1 : 200 2 2-2 @2",
            target.as_bytes().escape_ascii()
        );
        check(&[&request, OK], &[&expect]);
    }
}

#[test]
fn malformed() {
    let unparsed = |malformed| format!("{:?}", Reason::Unparsed(malformed));
    for (input, expect) in [
        ("> GET /a HTTP/2.0\r\n\r\n", Malformed::StartLine),
        ("> GET /\r\n", Malformed::StartLine),
        ("> GET /a b HTTP/1.1\r\n\r\n", Malformed::StartLine),
        ("> \x16\x03\x01\n", Malformed::StartLine),
        ("> GET / HTTP/1.1\r\nno colon\r\n\r\n", Malformed::FieldLine),
        ("> GET / HTTP/1.1\r\n folded\r\n\r\n", Malformed::FieldLine),
        ("> GET / HTTP/1.1\r\nA: \0\r\n\r\n", Malformed::FieldLine),
        ("> GET / HTTP/1.1\r\n: a\r\n\r\n", Malformed::FieldLine),
        (
            "> PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            Malformed::ContentLength,
        ),
        (
            "> PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            Malformed::ContentLength,
        ),
        (
            "> PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Malformed::ContentLength,
        ),
        (
            "> PUT / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            Malformed::TransferCoding,
        ),
        (
            "> PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            Malformed::Chunk,
        ),
    ] {
        check(&[input], &[&unparsed(expect)]);
        // The server's refusal is of the same exchange.
        check(
            &[input, "< HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"],
            &[&unparsed(expect)],
        );
    }
    for (input, expect) in [
        ("< ICY 200 OK\r\n", Malformed::StartLine),
        ("< HTTP/1.1 2000 OK\r\n", Malformed::StartLine),
        (
            "< HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            Malformed::ContentLength,
        ),
        (
            "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-\r\n",
            Malformed::Chunk,
        ),
    ] {
        check(&[GET, input], &[&unparsed(expect)]);
    }
}

#[test]
fn marked_and_elided() {
    let post = ">0 POST /a HTTP/1.1\r\nContent-Length: 500\r\n\r\n";
    let answer = "<0 HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        &[post, ">~500,500!", answer, "<~2000,1900", "<~100,90!"],
        &["0 POST /a 500 1-2 : 200 1990 3-5 @5"],
    );
    // A message that ended with its head may be said to have ended again.
    check(
        &[
            ">0 GET /a HTTP/1.1\r\n\r\n",
            ">~0,0!",
            "<0 HTTP/1.1 204 N\r\n\r\n",
            "<~0,0!",
            ">1 GET /b HTTP/1.1\r\n\r\n",
        ],
        &["0 GET /a - 1-1 : 204 - 3-3 @3", "1 GET /b - 5-5 : - Closed @99"],
    );
    // The rest of a long head was not copied.
    check(
        &[
            ">0 GET /a HTTP/1.1\r\nX: 1\r\nLong",
            ">~9000,0!",
            "<0 HTTP/1.1 200 OK\r\nX: ",
            "<~900,100",
            "<~5,5!",
        ],
        &["0 GET /a - 1-2 cut : 200 105 3-5 cut @5"],
    );
}

#[test]
fn marked_losses() {
    let marked = |kind: char, ordinal: u32| match kind {
        '>' => format!(">{ordinal} GET /{ordinal} HTTP/1.1\r\n\r\n"),
        _ => format!("<{ordinal} HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    };
    let (q0, q1, q2) = (&*marked('>', 0), &*marked('>', 1), &*marked('>', 2));
    let (r0, r1, r2) = (&*marked('<', 0), &*marked('<', 1), &*marked('<', 2));
    let told = |ordinal: u32, first: u32, last: u32| {
        format!("{ordinal} GET /{ordinal} - {first}-{first} : 200 2 {last}-{last} @{last}")
    };
    // The second response was lost; then the second request, which the kernel has counted.
    check(
        &[q0, r0, q1, q2, "<?40", r2],
        &[&told(0, 1, 2), "Incomplete", &told(2, 4, 6)],
    );
    check(&[q0, r0, ">?30", r1, q2, r2], &[&told(0, 1, 2), &told(2, 5, 6)]);
    // Both, and without a gap in sight.
    check(&[q0, r0, q2, r2], &[&told(0, 1, 2), &told(2, 3, 4)]);
    check(&[q0, r0, q2, r1, r2], &[&told(0, 1, 2), &told(2, 3, 5)]);
    // Lost to the end.
    check(&[q0, "<?0"], &["Incomplete"]);
    check(&[">?0", r0], &[]);
    check(&[r0], &["ResponseWithoutRequest"]);
    // A mark that goes back.
    check(
        &[q1, r1, q0],
        &[
            &told(1, 1, 2),
            &format!("{:?}", Reason::Unparsed(Malformed::Mark)),
        ],
    );
    // Within a head.
    check(&[">0 GET / HT", ">?5", q1, r1], &["Incomplete", &told(1, 3, 4)]);
    check(
        &[q0, "<0 HTTP/1.1 200 OK\r\nCon", "<?5", q1, r1],
        &["Incomplete", &told(1, 4, 5)],
    );
}

#[test]
fn gaps_in_bodies() {
    check(
        &[
            "> POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\nab",
            ">?7",
            "> j",
            OK,
        ],
        &["0 POST /a 10 1-3 : 200 2 4-4 @4"],
    );
    check(
        &[
            GET,
            "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nab",
            "<?8",
            "< \r\n0\r\n\r\n",
            GET,
            OK,
        ],
        &["0 GET /a - 1-1 : 200 10 2-4 @4", "1 GET /a - 5-5 : 200 2 6-6 @6"],
    );
    // The end was lost: when it came is not known.
    check(
        &[GET, "< HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na", "<?8"],
        &["Incomplete"],
    );
    check(
        &["> POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\na", ">?8", OK],
        &["0 POST /a 1 1-1* : 200 2 3-3 @3"],
    );
}

#[test]
fn unmarked_losses() {
    // The response's loss is seen, and the exchanges behind it are told again.
    check(
        &[GET, OK, GET, "<?40", GET, OK],
        &[
            "0 GET /a - 1-1 : 200 2 2-2 @2",
            "Incomplete",
            "2 GET /a - 5-5 : 200 2 6-6 @6",
        ],
    );
    // A hidden request: its response is nobody's, and the next request is told once that has gone by.
    check(
        &[GET, OK, ">?30", OK, GET, OK],
        &[
            "0 GET /a - 1-1 : 200 2 2-2 @2",
            "ResponseWithoutRequest",
            "1 GET /a - 5-5 : 200 2 6-6 @6",
        ],
    );
    // Requests behind a loss, before any response: they might be any of the hidden ones' turn.
    check(
        &[">?0", "<?0", GET, OK, GET, OK],
        &["Incomplete", "0 GET /a - 5-5 : 200 2 6-6 @6"],
    );
    // Requests that were stepped over, since a piece ends within the first: the cut one behind it is none.
    check(
        &[
            ">?0",
            OK,
            "> GET /b HTTP/1.1\r\nHos",
            "> t: h\r\n\r\nDE",
            "> LETE /c HTTP/1.1\r\nHost: h\r\n\r\n",
            OK,
            OK,
            GET,
            OK,
        ],
        &[
            "ResponseWithoutRequest",
            "Incomplete",
            "ResponseWithoutRequest",
            "0 GET /a - 8-8 : 200 2 9-9 @9",
        ],
    );
    // A client that pipelines is never told again.
    check(
        &[GET, GET, OK, OK, GET, "<?9", GET, OK],
        &[
            "0 GET /a - 1-1 : 200 2 3-3 @3",
            "1 GET /a - 2-2 : 200 2 4-4 @4",
            "Incomplete",
            "Incomplete",
        ],
    );
}

#[test]
fn long_heads_are_cut() {
    let limits = Limits {
        head: 64,
        ..Limits::default()
    };
    let long = "x".repeat(500);
    let post = format!("> POST /a HTTP/1.1\r\nA: 1\r\nB: {long}\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(
        run(limits, &[&post, OK], Close::Closed),
        ["0 POST /a 2 1-1 cut : 200 2 2-2 @2"]
    );
    let target = format!("> POST /{long} HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi");
    let expect = format!(
        "0 POST /{} 2 1-1 cut : 200 2 2-2 @2",
        &long[..64 - "POST /".len()]
    );
    assert_eq!(run(limits, &[&target, OK], Close::Closed), [expect]);
    let many = format!("> GET /a HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(3000));
    check(&[&many, OK], &["0 GET /a - 1-1 cut : 200 2 2-2 @2"]);
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

#[test]
fn heads_keep_what_was_sent() {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    let request = b"GET /a HTTP/1.0\r\nHost:  h \r\nx-a: \xff\r\nFolded: a\r\n \t b\r\nEmpty:\r\nSpaced : c\r\nX-A: 2\r\n\r\n";
    let response = b"HTTP/1.1 200\r\nServer: s\r\nContent-Length: 0\r\n\r\n";
    connection.read(
        Flow::Request,
        (),
        Piece::Bytes {
            data: request,
            starts: None,
        },
        &mut out,
    );
    connection.read(
        Flow::Response,
        (),
        Piece::Bytes {
            data: response,
            starts: None,
        },
        &mut out,
    );
    let [Outcome::Exchange(exchange)] = &out[..] else {
        panic!("{out:?}")
    };
    let head = &exchange.request.head;
    assert_eq!(head.version(), Version::Http10);
    assert_eq!(head.header("HOST"), Some(&b"h"[..]));
    assert_eq!(head.header("X-a"), Some(&b"\xff"[..]));
    assert_eq!(head.header("folded"), Some(&b"a   \t b"[..]));
    assert_eq!(head.header("empty"), Some(&b""[..]));
    assert_eq!(head.header("spaced"), Some(&b"c"[..]));
    assert_eq!(head.header("absent"), None);
    let names: Vec<_> = head.headers().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [&b"Host"[..], b"x-a", b"Folded", b"Empty", b"Spaced", b"X-A"]
    );
    let response = exchange.response.as_ref().expect("response");
    assert_eq!(response.head.version(), Version::Http11);
    assert_eq!(response.head.header("server"), Some(&b"s"[..]));
    assert!(!head.is_cut() && !response.head.is_cut());
}
