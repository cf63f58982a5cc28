//! Conversations: what two peers say, and how they put it into frames.

use super::super::Flow;
use super::super::frame::PREFACE;
use httlib_hpack::Encoder;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::VecDeque;
use std::fmt;

/// One exchange as its maker knows it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) stream: u32,
    pub(super) request: Vec<Vec<u8>>,
    pub(super) response: Vec<Vec<u8>>,
    pub(super) status: u16,
    pub(super) interim: bool,
    pub(super) trailers: bool,
    /// Length-prefixed messages.
    pub(super) grpc: bool,
}

/// What is sent in one go, not to be parted by another stream's.
#[derive(Clone, Debug)]
enum Unit {
    Fields(Vec<(String, String)>, bool),
    Data(Vec<u8>, bool),
}

/// How a side sends.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Whose turn it is.
    turns: Vec<Index>,
    /// For each frame: padding, priority, CONTINUATION, flags of the encoder, and what is between frames.
    frames: Vec<(u8, bool, u8, u8, u8)>,
}

pub(super) fn manner() -> impl Strategy<Value = Manner> {
    let flags = prop_oneof![Just(0x17_u8), Just(0x14), Just(0x10), Just(0x1b), Just(0)];
    let frame = (any::<u8>(), any::<bool>(), any::<u8>(), flags, any::<u8>());
    let frames = proptest::collection::vec(frame, 1..20);
    (proptest::collection::vec(any::<Index>(), 1..20), frames)
        .prop_map(|(turns, frames)| Manner { turns, frames })
}

fn script() -> impl Strategy<Value = Script> {
    let body = || {
        proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..60),
            0..4,
        )
    };
    let status = prop_oneof![Just(200_u16), Just(404), Just(201), Just(503)];
    (body(), body(), status, any::<[bool; 3]>()).prop_map(
        |(request, response, status, [interim, trailers, grpc])| Script {
            stream: 0,
            request,
            response,
            status,
            interim,
            trailers,
            grpc,
        },
    )
}

pub(super) fn scripts() -> impl Strategy<Value = Vec<Script>> {
    proptest::collection::vec(script(), 1..12).prop_map(|mut scripts| {
        for (number, script) in (0..).zip(&mut scripts) {
            script.stream = 2 * number + 1;
            if script.grpc {
                for message in script.request.iter_mut().chain(&mut script.response) {
                    let length = (message.len() as u32).to_be_bytes();
                    message.splice(..0, [1].into_iter().chain(length));
                }
            }
        }
        scripts
    })
}

fn text(name: &str, value: impl fmt::Display) -> (String, String) {
    (name.to_owned(), format!("{value}"))
}

impl Script {
    fn units(&self, flow: Flow) -> VecDeque<Unit> {
        let kind = if self.grpc {
            "application/grpc"
        } else {
            "text/plain"
        };
        let common = [
            text("content-type", kind),
            text("id", self.stream),
            text("x-same", "same"),
        ];
        let (first, body) = match flow {
            Flow::Request => {
                let head = [
                    text(":method", "POST"),
                    text(":scheme", "http"),
                    text(":path", format!("/{}", self.stream)),
                ];
                (head.to_vec(), &self.request)
            }
            Flow::Response => (vec![text(":status", self.status)], &self.response),
        };
        let mut units = VecDeque::new();
        if self.interim && flow == Flow::Response {
            units.push_back(Unit::Fields(
                vec![text(":status", 103), text("link", self.stream)],
                false,
            ));
        }
        let head = first.into_iter().chain(common).collect();
        units.push_back(Unit::Fields(head, body.is_empty() && !self.trailers));
        for (at, data) in body.iter().enumerate() {
            units.push_back(Unit::Data(data.clone(), !self.trailers && at + 1 == body.len()));
        }
        if self.trailers {
            units.push_back(Unit::Fields(
                vec![text("grpc-status", 0), text("trailer", self.stream)],
                true,
            ));
        }
        units
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Frames of one side, in order: bytes, and whether their payload is content.
pub(super) fn frames(flow: Flow, scripts: &[Script], manner: &Manner) -> Vec<(Vec<u8>, bool)> {
    let mut encoder = Encoder::default();
    let mut frames = vec![(frame(4, 0, 0, &[0, 1, 0, 0, 0x10, 0]), false)];
    if flow == Flow::Request {
        frames.insert(0, (PREFACE.to_vec(), false));
    }
    let mut waiting: VecDeque<_> = scripts.iter().map(|it| (it.stream, it.units(flow))).collect();
    let mut open: Vec<(u32, VecDeque<Unit>)> = Vec::new();
    let mut turns = manner.turns.iter().cycle();
    let mut manners = manner.frames.iter().cycle();
    while !waiting.is_empty() || !open.is_empty() {
        // Streams are opened in order, here on either side.
        let most = open.len() + usize::from(!waiting.is_empty());
        let turn = turns.next().map_or(0, |turn| turn.index(most));
        if turn == open.len() {
            open.extend(waiting.pop_front());
        }
        let (stream, units) = &mut open[turn];
        let &(padding, priority, continued, flags, between) = manners.next().expect("a manner");
        match units.pop_front().expect("a unit") {
            Unit::Data(data, ends) => frames.push((data_frame(*stream, &data, ends, padding), true)),
            Unit::Fields(fields, ends) => {
                let mut block = Vec::new();
                for (name, value) in fields {
                    let field = (name.into_bytes(), value.into_bytes(), flags);
                    encoder.encode(field, &mut block).expect("a field");
                }
                frames.extend(
                    head_frames(*stream, &block, ends, padding, priority, continued).map(|it| (it, false)),
                );
            }
        }
        if units.is_empty() {
            open.remove(turn);
        }
        match between {
            0..30 => frames.push((frame(6, between & 1, 0, &[between; 8]), false)),
            30..60 => frames.push((frame(8, 0, 0, &[0, 0, 1, between]), false)),
            60..80 => frames.push((frame(0x1f, between, 5, &[between; 20]), false)),
            80..100 if flow == Flow::Response => {
                let mut block = vec![0, 0, 0, 2];
                let field = (b"pushed".to_vec(), vec![between], 0x14);
                encoder.encode(field, &mut block).expect("a field");
                frames.push((frame(5, 4, 1, &block), false));
            }
            _ => {}
        }
    }
    frames
}

fn data_frame(stream: u32, data: &[u8], ends: bool, padding: u8) -> Vec<u8> {
    let ends = u8::from(ends);
    if padding < 200 {
        return frame(0, ends, stream, data);
    }
    let payload = [&[padding - 200], data, &vec![0; usize::from(padding - 200)]].concat();
    frame(0, ends | 8, stream, &payload)
}

fn head_frames(
    stream: u32,
    block: &[u8],
    ends: bool,
    padding: u8,
    priority: bool,
    continued: u8,
) -> impl Iterator<Item = Vec<u8>> {
    let parts = 1 + usize::from(continued) / 86;
    let mut chunks = block.chunks(block.len().div_ceil(parts).max(1)).peekable();
    let mut first = chunks.next().unwrap_or_default().to_vec();
    let mut flags = u8::from(ends) | if chunks.peek().is_none() { 4 } else { 0 };
    if priority {
        first.splice(..0, [0, 0, 0, 0, 16]);
        flags |= 0x20;
    }
    if padding >= 200 {
        first.insert(0, padding - 200);
        first.extend(vec![0; usize::from(padding - 200)]);
        flags |= 8;
    }
    let mut frames = vec![frame(1, flags, stream, &first)];
    while let Some(chunk) = chunks.next() {
        let last = if chunks.peek().is_none() { 4 } else { 0 };
        frames.push(frame(9, last, stream, chunk));
    }
    frames.into_iter()
}
