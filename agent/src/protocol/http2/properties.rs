//! Property tests: conversations made here, cut into pieces at random, and read back.

use super::frame::PREFACE;
use super::*;
use crate::connection::piece::Piece;
use proptest::prelude::*;
use proptest::sample::Index;
use script::{Script, frame, frames, manner, scripts};
use std::collections::{HashMap, HashSet};

mod script;

#[derive(Clone, Debug)]
enum Part {
    Bytes(Vec<u8>),
    Elided(u64, u64),
    Gap(u64),
}

type Parts = Vec<(Flow, Part)>;

/// The frames of one side, cut where `cuts` say.
fn split(flow: Flow, frames: &[(Vec<u8>, bool)], cuts: &[Index]) -> Parts {
    let bytes: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame).copied().collect();
    let at = cuts.iter().map(|cut| cut.index(bytes.len() + 1));
    let mut at: Vec<usize> = at.chain([0, bytes.len()]).collect();
    at.sort_unstable();
    let parts = at.windows(2).filter(|range| range[0] < range[1]);
    parts
        .map(|range| (flow, Part::Bytes(bytes[range[0]..range[1]].to_vec())))
        .collect()
}

/// The same with content that is not copied behind its first `shown` bytes.
fn walk(flow: Flow, frames: &[(Vec<u8>, bool)], shown: usize) -> Parts {
    let mut parts = Vec::new();
    for (frame, is_content) in frames {
        if !is_content || frame[4] & 8 != 0 && shown == 0 {
            parts.push((flow, Part::Bytes(frame.clone())));
            continue;
        }
        let padding = if frame[4] & 8 != 0 {
            usize::from(frame[9])
        } else {
            0
        };
        let (head, rest) = frame.split_at(frame.len().min(9 + shown));
        parts.push((flow, Part::Bytes(head.to_vec())));
        let content = rest.len().saturating_sub(padding);
        parts.push((flow, Part::Elided(rest.len() as u64, content as u64)));
    }
    parts
}

/// Puts the parts of both directions in an order that keeps each direction's own; `turns` says whose is next.
fn interleave(requests: Parts, responses: Parts, turns: &[bool]) -> Parts {
    let (mut requests, mut responses) = (requests.into_iter().peekable(), responses.into_iter().peekable());
    let mut turns = turns.iter().chain(&[true, false]).cycle();
    let mut parts = Vec::new();
    while requests.peek().is_some() || responses.peek().is_some() {
        let request = turns.next().is_none_or(|turn| *turn);
        parts.extend(if request {
            requests.next()
        } else {
            responses.next()
        });
    }
    parts
}

fn read(parts: &Parts) -> Vec<Outcome<usize>> {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    for (stamp, (flow, part)) in parts.iter().enumerate() {
        connection.read(*flow, stamp, piece(part), &mut out);
    }
    connection.close(parts.len(), Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    out
}

fn piece(part: &Part) -> Piece<'_> {
    match *part {
        Part::Bytes(ref data) => Piece::Bytes { data, starts: None },
        Part::Elided(wire, content) => Piece::Elided {
            wire,
            content,
            last: false,
        },
        Part::Gap(length) => Piece::Gap { length },
    }
}

/// An exchange without its stamps, a line.
fn told(exchange: &Exchange<usize>, with_messages: bool) -> String {
    let message = |message: &Message<usize>| {
        let trailer = message
            .trailers
            .as_ref()
            .and_then(|trailers| trailers.field("trailer"));
        let messages = message
            .messages
            .filter(|_| with_messages)
            .map(|it| (it.count, it.compressed));
        format!(
            "{:?} {:?} {messages:?} {} {}",
            message.body,
            trailer.map(|it| it.escape_ascii().to_string()),
            message.complete,
            message.head.field("id").unwrap_or_default().escape_ascii()
        )
    };
    let path = exchange.request.head.path().unwrap_or_default().escape_ascii();
    let response = exchange.response.as_ref().expect("a response");
    let status = response.head.status();
    format!(
        "{} {path} {} : {status:?} {}",
        exchange.stream,
        message(&exchange.request),
        message(response)
    )
}

/// The same of a script.
fn expected(script: &Script, with_messages: bool) -> String {
    let side = |body: &[Vec<u8>]| {
        let length: usize = body.iter().map(Vec::len).sum();
        let body_size = (!body.is_empty()).then_some(length as u64);
        let trailer = script.trailers.then(|| script.stream.to_string());
        let count = body.len() as u64;
        let messages = (script.grpc && with_messages).then_some((count, count));
        format!("{body_size:?} {trailer:?} {messages:?} true {}", script.stream)
    };
    let (stream, status) = (script.stream, Some(script.status));
    format!(
        "{stream} /{stream} {} : {status:?} {}",
        side(&script.request),
        side(&script.response)
    )
}

fn assert_all(out: &[Outcome<usize>], scripts: &[Script], with_messages: bool) {
    let mut lines: Vec<_> = out
        .iter()
        .map(|outcome| match outcome {
            Outcome::Exchange(exchange) => (exchange.stream, told(exchange, with_messages)),
            Outcome::Lost(reason) => (0, format!("{reason:?}")),
        })
        .collect();
    lines.sort();
    let expect: Vec<_> = scripts
        .iter()
        .map(|it| (it.stream, expected(it, with_messages)))
        .collect();
    assert_eq!(lines, expect);
}

/// No exchange is told twice, and nothing that is told is not so.
fn assert_true(out: &[Outcome<usize>], scripts: &[Script]) {
    let scripts: HashMap<u32, &Script> = scripts.iter().map(|script| (script.stream, script)).collect();
    let mut seen = HashSet::new();
    for outcome in out {
        let Outcome::Exchange(exchange) = outcome else {
            continue;
        };
        assert!(seen.insert(exchange.stream), "twice: {out:?}");
        let script = scripts[&exchange.stream];
        let id = script.stream.to_string();
        let right = |head: &Head, name: &str, expect: &str| {
            let value = head.field(name).unwrap_or(expect.as_bytes());
            assert_eq!(value.escape_ascii().to_string(), expect, "{name} of {exchange:?}");
            assert!(
                head.field(name).is_some() || head.may_have_more() || name == "id",
                "{name} of {exchange:?}"
            );
        };
        right(&exchange.request.head, ":path", &format!("/{id}"));
        for (message, body) in [
            (Some(&exchange.request), &script.request),
            (exchange.response.as_ref(), &script.response),
        ] {
            let Some(message) = message else { continue };
            right(&message.head, "id", &id);
            if let Some(trailers) = &message.trailers {
                right(trailers, "trailer", &id);
            }
            if message.complete
                && let Some(size) = message.body
            {
                assert_eq!(
                    size,
                    body.iter().map(Vec::len).sum::<usize>() as u64,
                    "{exchange:?}"
                );
            }
            if message.complete
                && script.grpc
                && let Some(messages) = message.messages
            {
                assert_eq!(messages.count, body.len() as u64, "{exchange:?}");
            }
        }
        if let Some(status) = exchange.response.as_ref().and_then(|it| it.head.status()) {
            assert_eq!(status, script.status, "{exchange:?}");
        }
    }
    assert!(seen.len() <= scripts.len());
}

/// Takes bytes out of one direction, and puts a gap there, with or without its length.
fn lose(parts: Parts, flow: Flow, [from, to]: [&Index; 2], sized: bool) -> Parts {
    let length: usize = parts
        .iter()
        .filter(|part| part.0 == flow)
        .map(|part| wire(&part.1))
        .sum();
    let mut range = [from, to].map(|at| at.index(length + 1));
    range.sort_unstable();
    let mut gap = Some((
        flow,
        Part::Gap(if sized { (range[1] - range[0]) as u64 } else { 0 }),
    ));
    let (mut position, mut left) = (0, Vec::new());
    for (direction, part) in parts {
        let Part::Bytes(data) = &part else {
            left.push((direction, part));
            continue;
        };
        if direction != flow {
            left.push((direction, part));
            continue;
        }
        let start = position;
        position += data.len();
        let [before, behind] = range.map(|at| at.clamp(start, position) - start);
        if before > 0 {
            left.push((flow, Part::Bytes(data[..before].to_vec())));
        }
        if range[0] < position {
            left.extend(gap.take());
        }
        if behind < data.len() {
            left.push((flow, Part::Bytes(data[behind..].to_vec())));
        }
    }
    left.extend(gap);
    left
}

fn wire(part: &Part) -> usize {
    match part {
        Part::Bytes(data) => data.len(),
        Part::Elided(..) | Part::Gap(_) => 0,
    }
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    proptest::collection::vec(any::<Index>(), 0..60)
}

/// At most one in each direction.
fn losses() -> impl Strategy<Value = Vec<(Flow, [Index; 2], bool)>> {
    let both = vec![Flow::Request, Flow::Response];
    let flows = proptest::sample::subsequence(both, 1..=2);
    (flows, any::<[([Index; 2], bool); 2]>()).prop_map(|(flows, losses)| {
        let losses = flows.into_iter().zip(losses);
        losses
            .map(|(flow, (range, sized))| (flow, range, sized))
            .collect()
    })
}

fn turns() -> impl Strategy<Value = Vec<bool>> {
    proptest::collection::vec(any::<bool>(), 0..40)
}

proptest! {
    #[test]
    fn any_split_and_any_order_of_the_directions_gives_the_same(
        scripts in scripts(),
        manners in [manner(), manner()],
        cuts in [cuts(), cuts()],
        turns in turns(),
    ) {
        let requests = split(Flow::Request, &frames(Flow::Request, &scripts, &manners[0]), &cuts[0]);
        let responses = split(Flow::Response, &frames(Flow::Response, &scripts, &manners[1]), &cuts[1]);
        assert_all(&read(&interleave(requests, responses, &turns)), &scripts, true);
    }

    #[test]
    fn content_that_is_not_copied_gives_the_same(
        scripts in scripts(),
        manners in [manner(), manner()],
        shown in 0_usize..9,
        turns in turns(),
    ) {
        let requests = walk(Flow::Request, &frames(Flow::Request, &scripts, &manners[0]), shown);
        let responses = walk(Flow::Response, &frames(Flow::Response, &scripts, &manners[1]), shown);
        let out = read(&interleave(requests, responses, &turns));
        assert_all(&out, &scripts, shown >= 6);
    }

    #[test]
    fn a_loss_never_gives_a_wrong_exchange(
        scripts in scripts(),
        manners in [manner(), manner()],
        cuts in [cuts(), cuts()],
        turns in turns(),
        losses in losses(),
    ) {
        let requests = split(Flow::Request, &frames(Flow::Request, &scripts, &manners[0]), &cuts[0]);
        let responses = split(Flow::Response, &frames(Flow::Response, &scripts, &manners[1]), &cuts[1]);
        let mut parts = interleave(requests, responses, &turns);
        for (flow, [from, to], sized) in losses {
            parts = lose(parts, flow, [&from, &to], sized);
        }
        assert_true(&read(&parts), &scripts);
    }

    #[test]
    fn joined_anywhere_gives_nothing_wrong(
        scripts in scripts(),
        manners in [manner(), manner()],
        cuts in [cuts(), cuts()],
        turns in turns(),
        from in any::<[Index; 2]>(),
    ) {
        let mut parts = vec![(Flow::Request, Part::Gap(0)), (Flow::Response, Part::Gap(0))];
        let mut sides = Vec::new();
        for (number, flow) in [Flow::Request, Flow::Response].into_iter().enumerate() {
            let all = split(flow, &frames(flow, &scripts, &manners[number]), &cuts[number]);
            let from = from[number].index(all.len());
            sides.push(all[from..].to_vec());
        }
        let responses = sides.pop().expect("responses");
        parts.extend(interleave(sides.pop().expect("requests"), responses, &turns));
        assert_true(&read(&parts), &scripts);
    }

    #[test]
    fn no_input_panics_and_memory_is_bounded(
        parts in proptest::collection::vec((any::<bool>(), arbitrary_part()), 0..60),
        whole in any::<bool>(),
        how in prop_oneof![Just(Close::Closed), Just(Close::Reset), Just(Close::Stopped)],
    ) {
        let limits = Limits { head: 100, table: 100, in_flight: 3, held: 200, search: 100 };
        let (mut connection, mut out) = (Connection::new(limits), Vec::new());
        if whole {
            connection.read(Flow::Request, (), Piece::Bytes { data: PREFACE, starts: None }, &mut out);
        } else {
            connection.read(Flow::Request, (), Piece::Gap { length: 0 }, &mut out);
        }
        for (request, part) in &parts {
            let flow = if *request { Flow::Request } else { Flow::Response };
            connection.read(flow, (), piece(part), &mut out);
            prop_assert!(connection.in_flight() <= limits.in_flight);
        }
        connection.close((), how, &mut out);
        prop_assert_eq!(connection.in_flight(), 0);
    }
}

/// Anything, and often a frame.
fn arbitrary_part() -> impl Strategy<Value = Part> {
    let payload = prop_oneof![
        3 => Just(b"\x82\x86\x84".to_vec()),
        3 => Just(b"\x88".to_vec()),
        1 => Just(b"\x40\x01a\x01b\xbe".to_vec()),
        1 => Just(vec![0, 0, 0, 8]),
        2 => proptest::collection::vec(any::<u8>(), 0..150),
    ];
    let kind = prop_oneof![3 => Just(1_u8), 3 => 0_u8..11];
    let flags = prop_oneof![4 => Just(4_u8), 3 => Just(5), 3 => any::<u8>()];
    let one = (kind, flags, 0_u32..9, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let bytes = prop_oneof![
        8 => proptest::collection::vec(one, 1..5).prop_map(|frames| frames.concat()),
        1 => proptest::collection::vec(any::<u8>(), 1..50),
    ];
    let length = prop_oneof![0_u64..9, Just(u64::MAX)];
    prop_oneof![
        8 => bytes.prop_map(Part::Bytes),
        1 => (length.clone(), length.clone()).prop_map(|(wire, content)| Part::Elided(wire, content)),
        1 => length.prop_map(Part::Gap),
    ]
}
