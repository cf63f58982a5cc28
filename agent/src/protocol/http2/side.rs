//! One direction: where its reader is.

use super::Malformed;
use super::frame::{HEADER, Header, Kind};
use super::hpack::Decoder;
use super::search::Search;

/// What is known of one direction.
#[derive(Debug)]
pub(super) struct Side<S> {
    pub(super) state: State<S>,
    pub(super) decoder: Decoder,
    /// A header block that goes on in the next frame.
    pub(super) block: Option<Unfinished<S>>,
}

#[derive(Debug)]
pub(super) enum State<S> {
    /// So many bytes of the client's preface are there.
    Preface(usize),
    /// Within a frame's header, or between two frames.
    Header(Beginning<S>),
    /// Within a frame's payload.
    Payload(Payload<S>),
    /// Frames were lost.
    Searching(Search<S>),
}

/// A frame's header so far.
#[derive(Debug)]
pub(super) struct Beginning<S> {
    pub(super) bytes: [u8; HEADER],
    pub(super) filled: usize,
    /// Stamp of its first byte.
    pub(super) first: Option<S>,
}

/// A frame's payload so far.
#[derive(Debug)]
pub(super) struct Payload<S> {
    pub(super) header: Header,
    pub(super) first: S,
    /// Bytes to come.
    pub(super) left: u32,
    /// Of DATA, how many of them are padding; `None` before the byte that says it.
    pub(super) padding: Option<u32>,
    /// The first bytes, of what has to be seen whole.
    pub(super) kept: Vec<u8>,
    /// Bytes behind `kept` were not, and are missing.
    pub(super) cut: bool,
}

/// HEADERS or PUSH_PROMISE without END_HEADERS (RFC 9113, section 4.3).
#[derive(Debug)]
pub(super) struct Unfinished<S> {
    pub(super) header: Header,
    pub(super) first: S,
    pub(super) fragment: Vec<u8>,
    pub(super) cut: bool,
}

impl<S> Side<S> {
    pub(super) fn new(state: State<S>, table: usize) -> Self {
        Self {
            state,
            decoder: Decoder::new(table),
            block: None,
        }
    }

    /// A frame with this header comes next.
    pub(super) fn begin(&mut self, header: Header, first: S) -> Result<(), Malformed> {
        if !header.is_valid() {
            return Err(Malformed::Frame);
        }
        let continues = header.kind == Kind::Continuation;
        let open = self.block.as_ref().map(|block| block.header.stream);
        if open != continues.then_some(header.stream) {
            return Err(Malformed::Continuation);
        }
        self.state = State::Payload(Payload {
            header,
            first,
            left: header.length,
            padding: (header.kind != Kind::Data || !header.is_padded()).then_some(0),
            kept: Vec::new(),
            cut: false,
        });
        Ok(())
    }
}

impl<S> State<S> {
    /// Between two frames.
    pub(super) fn between() -> Self {
        Self::Header(Beginning {
            bytes: [0; HEADER],
            filled: 0,
            first: None,
        })
    }
}

impl<S: Copy> Beginning<S> {
    /// Takes in bytes; returns how many, and the header once it is whole.
    pub(super) fn read(&mut self, stamp: S, data: &[u8]) -> (usize, Option<(Header, S)>) {
        let first = *self.first.get_or_insert(stamp);
        let used = data.len().min(HEADER - self.filled);
        self.bytes[self.filled..][..used].copy_from_slice(&data[..used]);
        self.filled += used;
        let whole = self.filled == HEADER;
        (used, whole.then(|| (Header::parse(&self.bytes), first)))
    }
}

impl<S> Payload<S> {
    /// How much of its beginning has to be kept.
    pub(super) fn wanted(&self, head: usize) -> usize {
        match self.header.kind {
            Kind::Headers | Kind::PushPromise | Kind::Continuation => head,
            Kind::RstStream => 4,
            Kind::GoAway => 8,
            _ => 0,
        }
    }

    /// Keeps what has to be kept of the next bytes.
    pub(super) fn keep(&mut self, data: &[u8], head: usize) {
        if self.cut {
            return;
        }
        let room = self.wanted(head) - self.kept.len();
        self.kept.extend_from_slice(&data[..data.len().min(room)]);
        self.cut = data.len() > room;
    }
}
