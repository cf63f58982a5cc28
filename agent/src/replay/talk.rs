//! What two ends say to each other: the protocol is told by the bytes, and its parser pairs requests and responses.
//!
//! **The table of protocols.** A protocol is a variant of `Parser`, an arm of `claim`, and one of each `match` in
//! `Parser`; nothing else of the replay knows any.

use super::tcp::{Delivery, Missing, Side};
use crate::connection::Close;
use crate::connection::piece::Piece;
use crate::protocol::detect::{Detection, NotHttp1, detect};
use crate::protocol::http1::{self, Flow, Outcome};

/// When a packet was captured, in nanoseconds since the epoch: the stamp that goes through the parsers.
pub type Time = u64;

/// Most bytes that are kept of a connection whose protocol is not told yet.
const MOST_UNTOLD: usize = 128 << 10;

/// Limits of a replayed connection: no kernel has said how many may be in flight.
const HTTP1: http1::Limits = http1::Limits {
    head: 64 << 10,
    in_flight: 4096,
    deferred: 256 << 10,
};

/// Why a connection is none of those that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unclaimed {
    /// TLS.
    Tls,
    /// HTTP/2.
    Http2,
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
enum Parser {
    Http1(Box<http1::Connection<Time>>, Side),
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
        Detection::Http1Request => Claim::Is(Parser::http1(side)),
        Detection::Http1Response => Claim::Is(Parser::http1(side.other())),
        Detection::NotHttp1(NotHttp1::Tls) => Claim::Not(Unclaimed::Tls),
        Detection::NotHttp1(NotHttp1::Http2) => Claim::Not(Unclaimed::Http2),
        Detection::PostgresClient | Detection::NotHttp1(NotHttp1::Other) => Claim::Not(Unclaimed::Other),
    }
}

impl Parser {
    fn http1(client: Side) -> Self {
        Self::Http1(Box::new(http1::Connection::new(HTTP1)), client)
    }

    fn client(&self) -> Side {
        match self {
            Self::Http1(_, client) => *client,
        }
    }

    fn read(&mut self, side: Side, time: Time, piece: Piece<'_>, out: &mut Vec<Outcome<Time>>) {
        match self {
            Self::Http1(connection, client) => connection.read(flow(side, *client), time, piece, out),
        }
    }

    fn end(&mut self, side: Side, out: &mut Vec<Outcome<Time>>) {
        match self {
            Self::Http1(connection, client) => connection.end(flow(side, *client), out),
        }
    }

    fn close(&mut self, time: Time, how: Close, out: &mut Vec<Outcome<Time>>) {
        match self {
            Self::Http1(connection, _) => connection.close(time, how, out),
        }
    }
}

fn flow(side: Side, client: Side) -> Flow {
    if side == client {
        Flow::Request
    } else {
        Flow::Response
    }
}

/// A piece from before the protocol was told: who sent it, when, and how many bytes.
type Early = (Side, Time, usize);

#[derive(Debug)]
enum State {
    /// From the beginning: what came so far, in order; the bytes by side.
    Beginning { pieces: Vec<Early>, bytes: [Vec<u8>; 2] },
    /// Joined in the middle, or with a gap: a message has to begin with a segment.
    Searching,
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
            State::Told(parser) => Some(parser.client()),
            _ => None,
        }
    }

    /// Why the connection is none of ours; `None` where it is one.
    #[must_use]
    pub fn unclaimed(&self) -> Option<Unclaimed> {
        match &self.state {
            State::Told(_) => None,
            State::Unclaimed(why) => Some(*why),
            State::Searching => Some(Unclaimed::JoinedLate),
            State::Beginning { pieces, .. } if pieces.is_empty() => Some(Unclaimed::Silent),
            State::Beginning { .. } => Some(Unclaimed::TooShort),
        }
    }

    /// Takes what comes next of a side.
    pub fn hear(&mut self, side: Side, time: Time, next: Delivery<'_>, out: &mut Vec<Outcome<Time>>) {
        match next {
            Delivery::Bytes(data) => self.bytes(side, time, data, out),
            Delivery::Gap(length, why) => self.gap(side, time, length, why, out),
            Delivery::End => {
                if let State::Told(parser) = &mut self.state {
                    parser.end(side, out);
                }
            }
            Delivery::Reset => self.close(time, Close::Reset, out),
        }
    }

    /// The connection is over, or the file is: what is in flight comes out.
    pub fn close(&mut self, time: Time, how: Close, out: &mut Vec<Outcome<Time>>) {
        if let State::Told(parser) = &mut self.state {
            parser.close(time, how, out);
        }
    }

    fn gap(&mut self, side: Side, time: Time, length: u32, why: Missing, out: &mut Vec<Outcome<Time>>) {
        match &mut self.state {
            State::Told(parser) => {
                let length = length.into();
                parser.read(side, time, Piece::Gap { length }, out);
            }
            State::Beginning { pieces, .. } if why != Missing::Before || pieces.is_empty() => {
                self.state = State::Searching;
            }
            State::Beginning { .. } | State::Searching | State::Unclaimed(_) => {}
        }
    }

    fn bytes(&mut self, side: Side, time: Time, data: &[u8], out: &mut Vec<Outcome<Time>>) {
        match &mut self.state {
            State::Told(parser) => parser.read(side, time, Piece::Bytes { data, starts: None }, out),
            State::Unclaimed(_) => {}
            State::Searching => {
                if let Claim::Is(mut parser) = claim(side, data) {
                    for side in [Side::Low, Side::High] {
                        parser.read(side, time, Piece::Gap { length: 0 }, out);
                    }
                    parser.read(side, time, Piece::Bytes { data, starts: None }, out);
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
