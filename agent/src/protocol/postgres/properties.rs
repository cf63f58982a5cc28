//! Property tests: conversations made here, cut and damaged at random, and read back.
//!
//! Every exchange carries its number twice: in its text, and in what its answer says. One that comes out with two
//! numbers was mispaired.

use super::golden::*;
use super::*;
use crate::connection::piece::Piece;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// What the client does in one go, up to the ReadyForQuery that it waits for.
#[derive(Clone, Debug)]
enum Batch {
    /// A Query of so many statements, of which the last may fail.
    Simple {
        statements: u8,
        fails: bool,
    },
    /// Executions, each as it says; behind the one that fails, all are skipped.
    Extended {
        executions: Vec<Execution>,
        fails: Option<u8>,
    },
    CopyIn {
        extended: bool,
        lines: u8,
    },
    CopyOut {
        lines: u8,
    },
}

#[derive(Clone, Copy, Debug)]
struct Execution {
    /// Of one of three prepared statements, else of the unnamed one.
    named: Option<u8>,
    describes: bool,
    rows: u8,
}

fn execution() -> impl Strategy<Value = Execution> {
    (proptest::option::of(0..3_u8), any::<bool>(), 0..4_u8).prop_map(|(named, describes, rows)| Execution {
        named,
        describes,
        rows,
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    prop_oneof![
        (1..4_u8, any::<bool>()).prop_map(|(statements, fails)| Batch::Simple { statements, fails }),
        (vec(execution(), 1..5), proptest::option::of(0..5_u8))
            .prop_map(|(executions, fails)| Batch::Extended { executions, fails }),
        (any::<bool>(), 0..4_u8).prop_map(|(extended, lines)| Batch::CopyIn { extended, lines }),
        (0..4_u8).prop_map(|lines| Batch::CopyOut { lines }),
    ]
}

/// A conversation under construction, and what is to come of it.
#[derive(Default)]
struct Script {
    turns: Conversation,
    expect: Vec<String>,
    number: u64,
    /// Number of the execution that prepared each of the three statements.
    prepared: [Option<u64>; 3],
}

impl Script {
    fn of(batches: &[Batch]) -> Self {
        let mut script = Self::default();
        for batch in batches {
            script.batch(batch);
        }
        script
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn turn(&mut self, request: Vec<u8>, response: Vec<u8>) {
        self.turns.push((Flow::Request, request));
        self.turns.push((Flow::Response, response));
    }

    fn batch(&mut self, batch: &Batch) {
        match batch {
            Batch::Simple { statements, fails } => {
                let number = self.next();
                let mut answer =
                    (0..*statements).flat_map(|_| [columns(), rows(1), done("SELECT 1")].concat());
                let mut answer: Vec<u8> = answer.by_ref().collect();
                let mut line = format!("Q {number} -> UPDATE returned {statements} affected {number}");
                answer.extend(done(&format!("UPDATE {number}")));
                if *fails {
                    answer.extend(error("22012"));
                    line += " error 22012";
                }
                answer.extend(ready(b'I'));
                self.turn(query(&number.to_string()), answer);
                self.expect.push(line + " Idle");
            }
            Batch::Extended { executions, fails } => self.extended(executions, fails.map(usize::from)),
            Batch::CopyIn { extended, lines } => {
                let number = self.next();
                let end = [done(&format!("COPY {number}")), ready(b'I')].concat();
                let data = frame(b'd', b"1\n").repeat((*lines).into());
                let format = frame(b'G', b"\0\0\0");
                if *extended {
                    let ask = [unnamed(&number.to_string()), sync()].concat();
                    self.turn(ask, [bare("12n"), format].concat());
                    self.turn([data, bare("c"), sync()].concat(), end);
                    self.expect
                        .push(format!("E {number} -> COPY affected {number} Idle"));
                } else {
                    self.turn(query(&number.to_string()), format);
                    self.turn([data, bare("c")].concat(), end);
                    self.expect
                        .push(format!("Q {number} -> COPY affected {number} Idle"));
                }
            }
            Batch::CopyOut { lines } => {
                let number = self.next();
                let data = frame(b'd', b"1\n").repeat((*lines).into());
                let end = done(&format!("COPY {number}"));
                let answer = [frame(b'H', b"\0\0\0"), data, bare("c"), end, ready(b'I')].concat();
                self.turn(query(&number.to_string()), answer);
                self.expect
                    .push(format!("Q {number} -> COPY returned {number} Idle"));
            }
        }
    }

    fn extended(&mut self, executions: &[Execution], fails: Option<usize>) {
        let (mut ask, mut answer) = (Vec::new(), Vec::new());
        let mut skips = false;
        let mut last = None;
        for (index, execution) in executions.iter().enumerate() {
            let mut number = self.next();
            let slot = execution.named.map(usize::from);
            let name = slot.map_or(String::new(), |slot| format!("s{slot}"));
            let known = slot.and_then(|slot| self.prepared[slot]);
            match known {
                // The text has the number of the execution that prepared it, and so has this one's answer.
                Some(known) => number = known,
                None => {
                    ask.extend(parse(&name, &number.to_string()));
                    if !skips {
                        answer.extend(bare("1"));
                        if let Some(slot) = slot {
                            self.prepared[slot] = Some(number);
                        }
                    }
                }
            }
            ask.extend(bind("", &name));
            if execution.describes {
                ask.extend(describe('P', ""));
            }
            ask.extend(execute(""));
            if skips {
                self.expect.push("Skipped".to_owned());
                continue;
            }
            let shown = slot.map_or(String::new(), |slot| format!(" s{slot}:"));
            answer.extend(bare("2"));
            if execution.describes {
                answer.extend(columns());
            }
            let count = execution.rows.into();
            answer.extend(rows(count));
            let returned = if count > 0 {
                format!(" returned {count}")
            } else {
                String::new()
            };
            if fails == Some(index) {
                skips = true;
                answer.extend(error("23505"));
                self.expect
                    .push(format!("E{shown} {number} ->{returned} error 23505"));
                last = None;
            } else {
                answer.extend(done(&format!("UPDATE {number}")));
                self.expect
                    .push(format!("E{shown} {number} -> UPDATE{returned} affected {number}"));
                last = Some(self.expect.len() - 1);
            }
        }
        ask.extend(sync());
        answer.extend(ready(b'T'));
        if let Some(last) = last {
            self.expect[last] += " Open";
        }
        self.turn(ask, answer);
    }

    /// The same behind an opening.
    fn opened(self) -> (Conversation, Vec<String>) {
        let turns = turns([startup(), welcome()])
            .into_iter()
            .chain(self.turns)
            .collect();
        (turns, self.expect)
    }
}

/// Cuts each direction at random, and lets one run ahead of the other as `leads` say.
fn shuffled(conversation: &Conversation, cuts: &[Index], leads: &[bool]) -> Conversation {
    let [requests, responses] = [Flow::Request, Flow::Response].map(|flow| {
        let stream: Vec<u8> = conversation
            .iter()
            .filter(|(of, _)| *of == flow)
            .flat_map(|(_, data)| data.iter().copied())
            .collect();
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let parts: Vec<_> = at
            .windows(2)
            .map(|range| stream[range[0]..range[1]].to_vec())
            .collect();
        parts.into_iter().filter(|part| !part.is_empty())
    });
    let (mut requests, mut responses) = (requests.peekable(), responses.peekable());
    let mut leads = leads.iter().cycle();
    let mut shuffled = Vec::new();
    while requests.peek().is_some() || responses.peek().is_some() {
        let request = leads.next() == Some(&true) && requests.peek().is_some() || responses.peek().is_none();
        let next = if request {
            requests.next().map(|part| (Flow::Request, part))
        } else {
            responses.next().map(|part| (Flow::Response, part))
        };
        shuffled.extend(next);
    }
    shuffled
}

fn pieces(conversation: &Conversation) -> impl Iterator<Item = (Flow, Piece<'_>)> {
    conversation.iter().map(|(flow, data)| (*flow, bytes(data)))
}

/// Two turns of the client at once, and then two of the server.
fn pipeline(turns: Conversation) -> Conversation {
    let copies = turns
        .iter()
        .any(|(flow, data)| *flow == Flow::Response && !data.ends_with(b"I") && !data.ends_with(b"T"));
    if copies {
        return turns;
    }
    turns
        .chunks(4)
        .flat_map(|four| {
            [Flow::Request, Flow::Response].map(|flow| {
                let of = four.iter().filter(|(of, _)| *of == flow);
                (flow, of.flat_map(|(_, data)| data.iter().copied()).collect())
            })
        })
        .collect()
}

/// Each frame of a piece alone, as long as frames are there; of the first piece, which has no type, all.
fn frames(index: usize, (flow, piece): (Flow, Piece<'_>)) -> Vec<(Flow, Piece<'_>)> {
    let Piece::Bytes { data, .. } = piece else {
        return vec![(flow, piece)];
    };
    let (mut rest, mut all) = (data, Vec::new());
    while index > 0
        && let Some([_, length @ ..]) = rest.first_chunk::<5>()
        && let Some((frame, behind)) = rest.split_at_checked(1 + u32::from_be_bytes(*length) as usize)
        && !behind.is_empty()
    {
        all.push((flow, bytes(frame)));
        rest = behind;
    }
    all.push((flow, bytes(rest)));
    all
}

/// Whether an exchange that came out around a loss is one that happened. Its text may be missing, and so may what came
/// behind its answer. Where only the middle of a body was lost, more of it may be missing; then its two numbers have
/// to be the same.
fn is_right(line: &str, expect: &[String], in_bodies: bool) -> bool {
    let Some((request, answer)) = line.split_once(" -> ") else {
        return true;
    };
    let number_in = |request: &str| request.rsplit(' ').next()?.parse::<u64>().ok();
    let affected = || {
        answer
            .split("affected ")
            .nth(1)?
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
    };
    if in_bodies {
        return number_in(request)
            .zip(affected())
            .is_none_or(|(text, said)| text == said);
    }
    answer.ends_with("Closed")
        || expect
            .iter()
            .filter_map(|expected| expected.split_once(" -> "))
            .any(|(happened, came)| {
                (request == happened || request.ends_with('?')) && (came.starts_with(answer))
            })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_and_any_order_give_the_same(
        batches in vec(batch(), 1..8),
        cuts in vec(any::<Index>(), 0..40),
        leads in vec(any::<bool>(), 1..20),
    ) {
        let (conversation, expect) = Script::of(&batches).opened();
        prop_assert_eq!(read(pieces(&conversation)), &expect[..]);
        prop_assert_eq!(read(pieces(&shuffled(&conversation, &cuts, &leads))), &expect[..]);
    }

    #[test]
    fn what_the_kernel_elides_changes_nothing(batches in vec(batch(), 1..8), runs in any::<bool>()) {
        let (conversation, expect) = Script::of(&batches).opened();
        let mut walked = Vec::new();
        for (turn, (flow, data)) in conversation.iter().enumerate() {
            if turn == 0 {
                walked.push((*flow, bytes(data)));
                continue;
            }
            walk(*flow, data, runs, &mut walked);
        }
        prop_assert_eq!(read(walked), &expect[..]);
    }

    #[test]
    fn joined_late_each_exchange_comes_out_or_is_lost(batches in vec(batch(), 2..8), from in any::<Index>()) {
        let script = Script::of(&batches);
        let from = from.index(script.turns.len());
        let late = [Flow::Request, Flow::Response].map(|flow| (flow, Piece::Gap { length: 0 }));
        let lines = read(late.into_iter().chain(pieces(&script.turns).skip(from)));
        for line in &lines {
            prop_assert!(is_right(line, &script.expect, false), "{} in {:?}", line, lines);
        }
        // From the first turn on, all of them are accounted for.
        if from == 0 {
            let known = |line: &String| *line != "ResponseWithoutRequest";
            prop_assert_eq!(lines.iter().filter(|line| known(line)).count(), script.expect.len());
        }
    }

    #[test]
    fn a_loss_anywhere_never_gives_a_wrong_exchange(
        batches in vec(batch(), 2..10),
        turn in any::<Index>(),
        range in (any::<Index>(), any::<Index>()),
        known in any::<bool>(),
        more in 0..3_usize,
        by_frames in any::<bool>(),
        pipelined in any::<bool>(),
    ) {
        let mut script = Script::of(&batches);
        if pipelined {
            script.turns = pipeline(script.turns);
        }
        let (conversation, expect) = script.opened();
        let turn = turn.index(conversation.len());
        let (flow, data) = &conversation[turn];
        let mut range = [range.0.index(data.len()), range.1.index(data.len()) + 1];
        range.sort_unstable();
        if by_frames && turn > 0 {
            // What is behind the loss begins with a frame.
            let ends = frames(turn, (*flow, bytes(data))).into_iter().scan(0, |end, (_, piece)| {
                if let Piece::Bytes { data, .. } = piece {
                    *end += data.len();
                }
                Some(*end)
            });
            range[1] = ends.into_iter().find(|end| *end >= range[1]).unwrap_or(data.len());
        }
        // All that this direction says in the turns behind may be lost as well.
        let further: Vec<_> = (1..=more).map(|step| turn + 2 * step).collect();
        let mut lossy = Vec::new();
        for (index, (of, data)) in conversation.iter().enumerate() {
            if further.contains(&index) {
                let length = if known { data.len() as u64 } else { 0 };
                lossy.push((*of, Piece::Gap { length }));
            } else if index == turn {
                let (before, after) = (&data[..range[0]], &data[range[1]..]);
                if !before.is_empty() {
                    lossy.push((*flow, bytes(before)));
                }
                let length = if known { (range[1] - range[0]) as u64 } else { 0 };
                lossy.push((*flow, Piece::Gap { length }));
                if !after.is_empty() && more == 0 {
                    lossy.push((*flow, bytes(after)));
                } else if !after.is_empty() {
                    let length = if known { after.len() as u64 } else { 0 };
                    lossy.push((*flow, Piece::Gap { length }));
                }
            } else {
                lossy.push((*of, bytes(data)));
            }
        }
        if by_frames {
            lossy = lossy.into_iter().enumerate().flat_map(|(index, it)| frames(index, it)).collect();
        }
        let lines = read(lossy);
        for line in &lines {
            prop_assert!(is_right(line, &expect, known), "{} in {:?}, expected {:?}", line, lines, expect);
        }
    }

    #[test]
    fn changed_bytes_never_panic(
        batches in vec(batch(), 1..6),
        changes in vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..6),
    ) {
        let (mut conversation, _) = Script::of(&batches).opened();
        for (turn, at, byte) in changes {
            let turn = turn.index(conversation.len());
            let data = &mut conversation[turn].1;
            let at = at.index(data.len());
            data[at] = byte;
        }
        let _ = read(pieces(&conversation));
    }

    #[test]
    fn no_input_panics(
        input in vec((any::<bool>(), 0..4_u8, vec(any::<u8>(), 1..40), any::<u16>()), 0..40),
    ) {
        let pieces = input.iter().map(|(request, kind, data, length)| {
            let flow = if *request { Flow::Request } else { Flow::Response };
            let length = u64::from(*length);
            let piece = match kind {
                0 => Piece::Gap { length },
                1 => Piece::Elided { wire: length, content: 1, last: false },
                2 => Piece::Bytes { data, starts: Some(length) },
                _ => bytes(data),
            };
            (flow, piece)
        });
        let _ = read(pieces);
    }
}

/// What a walker makes of frames: bodies of rows are not copied; `runs` says whether rows behind one are not either.
fn walk<'a>(flow: Flow, data: &'a [u8], runs: bool, out: &mut Vec<(Flow, Piece<'a>)>) {
    let mut rest = data;
    let length = |frame: &[u8]| 1 + u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize;
    while !rest.is_empty() {
        let (frame, behind) = rest.split_at(length(rest));
        rest = behind;
        if !matches!(frame[0], b'D' | b'd') || flow == Flow::Request && frame[0] == b'D' {
            out.push((flow, bytes(frame)));
            continue;
        }
        out.push((flow, bytes(&frame[..5])));
        let (mut wire, mut content) = (frame.len() as u64 - 5, 0);
        while runs && rest.first() == Some(&frame[0]) {
            let (frame, behind) = rest.split_at(length(rest));
            rest = behind;
            wire += frame.len() as u64;
            content += 1;
        }
        let last = false;
        out.push((flow, Piece::Elided { wire, content, last }));
    }
}
