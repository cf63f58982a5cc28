//! Streams out of segments: golden cases, and properties over random captures.

use super::*;
use proptest::prelude::*;

/// A segment in one line: `> 100 data` is data of the low side at sequence number 100, `<` of the high side; behind the
/// number `/200` acknowledges, `S`, `F` and `R` are control bits, and `+5` bytes were not captured.
fn segment(line: &str, time: u64) -> Segment<&[u8]> {
    let mut words = line.splitn(3, ' ');
    let side = match words.next() {
        Some(">") => Side::Low,
        _ => Side::High,
    };
    let numbers = words.next().unwrap_or_default();
    let data = words.next().unwrap_or_default();
    let (numbers, cut) = numbers.split_once('+').unwrap_or((numbers, "0"));
    let flags = numbers.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == '/');
    let numbers = &numbers[..numbers.len() - flags.len()];
    let (sequence, acknowledges) = numbers.split_once('/').unwrap_or((numbers, ""));
    Segment {
        side,
        sequence: sequence.parse().expect("a sequence number"),
        acknowledges: acknowledges.parse().ok(),
        syn: flags.contains('S'),
        fin: flags.contains('F'),
        rst: flags.contains('R'),
        data: data.as_bytes(),
        cut: cut.parse().expect("a number of bytes"),
        time,
    }
}

/// What was delivered, in order: consecutive bytes of a side in one.
#[derive(Default)]
struct Heard(Vec<String>);

impl Heard {
    fn hear(&mut self, side: Side, next: Delivery<'_>) {
        let arrow = if side == Side::Low { '>' } else { '<' };
        let text = match next {
            Delivery::Bytes(data) => {
                let text = String::from_utf8_lossy(data);
                match self.0.last_mut() {
                    Some(last) if last.starts_with(&format!("{arrow} ")) => {
                        last.push_str(&text);
                        return;
                    }
                    _ => format!("{arrow} {text}"),
                }
            }
            Delivery::Gap(length, why) => format!("{arrow}?{length} {why:?}"),
            Delivery::End => format!("{arrow}."),
            Delivery::Reset => format!("{arrow}!"),
        };
        self.0.push(text);
    }
}

fn run<'a>(segments: impl IntoIterator<Item = Segment<&'a [u8]>>) -> (Vec<String>, Streams) {
    let (mut streams, mut heard) = (Streams::default(), Heard::default());
    for segment in segments {
        if streams.fit(&segment) == Fit::Same {
            streams.take(&segment, &mut |side, _, next| heard.hear(side, next));
        }
    }
    streams.flush(Missing::Lost, &mut |side, _, next| heard.hear(side, next));
    (heard.0, streams)
}

fn check(lines: &[&str], expect: &[&str]) {
    let (heard, _) = run(lines.iter().map(|line| segment(line, 1)));
    assert_eq!(heard, expect, "{lines:#?}");
}

const OPEN: [&str; 3] = ["> 99S", "< 199/100S", "> 100/200"];

fn opened<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    [&OPEN, lines].concat()
}

#[test]
fn a_connection_from_end_to_end() {
    check(
        &opened(&[
            "> 100/200 ask",
            "< 200/103 answer",
            "> 103/206F",
            "< 206/104F",
            "> 104/207",
        ]),
        &["> ask", "< answer", ">.", "<."],
    );
    check(&opened(&["> 100/200 ask", "< 200/103R"]), &["> ask", "<!"]);
}

#[test]
fn what_comes_twice_is_taken_once() {
    let open = |lines: &[&'static str]| opened(lines);
    check(
        &open(&["> 100/200 abc", "> 100/200 abc", "> 103/200 d"]),
        &["> abcd"],
    );
    check(&open(&["> 100/200 abc", "> 101/200 BCDE"]), &["> abcDE"]);
    check(
        &open(&["> 103/200 def", "> 100/200 abcDE", "> 106/200 g"]),
        &["> abcDEfg"],
    );
    // A keep-alive probe: the last byte once more, or none (RFC 9293, section 3.8.4).
    check(
        &open(&[
            "> 100/200 abc",
            "> 102/200 x",
            "> 102/200",
            "< 200/103",
            "> 103/200 d",
        ]),
        &["> abcd"],
    );
    check(&open(&["> 99S", "> 100/200 abc"]), &["> abc"]);
}

#[test]
fn what_comes_early_waits() {
    check(
        &opened(&["> 102/200 c", "> 101/200 b", "> 100/200 a"]),
        &["> abc"],
    );
    // The answer was captured before the question.
    check(
        &opened(&["< 200/103 answer", "> 100/200 ask"]),
        &["> ask", "< answer"],
    );
    check(
        &opened(&["> 103/206F", "< 200/103 answer", "> 100/200 ask"]),
        &["> ask", "< answer", ">."],
    );
    // Also the handshake may be late, or lost in part.
    check(&["< 199/100S", "> 100/200 a", "> 99S"], &["> a"]);
    check(&["> 99S", "> 100/200 a", "< 200/101 b"], &["> a", "< b"]);
    check(&["< 199/100S", "> 100/200 a", "< 200/101 b"], &["> a", "< b"]);
}

#[test]
fn numbers_wrap_around() {
    check(
        &[
            "> 4294967290S",
            "< 4294967294/4294967291S",
            "> 4294967291/4294967295 abcdefgh",
            "< 4294967295/3 answer",
            "> 3/5F",
        ],
        &["> abcdefgh", "< answer", ">."],
    );
}

#[test]
fn what_is_missing_is_a_gap_where_it_was() {
    check(
        &opened(&["< 200/103 answer", "> 103/206 again", "< 206/108 more"]),
        &[">?3 Lost", "< answer", "> again", "< more"],
    );
    check(
        &opened(&["> 100/200+4 ab", "> 106/200 c"]),
        &["> ab", ">?4 Cut", "> c"],
    );
    // Joined in the middle.
    check(
        &["> 100/200 ask", "< 200/103 answer"],
        &["<?0 Before", ">?0 Before", "> ask", "< answer"],
    );
    // An end that was lost is no byte.
    check(
        &opened(&["> 100/200 ask", "< 200/103 answer", "> 103/207F"]),
        &["> ask", "< answer", "<.", ">."],
    );
}

#[test]
fn a_loss_is_told_before_the_end_of_the_file() {
    let mut streams = Streams::default();
    let mut heard = Heard::default();
    let mut take = |line: &str, time| {
        streams.take(&segment(line, time), &mut |side, _, next| heard.hear(side, next));
        heard.0.clone()
    };
    for line in OPEN {
        take(line, 1);
    }
    assert!(take("< 200/103 answer", 1).is_empty());
    for _ in 0..PATIENCE - 1 {
        assert!(take("> 103/200", 1).is_empty());
    }
    assert_eq!(take("> 103/200", 1), [">?3 Lost", "< answer"]);
    take("> 110/206 late", 2);
    // Not acknowledged, it may still come, however late.
    take("> 120/206 later", 2 + 2 * LONGEST_PATIENCE);
    assert_eq!(
        take("> 103/206 missing", 3 + 2 * LONGEST_PATIENCE)
            .last()
            .unwrap(),
        "> missinglate"
    );
    take("< 206/200 odd", 3 + 2 * LONGEST_PATIENCE);
    assert_eq!(
        take("< 209/125", 4 + 4 * LONGEST_PATIENCE).last().unwrap(),
        "< odd"
    );
}

#[test]
fn what_is_held_is_bounded() {
    let mut streams = Streams::default();
    let mut gaps = 0;
    let data = vec![b'x'; 1000];
    let mut take = |line: &str, data: &[u8], sequence: u32| {
        let segment = Segment {
            data,
            sequence,
            ..segment(line, 1)
        };
        streams.take(&segment, &mut |_, _, next| {
            gaps += usize::from(matches!(next, Delivery::Gap(_, Missing::OverLimit)));
        });
        streams.held()
    };
    for line in OPEN {
        take(line, b"", segment(line, 1).sequence);
    }
    for number in 0..20_000 {
        assert!(take("> 0", &data, 200 + number * 1001) <= MOST_BYTES);
    }
    assert!(gaps > 0);
}

#[test]
fn other_connections_with_the_same_ports_are_told_apart() {
    let fit = |before: &[&str], line: &str| {
        let (_, streams) = run(before.iter().map(|line| segment(line, 1)));
        streams.fit(&segment(line, 2))
    };
    let used = opened(&["> 100/200 ask", "< 200/103 answer"]);
    let over = opened(&["> 100/200F", "< 200/101F"]);
    assert_eq!(fit(&used, "> 99S"), Fit::Same);
    assert_eq!(fit(&used, "> 5000S"), Fit::New);
    assert_eq!(fit(&used, "> 103/206 more"), Fit::Same);
    assert_eq!(fit(&used, "> 400000000/206 more"), Fit::New);
    assert_eq!(fit(&used, "> 400000000R"), Fit::Stray);
    assert_eq!(fit(&over, "> 101/201"), Fit::Stray);
    assert_eq!(fit(&over, "> 100/200 a"), Fit::Stray);
    assert_eq!(fit(&over, "> 500/201 a"), Fit::New);
    assert_eq!(fit(&over, "> 7S"), Fit::New);
}

/// A conversation: who says how many bytes, in turn; and where the numbers begin.
fn conversation() -> impl Strategy<Value = (Vec<(bool, u16)>, [u32; 2])> {
    let turns = prop::collection::vec((any::<bool>(), 1..60_u16), 1..30);
    (turns, prop::array::uniform2(any::<u32>()))
}

/// Both directions' bytes, each byte different from its neighbours.
fn spoken(turns: &[(bool, u16)]) -> [Vec<u8>; 2] {
    let mut spoken = [Vec::new(), Vec::new()];
    for (high, length) in turns {
        let all = &mut spoken[usize::from(*high)];
        let from = all.len();
        all.extend((from..from + usize::from(*length)).map(|at| (at * 7 % 251) as u8));
    }
    spoken
}

/// The conversation as segments of at most `largest` bytes, with handshake and end.
fn segments<'a>(
    turns: &[(bool, u16)],
    begin: [u32; 2],
    spoken: &'a [Vec<u8>; 2],
    largest: usize,
) -> Vec<Segment<&'a [u8]>> {
    let plain = |high: bool, at: [usize; 2], data: &'a [u8]| {
        let (own, other) = (usize::from(high), usize::from(!high));
        Segment {
            side: if high { Side::High } else { Side::Low },
            sequence: begin[own].wrapping_add(1 + at[own] as u32),
            acknowledges: Some(begin[other].wrapping_add(1 + at[other] as u32)),
            syn: false,
            fin: false,
            rst: false,
            data,
            cut: 0,
            time: 1,
        }
    };
    let mut at = [0, 0];
    let syn = |high: bool| Segment {
        syn: true,
        sequence: begin[usize::from(high)],
        acknowledges: high.then_some(begin[0].wrapping_add(1)),
        ..plain(high, [0, 0], &[])
    };
    let mut all = vec![syn(false), syn(true), plain(false, at, &[])];
    for (high, length) in turns {
        let side = usize::from(*high);
        let mut left = usize::from(*length);
        while left > 0 {
            let some = left.min(largest);
            all.push(plain(*high, at, &spoken[side][at[side]..at[side] + some]));
            at[side] += some;
            left -= some;
        }
    }
    let fin = Segment {
        fin: true,
        ..plain(false, at, &[])
    };
    let mut answer = Segment {
        fin: true,
        ..plain(true, at, &[])
    };
    answer.acknowledges = answer.acknowledges.map(|number| number.wrapping_add(1));
    all.extend([fin, answer]);
    all
}

/// Streams and their order: which side spoke, in turns; and what each said.
fn outcome(segments: &[Segment<&[u8]>]) -> (Vec<bool>, [Vec<u8>; 2], u32, bool) {
    let mut streams = Streams::default();
    let (mut order, mut said, mut missing) = (Vec::new(), [Vec::new(), Vec::new()], 0);
    let mut hear = |side: Side, _: u64, next: Delivery<'_>| match next {
        Delivery::Bytes(data) => {
            if order.last() != Some(&(side == Side::High)) {
                order.push(side == Side::High);
            }
            said[side as usize].extend_from_slice(data);
        }
        Delivery::Gap(length, _) => missing += length,
        Delivery::End | Delivery::Reset => {}
    };
    for segment in segments {
        if streams.fit(segment) == Fit::Same {
            streams.take(segment, &mut hear);
        }
    }
    streams.flush(Missing::Lost, &mut hear);
    (order, said, missing, streams.is_over())
}

proptest! {
    #[test]
    fn order_split_and_repetition_make_no_difference(
        (turns, begin) in conversation(),
        largest in 1..40_usize,
        late in prop::collection::vec(0..12_usize, 1..200),
        again in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..10),
    ) {
        let spoken = spoken(&turns);
        let mut all = segments(&turns, begin, &spoken, largest);
        let expect = outcome(&all);
        prop_assert_eq!(&expect.1, &spoken);
        prop_assert_eq!((expect.2, expect.3), (0, true));
        // The first segment says where the capture begins; everything behind it may be anywhere nearby.
        let mut late = late.into_iter().cycle();
        let mut number = 0;
        all[1..].sort_by_cached_key(|_| {
            number += 1;
            number + late.next().unwrap_or(0)
        });
        for (from, to) in again {
            let (from, to) = (from.index(all.len()), 1 + to.index(all.len()));
            let segment = all[from];
            if to > from {
                all.insert(to, segment);
            }
        }
        prop_assert_eq!(outcome(&all), expect);
    }

    #[test]
    fn what_is_lost_is_a_gap_of_its_length(
        (turns, begin) in conversation(),
        largest in 1..40_usize,
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let spoken = spoken(&turns);
        let mut all = segments(&turns, begin, &spoken, largest);
        for index in lost {
            let index = index.index(all.len());
            if !all[index].data.is_empty() {
                all.remove(index);
            }
        }
        let seen: usize = all.iter().map(|segment| segment.data.len()).sum();
        let (_, said, missing, over) = outcome(&all);
        prop_assert_eq!(said.iter().map(Vec::len).sum::<usize>(), seen);
        prop_assert_eq!(seen + missing as usize, spoken.iter().map(Vec::len).sum::<usize>());
        prop_assert!(over);
    }

    #[test]
    fn nothing_panics_and_nothing_grows(
        segments in prop::collection::vec(
            (any::<bool>(), any::<u32>(), any::<Option<u32>>(), any::<[bool; 3]>(), 0..9_usize, 0..5_u32, any::<u64>()),
            0..200,
        ),
    ) {
        let mut streams = Streams::default();
        for (high, sequence, acknowledges, [syn, fin, rst], length, cut, time) in segments {
            let side = if high { Side::High } else { Side::Low };
            let data = &b"12345678"[..length.min(8)];
            let segment = Segment { side, sequence, acknowledges, syn, fin, rst, data, cut, time };
            let _ = streams.fit(&segment);
            streams.take(&segment, &mut |_, _, _| {});
        }
        streams.flush(Missing::Lost, &mut |_, _, _| {});
        prop_assert_eq!(streams.held(), 0);
    }
}
