//! Property tests: conversations made here, cut into pieces at random, and read back.

use super::*;
use crate::connection::piece::Piece;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::HashSet;
use std::fmt;

/// One message as its maker knows it: head and body on the wire, and the content's length.
#[derive(Clone)]
struct Message {
    ordinal: u64,
    head: Vec<u8>,
    body: Vec<u8>,
    content: Option<u64>,
}

/// One piece, with the direction it belongs to.
#[derive(Clone)]
enum Part {
    Bytes(Vec<u8>, Option<u64>),
    Elided(u64, u64, bool),
    Gap(u64),
}

impl fmt::Debug for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} {} {}",
            self.ordinal,
            self.head.escape_ascii(),
            self.body.escape_ascii()
        )
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(data, starts) => write!(out, "{} {starts:?}", data.escape_ascii()),
            Self::Elided(wire, content, last) => write!(out, "elided {wire} {content} {last}"),
            Self::Gap(length) => write!(out, "gap {length}"),
        }
    }
}

type Parts = Vec<(Flow, Part)>;

/// Request number `ordinal` and its response (preceded by an interim one, perhaps), each with the number in its head.
fn exchange(ordinal: u64, request: u8, response: u8, sizes: [usize; 2]) -> [Vec<Message>; 2] {
    let method = ["GET", "HEAD", "POST", "PUT", "DELETE"][usize::from(request % 5)];
    let asks = format!("{method} /{ordinal} HTTP/1.1\r\nHost: example.org\r\n");
    let asks = match request % 5 {
        2 => message(ordinal, &asks, sizes[0], false),
        3 => message(ordinal, &asks, sizes[0], true),
        _ => Message {
            ordinal,
            head: format!("{asks}\r\n").into(),
            body: Vec::new(),
            content: None,
        },
    };
    let id = format!("Id: {ordinal}\r\n");
    let bare = |status: &str| Message {
        ordinal,
        head: format!("HTTP/1.1 {status}\r\n{id}Content-Length: 7\r\n\r\n").into(),
        body: Vec::new(),
        content: None,
    };
    let answer = match response % 4 {
        _ if method == "HEAD" => bare("200 OK"),
        0 => message(ordinal, &format!("HTTP/1.1 200 OK\r\n{id}"), sizes[1], false),
        1 => message(ordinal, &format!("HTTP/1.1 500 Oh\r\n{id}"), sizes[1], true),
        2 => bare("304 Not Modified"),
        _ => bare("204 No Content"),
    };
    let interim = Message {
        ordinal,
        head: b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
        body: Vec::new(),
        content: None,
    };
    [
        vec![asks],
        if response >= 128 {
            vec![interim, answer]
        } else {
            vec![answer]
        },
    ]
}

fn message(ordinal: u64, start: &str, size: usize, chunked: bool) -> Message {
    let content: Vec<u8> = b"0\r\nab\n\r\n".iter().copied().cycle().take(size).collect();
    if !chunked {
        let head = format!("{start}Content-Length: {size}\r\n\r\n").into();
        return Message {
            ordinal,
            head,
            body: content,
            content: Some(size as u64),
        };
    }
    let mut body = Vec::new();
    for chunk in content.chunks(37) {
        body.extend(format!("{:x};e=\"1\"\r\n", chunk.len()).bytes());
        body.extend(chunk);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\nTrailer: t\r\n\r\n");
    let head = format!("{start}Transfer-Encoding: chunked\r\n\r\n").into();
    Message {
        ordinal,
        head,
        body,
        content: Some(size as u64),
    }
}

/// Batches of exchanges: the requests of one come at once, then its responses.
fn conversation(
    pipelined: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<(Vec<Message>, Vec<Message>)>> {
    let one = (any::<u8>(), any::<u8>(), [0_usize..200, 0..200]);
    proptest::collection::vec(proptest::collection::vec(one, pipelined), 1..6).prop_map(|batches| {
        let mut ordinals = 0..;
        let batch = |batch: Vec<(u8, u8, [usize; 2])>| {
            let (mut requests, mut responses) = (Vec::new(), Vec::new());
            for ((request, response, sizes), ordinal) in batch.into_iter().zip(&mut ordinals) {
                let [asks, answers] = exchange(ordinal, request, response, sizes);
                requests.extend(asks);
                responses.extend(answers);
            }
            (requests, responses)
        };
        batches.into_iter().map(batch).collect()
    })
}

/// The bytes of `messages`, cut where `cuts` say.
fn split(flow: Flow, messages: &[Message], cuts: &[Index]) -> Parts {
    let bytes: Vec<u8> = messages
        .iter()
        .flat_map(|it| it.head.iter().chain(&it.body))
        .copied()
        .collect();
    let mut at: Vec<usize> = cuts
        .iter()
        .map(|cut| cut.index(bytes.len() + 1))
        .chain([0, bytes.len()])
        .collect();
    at.sort_unstable();
    let part = |range: &[usize]| (flow, Part::Bytes(bytes[range[0]..range[1]].to_vec(), None));
    at.windows(2)
        .filter(|range| range[0] < range[1])
        .map(part)
        .collect()
}

/// What the kernel's walker makes of `message`: the head's bytes with a mark, and a body that is elided in steps.
fn walk(flow: Flow, message: &Message, cut: &Index, inline: bool) -> Parts {
    let Message {
        ordinal,
        head,
        body,
        content,
    } = message;
    let content = content.unwrap_or(0);
    let cut = cut.index(head.len() - 1) + 1;
    let mut second = head[cut..].to_vec();
    if inline {
        second.extend(body);
    }
    let mut parts = vec![(flow, Part::Bytes(head[..cut].to_vec(), Some(*ordinal)))];
    if !second.is_empty() {
        parts.push((flow, Part::Bytes(second, None)));
    }
    if inline || body.is_empty() {
        parts.push((flow, Part::Elided(0, 0, true)));
    } else {
        let (wire, some) = (body.len() as u64, content / 3);
        parts.push((flow, Part::Elided(some, some, false)));
        parts.push((flow, Part::Elided(wire - some, content - some, true)));
    }
    parts
}

/// Puts the parts of both directions in an order that keeps each direction's own; `turns` says whose is next.
fn interleave(requests: Parts, responses: Parts, turns: &[bool]) -> Parts {
    let (mut requests, mut responses) = (requests.into_iter().peekable(), responses.into_iter().peekable());
    let mut turns = turns.iter().cycle();
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

fn read(new: fn(Limits) -> Connection<usize>, parts: &Parts) -> Vec<Outcome<usize>> {
    let limits = Limits {
        deferred: 1 << 30,
        ..Limits::default()
    };
    let (mut connection, mut out) = (new(limits), Vec::new());
    for (stamp, (flow, part)) in parts.iter().enumerate() {
        connection.read(*flow, stamp, piece(part), &mut out);
    }
    connection.close(parts.len(), Close::Closed, &mut out);
    assert_eq!(connection.in_flight(), 0);
    out
}

fn piece(part: &Part) -> Piece<'_> {
    match part {
        Part::Bytes(data, starts) => Piece::Bytes {
            data,
            starts: *starts,
        },
        Part::Elided(wire, content, last) => Piece::Elided {
            wire: *wire,
            content: *content,
            last: *last,
        },
        Part::Gap(length) => Piece::Gap { length: *length },
    }
}

/// An exchange without its stamps: ordinal, method and target, content of both, status, and the response's `Id`.
type Told = (u64, String, Option<u64>, u16, Option<u64>, String);

fn told(outcome: &Outcome<usize>) -> Option<Told> {
    let Outcome::Exchange(exchange) = outcome else {
        return None;
    };
    let Exchange {
        ordinal,
        request,
        response: Some(response),
        ..
    } = &**exchange
    else {
        return None;
    };
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    assert!(response.complete && request.complete);
    let line = format!("{} {}", text(request.head.method()), text(request.head.target()));
    let id = text(response.head.header("id").unwrap_or_default());
    Some((
        *ordinal,
        line,
        request.body,
        response.head.status(),
        response.body,
        id,
    ))
}

/// The exchanges of a conversation as [`told`] would tell them.
fn expected(batches: &[(Vec<Message>, Vec<Message>)]) -> Vec<Told> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let of = |(requests, responses): &(Vec<Message>, Vec<Message>)| {
        let responses = responses
            .iter()
            .filter(|it| !it.head.starts_with(b"HTTP/1.1 100"));
        let pair = |(request, response): (&Message, &Message)| {
            let line = text(&request.head)
                .lines()
                .next()
                .unwrap_or_default()
                .replace(" HTTP/1.1", "");
            let status = text(&response.head[9..12]).parse().expect("status");
            let id = request.ordinal.to_string();
            (
                request.ordinal,
                line,
                request.content,
                status,
                response.content,
                id,
            )
        };
        requests.iter().zip(responses).map(pair).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// No response is with a wrong request, no exchange is told twice, and there are `most` outcomes at most.
fn assert_true(out: &[Outcome<usize>], exchanges: usize, most: usize) {
    let mut seen = HashSet::new();
    for outcome in out {
        if let Outcome::Exchange(exchange) = outcome {
            let Exchange {
                request, response, ..
            } = &**exchange;
            let target = request.head.target().to_vec();
            assert!(seen.insert(target.clone()), "twice: {out:?}");
            let number: usize = String::from_utf8_lossy(&target[1..])
                .parse()
                .expect("a target of the input");
            assert!(number < exchanges);
            if let Some(response) = response {
                assert_eq!(
                    response.head.header("id"),
                    Some(&target[1..]),
                    "wrong pair: {out:?}"
                );
            }
        }
    }
    assert!(
        out.len() <= most,
        "{} outcomes of {exchanges}: {out:?}",
        out.len()
    );
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    proptest::collection::vec(any::<Index>(), 0..40)
}

fn flat(batches: &[(Vec<Message>, Vec<Message>)]) -> [Vec<Message>; 2] {
    let requests = batches.iter().flat_map(|batch| batch.0.clone()).collect();
    [
        requests,
        batches.iter().flat_map(|batch| batch.1.clone()).collect(),
    ]
}

/// Takes a range of bytes out of one direction and puts a gap before what is behind, with or without its length.
fn lose(parts: Parts, flow: Flow, [from, to]: [&Index; 2], sized: bool) -> Parts {
    let length: u64 = parts
        .iter()
        .filter(|part| part.0 == flow)
        .map(|part| wire(&part.1))
        .sum();
    let mut range = [from, to].map(|at| at.index(length as usize + 1) as u64);
    range.sort_unstable();
    let (mut position, mut lost, mut left) = (0, false, Vec::new());
    let gap = (flow, Part::Gap(if sized { range[1] - range[0] } else { 0 }));
    for (direction, part) in parts {
        let Part::Bytes(data, None) = &part else { continue };
        if direction != flow {
            left.push((direction, part));
            continue;
        }
        let start = position;
        position += data.len() as u64;
        let [before, behind] = range.map(|at| (at.clamp(start, position) - start) as usize);
        let mut keep = |bytes: &[u8]| {
            if !bytes.is_empty() {
                left.push((flow, Part::Bytes(bytes.to_vec(), None)));
            }
        };
        if before == behind {
            if lost && start >= range[1] {
                left.push(gap.clone());
                lost = false;
            }
            left.push((flow, part));
            continue;
        }
        keep(&data[..before]);
        lost = true;
        if behind < data.len() {
            left.push(gap.clone());
            lost = false;
            left.push((flow, Part::Bytes(data[behind..].to_vec(), None)));
        }
    }
    if lost {
        left.push(gap);
    }
    left
}

fn wire(part: &Part) -> u64 {
    match part {
        Part::Bytes(data, _) => data.len() as u64,
        Part::Elided(wire, ..) => *wire,
        Part::Gap(length) => *length,
    }
}

proptest! {
    #[test]
    fn any_split_and_any_order_of_the_directions_gives_the_same(
        batches in conversation(1..4),
        request_cuts in cuts(),
        response_cuts in cuts(),
        turns in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        let [requests, responses] = flat(&batches);
        let turns = [&turns[..], &[true, false]].concat();
        let requests = split(Flow::Request, &requests, &request_cuts);
        let parts = interleave(requests, split(Flow::Response, &responses, &response_cuts), &turns);
        let out = read(Connection::new, &parts);
        let mut told: Vec<_> = out.iter().map(|outcome| told(outcome).expect("told")).collect();
        told.sort();
        prop_assert_eq!(told, expected(&batches));
    }

    #[test]
    fn marked_and_elided_gives_the_same(
        batches in conversation(1..4),
        cut in any::<Index>(),
        inline in any::<bool>(),
        turns in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        let [requests, responses] = flat(&batches);
        let turns = [&turns[..], &[true, false]].concat();
        let requests = requests.iter().flat_map(|it| walk(Flow::Request, it, &cut, inline)).collect();
        let responses = responses.iter().flat_map(|it| walk(Flow::Response, it, &cut, inline)).collect();
        let out = read(Connection::marked, &interleave(requests, responses, &turns));
        let mut told: Vec<_> = out.iter().map(|outcome| told(outcome).expect("told")).collect();
        told.sort();
        prop_assert_eq!(told, expected(&batches));
    }

    #[test]
    fn marked_losses_never_make_a_wrong_pair(
        batches in conversation(1..4),
        cut in any::<Index>(),
        inline in any::<bool>(),
        turns in proptest::collection::vec(any::<bool>(), 1..40),
        losses in proptest::collection::vec((any::<Index>(), any::<bool>()), 1..6),
    ) {
        let [requests, responses] = flat(&batches);
        let exchanges = requests.len();
        let turns = [&turns[..], &[true, false]].concat();
        let requests = requests.iter().flat_map(|it| walk(Flow::Request, it, &cut, inline)).collect();
        let responses = responses.iter().flat_map(|it| walk(Flow::Response, it, &cut, inline)).collect();
        let mut parts = interleave(requests, responses, &turns);
        for (loss, sized) in losses {
            let hit = loss.index(parts.len());
            let part = &mut parts[hit].1;
            *part = Part::Gap(if sized { wire(part) } else { 0 });
        }
        assert_true(&read(Connection::marked, &parts), exchanges, exchanges);
    }

    #[test]
    fn an_unmarked_loss_never_makes_a_wrong_pair(
        batches in conversation(1..4),
        cuts in cuts(),
        flow in prop_oneof![Just(Flow::Request), Just(Flow::Response)],
        loss in any::<[Index; 2]>(),
        sized in any::<bool>(),
    ) {
        let exchanges = batches.iter().map(|batch| batch.0.len()).sum();
        let parts = batches.iter().flat_map(|(requests, responses)| {
            [split(Flow::Request, requests, &cuts), split(Flow::Response, responses, &cuts)].concat()
        });
        let parts = lose(parts.collect(), flow, [&loss[0], &loss[1]], sized);
        // A method that is cut in two by the loss leaves what looks like one more request, and is counted as that.
        assert_true(&read(Connection::new, &parts), exchanges, exchanges + 1);
    }

    #[test]
    fn without_pipelining_exchanges_behind_a_loss_are_told(
        before in conversation(1..2),
        flow in prop_oneof![Just(Flow::Request), Just(Flow::Response)],
    ) {
        let mut parts: Parts = vec![(flow, Part::Gap(0))];
        for (requests, responses) in &before {
            parts.extend(split(Flow::Request, requests, &[]));
            for response in responses {
                parts.extend(split(Flow::Response, std::slice::from_ref(response), &[]));
            }
        }
        let told = read(Connection::new, &parts).iter().filter_map(told).count();
        let hidden = usize::from(flow == Flow::Request);
        prop_assert!(told + hidden >= before.len(), "{} of {}", told, before.len());
    }

    #[test]
    fn no_input_panics_and_memory_is_bounded(
        parts in proptest::collection::vec((any::<bool>(), arbitrary_part()), 0..60),
        how in prop_oneof![Just(Close::Closed), Just(Close::Reset), Just(Close::Stopped)],
    ) {
        let limits = Limits { head: 100, in_flight: 3, deferred: 300 };
        let (mut connection, mut out) = (Connection::new(limits), Vec::new());
        for (request, part) in &parts {
            let flow = if *request { Flow::Request } else { Flow::Response };
            connection.read(flow, (), piece(part), &mut out);
            prop_assert!(connection.in_flight() <= limits.in_flight);
            for side in [&connection.requests, &connection.responses] {
                prop_assert!(side.deferred.cost() <= limits.deferred);
            }
        }
        connection.end(Flow::Response, &mut out);
        connection.close((), how, &mut out);
        prop_assert_eq!(connection.in_flight(), 0);
    }
}

/// Anything, and often what a reader takes for a message.
fn arbitrary_part() -> impl Strategy<Value = Part> {
    let fragments = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("CONNECT h:1 HTTP/1.1\r\n\r\n"),
        Just("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.1 101 Up\r\n\r\n"),
        Just("HTTP/1.1 100 C\r\n\r\n"),
        Just("Content-Length: 18446744073709551615\r\n"),
        Just("Content-Length: 3\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Upgrade: x\r\n"),
        Just(" folded\r\n"),
        Just("\r\n"),
        Just("ffffffffffffffff\r\n"),
        Just("3\r\nabc\r\n0\r\n\r\n"),
    ];
    let text = proptest::collection::vec(fragments, 1..5).prop_map(|all| all.concat().into_bytes());
    let bytes = prop_oneof![4 => text, 1 => proptest::collection::vec(any::<u8>(), 1..300)];
    let starts = prop_oneof![4 => Just(None), 2 => (0_u64..6).prop_map(Some), 1 => Just(Some(u64::MAX))];
    let length = prop_oneof![0_u64..9, Just(u64::MAX)];
    prop_oneof![
        6 => (bytes, starts).prop_map(|(data, starts)| Part::Bytes(data, starts)),
        1 => (length.clone(), length.clone(), any::<bool>()).prop_map(|(wire, content, last)| Part::Elided(wire, content, last)),
        1 => length.prop_map(Part::Gap),
    ]
}
