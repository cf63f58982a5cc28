//! Which protocol is told by what, and when.

use super::*;
use crate::protocol::Exchange;

mod late;

/// What is said (`>` by the low side, `<` by the high one, `>?` and `<?` a gap), and what comes of it: exchanges and losses,
/// then why it was not claimed.
fn check<T: AsRef<[u8]>>(said: &[T], expect: &[&str]) {
    let (mut talk, mut out) = (Talk::default(), Vec::new());
    let lines: Vec<&[u8]> = said.iter().map(AsRef::as_ref).collect();
    for (time, line) in (1..).zip(&lines) {
        let (side, said) = match line.split_first() {
            Some((b'>', said)) => (Side::Low, said),
            Some((_, said)) => (Side::High, said),
            None => continue,
        };
        let next = match said {
            b"?before" => Delivery::Gap(0, Missing::Before),
            b"?" => Delivery::Gap(9, Missing::Lost),
            b"?end" => Delivery::End,
            b"?reset" => Delivery::Reset,
            data => Delivery::Bytes(data),
        };
        talk.hear(side, time, next, &mut out);
    }
    talk.close(99, Close::Stopped, &mut out);
    let mut heard: Vec<_> = out.into_iter().map(tell).collect();
    heard.extend(talk.unclaimed().map(|why| format!("{why:?}")));
    let lines: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
    assert_eq!(heard, expect, "{lines:#?}");
}

/// A line for an outcome: what was asked, what was answered, and when that ended.
fn tell(outcome: Outcome<Time>) -> String {
    let text = |bytes: Option<&[u8]>| bytes.map(|it| String::from_utf8_lossy(it).into_owned());
    match outcome {
        Outcome::Exchange(Exchange::Http1(it)) => {
            let status = it.response.map(|response| response.head.status());
            format!("{:?} {status:?} @{}", it.request.head, it.ended)
        }
        Outcome::Exchange(Exchange::Http2(it)) => {
            let path = text(it.request.head.field(":path"));
            let status = it.response.and_then(|response| response.head.status());
            format!("{}: {path:?} {status:?} @{}", it.stream, it.ended)
        }
        Outcome::Exchange(Exchange::Postgres(it)) => {
            let statement = text(it.request.text.as_ref().map(|text| &*text.bytes));
            let command = it.response.and_then(|response| response.command);
            format!("{statement:?} {command:?} @{}", it.ended)
        }
        Outcome::Exchange(Exchange::Amqp(it)) => {
            format!(
                "{:?} {} {:?} @{}",
                it.operation, it.routing_key, it.ending, it.ended
            )
        }
        Outcome::Lost(reason) => format!("{reason:?}"),
    }
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
