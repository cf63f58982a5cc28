//! Heads: old forms, targets, wrong ones, long ones.

use super::*;

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
