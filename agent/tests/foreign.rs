//! Recorded sessions of protocols that are not read are claimed by nobody, wherever one comes in: neither by the agent's
//! recognisers, nor by what the kernel half goes by.
//!
//! `foreign/NAME` is what a proxy on the way between `tests/workloads/foreign/client.py NAME` (`Echo` for Dubbo) and the
//! server of that name in `tests/src/foreign.rs` wrote of one connection: `>` or `<` for who speaks, the length in 32 bits,
//! the bytes. Each of its contents has a message of a protocol that is read inside: see `client.py`.

mod head;

use std::fs;
use std::path::Path;

use head::head;
use proptest::prelude::*;
use spanwire::protocol::detect::{Sign, sign};
use spanwire::replay::talk::{Talk, Unclaimed};
use spanwire::replay::tcp::{Delivery, Missing, Side};
use spanwire_ebpf::frame::{self, amqp, http2, postgres};
use spanwire_ebpf::protocol::{AMQP, HTTP2};

/// What was said, in its order, and by whom.
type Said = Vec<(Side, Vec<u8>)>;

/// All recordings, each with its name.
fn recordings() -> Vec<(String, Said)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let read = |entry: fs::DirEntry| {
        let (bytes, mut said) = (fs::read(entry.path()).unwrap(), Said::new());
        let mut rest = &*bytes;
        while let Some((&[mark, ref length @ ..], behind)) = rest.split_first_chunk::<5>() {
            let (data, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
            let side = if mark == b'>' { Side::Low } else { Side::High };
            said.push((side, data.to_vec()));
            rest = behind;
        }
        (entry.file_name().into_string().unwrap(), said)
    };
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| read(entry.unwrap()))
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Where messages begin in the bait that contents hold: a piece that is cut there begins like the real thing.
const BAIT: [&[u8]; 11] = [
    b"GET / HTTP/1.1",
    b"ET / HTTP/1.1",
    b"T / HTTP/1.1",
    b"HTTP/1.1 200",
    b"\0\0\x03\x01\x05\0\0\0\x05\x82",
    b"\0\0\x01\x01\x05\0\0\0\x07\x88",
    b"Q\0\0\0\x0dSELECT",
    b"S\0\0\0\x04",
    b"C\0\0\0\x0dSELECT",
    b"Z\0\0\0\x05I",
    b"\x01\0\x01\0\0\0\x0a\0\x3c\0\x28",
];

fn is_bait(piece: &[u8]) -> bool {
    BAIT.iter().any(|bait| piece.starts_with(bait))
}

/// Why `said` is not claimed; `None` where it is.
fn hear<'a>(late: bool, said: impl IntoIterator<Item = (Side, &'a [u8])>) -> Option<Unclaimed> {
    let (mut talk, mut out) = (Talk::default(), Vec::new());
    if late {
        for side in [Side::Low, Side::High] {
            talk.hear(side, 0, Delivery::Gap(0, Missing::Before), &mut out);
        }
    }
    for (side, data) in said {
        talk.hear(side, 0, Delivery::Bytes(data), &mut out);
    }
    talk.unclaimed()
}

fn pieces(said: &Said) -> impl Iterator<Item = (Side, &[u8])> {
    said.iter().map(|(side, data)| (*side, &**data))
}

/// `proves` of `agent-ebpf/src/framed.rs`.
fn is_proved(protocol: u8, request: bool, mut operation: &[u8]) -> bool {
    for _ in 0..3 {
        let frame = frame::of(protocol, head(operation), request);
        let Some((whole, behind)) = operation.split_at_checked(frame.length as usize) else {
            return false;
        };
        if whole.is_empty() || protocol == AMQP && !whole.ends_with(&[amqp::END]) {
            return false;
        }
        if behind.is_empty() {
            return true;
        }
        operation = behind;
    }
    true
}

/// One direction of a connection that the kernel half has joined late: `late` and `apart` of `agent-ebpf/src/framed.rs`.
#[derive(Default)]
struct Late {
    header: Vec<u8>,
    due: usize,
    pairs: u32,
}

impl Late {
    fn claims(&mut self, operation: &[u8]) -> bool {
        self.by_its_frames(operation) || self.comes_apart(operation)
    }

    fn by_its_frames(&self, operation: &[u8]) -> bool {
        let Some(last) = operation.last_chunk().copied().map(u64::from_le_bytes) else {
            return false;
        };
        let (head, block) = (head(operation), head(operation.get(9..).unwrap_or_default()).word);
        postgres::is_response(head, last, operation.len() as u32)
            || postgres::is_request(head, last, operation.len() as u32)
            || http2::is_request(head, block).is_some_and(|request| is_proved(HTTP2, request, operation))
            || amqp::is_request(head).is_some_and(|request| is_proved(AMQP, request, operation))
    }

    fn comes_apart(&mut self, operation: &[u8]) -> bool {
        let due = std::mem::take(&mut self.due);
        if due != 0 && due == operation.len() {
            self.pairs += 1;
            let told = http2::is_request(head(&self.header), head(operation).word);
            return told.is_some() && self.pairs >= 2;
        }
        if due != 0 {
            self.pairs = 0;
        }
        if operation.len() == http2::HEADER as usize {
            let frame = frame::of(HTTP2, head(operation), true);
            self.due = (frame.length as usize).saturating_sub(operation.len());
            self.header = operation.to_vec();
        }
        false
    }
}

#[test]
fn the_real_thing_is_claimed() {
    let publish = b"\x01\0\x01\0\0\0\x0a\0\x3c\0\x28\0\0\0\x01q\0\xce";
    let claimed: [&[u8]; 5] = [
        b"Q\0\0\0\x0dSELECT 1\0",
        b"P\0\0\0\x08\0\0\0\0S\0\0\0\x04",
        b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
        b"\0\0\x03\x01\x05\0\0\0\x05\x82\x84\x86",
        publish,
    ];
    for operation in claimed {
        assert!(Late::default().claims(operation), "{}", operation.escape_ascii());
    }
    // What lengths say has to be there.
    for operation in [&b"T 1\0Z\0\0\0\x05I"[..], b"P 1\0S\0\0\0\x04", &publish[..17]] {
        assert!(!Late::default().claims(operation), "{}", operation.escape_ascii());
    }
}

#[test]
fn from_the_first_byte_on() {
    for (name, said) in recordings() {
        let expected = if name == "tls" {
            Unclaimed::Tls
        } else {
            Unclaimed::Other
        };
        assert_eq!(hear(false, pieces(&said)), Some(expected), "{name}");
        for side in [Side::Low, Side::High] {
            let mut of_side = said.iter().filter(|(it, _)| *it == side);
            let (_, first) = of_side.next().unwrap();
            // As much as decides, and the kernel half may be given it a byte at a time.
            let head = head(first);
            let claims = head.word == http2::PREFACE_BEGINS
                || http2::is_server(head)
                || postgres::is_client(head)
                || postgres::is_cancel(head)
                || head.word == amqp::OPENING;
            assert!(!claims, "{name}: {}", first.escape_ascii());
        }
    }
}

#[test]
fn from_any_message_on() {
    for (name, said) in recordings() {
        for from in 0..said.len() {
            let rest = said[from..].to_vec();
            assert_eq!(
                hear(true, pieces(&rest)),
                Some(Unclaimed::JoinedLate),
                "{name} from {from} on"
            );
            let mut halves = [Late::default(), Late::default()];
            for (side, data) in &rest {
                assert!(
                    !halves[*side as usize].claims(data),
                    "{name}: {}",
                    data.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn from_any_byte_on() {
    for (name, said) in recordings() {
        for (_, data) in &said {
            for at in (0..data.len()).filter(|at| !is_bait(&data[*at..])) {
                let piece = &data[at..];
                assert_eq!(sign(piece), Sign::None, "{name}: {}", piece.escape_ascii());
                assert!(!Late::default().claims(piece), "{name}: {}", piece.escape_ascii());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// However the bytes are cut: as segments, as reads of a header and a payload, or a few bytes at a time.
    #[test]
    fn cut_anywhere(
        which in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        lengths in prop::collection::vec(prop_oneof![1..17usize, Just(4), Just(9), 1..1500usize], 1..50),
    ) {
        let all = recordings();
        let (name, said) = which.get(&all);
        let from = from.index(said.len());
        let (mut lengths, mut cut) = (lengths.iter().cycle(), Said::new());
        for (side, data) in &said[from..] {
            let mut rest = &data[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
                prop_assume!(!is_bait(piece));
                cut.push((*side, piece.to_vec()));
                rest = behind;
            }
        }
        prop_assert_eq!(hear(true, pieces(&cut)), Some(Unclaimed::JoinedLate), "{}", name);
        let mut halves = [Late::default(), Late::default()];
        for (side, piece) in &cut {
            prop_assert!(!halves[*side as usize].claims(piece), "{}: {}", name, piece.escape_ascii());
        }
    }
}
