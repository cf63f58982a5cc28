//! HTTP/2 (RFC 9113): the two directions of a connection in, requests with their responses out.
//!
//! ```text
//!   pieces --> Side (frames, header blocks: one direction) --> Streams (by their ids) --> Outcome
//! ```
//!
//! [`Connection`] has the shape of [`super::http1::Connection`], and the same bias: what is in doubt is
//! [`Outcome::Lost`], with a reason, once for each exchange. Streams have numbers, so that no response can be taken for
//! another's; what has to be guarded is where a frame begins, and what a field refers to. Behind a loss, and on a
//! connection that was joined late, frames are taken up where several in a row are there to prove it, and fields
//! that refer to what was never seen are unknown: see [`Head`].
//!
//! Server push (section 8.4) is not told; its frames are followed for what they do to the header compression.

mod connection;
mod fields;
mod frame;
mod grpc;
mod head;
mod hpack;
mod messages;
mod search;
mod side;
mod stream;
mod streams;
mod upgrade;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod sessions;

pub use super::http1::Flow;
pub use connection::Connection;
pub use frame::ErrorCode;
pub use grpc::{Call, StatusCode};
pub use head::Head;
pub use hpack::Malformed as MalformedFields;
pub use messages::Messages;
pub use search::recognise;

use crate::connection::Close;

/// What one connection may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes kept of one header block, coded and decoded. A longer one is cut: its first fields stay.
    pub head: usize,
    /// Bytes kept of each direction's dynamic table. What is beyond is unknown.
    pub table: usize,
    /// Streams that have not come out. Over it the oldest is [`Reason::TooManyInFlight`].
    pub in_flight: usize,
    /// Bytes kept of the heads of all of them; over it the same.
    pub held: usize,
    /// Bytes of one direction among which the next frame is searched after a loss.
    pub search: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 << 10,
            table: 64 << 10,
            in_flight: 4096,
            held: 4 << 20,
            search: 64 << 10,
        }
    }
}

/// What came of an exchange. `S` is the caller's stamp: time, thread, ids; it is handed through unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<S> {
    /// A request, and what became of it.
    Exchange(Box<Exchange<S>>),
    /// An exchange that cannot be told, to be counted. Never said twice of the same exchange.
    Lost(Reason),
}

/// Why an exchange cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Bytes of it were lost.
    Incomplete,
    /// A response that no request was seen for.
    ResponseWithoutRequest,
    /// What is not HTTP/2. Behind a frame that is none, frames are searched as after a loss.
    Unparsed(Malformed),
    /// The connection ended within the request's head.
    HeadUnfinished,
    /// More in flight than [`Limits::in_flight`] or [`Limits::held`].
    TooManyInFlight,
}

/// What is wrong with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// It does not begin with the client's preface (section 3.4).
    Preface,
    /// A frame of a wrong size, or on a wrong stream (section 6).
    Frame,
    /// A header block that is not continued at once (section 4.3), or a continuation of none.
    Continuation,
    /// More padding than payload (section 6.1).
    Padding,
    /// A header block that cannot be decoded.
    Fields(MalformedFields),
    /// A request without pseudo-header fields (section 8.3.1).
    Head,
}

/// A request with its response, if it had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange<S> {
    /// Stream that it was on; 1 for what asked for the upgrade from HTTP/1.1.
    pub stream: u32,
    /// The request.
    pub request: Message<S>,
    /// The final response; `None` where its head was not seen.
    pub response: Option<Message<S>>,
    /// How it ended.
    pub ending: Ending,
    /// When it ended: the response's last byte, or what ended the stream where that came first.
    pub ended: S,
}

impl<S> Exchange<S> {
    /// How many of its heads were over [`Limits::head`].
    pub fn heads_cut(&self) -> u64 {
        let response = self.response.as_ref();
        u64::from(self.request.head.is_cut()) + u64::from(response.is_some_and(|it| it.head.is_cut()))
    }
}

/// A request or a final response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<S> {
    /// Its head.
    pub head: Head,
    /// The fields behind the content (section 8.1).
    pub trailers: Option<Head>,
    /// Stamp of the first byte, of this head and not of an interim one before it.
    pub first: S,
    /// Stamp of the last byte seen.
    pub last: S,
    /// Bytes of content, without padding; `None` where there is no DATA, or where some of it may be lost.
    pub body: Option<u64>,
    /// Length-prefixed messages in the content; `None` where it holds none, or where they cannot be counted.
    pub messages: Option<Messages>,
    /// It came to its end.
    pub complete: bool,
    /// Bytes of it may be lost: that its end was not seen says nothing then.
    pub lossy: bool,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the last byte of its response.
    Complete,
    /// With a 2xx to CONNECT, extended (RFC 8441) or not: the stream is a tunnel from here on.
    Upgraded,
    /// The stream was reset (section 6.4).
    Reset {
        /// By whom: [`Flow::Request`] is the client.
        by: Flow,
        /// Why.
        code: ErrorCode,
    },
    /// The server goes away, and has not processed and will not process the request (section 6.8).
    GoAway(ErrorCode),
    /// Unknown: it was not seen. It is still to come, or bytes of the response were lost, and perhaps its end with them.
    Unseen,
    /// The connection ended first.
    Close(Close),
}
