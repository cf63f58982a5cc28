//! What a connection speaks that was joined late, or begins with a gap.

use super::{Early, Parser, Time};
use crate::connection::piece::Piece;
use crate::protocol::detect::{Sign, sign};
use crate::protocol::{Flow, Outcome, Protocol};
use crate::replay::tcp::Side;

/// Most bytes that are kept of what came before the protocol is told: a request whose answer tells.
const MOST_KEPT: usize = 8 << 10;

/// The last pieces, in their order, and what they say.
#[derive(Debug, Default)]
pub(super) struct Search {
    pieces: Vec<Early>,
    bytes: Vec<u8>,
    /// The last weak sign of each side.
    weak: [Option<(Protocol, Flow)>; 2],
}

impl Search {
    /// Bytes were lost: nothing from before goes with what follows.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes a piece; once that tells, the parser, which has read all that is of use to it.
    pub(super) fn bytes(
        &mut self,
        side: Side,
        time: Time,
        data: &[u8],
        out: &mut Vec<Outcome<Time>>,
    ) -> Option<Parser> {
        let (protocol, flow) = match sign(data) {
            Sign::Opening(protocol, flow) => {
                let mut parser = Parser::new(protocol, side, flow);
                if protocol == Protocol::Http2 {
                    // Its server need not wait for that.
                    parser.read(side.other(), time, Piece::Gap { length: 0 }, out);
                }
                parser.read(side, time, Piece::Bytes { data, starts: None }, out);
                return Some(parser);
            }
            Sign::Sure(protocol, flow) => (protocol, flow),
            Sign::Weak(protocol, flow)
                if self.weak[side.other() as usize] == Some((protocol, flow.other())) =>
            {
                (protocol, flow)
            }
            Sign::Weak(protocol, flow) => {
                self.weak[side as usize] = Some((protocol, flow));
                self.keep(side, time, data);
                return None;
            }
            Sign::None => {
                self.keep(side, time, data);
                return None;
            }
        };
        let mut parser = Parser::new(protocol, side, flow);
        parser.connection = parser.connection.joined_late();
        for side in [Side::Low, Side::High] {
            parser.read(side, time, Piece::Gap { length: 0 }, out);
        }
        let mut from = 0;
        for (side, time, length) in self.pieces.drain(..) {
            let data = &self.bytes[from..from + length];
            from += length;
            parser.read(side, time, Piece::Bytes { data, starts: None }, out);
        }
        parser.read(side, time, Piece::Bytes { data, starts: None }, out);
        Some(parser)
    }

    fn keep(&mut self, side: Side, time: Time, data: &[u8]) {
        let over = (self.bytes.len() + data.len()).saturating_sub(MOST_KEPT);
        let (mut dropped, mut count) = (0, 0);
        while dropped < over
            && let Some((_, _, length)) = self.pieces.get(count)
        {
            (dropped, count) = (dropped + length, count + 1);
        }
        self.pieces.drain(..count);
        self.bytes.drain(..dropped);
        if data.len() <= MOST_KEPT {
            self.pieces.push((side, time, data.len()));
            self.bytes.extend_from_slice(data);
        }
    }
}
