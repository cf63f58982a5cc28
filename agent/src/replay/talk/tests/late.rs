//! Joined late: what HTTP/2, PostgreSQL and AMQP are known by, and that nothing else is taken for them.

use super::{ANSWER, ASK, check};

const BEFORE: [&[u8]; 2] = [b">?before", b"<?before"];

fn join(said: &[&[u8]], expect: &[&str]) {
    check(&[&BEFORE[..], said].concat(), expect);
}

/// `GET /` on stream 5, alone in its segment.
const GET: &[u8] = b">\0\0\x03\x01\x05\0\0\0\x05\x82\x84\x86";
/// The same with a body of one byte, on stream 3.
const POST: &[u8] = b">\0\0\x03\x01\x04\0\0\0\x03\x83\x84\x86\0\0\x01\0\x01\0\0\0\x03x";
/// 200 with two bytes, on stream 5.
const OK: &[u8] = b"<\0\0\x01\x01\x04\0\0\0\x05\x88\0\0\x02\0\x01\0\0\0\x05ok";
/// 204 on stream 3.
const NO_CONTENT: &[u8] = b"<\0\0\x01\x01\x05\0\0\0\x03\x89";

#[test]
fn http2_is_known_by_frames_of_either_side() {
    // The request alone would be too little: the answer tells, and what was asked before is still there.
    join(&[b">rest", GET, OK], &["5: Some(\"/\") Some(200) @5"]);
    join(
        &[POST, NO_CONTENT, GET, OK],
        &["3: Some(\"/\") Some(204) @4", "5: Some(\"/\") Some(200) @6"],
    );
    join(&[OK], &["ResponseWithoutRequest"]);
    // What was before a loss does not go with what follows.
    join(&[GET, b"<?", OK], &["ResponseWithoutRequest"]);
    join(&[GET], &["JoinedLate"]);
}

#[test]
fn http2_begins_with_its_preface() {
    let preface: &[u8] = b">PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let settings: &[u8] = b"<\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
    join(&[preface, settings, GET, OK], &["5: Some(\"/\") Some(200) @6"]);
    join(&[settings, preface, GET, OK], &["5: Some(\"/\") Some(200) @6"]);
    join(&[settings, settings], &["JoinedLate"]);
}

const STARTUP: &[u8] = b">\0\0\0\x11\0\x03\0\0user\0me\0\0";
const READY: &[u8] = b"<R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
const QUERY: &[u8] = b">Q\0\0\0\x0dSELECT 1\0";
const ROW: &[u8] =
    b"<T\0\0\0\x1a\0\x01x\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0D\0\0\0\x0b\0\x01\0\0\0\x011";
const DONE: &[u8] = b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

fn answer() -> Vec<u8> {
    [ROW, DONE].concat()
}

#[test]
fn postgres_is_known_by_the_end_of_a_turn() {
    let answer = answer();
    let select = "Some(\"SELECT 1\") Some(\"SELECT\") @";
    join(
        &[b">rest", QUERY, &answer, QUERY, &answer],
        &[&format!("{select}5"), &format!("{select}7")],
    );
    let sync: &[u8] = b">B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
    let bound = [b"<2\0\0\0\x04".as_slice(), DONE].concat();
    join(&[sync, &bound], &["None Some(\"SELECT\") @4"]);
}

#[test]
fn postgres_is_known_by_both_directions() {
    // The answer does not end in its first segment.
    let done = [b"<".as_slice(), DONE].concat();
    join(&[QUERY, ROW, &done], &["Some(\"SELECT 1\") Some(\"SELECT\") @5"]);
    // One direction alone, however often it says so.
    join(&[QUERY, QUERY, QUERY], &["JoinedLate"]);
    join(&[ROW, ROW], &["JoinedLate"]);
    // Both the same way.
    join(&[QUERY, b"<Q\0\0\0\x0dSELECT 1\0"], &["JoinedLate"]);
}

#[test]
fn postgres_begins_with_its_startup() {
    let (answer, select) = (answer(), "Some(\"SELECT 1\") Some(\"SELECT\") @6");
    join(&[STARTUP, READY, QUERY, &answer], &[select]);
}

/// basic.publish of nothing to the queue `q`.
const PUBLISH: &[u8] = b">\x01\0\x01\0\0\0\x0a\0\x3c\0\x28\0\0\0\x01q\0\xce\
    \x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\xce";
/// basic.deliver of the same, to `c`.
const DELIVER: &[u8] = b"<\x01\0\x01\0\0\0\x12\0\x3c\0\x3c\x01c\0\0\0\0\0\0\0\x07\0\0\x01q\xce\
    \x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\xce";
/// basic.ack of delivery 7.
const ACK: &[u8] = b">\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x07\0\xce";

#[test]
fn amqp_is_known_by_a_method() {
    join(&[b">rest", PUBLISH], &["Publish q Content @4"]);
    join(
        &[DELIVER, ACK, PUBLISH],
        &["Deliver q Ack @4", "Publish q Content @5"],
    );
    // Both sides acknowledge.
    join(&[ACK, b">\x08\0\0\0\0\0\0\xce"], &["JoinedLate"]);
    check(&[b">AMQP\0\0\x09\x01", PUBLISH], &["Publish q Content @2"]);
}

#[test]
fn what_nobody_answers_is_not_told() {
    // Another protocol's contents, each in a segment of its own.
    let requests = [POST, &GET[1..], &POST[1..]].concat();
    join(&[&requests, b"<STORED\r\n"], &["Exchange", "Exchange"]);
    let [ask, answer] = [ASK, ANSWER].map(str::as_bytes);
    let stored: &[u8] = b"<STORED\r\n";
    join(&[ask, stored, ask, stored], &["Exchange", "Exchange"]);
    // Once something is answered, what is not is told as well.
    join(
        &[ask, answer, ask, answer, ask],
        &[
            "Exchange",
            "GET / (1 fields) Some(200) @6",
            "GET / (1 fields) None @99",
        ],
    );
}

#[test]
fn what_becomes_encrypted_is_not_claimed() {
    let request: &[u8] = b">\0\0\0\x08\x04\xd2\x16\x2f";
    check(&[request, b"<S", b">\x16\x03\x01\x02\0\x01"], &["Encrypted"]);
    join(&[request, b"<S", b">\x16\x03\x01\x02\0\x01"], &["Encrypted"]);
    // Refused: it goes on as it is.
    let answer = answer();
    check(
        &[request, b"<N", STARTUP, READY, QUERY, &answer],
        &["Some(\"SELECT 1\") Some(\"SELECT\") @6"],
    );
    // Nobody is asked anything.
    check(&[STARTUP, READY], &[]);
    check(&[b">\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"], &[]);
}

/// Openings and middles of protocols that are not read, each as its two sides say it.
const OTHERS: &[(&str, &[&[u8]])] = &[
    ("Redis", &[
        b">*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
        b"<+OK\r\n",
        b">*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"<$1\r\nv\r\n",
        b">PING\r\n",
        b"<+PONG\r\n",
        b">SUBSCRIBE a\r\n",
    ]),
    ("MySQL", &[
        b"<\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15",
        b">\x20\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"<\x07\0\0\x02\0\0\0\x02\0\0\0",
        b">\x09\0\0\0\x03SELECT 1",
        b"<\x01\0\0\x01\x01\x17\0\0\x02\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0\x02\0\0\x03\x011",
        b">\x05\0\0\0\x1aab\0\0",
    ]),
    ("Kafka", &[
        b">\0\0\0\x1a\0\x03\0\0\0\0\0\x01\0\x02me\0\0\0\x01\0\x06orders",
        b"<\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0",
        b">\0\0\0\x21\0\0\0\x09\0\0\0\x02\0\x02me\xff\xff\xff\xff\0\0\0\x01\0\0\0\x01\0\x06orders",
        b"<\0\0\0\x06\0\0\0\x02\0\0",
    ]),
    ("MongoDB", &[
        b">\x3a\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x25\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0",
        b"<\x26\0\0\0\x02\0\0\0\x01\0\0\0\xdd\x07\0\0\0\0\0\0\0\x11\0\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f\0",
        b">C\0\0\0\x08\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0",
        b"<D\0\0\0\x09\0\0\0\x08\0\0\0\xdd\x07\0\0\0\0\0\0",
    ]),
    ("memcached", &[
        b">set k 0 0 1\r\nv\r\n",
        b"<STORED\r\n",
        b">get k\r\n",
        b"<VALUE k 0 1\r\nv\r\nEND\r\n",
        b">\x80\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0foo",
        b"<\x81\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ]),
    ("TLS", &[
        b">\x16\x03\x01\0\x05\x01\0\0\x01\0",
        b"<\x16\x03\x03\0\x04\x0e\0\0\0",
        b">\x17\x03\x03\0\x13\xd1\x07\x5a\0\0\0\x05I\x91\x84\x13\x7c\xa0\x11\x62\x90\x41\x88",
        b"<\x17\x03\x03\0\x11\0\0\x03\x01\x05\0\0\0\x05\x82\x84\x86\x10\x92\x33\x10\x01",
    ]),
    ("SSH", &[
        b"<SSH-2.0-OpenSSH_9.6\r\n",
        b">SSH-2.0-Go\r\n",
        b"<\0\0\0\x0c\x0a\x14abcdefghij",
        b">\0\0\0\x0c\x0a\x14abcdefghij\0\0\0\x0c\x0a\x15",
    ]),
    ("NATS", &[
        b"<INFO {\"server_id\":\"N\",\"version\":\"2.10\"}\r\n",
        b">CONNECT {\"verbose\":false}\r\nPING\r\n",
        b"<PONG\r\n",
        b">SUB orders 1\r\nPUB orders 2\r\nhi\r\n",
        b"<MSG orders 1 2\r\nhi\r\n",
    ]),
    ("AMQP 1.0", &[
        b">AMQP\x03\x01\0\0",
        b"<AMQP\x03\x01\0\0",
        b"<\0\0\0\x1a\x02\x01\0\0\0S@\xc0\x0d\x01\xe0\x0a\x01\xa3\x05PLAIN",
        b">\0\0\0\x08\x02\0\0\0",
    ]),
    ("Dubbo", &[b">\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01\0\0\0\x02ab"]),
    ("Thrift", &[
        b">\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\0",
        b"<\0\0\0\x11\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x01\0",
    ]),
];

#[test]
fn other_protocols_stay_unclaimed() {
    for (_, said) in OTHERS {
        // From any of their messages on, with or without the one before.
        for from in 0..said.len() {
            join(&said[from..], &["JoinedLate"]);
        }
    }
    // From the first byte on.
    for (name, said) in OTHERS.iter().filter(|(name, _)| *name != "TLS") {
        assert!(!name.is_empty());
        check(said, &["Other"]);
    }
}

/// Numbers that look random, the same each time.
fn noise(length: usize, state: &mut u64) -> Vec<u8> {
    let byte = |_| {
        *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (*state >> 56) as u8
    };
    (0..length).map(byte).collect()
}

#[test]
fn noise_stays_unclaimed() {
    let mut state = 7;
    for length in [1, 5, 9, 12, 40, 1448] {
        let said: Vec<_> = (0..2000)
            .map(|at| {
                let side: &[u8] = if at % 3 == 0 { b">" } else { b"<" };
                [side, &noise(length, &mut state)].concat()
            })
            .collect();
        let before = BEFORE.map(<[u8]>::to_vec);
        check(&[&before[..], &said].concat(), &["JoinedLate"]);
        // A request of HTTP/1 is one wherever it comes.
        check(&[&before[..], &said, &[ASK.into()]].concat(), &["Exchange"]);
    }
}
