//! Nothing is lost.

use super::*;

#[test]
fn publishes() {
    check(
        [[
            publish(1, "logs:info", "a"),
            publish(1, ":queue", "b"),
            open(2),
            publish(2, "x:", "c"),
        ]
        .concat()],
        &[
            "Publish logs:info a 5 Content",
            "Publish :queue b 5 Content",
            "Publish x: c 5 Content",
        ],
    );
}

#[test]
fn bodies_in_many_frames_channels_interleaved() {
    let route = |to| [b"\0\0", &route(to)[..], b"\0"].concat();
    let [one, two] = [(1, "x:one", "a"), (2, "x:two", "b")].map(|(channel, to, id)| {
        [
            method(channel, 60, 40, &route(to)),
            content(channel, id, 300, 100),
        ]
        .concat()
    });
    // The header of one, and all of the other, between the bodies of the first.
    let cut = one.len() - 108;
    check(
        [[
            open(2),
            one[..cut].to_vec(),
            heartbeat(),
            two,
            one[cut..].to_vec(),
        ]
        .concat()],
        &["Publish x:one a 300 Content", "Publish x:two b 300 Content"],
    );
    let empty = [method(1, 60, 40, &route("x:y")), content(1, "e", 0, 1)].concat();
    check([empty], &["Publish x:y e 0 Content"]);
}

#[test]
fn confirms() {
    let sent: Vec<u8> = ["a", "b", "c", "d", "e"]
        .iter()
        .flat_map(|id| publish(1, "x:y", id))
        .collect();
    check(
        [
            select(1),
            select_ok(1),
            sent,
            [ack(1, 2, false), ack(1, 3, true), nack(1, 5, 1)].concat(),
        ],
        &[
            "Publish x:y a 5 Ack",
            "Publish x:y b 5 Ack",
            "Publish x:y c 5 Ack",
            "Publish x:y d 5 Nack { requeue: false }",
            "Publish x:y e 5 Nack { requeue: false }",
        ],
    );
}

#[test]
fn returns() {
    check(
        [
            [
                select(1),
                mandatory(1, "x:y", "a"),
                mandatory(1, "x:y", "b"),
                publish(1, "x:y", "c"),
            ]
            .concat(),
            [select_ok(1), come_back(1, "x:y", "b"), ack(1, 3, true)].concat(),
        ],
        &[
            "Publish x:y a 5 Ack",
            "Publish x:y b 5 returned 312 Ack",
            "Publish x:y c 5 Ack",
        ],
    );
    // With no confirms.
    check(
        [
            [mandatory(1, "x:y", "a"), mandatory(1, "x:z", "b")].concat(),
            [come_back(1, "x:z", "b"), heartbeat(), heartbeat()].concat(),
        ],
        &["Publish x:y a 5 Content", "Publish x:z b 5 returned 312 Content"],
    );
}

#[test]
fn deliveries_and_what_settles_them() {
    let delivered: Vec<u8> = (1..=6)
        .flat_map(|tag| deliver(1, "c", tag, "x:y", &tag.to_string()))
        .collect();
    check(
        [
            consume(1, "q", "c", 0),
            [consume_ok(1, "c"), delivered].concat(),
            [ack(1, 2, false), ack(1, 3, true), reject(1, 4), nack(1, 5, 2)].concat(),
        ],
        &[
            "Deliver x:y:q #1 1 5 Ack",
            "Deliver x:y:q #2 2 5 Ack",
            "Deliver x:y:q #3 3 5 Ack",
            "Deliver x:y:q #4 4 5 Reject { requeue: true }",
            "Deliver x:y:q #5 5 5 Nack { requeue: true }",
            "Deliver x:y:q #6 6 5 Unseen",
        ],
    );
}

#[test]
fn consumers_are_named_by_either_side() {
    check(
        [
            [
                consume(1, "one", "", 2),
                consume(1, "two", "mine", 2),
                consume(1, "three", "now", 10),
            ]
            .concat(),
            [
                consume_ok(1, "amq.ctag-1"),
                deliver(1, "amq.ctag-1", 1, "x:y", "a"),
                consume_ok(1, "mine"),
                deliver(1, "mine", 2, "x:y", "b"),
            ]
            .concat(),
            vec![],
            deliver(1, "now", 3, "x:y", "c"),
        ]
        .map(|turn| turn),
        &[
            "Deliver x:y:one #1 a 5 Content",
            "Deliver x:y:two #2 b 5 Content",
            "Deliver x:y:three #3 c 5 Content",
        ],
    );
}

#[test]
fn a_tag_used_again_is_another_consumer() {
    let cancel = method(1, 60, 30, b"\x01c\0");
    let cancel_ok = method(1, 60, 31, b"\x01c");
    check(
        [
            [consume(1, "one", "c", 2), cancel, consume(1, "two", "c", 2)].concat(),
            [
                consume_ok(1, "c"),
                deliver(1, "c", 1, "x:y", "a"),
                cancel_ok,
                consume_ok(1, "c"),
                deliver(1, "c", 2, "x:y", "b"),
            ]
            .concat(),
        ],
        &["Deliver x:y:one #1 a 5 Content", "Deliver x:y:two #2 b 5 Content"],
    );
}

#[test]
fn gets() {
    check(
        [
            [get(1, "q", false), get(1, "r", true), get(1, "s", true)].concat(),
            [got(1, 1, "x:y", "a"), got_nothing(1), got(1, 2, ":s", "b")].concat(),
            ack(1, 1, false),
        ],
        &["Get x:y:q #1 a 5 Ack", "Get :s:s #2 b 5 Content"],
    );
}

#[test]
fn queues_that_the_server_names() {
    check(
        [
            [declare(1, "known"), declare(1, "")].concat(),
            [declare_ok(1, "known"), declare_ok(1, "amq.gen-1")].concat(),
            [consume(1, "", "c", 2), get(1, "", true)].concat(),
            [
                consume_ok(1, "c"),
                deliver(1, "c", 1, ":k", "a"),
                got(1, 2, ":k", "b"),
            ]
            .concat(),
        ],
        &[
            "Deliver :k:amq.gen-1 #1 a 5 Content",
            "Get :k:amq.gen-1 #2 b 5 Content",
        ],
    );
}

#[test]
fn an_error_ends_what_is_in_flight_on_its_channel() {
    check(
        [
            [select(1), consume(1, "q", "c", 0), publish(1, "x:y", "a")].concat(),
            [
                select_ok(1),
                consume_ok(1, "c"),
                deliver(1, "c", 1, "x:y", "b"),
                deliver(1, "c", 2, "x:y", "c"),
                shut(1, 406),
            ]
            .concat(),
            [ack(1, 1, false), shut_ok(1), open(1), publish(1, "x:y", "d")].concat(),
            open_ok(1),
        ],
        &[
            "Publish x:y a 5 Closed(406)",
            "Deliver x:y:q #1 b 5 Ack",
            "Deliver x:y:q #2 c 5 Closed(406)",
            "Publish x:y d 5 Content",
        ],
    );
}

#[test]
fn an_error_of_the_connection_ends_all() {
    check(
        [
            [select(1), publish(1, "x:y", "a")].concat(),
            [select_ok(1), shut(0, 320)].concat(),
            shut_ok(0),
        ],
        &["Publish x:y a 5 Closed(320)"],
    );
    // Nobody is there to agree.
    check(
        [
            [select(1), publish(1, "x:y", "a")].concat(),
            [select_ok(1), shut(0, 320)].concat(),
        ],
        &["Publish x:y a 5 Closed(320)"],
    );
}

#[test]
fn an_orderly_end_is_no_error() {
    check(
        [
            [
                select(1),
                publish(1, "x:y", "a"),
                consume(1, "q", "c", 0),
                shut(1, 200),
                shut(0, 200),
            ]
            .concat(),
            [
                select_ok(1),
                consume_ok(1, "c"),
                deliver(1, "c", 1, "x:y", "b"),
                shut_ok(1),
                shut_ok(0),
            ]
            .concat(),
        ],
        &["Publish x:y a 5 Unseen", "Deliver x:y:q #1 b 5 Unseen"],
    );
}

#[test]
fn the_end_of_the_transport_is_seen_by_who_waits() {
    check(
        [[select(1), publish(1, "x:y", "a")].concat(), select_ok(1)],
        &["Publish x:y a 5 Close(Closed)"],
    );
}

#[test]
fn channel_numbers_are_used_again() {
    check(
        [
            [
                select(1),
                publish(1, "x:y", "a"),
                shut(1, 200),
                open(1),
                select(1),
                publish(1, "x:y", "b"),
            ]
            .concat(),
            [
                select_ok(1),
                ack(1, 1, false),
                shut_ok(1),
                open_ok(1),
                select_ok(1),
                nack(1, 1, 0),
            ]
            .concat(),
        ],
        &["Publish x:y a 5 Ack", "Publish x:y b 5 Nack { requeue: false }"],
    );
}

#[test]
fn transactions_change_nothing() {
    check(
        [
            [
                method(1, 90, 10, b""),
                consume(1, "q", "c", 0),
                publish(1, "x:y", "a"),
                method(1, 90, 20, b""),
            ]
            .concat(),
            [
                method(1, 90, 11, b""),
                consume_ok(1, "c"),
                deliver(1, "c", 1, "x:y", "b"),
                method(1, 90, 21, b""),
            ]
            .concat(),
            [ack(1, 1, false), method(1, 90, 30, b""), ack(1, 1, false)].concat(),
            method(1, 90, 31, b""),
        ],
        &["Publish x:y a 5 Content", "Deliver x:y:q #1 b 5 Ack"],
    );
}

#[test]
fn what_is_stepped_over() {
    check(
        [
            [
                method(1, 60, 10, b"\0\0\0\0\0\x0a\0"),
                method(1, 20, 21, b"\x01"),
                heartbeat(),
            ]
            .concat(),
            [
                method(1, 60, 11, b""),
                method(1, 20, 20, b"\x01"),
                method(0, 10, 60, b"\x06memory"),
                method(0, 10, 61, b""),
            ]
            .concat(),
            [publish(1, "x:y", "a"), get(1, "q", false)].concat(),
            got_nothing(1),
        ],
        &["Publish x:y a 5 Content"],
    );
}

#[test]
fn recovered_deliveries_come_again() {
    check(
        [
            consume(1, "q", "c", 0),
            [consume_ok(1, "c"), deliver(1, "c", 1, "x:y", "a")].concat(),
        ],
        &["Deliver x:y:q #1 a 5 Unseen"],
    );
    let conversation: Conversation = turns([hello(), welcome()])
        .into_iter()
        .chain(turns([
            consume(1, "q", "c", 0),
            [consume_ok(1, "c"), deliver(1, "c", 1, "x:y", "a")].concat(),
            method(1, 60, 110, b"\x01"),
            [method(1, 60, 111, b""), deliver(1, "c", 2, "x:y", "a")].concat(),
            ack(1, 0, true),
        ]))
        .collect();
    assert_eq!(
        read(pieces(&conversation)),
        ["Deliver x:y:q #1 a 5 Recover", "Deliver x:y:q #2 a 5 Ack"]
    );
}

#[test]
fn another_version_is_refused() {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    connection.read(Flow::Request, (), bytes(PROTOCOL), &mut out);
    connection.read(Flow::Response, (), bytes(b"AMQP\0\0\x09\x01"), &mut out);
    assert!(connection.is_done() && out.is_empty());
    let mut connection = Connection::new(Limits::default());
    connection.read(Flow::Request, (), bytes(b"AMQP\x03\x01\0\0"), &mut out);
    assert!(connection.is_done());
    assert_eq!(out, [Outcome::Lost(Reason::Unparsed(Malformed::Opening))]);
}

#[test]
fn times_are_those_of_the_bytes() {
    let conversation: Conversation = turns([hello(), welcome(), select(1), select_ok(1)]);
    let message = publish(1, "x:y", "a");
    let rest = [
        (Flow::Request, bytes(&message[..3])),
        (Flow::Request, bytes(&message[3..message.len() - 1])),
        (Flow::Request, bytes(&message[message.len() - 1..])),
    ];
    let confirm = ack(1, 1, false);
    let all = pieces(&conversation)
        .chain(rest)
        .chain([(Flow::Response, bytes(&confirm))]);
    let out = outcomes(all);
    let [Outcome::Exchange(exchange)] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!([exchange.first, exchange.last, exchange.ended], [5, 7, 8]);
}

#[test]
fn ordinals_count_each_direction_or_are_the_kernels() {
    let conversation: Conversation = turns([
        hello(),
        welcome(),
        [
            publish(1, "x:y", "a"),
            consume(1, "q", "c", 2),
            publish(1, "x:y", "b"),
        ]
        .concat(),
        [consume_ok(1, "c"), deliver(1, "c", 1, "x:y", "c")].concat(),
    ]);
    let marked = publish(1, "x:y", "d");
    let piece = Piece::Bytes {
        data: &marked,
        starts: Some(7),
    };
    let out = outcomes(pieces(&conversation).chain([(Flow::Request, piece)]));
    let ordinals: Vec<_> = out
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Exchange(exchange) => Some((exchange.operation, exchange.ordinal)),
            Outcome::Lost(_) => None,
        })
        .collect();
    assert_eq!(
        ordinals,
        [
            (Operation::Publish, 0),
            (Operation::Publish, 1),
            (Operation::Deliver, 0),
            (Operation::Publish, 7)
        ]
    );
}
