//! Pieces of one direction, held back until the other has caught up.

use crate::connection::piece::Piece;
use std::collections::VecDeque;

/// What a held piece costs beside its bytes, so that many small ones are bounded too.
const OVERHEAD: usize = 64;

#[derive(Debug)]
enum Held {
    /// `data[from..]` is still to be read.
    Bytes {
        data: Vec<u8>,
        from: usize,
        starts: Option<u64>,
    },
    Elided {
        wire: u64,
        content: u64,
        last: bool,
    },
    Gap {
        length: u64,
    },
}

/// A queue of pieces with their stamps.
#[derive(Debug)]
pub(super) struct Deferred<S> {
    pieces: VecDeque<(S, Held)>,
    cost: usize,
}

/// A piece taken from the queue.
#[derive(Debug)]
pub(in crate::protocol) struct Released<S> {
    pub(in crate::protocol) stamp: S,
    held: Held,
}

impl<S: Copy> Deferred<S> {
    pub(super) fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            cost: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Holds `piece` behind the others.
    pub(super) fn push(&mut self, stamp: S, piece: Piece<'_>) {
        self.cost += cost(&piece);
        self.pieces.push_back((stamp, held(piece)));
    }

    /// Holds what is left of a released piece after its first `used` bytes, before the others.
    pub(super) fn put_back(&mut self, mut released: Released<S>, used: usize) {
        if let Held::Bytes { data, from, starts } = &mut released.held {
            *from = (*from + used).min(data.len());
            *starts = None;
            if *from == data.len() {
                return;
            }
        }
        self.cost += cost(&released.piece());
        self.pieces.push_front((released.stamp, released.held));
    }

    /// The oldest piece.
    pub(super) fn pop(&mut self) -> Option<Released<S>> {
        let (stamp, held) = self.pieces.pop_front()?;
        let released = Released { stamp, held };
        self.cost -= cost(&released.piece());
        Some(released)
    }

    /// Bytes held, with each piece's overhead.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }
}

impl<S> Released<S> {
    /// A piece that never was in the queue.
    pub(super) fn of(stamp: S, piece: Piece<'_>) -> Self {
        let held = held(piece);
        Self { stamp, held }
    }

    pub(in crate::protocol) fn piece(&self) -> Piece<'_> {
        match &self.held {
            Held::Bytes { data, from, starts } => Piece::Bytes {
                data: &data[*from..],
                starts: *starts,
            },
            Held::Elided { wire, content, last } => Piece::Elided {
                wire: *wire,
                content: *content,
                last: *last,
            },
            Held::Gap { length } => Piece::Gap { length: *length },
        }
    }
}

fn cost(piece: &Piece<'_>) -> usize {
    match piece {
        Piece::Bytes { data, .. } => data.len() + OVERHEAD,
        Piece::Elided { .. } | Piece::Gap { .. } => OVERHEAD,
    }
}

fn held(piece: Piece<'_>) -> Held {
    match piece {
        Piece::Bytes { data, starts } => Held::Bytes {
            data: data.to_vec(),
            from: 0,
            starts,
        },
        Piece::Elided { wire, content, last } => Held::Elided { wire, content, last },
        Piece::Gap { length } => Held::Gap { length },
    }
}
