//! What two ends say to each other: the protocol is told by the bytes, and its parser pairs requests and responses.

mod search;

use super::tcp::{Delivery, Missing, Side};
use crate::connection::Close;
use crate::connection::piece::Piece;
use crate::protocol::detect::{Detection, Foreign, detect};
use crate::protocol::{Connection, Flow, Loss, Outcome, Protocol};
use search::Search;

/// When a packet was captured, in nanoseconds since the epoch: the stamp that goes through the parsers.
pub type Time = u64;

/// Most bytes that are kept of a connection whose protocol is not told yet.
const MOST_UNTOLD: usize = 128 << 10;

/// Why a connection is none of those that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unclaimed {
    /// TLS.
    Tls,
    /// One of these protocols, until it was encrypted.
    Encrypted,
    /// A protocol that is not known here.
    Other,
    /// Joined in the middle, and no beginning of a message was seen.
    JoinedLate,
    /// Too few bytes to tell.
    TooShort,
    /// Not a byte of data.
    Silent,
}

/// The parser of a connection, and which end is the client.
#[derive(Debug)]
struct Parser {
    connection: Connection<Time>,
    client: Side,
}

/// What the first bytes of a side tell.
enum Claim {
    NeedMore,
    Is(Parser),
    Not(Unclaimed),
}

/// Asks all protocols whether `first`, the first bytes of `side`, are theirs.
fn claim(side: Side, first: &[u8]) -> Claim {
    match detect(first) {
        Detection::NeedMore if first.len() > MOST_UNTOLD => Claim::Not(Unclaimed::Other),
        Detection::NeedMore => Claim::NeedMore,
        Detection::Is(protocol, flow) => Claim::Is(Parser::new(protocol, side, flow)),
        Detection::None(Foreign::Tls) => Claim::Not(Unclaimed::Tls),
        Detection::None(Foreign::Other) => Claim::Not(Unclaimed::Other),
    }
}

impl Parser {
    /// One of `protocol`, of which `side` sends `flow`.
    fn new(protocol: Protocol, side: Side, flow: Flow) -> Self {
        Self {
            connection: Connection::new(protocol),
            client: match flow {
                Flow::Request => side,
                Flow::Response => side.other(),
            },
        }
    }

    fn flow(&self, side: Side) -> Flow {
        if side == self.client {
            Flow::Request
        } else {
            Flow::Response
        }
    }

    fn read(&mut self, side: Side, time: Time, piece: Piece<'_>, out: &mut Vec<Outcome<Time>>) {
        self.connection.read(self.flow(side), time, piece, out);
    }
}

/// A piece from before the protocol was told: who sent it, when, and how many bytes.
type Early = (Side, Time, usize);

#[derive(Debug)]
enum State {
    /// From the beginning: what came so far, in order; the bytes by side.
    Beginning { pieces: Vec<Early>, bytes: [Vec<u8>; 2] },
    /// Joined in the middle, or with a gap.
    Searching(Search),
    /// Told.
    Told(Parser),
    /// None of ours.
    Unclaimed(Unclaimed),
}

impl Default for State {
    fn default() -> Self {
        Self::Beginning {
            pieces: Vec::new(),
            bytes: [Vec::new(), Vec::new()],
        }
    }
}

/// What is said on one connection, from nothing on.
#[derive(Debug, Default)]
pub struct Talk {
    state: State,
}

impl Talk {
    /// Which end is the client; `None` as long as the protocol is not told.
    #[must_use]
    pub fn client(&self) -> Option<Side> {
        match &self.state {
            State::Told(parser) => Some(parser.client),
            _ => None,
        }
    }

    /// Which protocol it is; `None` as long as that is not told.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        match &self.state {
            State::Told(parser) => Some(parser.connection.protocol()),
            _ => None,
        }
    }

    /// Why the connection is none of ours; `None` where it is one.
    #[must_use]
    pub fn unclaimed(&self) -> Option<Unclaimed> {
        match &self.state {
            State::Told(_) => None,
            State::Unclaimed(why) => Some(*why),
            State::Searching(_) => Some(Unclaimed::JoinedLate),
            State::Beginning { pieces, .. } if pieces.is_empty() => Some(Unclaimed::Silent),
            State::Beginning { .. } => Some(Unclaimed::TooShort),
        }
    }

    /// Takes what comes next of a side.
    pub fn hear(&mut self, side: Side, time: Time, next: Delivery<'_>, out: &mut Vec<Outcome<Time>>) {
        let from = out.len();
        match next {
            Delivery::Bytes(data) => self.bytes(side, time, data, out),
            Delivery::Gap(length, why) => self.gap(side, time, length, why, out),
            Delivery::End => {
                if let State::Told(parser) = &mut self.state {
                    let flow = parser.flow(side);
                    parser.connection.end(flow, out);
                }
            }
            Delivery::Reset => self.close(time, Close::Reset, out),
        }
        let encrypted = |outcome: &Outcome<Time>| matches!(outcome, Outcome::Lost(Loss::Encrypted));
        if let Some(at) = out[from..].iter().position(encrypted) {
            // Counted as what the connection is.
            out.remove(from + at);
            self.state = State::Unclaimed(Unclaimed::Encrypted);
        }
    }

    /// The connection is over, or the file is: what is in flight comes out.
    pub fn close(&mut self, time: Time, how: Close, out: &mut Vec<Outcome<Time>>) {
        if let State::Told(parser) = &mut self.state {
            parser.connection.close(time, how, out);
        }
    }

    fn gap(&mut self, side: Side, time: Time, length: u32, why: Missing, out: &mut Vec<Outcome<Time>>) {
        match &mut self.state {
            State::Told(parser) => {
                let length = length.into();
                parser.read(side, time, Piece::Gap { length }, out);
            }
            State::Beginning { pieces, .. } if why != Missing::Before || pieces.is_empty() => {
                self.state = State::Searching(Search::default());
            }
            State::Searching(search) => search.forget(),
            State::Beginning { .. } | State::Unclaimed(_) => {}
        }
    }

    fn bytes(&mut self, side: Side, time: Time, data: &[u8], out: &mut Vec<Outcome<Time>>) {
        match &mut self.state {
            State::Told(parser) => parser.read(side, time, Piece::Bytes { data, starts: None }, out),
            State::Unclaimed(_) => {}
            State::Searching(search) => {
                if let Some(parser) = search.bytes(side, time, data, out) {
                    self.state = State::Told(parser);
                }
            }
            State::Beginning { pieces, bytes } => {
                // Most connections tell by their first segment: nothing of it is copied then.
                let first = &mut bytes[side as usize];
                let claimed = if pieces.is_empty() {
                    claim(side, data)
                } else {
                    first.extend_from_slice(data);
                    claim(side, first)
                };
                match claimed {
                    Claim::Is(mut parser) if pieces.is_empty() => {
                        parser.read(side, time, Piece::Bytes { data, starts: None }, out);
                        self.state = State::Told(parser);
                    }
                    Claim::Is(mut parser) => {
                        pieces.push((side, time, data.len()));
                        let mut read = [0, 0];
                        for (side, time, length) in pieces.drain(..) {
                            let from = read[side as usize];
                            read[side as usize] += length;
                            let data = &bytes[side as usize][from..from + length];
                            parser.read(side, time, Piece::Bytes { data, starts: None }, out);
                        }
                        self.state = State::Told(parser);
                    }
                    Claim::Not(why) => self.state = State::Unclaimed(why),
                    Claim::NeedMore => {
                        if pieces.is_empty() {
                            first.extend_from_slice(data);
                        }
                        pieces.push((side, time, data.len()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
