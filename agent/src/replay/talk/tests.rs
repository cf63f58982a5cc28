//! Which protocol is told by what, and when.

use super::*;
use crate::protocol::Exchange;

/// What is said (`>` by the low side, `<` by the high one, `>?` and `<?` a gap), and what comes of it: exchanges and losses,
/// then why it was not claimed.
fn check(said: &[&str], expect: &[&str]) {
    let (mut talk, mut out) = (Talk::default(), Vec::new());
    for (time, line) in (1..).zip(said) {
        let side = if line.starts_with('>') {
            Side::Low
        } else {
            Side::High
        };
        let next = match &line[1..] {
            "?before" => Delivery::Gap(0, Missing::Before),
            "?" => Delivery::Gap(9, Missing::Lost),
            "?end" => Delivery::End,
            "?reset" => Delivery::Reset,
            data => Delivery::Bytes(data.as_bytes()),
        };
        talk.hear(side, time, next, &mut out);
    }
    talk.close(99, Close::Stopped, &mut out);
    let mut heard: Vec<_> = out
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Exchange(Exchange::Http1(it)) => {
                let status = it.response.map(|response| response.head.status());
                format!("{:?} {status:?} @{}", it.request.head, it.ended)
            }
            Outcome::Exchange(other) => format!("{other:?}"),
            Outcome::Lost(reason) => format!("{reason:?}"),
        })
        .collect();
    heard.extend(talk.unclaimed().map(|why| format!("{why:?}")));
    assert_eq!(heard, expect, "{said:#?}");
}

const ASK: &str = ">GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const ANSWER: &str = "<HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn the_first_bytes_tell() {
    check(&[ASK, ANSWER], &["GET / (1 fields) Some(200) @2"]);
    // However they are cut.
    let parts: Vec<_> = ASK[1..]
        .bytes()
        .map(|byte| format!(">{}", char::from(byte)))
        .collect();
    let mut said: Vec<_> = parts.iter().map(String::as_str).collect();
    said.push(ANSWER);
    check(&said, &["GET / (1 fields) Some(200) @28"]);
    check(&[">\x16\x03\x01\x02", "<\x16\x03\x01\x02"], &["Tls"]);
    check(&[">PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], &[]);
    check(&[">*1\r\n$4\r\nPING\r\n", "<+PONG\r\n"], &["Other"]);
    check(&[">GET / HT"], &["TooShort"]);
    check(&[">?end", "<?end"], &["Silent"]);
}

#[test]
fn joined_in_the_middle_a_message_has_to_begin_with_a_segment() {
    let before = [">?before", "<?before"];
    let join = |said: &[&'static str]| [&before, said].concat();
    check(&join(&["<rest of a body", ">and of another"]), &["JoinedLate"]);
    // Its answer may be one to a request from before.
    check(
        &join(&["<rest", ASK, ANSWER, ASK, ANSWER]),
        &["Exchange", "GET / (1 fields) Some(200) @7"],
    );
    check(
        &join(&[ANSWER, ASK, ANSWER]),
        &["ResponseWithoutRequest", "GET / (1 fields) Some(200) @5"],
    );
    check(
        &[">?", ANSWER, ASK, ANSWER],
        &["ResponseWithoutRequest", "GET / (1 fields) Some(200) @4"],
    );
}

#[test]
fn ends_of_all_kinds() {
    let unframed = "<HTTP/1.0 200 OK\r\n\r\nbody";
    check(&[ASK, unframed, "<?end"], &["GET / (1 fields) Some(200) @2"]);
    check(&[ASK, unframed, "<?reset"], &["GET / (1 fields) Some(200) @3"]);
    check(&[ASK, unframed], &["GET / (1 fields) Some(200) @99"]);
    check(
        &[ASK, "<HTTP/1.1 100 Continue\r\n\r\n"],
        &["GET / (1 fields) None @99"],
    );
    check(
        &[
            ">CONNECT h:1 HTTP/1.1\r\n\r\n",
            "<HTTP/1.1 200 OK\r\n\r\n",
            ">GET / HTTP/1.1\r\n\r\n",
        ],
        &["CONNECT h:1 (0 fields) Some(200) @2"],
    );
}
