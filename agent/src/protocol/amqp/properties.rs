//! Property tests: conversations made here, cut and damaged at random, and read back.
//!
//! Every message has an id of its own, and what is to come of it follows from that. One that comes out otherwise was
//! mispaired.

use super::golden::*;
use super::*;
use crate::connection::piece::Piece;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// What happens on a channel, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many publishes, in one go; how the last of them is confirmed, and whether the ones before are by that too.
    Publish {
        count: u8,
        nack: bool,
        multiple: bool,
    },
    /// One that comes back.
    Return,
    /// So many deliveries; how they are settled.
    Deliver {
        count: u8,
        how: u8,
    },
    Get {
        no_ack: bool,
    },
    GetEmpty,
    /// The channel is closed, in order or with an error, and opened again.
    Reopen {
        fails: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4_u8, any::<bool>(), any::<bool>())
            .prop_map(|(count, nack, multiple)| Step::Publish { count, nack, multiple }),
        1 => Just(Step::Return),
        4 => (1..4_u8, 0..4_u8).prop_map(|(count, how)| Step::Deliver { count, how }),
        2 => any::<bool>().prop_map(|no_ack| Step::Get { no_ack }),
        1 => Just(Step::GetEmpty),
        1 => any::<bool>().prop_map(|fails| Step::Reopen { fails }),
    ]
}

/// A conversation under construction, and what is to come of it.
#[derive(Default)]
struct Script {
    turns: Conversation,
    expect: Vec<String>,
    messages: u64,
    /// Of each of two channels, the numbers of its last publish and delivery.
    numbers: [[u64; 2]; 2],
    /// And the queue that its consumer consumes.
    queues: [String; 2],
}

impl Script {
    fn of(steps: &[(bool, Step)]) -> Self {
        let mut script = Self {
            turns: turns([hello(), welcome(), open(2), open_ok(2)]),
            ..Self::default()
        };
        for channel in [1, 2] {
            script.begin(channel);
        }
        for (second, step) in steps {
            script.step(if *second { 2 } else { 1 }, *step);
        }
        script.expect.sort_unstable();
        script
    }

    fn turn(&mut self, request: Vec<u8>, response: Vec<u8>) {
        self.turns.extend(turns([request, response]));
    }

    /// Another consumer each time, under the same tag.
    fn begin(&mut self, channel: u16) {
        let queue = format!("q{}", self.messages);
        self.turn(
            [select(channel), consume(channel, &queue, "c", 0)].concat(),
            [select_ok(channel), consume_ok(channel, "c")].concat(),
        );
        self.numbers[usize::from(channel) - 1] = [0, 0];
        self.queues[usize::from(channel) - 1] = queue;
    }

    fn next(&mut self) -> String {
        self.messages += 1;
        self.messages.to_string()
    }

    fn step(&mut self, channel: u16, step: Step) {
        let at = usize::from(channel) - 1;
        match step {
            Step::Publish {
                count,
                nack: fails,
                multiple,
            } => {
                let (mut sent, mut confirms) = (Vec::new(), Vec::new());
                for left in (0..count).rev() {
                    let id = self.next();
                    self.numbers[at][0] += 1;
                    let number = self.numbers[at][0];
                    sent.extend(publish(channel, "x:y", &id));
                    let is_nack = fails && (left == 0 || multiple);
                    if left == 0 {
                        confirms.extend(match fails {
                            true => nack(channel, number, multiple.into()),
                            false => ack(channel, number, multiple),
                        });
                    } else if !multiple {
                        confirms.extend(ack(channel, number, false));
                    }
                    let ending = if is_nack { "Nack { requeue: false }" } else { "Ack" };
                    self.expect.push(format!("Publish x:y {id} 5 {ending}"));
                }
                self.turn(sent, confirms);
            }
            Step::Return => {
                let id = self.next();
                self.numbers[at][0] += 1;
                let confirm = ack(channel, self.numbers[at][0], false);
                self.turn(
                    mandatory(channel, "x:z", &id),
                    [come_back(channel, "x:z", &id), confirm].concat(),
                );
                self.expect.push(format!("Publish x:z {id} 5 returned 312 Ack"));
            }
            Step::Deliver { count, how } => {
                let (mut came, mut settled) = (Vec::new(), Vec::new());
                for left in (0..count).rev() {
                    let id = self.next();
                    self.numbers[at][1] += 1;
                    let tag = self.numbers[at][1];
                    came.extend(deliver(channel, "c", tag, "x:y", &id));
                    let (settles, ending) = match (how, left) {
                        (0, _) => (ack(channel, tag, false), "Ack"),
                        (1, 0) => (ack(channel, tag, true), "Ack"),
                        (1, _) => (Vec::new(), "Ack"),
                        (2, _) => (reject(channel, tag), "Reject { requeue: true }"),
                        (_, 0) => (nack(channel, tag, 3), "Nack { requeue: true }"),
                        _ => (Vec::new(), "Nack { requeue: true }"),
                    };
                    settled.extend(settles);
                    let queue = &self.queues[at];
                    self.expect
                        .push(format!("Deliver x:y:{queue} #{tag} {id} 5 {ending}"));
                }
                self.turn(Vec::new(), came);
                self.turn(settled, Vec::new());
            }
            Step::Get { no_ack } => {
                let id = self.next();
                self.numbers[at][1] += 1;
                let tag = self.numbers[at][1];
                let queue = format!("g{id}");
                self.turn(get(channel, &queue, no_ack), got(channel, tag, "x:g", &id));
                let ending = if no_ack { "Content" } else { "Ack" };
                if !no_ack {
                    self.turn(ack(channel, tag, false), Vec::new());
                }
                self.expect
                    .push(format!("Get x:g:{queue} #{tag} {id} 5 {ending}"));
            }
            Step::GetEmpty => self.turn(get(channel, "empty", false), got_nothing(channel)),
            Step::Reopen { fails } => {
                let id = self.next();
                let asks = publish(channel, "x:y", &id);
                if fails {
                    self.turn(asks, shut(channel, 404));
                    self.turn(shut_ok(channel), Vec::new());
                } else {
                    self.turn([asks, shut(channel, 200)].concat(), shut_ok(channel));
                }
                let ending = if fails { "Closed(404)" } else { "Unseen" };
                self.expect.push(format!("Publish x:y {id} 5 {ending}"));
                self.turn(open(channel), open_ok(channel));
                self.messages += 1;
                self.begin(channel);
            }
        }
    }
}

/// Cuts each direction at random, and lets one run ahead of the other as `leads` say.
fn shuffled(conversation: &Conversation, cuts: &[Index], leads: &[bool]) -> Conversation {
    let [mut requests, mut responses] = [Flow::Request, Flow::Response].map(|flow| {
        let of = conversation.iter().filter(|(of, _)| *of == flow);
        let stream: Vec<u8> = of.flat_map(|(_, data)| data.iter().copied()).collect();
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        at.dedup();
        let parts: Vec<_> = at
            .windows(2)
            .map(|range| stream[range[0]..range[1]].to_vec())
            .collect();
        parts.into_iter().map(move |part| (flow, part)).peekable()
    });
    let mut leads = leads.iter().cycle();
    let mut shuffled = Vec::new();
    loop {
        let request = leads.next() == Some(&true);
        let next = match request {
            true => requests.next().or_else(|| responses.next()),
            false => responses.next().or_else(|| requests.next()),
        };
        let Some(next) = next else { return shuffled };
        shuffled.push(next);
    }
}

/// Whether what came out around a loss is something that happened. Its end and its queue may be unknown: then a publish
/// ends with its content, or like a delivery unseen.
fn is_right(line: &str, expect: &[String]) -> bool {
    let happened = |line: &str| expect.iter().any(|expected| expected == line);
    let without_end = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let kept = if line.starts_with("Publish") { 4 } else { 5 };
        words[..kept].join(" ")
    };
    let without_queue = |line: &str| {
        let (to, rest) = line.split_once(" #")?;
        let (to, _) = to.rsplit_once(':')?;
        Some(format!("{to}:? #{rest}"))
    };
    // Where the end of a content header was lost, its message has no id.
    let without_id = |line: &str| {
        let mut words: Vec<_> = line.split(' ').collect();
        words[if line.starts_with("Publish") { 2 } else { 3 }] = "cut";
        words.join(" ")
    };
    if line.contains(" - ") {
        let expect: Vec<_> = expect.iter().map(|real| without_id(real)).collect();
        return is_right(&without_id(line), &expect);
    }
    let is_same = |shown: &str, real: &str| shown == real || without_queue(real).as_deref() == Some(shown);
    let ends_unknown = line.ends_with(" Unseen") || line.starts_with("Publish") && line.ends_with(" Content");
    line.starts_with("Incomplete")
        || line.starts_with("Unparsed")
        || happened(line)
        || expect.iter().any(|real| {
            let ends_with_transport = line.ends_with(" Close(Closed)");
            if ends_unknown || ends_with_transport {
                is_same(&without_end(line), &without_end(real))
            } else {
                is_same(line, real) || is_same(line, &real.replace(" returned 312", ""))
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_and_any_order_give_the_same(
        steps in vec((any::<bool>(), step()), 1..12),
        cuts in vec(any::<Index>(), 0..40),
        leads in vec(any::<bool>(), 1..20),
    ) {
        let script = Script::of(&steps);
        prop_assert_eq!(read(pieces(&script.turns)), &script.expect[..]);
        prop_assert_eq!(read(pieces(&shuffled(&script.turns, &cuts, &leads))), &script.expect[..]);
    }

    #[test]
    fn joined_late_nothing_is_made_up(steps in vec((any::<bool>(), step()), 2..12), from in any::<Index>()) {
        let script = Script::of(&steps);
        let from = from.index(script.turns.len());
        let lines = read(late().into_iter().chain(pieces(&script.turns).skip(from)));
        for line in &lines {
            prop_assert!(is_right(line, &script.expect), "{} in {:?}", line, lines);
        }
    }

    #[test]
    fn a_loss_anywhere_never_gives_a_wrong_exchange(
        steps in vec((any::<bool>(), step()), 2..16),
        losses in vec((any::<Index>(), any::<Index>(), any::<Index>(), 0..4_usize), 1..4),
        known in any::<bool>(),
    ) {
        let script = Script::of(&steps);
        let count = script.turns.len();
        // Of each turn, what is lost: a range of it, or all of it and what this direction says in the turns behind.
        let mut lost: Vec<Option<[usize; 2]>> = vec![None; count];
        for (turn, from, to, more) in &losses {
            let turn = turn.index(count);
            let (flow, data) = &script.turns[turn];
            let mut range = [from.index(data.len()), to.index(data.len()) + 1];
            range.sort_unstable();
            lost[turn] = Some(range);
            let later = (turn + 1..count).filter(|later| script.turns[*later].0 == *flow);
            for later in later.take(*more) {
                lost[later] = Some([0, script.turns[later].1.len()]);
                if let Some(range) = &mut lost[turn] {
                    range[1] = data.len();
                }
            }
        }
        let mut lossy = Vec::new();
        for ((flow, data), lost) in script.turns.iter().zip(lost) {
            let Some([from, to]) = lost else {
                lossy.push((*flow, bytes(data)));
                continue;
            };
            let length = if known { (to - from) as u64 } else { 0 };
            lossy.extend((from > 0).then(|| (*flow, bytes(&data[..from]))));
            lossy.push((*flow, Piece::Gap { length }));
            lossy.extend((to < data.len()).then(|| (*flow, bytes(&data[to..]))));
        }
        let lines = read(lossy);
        for line in &lines {
            prop_assert!(is_right(line, &script.expect), "{} in {:?}, expected {:?}", line, lines, script.expect);
        }
        let mut exchanges: Vec<_> = lines.iter().filter(|line| line.contains(" 5 ")).collect();
        exchanges.dedup();
        prop_assert!(exchanges.len() <= script.expect.len());
    }

    #[test]
    fn changed_bytes_never_panic(
        steps in vec((any::<bool>(), step()), 1..8),
        changes in vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut script = Script::of(&steps);
        for (turn, at, byte) in changes {
            let turn = turn.index(script.turns.len());
            let data = &mut script.turns[turn].1;
            let at = at.index(data.len());
            data[at] = byte;
        }
        let _ = read(pieces(&script.turns));
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

    #[test]
    fn random_bytes_are_not_claimed(data in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(frames(&data), None);
        prop_assert_ne!(opening(&data), Opening::Client);
    }
}
