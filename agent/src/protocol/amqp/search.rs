//! Finding the next frame behind a loss.

use super::Flow;
use super::frame::{END, HEADER, Head, Kind};
use super::method::{self, Sender};

/// As many bytes are held until it is known whether a frame begins at the first of them.
const HELD: usize = 8 << 10;

/// Number of the class `connection`.
const CONNECTION: u16 = 10;

/// How each content header begins: the class `basic`, and a weight that is always 0.
const BASIC: [u8; 4] = [0, 60, 0, 0];

/// So many frames in a row are proof, whatever they are.
const ENOUGH: usize = 3;

/// What a place looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A frame begins here.
    Frame,
    /// It may.
    Perhaps,
    /// None does.
    Nothing,
}

/// Bytes in which a frame's beginning is searched.
#[derive(Debug)]
pub(super) struct Search<S> {
    bytes: Vec<u8>,
    /// How many of them have which stamp, in order.
    stamps: Vec<(usize, S)>,
    /// Some were passed over, or lost.
    lossy: bool,
}

impl<S: Copy> Search<S> {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            stamps: Vec::new(),
            lossy: false,
        }
    }

    /// Adds bytes. Returns all from the first frame's beginning on, each with its stamp, once that is found.
    pub(super) fn add(&mut self, flow: Flow, stamp: S, data: &[u8]) -> Option<Vec<(S, Vec<u8>)>> {
        self.bytes.extend_from_slice(data);
        self.stamps.push((data.len(), stamp));
        let mut at = 0;
        while at < self.bytes.len() {
            let here = &self.bytes[at..];
            match look(flow, here) {
                Place::Frame => {
                    self.drop_front(at);
                    return Some(self.take());
                }
                Place::Perhaps if here.len() <= HELD => break,
                Place::Perhaps | Place::Nothing => at += 1,
            }
        }
        self.drop_front(at);
        None
    }

    fn drop_front(&mut self, mut count: usize) {
        self.lossy |= count > 0;
        self.bytes.drain(..count);
        let mut gone = 0;
        for (length, _) in &mut self.stamps {
            let here = count.min(*length);
            *length -= here;
            count -= here;
            gone += usize::from(*length == 0);
        }
        self.stamps.drain(..gone);
    }

    fn take(&mut self) -> Vec<(S, Vec<u8>)> {
        let mut rest = std::mem::take(&mut self.bytes);
        let stamps = std::mem::take(&mut self.stamps);
        let part = |(length, stamp): (usize, S)| {
            let behind = rest.split_off(length);
            (stamp, std::mem::replace(&mut rest, behind))
        };
        stamps.into_iter().map(part).collect()
    }

    /// More bytes were lost.
    pub(super) fn lose(&mut self) {
        self.bytes.clear();
        self.stamps.clear();
        self.lossy = true;
    }

    /// Ends it. Returns whether anything was lost since it began.
    pub(super) fn end(&mut self) -> bool {
        let lossy = self.lossy || !self.bytes.is_empty();
        *self = Self::new();
        lossy
    }
}

/// Whether frames of `flow` begin with the first of `data`. A method that is whole is proof, since class, number,
/// arguments and end octet all have to fit; of other frames it takes [`ENOUGH`].
pub(super) fn look(flow: Flow, data: &[u8]) -> Place {
    let (mut rest, mut frames) = (data, 0);
    loop {
        let Some((header, behind)) = rest.split_first_chunk::<HEADER>() else {
            return match rest.first() {
                None | Some(1 | 2 | 3 | 8) => Place::Perhaps,
                Some(_) => Place::Nothing,
            };
        };
        let Some(head) = Head::read(header) else {
            return Place::Nothing;
        };
        let (payload, is_whole) = match behind.split_at_checked(head.size as usize) {
            Some((payload, [END, ..])) => (payload, true),
            Some((_, [_, ..])) => return Place::Nothing,
            Some((payload, [])) => (payload, false),
            None => (behind, false),
        };
        match shape(flow, head, payload, is_whole) {
            Shape::Wrong => return Place::Nothing,
            _ if !is_whole => return Place::Perhaps,
            Shape::Certain => return Place::Frame,
            Shape::Fits => {}
        }
        frames += 1;
        if frames == ENOUGH {
            return Place::Frame;
        }
        rest = &behind[payload.len() + 1..];
    }
}

/// How well a payload fits.
enum Shape {
    Wrong,
    Fits,
    Certain,
}

fn shape(flow: Flow, head: Head, payload: &[u8], is_whole: bool) -> Shape {
    match head.kind {
        Kind::Method => {
            let Some((class, sender)) = method(payload) else {
                return if payload.len() < method::ID {
                    Shape::Fits
                } else {
                    Shape::Wrong
                };
            };
            // What is of the connection is on channel 0, and nothing else is.
            if !sender.sends(flow) || (class == CONNECTION) != (head.channel == 0) {
                return Shape::Wrong;
            }
            match method::read(flow, payload) {
                _ if !is_whole => Shape::Fits,
                Ok((method, rest)) if method.is_exact(rest) => Shape::Certain,
                _ => Shape::Wrong,
            }
        }
        Kind::Header if payload.len() >= 4 && payload[..4] != BASIC => Shape::Wrong,
        Kind::Header | Kind::Body | Kind::Heartbeat => Shape::Fits,
    }
}

/// Class and sender of a method.
fn method(payload: &[u8]) -> Option<(u16, Sender)> {
    let [c0, c1, m0, m1] = *payload.first_chunk()?;
    let [class, number] = [[c0, c1], [m0, m1]].map(u16::from_be_bytes);
    Some((class, method::sender(class, number)?))
}

/// Which way `data` goes, frames all, as the first method says that one side alone sends.
pub(super) fn sender(mut data: &[u8]) -> Option<Flow> {
    while let Some((header, behind)) = data.split_first_chunk::<HEADER>() {
        let head = Head::read(header)?;
        let (payload, behind) = behind.split_at_checked(head.size as usize)?;
        match method(payload).filter(|_| head.kind == Kind::Method) {
            Some((_, Sender::Client)) => return Some(Flow::Request),
            Some((_, Sender::Server)) => return Some(Flow::Response),
            _ => {}
        }
        data = behind.strip_prefix(&[END])?;
    }
    None
}
