//! Bytes that were not copied, and bytes that were lost.

use super::*;

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
    // The end was lost: when it came is not known, but that the request was answered is.
    check(
        &[
            GET,
            "< HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na",
            "<?8",
            GET,
            OK,
        ],
        &[
            "0 GET /a - 1-1 : 200 1 2-2* unseen @2",
            "1 GET /a - 4-4 : 200 2 5-5 @5",
        ],
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
