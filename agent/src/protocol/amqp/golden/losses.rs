//! Something is lost.

use super::*;

/// What comes of turns in the middle of a connection.
fn check_late<const N: usize>(script: [Vec<u8>; N], expect: &[&str]) {
    let conversation = turns(script);
    let mut expect: Vec<_> = expect.iter().map(|line| (*line).to_owned()).collect();
    expect.sort_unstable();
    assert_eq!(read(late().into_iter().chain(pieces(&conversation))), expect);
    let single = conversation
        .iter()
        .flat_map(|(flow, data)| data.chunks(1).map(|byte| (*flow, bytes(byte))));
    assert_eq!(read(late().into_iter().chain(single)), expect, "byte by byte");
}

#[test]
fn joined_late() {
    check_late(
        [
            publish(1, "x:y", "a"),
            [
                ack(1, 17, false),
                deliver(1, "c", 9, "x:y", "b"),
                deliver(1, "c", 10, "x:y", "c"),
            ]
            .concat(),
            [ack(1, 9, false), get(1, "q", true)].concat(),
            got(1, 11, "x:z", "d"),
        ],
        &[
            "Publish x:y a 5 Content",
            "Deliver x:y:? #9 b 5 Ack",
            "Deliver x:y:? #10 c 5 Unseen",
            "Get x:z:q #11 d 5 Content",
        ],
    );
}

#[test]
fn joined_late_in_the_middle_of_a_message() {
    let cut = publish(1, "x:y", "a")[6..].to_vec();
    check_late(
        [
            [cut, publish(1, "x:y", "b")].concat(),
            deliver(1, "c", 1, "x:y", "c"),
        ],
        &[
            "Incomplete",
            "Publish x:y b 5 Content",
            "Deliver x:y:? #1 c 5 Unseen",
        ],
    );
    // In front of its content header.
    let header = content(1, "a", 5, 100);
    check_late(
        [[header, publish(1, "x:y", "b")].concat()],
        &["Incomplete", "Publish x:y b 5 Content"],
    );
}

#[test]
fn a_channel_opened_since_is_known_whole() {
    check_late(
        [
            ack(1, 3, false),
            deliver(1, "c", 9, "x:y", "old"),
            open(2),
            open_ok(2),
            [select(2), consume(2, "q", "", 0)].concat(),
            [
                select_ok(2),
                consume_ok(2, "amq.ctag"),
                deliver(2, "amq.ctag", 1, "x:y", "a"),
            ]
            .concat(),
            [publish(2, "x:y", "b"), ack(2, 1, false)].concat(),
            ack(2, 1, true),
        ],
        &[
            "Deliver x:y:? #9 old 5 Unseen",
            "Deliver x:y:q #1 a 5 Ack",
            "Publish x:y b 5 Ack",
        ],
    );
}

#[test]
fn what_nobody_settles_does_not_wait_for_ever() {
    let mut connection = Connection::new(Limits::default());
    let mut out = Vec::new();
    for (flow, piece) in late() {
        connection.read(flow, (), piece, &mut out);
    }
    for tag in 1..=100 {
        connection.read(
            Flow::Response,
            (),
            bytes(&deliver(1, "c", tag, "x:y", "a")),
            &mut out,
        );
    }
    assert_eq!((out.len(), connection.in_flight()), (68, 32));
}

/// Loses `range` of the client's (or the server's) last turn but one, of which the length is known or not.
fn check_gap(script: &Conversation, at: usize, range: std::ops::Range<usize>, known: bool, expect: &[&str]) {
    let opening = turns([hello(), welcome()]);
    let mut all: Vec<_> = pieces(&opening).collect();
    for (index, (flow, data)) in script.iter().enumerate() {
        if index != at {
            all.push((*flow, bytes(data)));
            continue;
        }
        let length = if known { range.len() as u64 } else { 0 };
        if range.start > 0 {
            all.push((*flow, bytes(&data[..range.start])));
        }
        all.push((*flow, Piece::Gap { length }));
        if range.end < data.len() {
            all.push((*flow, bytes(&data[range.end..])));
        }
    }
    let mut expect: Vec<_> = expect.iter().map(|line| (*line).to_owned()).collect();
    expect.sort_unstable();
    assert_eq!(read(all), expect);
}

#[test]
fn a_loss_within_a_body_changes_nothing() {
    let message = [publish(1, "x:y", "a"), publish(1, "x:y", "b")].concat();
    let first = publish(1, "x:y", "a").len();
    let expect = ["Publish x:y a 5 Content", "Publish x:y b 5 Content"];
    check_gap(&turns([message.clone()]), 0, first - 4..first - 1, true, &expect);
    // Where its length is not known, the rest of the message is not either.
    let expect = ["Incomplete", "Publish x:y b 5 Content"];
    check_gap(&turns([message]), 0, first - 4..first - 1, false, &expect);
}

#[test]
fn confirms_are_tied_by_their_numbers_alone() {
    let script = turns([
        [
            select(1),
            publish(1, "x:y", "a"),
            publish(1, "x:y", "b"),
            publish(1, "x:y", "c"),
        ]
        .concat(),
        [select_ok(1), nack(1, 1, 0), ack(1, 3, false), ack(1, 2, true)].concat(),
    ]);
    // The nack is lost: an ack of all up to 2 may not be for 1.
    let from = select_ok(1).len();
    let lost = from..from + nack(1, 1, 0).len();
    check_gap(
        &script,
        1,
        lost,
        true,
        &[
            "Publish x:y a 5 Unseen",
            "Publish x:y b 5 Ack",
            "Publish x:y c 5 Ack",
        ],
    );
}

#[test]
fn publishes_behind_a_loss_have_no_number() {
    let script = turns([
        [
            select(1),
            publish(1, "x:y", "a"),
            publish(1, "x:y", "b"),
            publish(1, "x:y", "c"),
        ]
        .concat(),
        [select_ok(1), ack(1, 1, false), nack(1, 2, 0), nack(1, 3, 0)].concat(),
    ]);
    let one = publish(1, "x:y", "a").len();
    let from = select(1).len() + one;
    check_gap(
        &script,
        0,
        from..from + one,
        true,
        &["Publish x:y a 5 Ack", "Publish x:y c 5 Content"],
    );
}

#[test]
fn settlements_behind_a_loss_are_tied_by_their_numbers_alone() {
    let script = turns([
        consume(1, "q", "c", 0),
        [
            consume_ok(1, "c"),
            deliver(1, "c", 1, "x:y", "a"),
            deliver(1, "c", 2, "x:y", "b"),
            deliver(1, "c", 3, "x:y", "c"),
        ]
        .concat(),
        [reject(1, 1), ack(1, 2, true), ack(1, 3, false)].concat(),
    ]);
    check_gap(
        &script,
        2,
        0..reject(1, 1).len(),
        true,
        &[
            "Deliver x:y:q #1 a 5 Unseen",
            "Deliver x:y:q #2 b 5 Ack",
            "Deliver x:y:q #3 c 5 Ack",
        ],
    );
}

#[test]
fn a_channel_opened_again_within_a_loss_is_another() {
    let script = turns([
        consume(1, "q", "c", 0),
        [consume_ok(1, "c"), deliver(1, "c", 1, "x:y", "a")].concat(),
        shut(1, 200),
        shut_ok(1),
        open(1),
        open_ok(1),
        consume(1, "r", "c", 0),
        [consume_ok(1, "c"), deliver(1, "c", 1, "x:y", "b")].concat(),
        ack(1, 1, false),
    ]);
    let all = |at: usize| 0..script[at].1.len();
    let expect = ["Deliver x:y:q #1 a 5 Unseen", "Deliver x:y:r #1 b 5 Ack"];
    for at in 2..6 {
        check_gap(&script.clone(), at, all(at), true, &expect);
    }
}

#[test]
fn what_is_no_frame_is_said_and_searched() {
    let script =
        |between: &[u8]| turns([[publish(1, "x:y", "a"), between.to_vec(), publish(1, "x:y", "b")].concat()]);
    for (between, reason) in [
        (b"GET / HTTP/1.1\r\n\r\n".as_slice(), "Unparsed(Frame)"),
        (&got_nothing(1), "Unparsed(Method)"),
        (&method(1, 60, 40, b"\0\0\xff"), "Unparsed(Method)"),
        (&content(1, "z", 5, 100), "Unparsed(Content)"),
        (&method(1, 60, 40, b"\0\0\0\0\0"), "Unparsed(Content)"),
    ] {
        let opening = turns([hello(), welcome()]);
        let script = script(between);
        let mut expect = ["Publish x:y a 5 Content", "Publish x:y b 5 Content", reason];
        expect.sort_unstable();
        assert_eq!(
            read(pieces(&opening).chain(pieces(&script))),
            expect,
            "{}",
            between.escape_ascii()
        );
    }
}

#[test]
fn over_the_limit_the_oldest_come_out() {
    let limits = Limits {
        in_flight: 2000,
        ..Limits::default()
    };
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    let opening = turns([hello(), welcome(), consume(1, "q", "c", 0), consume_ok(1, "c")]);
    for (flow, piece) in pieces(&opening) {
        connection.read(flow, (), piece, &mut out);
    }
    for tag in 1..=20 {
        connection.read(
            Flow::Response,
            (),
            bytes(&deliver(1, "c", tag, "x:y", "a")),
            &mut out,
        );
    }
    assert!(connection.in_flight() < 8);
    assert_eq!(out.len() + connection.in_flight(), 20);
    assert!(out.iter().all(|outcome| line(outcome).ends_with("Unseen")));
    connection.read(Flow::Request, (), bytes(&ack(1, 20, true)), &mut out);
    assert_eq!((out.len(), connection.in_flight()), (20, 0));
}

/// What the kernel's walker copies of frames: methods up to 4096 bytes, content headers, small bodies.
fn walk(flow: Flow, mut data: &[u8], out: &mut Vec<(Flow, Vec<u8>, u64)>) {
    if data.starts_with(PROTOCOL) {
        out.push((flow, data[..8].to_vec(), 0));
        data = &data[8..];
    }
    while !data.is_empty() {
        let size = u32::from_be_bytes(data[3..7].try_into().unwrap()) as usize;
        let (frame, rest) = data.split_at(size + 8);
        let copied = match (frame[0], &frame[7..frame.len().min(11)]) {
            (1, [0, 10, 0, 11 | 21 | 70]) => 11,
            (3, _) if size > 64 => 7,
            _ => frame.len(),
        };
        out.push((flow, frame[..copied].to_vec(), (frame.len() - copied) as u64));
        data = rest;
    }
}

#[test]
fn what_the_kernel_does_not_copy_is_not_needed() {
    let route = [b"\0\0", &route("x:y")[..], b"\0"].concat();
    let large = [method(1, 60, 40, &route), content(1, "a", 1000, 300)].concat();
    let conversation = turns([hello(), welcome(), [large, publish(1, "x:y", "b")].concat()]);
    let mut walked = Vec::new();
    for (flow, data) in &conversation {
        walk(*flow, data, &mut walked);
    }
    let pieces = walked.iter().flat_map(|(flow, copied, wire)| {
        // The rest in two parts.
        let parts = [1.min(*wire), wire.saturating_sub(1)]
            .into_iter()
            .filter(|wire| *wire > 0);
        let elided = parts.map(|wire| Piece::Elided {
            wire,
            content: 0,
            last: false,
        });
        std::iter::once(bytes(copied))
            .chain(elided)
            .map(|piece| (*flow, piece))
    });
    assert_eq!(
        read(pieces),
        ["Publish x:y a 1000 Content", "Publish x:y b 5 Content"]
    );
}
