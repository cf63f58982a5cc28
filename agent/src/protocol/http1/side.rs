//! One direction of a connection: where in which message its reader is.

use super::Flow;
use super::body::Body;
use super::head::{Framing, HeadReader, ResponseHead, StartLine, is_field_line};
use crate::protocol::deferred::Deferred;
use memchr::memchr_iter;

/// Where a reader is.
#[derive(Debug)]
pub(super) enum State<S> {
    /// Between messages.
    Idle,
    /// In a head, whose first byte came at `first`.
    Head { reader: HeadReader, first: S },
    /// Behind the head of a final response whose request has not been seen yet: it says what follows.
    Waiting(Waiting<S>),
    /// In the body of the message of exchange `ordinal`; `None` where that exchange has been given up.
    Body { body: Body, ordinal: Option<u64> },
    /// Behind a loss: the next message's beginning has to be found.
    Searching,
}

/// A final response's head.
#[derive(Debug)]
pub(super) struct Waiting<S> {
    pub(super) ordinal: u64,
    pub(super) head: ResponseHead,
    pub(super) framing: Framing,
    pub(super) first: S,
    pub(super) last: S,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Side<S> {
    pub(super) state: State<S>,
    /// The kernel's mark on the message in progress, until its head is complete.
    pub(super) mark: Option<u64>,
    /// Pieces that cannot be read before the other direction has caught up.
    pub(super) deferred: Deferred<S>,
    /// Nothing comes any more.
    pub(super) over: bool,
}

impl<S: Copy> Side<S> {
    pub(super) fn new() -> Self {
        Self {
            state: State::Idle,
            mark: None,
            deferred: Deferred::new(),
            over: false,
        }
    }

    /// Whether no message is in progress.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.state, State::Idle | State::Searching) && self.deferred.is_empty()
    }
}

/// Whether `piece` begins with what can only be a message's head: a whole start line, and behind it a whole field line
/// or the head's end. Only a piece's own beginning is looked at: within a body, a line may well look like one.
pub(super) fn is_provable(flow: Flow, piece: &[u8]) -> bool {
    let mut newlines = memchr_iter(b'\n', piece);
    let (Some(first), Some(second)) = (newlines.next(), newlines.next()) else {
        return false;
    };
    let [start_line, field_line] =
        [&piece[..first], &piece[first + 1..second]].map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    StartLine::parse(flow, start_line).is_ok() && (field_line.is_empty() || is_field_line(field_line))
}
