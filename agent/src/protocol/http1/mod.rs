//! HTTP/1.x (RFC 9110, RFC 9112): the two directions of a connection in, paired requests and responses out.
//!
//! ```text
//!   pieces --> Reader (head, body: one direction) --> Pairing (ordinals) --> Outcome
//! ```
//!
//! [`Connection`] wires the two readers to the pairing. It serves two callers: the live capture, where the kernel
//! marks each message's first byte and elides bodies, and the replay of a capture file, where all bytes come and
//! nothing is marked. Both come to the same exchanges.
//!
//! The bias: a response is never paired with a request that it may not answer. What is in doubt is
//! [`Outcome::Lost`], with a reason, once for each exchange.

mod advance;
mod body;
mod chunked;
mod connection;
mod head;
mod pairing;
mod side;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;

pub use connection::Connection;
pub use head::{RequestHead, ResponseHead, Version};
pub(super) use head::{is_target, is_token};

use crate::connection::Close;

/// Which half of an exchange a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

impl Flow {
    /// The other way.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }
}

/// What one connection may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes kept of one message head. A longer one is cut: its start line and the fields before the limit stay.
    pub head: usize,
    /// Requests waiting for their response. Over it the oldest is [`Reason::TooManyInFlight`].
    pub in_flight: usize,
    /// Bytes held back in one direction until the other catches up, each piece charged 64 bytes on top.
    pub deferred: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 << 10,
            in_flight: 256,
            deferred: 256 << 10,
        }
    }
}

/// What came of an exchange. `S` is the caller's stamp: time, thread, ids; it is handed through unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<S> {
    /// A request, and what became of it.
    Exchange(Box<Exchange<S>>),
    /// An exchange that cannot be told, to be counted. Never said twice of the same exchange, nor of one whose request
    /// the kernel has already counted as lost.
    Lost(Reason),
}

/// Why an exchange cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Bytes of it were lost, or so many around it that its response cannot be told from another's.
    Incomplete,
    /// A response that no request was seen for.
    ResponseWithoutRequest,
    /// A head or a body's framing that is not HTTP/1.x.
    Unparsed(Malformed),
    /// The connection ended within the request's head.
    HeadUnfinished,
    /// More requests in flight than [`Limits::in_flight`].
    TooManyInFlight,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Neither a request line nor a status line of HTTP/1.x (RFC 9112, sections 3 and 4).
    StartLine,
    /// A field line without a name (RFC 9112, section 5).
    FieldLine,
    /// `Content-Length` is no number, or several that differ (RFC 9112, section 6.3).
    ContentLength,
    /// A request whose last transfer coding is not chunked (RFC 9112, section 6.3).
    TransferCoding,
    /// A chunk's size or end is wrong (RFC 9112, section 7.1).
    Chunk,
    /// A mark of the kernel that contradicts the ones before, or that comes within a head.
    Mark,
}

/// A request with its response, if it had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange<S> {
    /// Number of this exchange on its connection, from 0: the kernel's where it marks messages, else counted here.
    pub ordinal: u64,
    /// The request.
    pub request: Request<S>,
    /// The final response; `None` where not even its head was complete.
    pub response: Option<Response<S>>,
    /// How it ended.
    pub ending: Ending,
    /// When it ended: the response's last byte, or the connection's close where that came first.
    pub ended: S,
}

impl<S> Exchange<S> {
    /// How many of its heads were over [`Limits::head`].
    pub fn heads_cut(&self) -> u64 {
        let response = self.response.as_ref();
        u64::from(self.request.head.is_cut()) + u64::from(response.is_some_and(|it| it.head.is_cut()))
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the last byte of its response.
    Complete,
    /// With a 101 or a 2xx to CONNECT: the connection is a tunnel from here on (RFC 9110, sections 7.8 and 9.3.6).
    Upgraded,
    /// With bytes that were lost, on a connection without marks: the head of the response was seen, its end was not.
    Unseen,
    /// The connection ended first.
    Close(Close),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<S> {
    /// Request line and fields.
    pub head: RequestHead,
    /// Stamp of the first byte.
    pub first: S,
    /// Stamp of the last byte seen.
    pub last: S,
    /// Bytes of content (RFC 9110, section 6.4), without the transfer coding; `None` where there is none, which is not
    /// the same as content of no bytes.
    pub body: Option<u64>,
    /// The message came to its end.
    pub complete: bool,
}

/// A final response (RFC 9110, section 15: not 1xx, except 101).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<S> {
    /// Status line and fields.
    pub head: ResponseHead,
    /// Stamp of the first byte, of this response and not of an interim one before it.
    pub first: S,
    /// Stamp of the last byte seen.
    pub last: S,
    /// Bytes of content (RFC 9110, section 6.4), without the transfer coding; `None` where there is none, which is not
    /// the same as content of no bytes.
    pub body: Option<u64>,
    /// The message came to its end.
    pub complete: bool,
}
