//! AMQP 0-9-1 (the specification of the AMQP working group, 2008-11-13) as RabbitMQ speaks it, with its extensions and
//! errata (<https://www.rabbitmq.com/docs/specification>): the two directions of a connection in, messages out.
//!
//! ```text
//!   pieces --> Reader (frames: one direction) --> contents (method, header, bodies: one a channel) --+
//!                                                                                                     |
//!      Outcome <-- Life (one channel, from its opening to its close: who settles what) <--------------+
//! ```
//!
//! An exchange is one message on its way: a basic.publish with its confirm, or a basic.deliver or get-ok with its
//! acknowledgement. What belongs together has a number in this protocol (delivery tags, and the confirms' sequence), or
//! is the answer to a request of the same channel, in order. So it does not matter which direction is read first.
//!
//! The bias: a confirm or an acknowledgement is never tied to a message that it may not be for. Behind a loss, such a
//! message comes out with [`Ending::Unseen`].

mod calls;
mod channel;
mod connection;
mod content;
mod frame;
mod life;
mod method;
mod pending;
mod recognise;
mod search;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;

pub use super::http1::Flow;
pub use connection::Connection;
pub use content::{Array, Content, Properties, Table, Value};
pub use recognise::{Opening, frames, opening};

use crate::connection::Close;
use smol_str::SmolStr;
use std::sync::Arc;

/// What one connection may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes kept of a content header. A longer one is cut.
    pub header: usize,
    /// Bytes of messages that are not complete, not confirmed or not settled yet, each charged 256 bytes on top, and of
    /// what was said ahead of the other direction. Over it, a channel's oldest come out as they are.
    pub in_flight: usize,
    /// Channels. Over it, all of them are begun anew, as if the connection had been joined late.
    pub channels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: 64 << 10,
            in_flight: 4 << 20,
            channels: 2048,
        }
    }
}

/// What came of a message. `S` is the caller's stamp: time, thread, ids; it is handed through unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<S> {
    /// A message, whole, and what became of it.
    Exchange(Exchange<S>),
    /// Something that cannot be told, to be counted. Never said twice of the same message.
    Lost(Reason),
}

/// Why something cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Bytes of it were lost.
    Incomplete,
    /// Not what this protocol says at this place.
    Unparsed(Malformed),
    /// More held than [`Limits::in_flight`], or more channels than [`Limits::channels`].
    TooManyInFlight,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The client began with no protocol header, or with that of another version.
    Opening,
    /// A frame of no known type, or one that does not end with its end octet.
    Frame,
    /// A method that this side does not send, or whose arguments do not fit.
    Method,
    /// Content where none was announced, or more of it than was announced, or none where some was.
    Content,
}

/// What was done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// basic.publish.
    Publish,
    /// basic.deliver.
    Deliver,
    /// basic.get, answered with get-ok.
    Get,
}

impl Operation {
    /// The direction in which the message went.
    #[must_use]
    pub const fn flow(self) -> Flow {
        match self {
            Self::Publish => Flow::Request,
            Self::Deliver | Self::Get => Flow::Response,
        }
    }
}

/// A message, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange<S> {
    /// Number among the messages of its direction on this connection, from 0: the kernel's where it marks them, else
    /// counted here.
    pub ordinal: u64,
    /// Channel.
    pub channel: u16,
    /// What was done.
    pub operation: Operation,
    /// Exchange that it was published to; empty for the default one.
    pub exchange: SmolStr,
    /// Routing key.
    pub routing_key: SmolStr,
    /// Queue that it came from, where it was delivered and the queue is known.
    pub queue: Option<Arc<str>>,
    /// What is said of a delivery; `None` of a publish.
    pub delivery: Option<Delivery>,
    /// Content header: body size and properties.
    pub content: Content,
    /// Reply code of the basic.return with which the broker gave it back.
    pub returned: Option<u16>,
    /// Stamp of the first byte of the method.
    pub first: S,
    /// Stamp of the last byte of the content.
    pub last: S,
    /// How it ended.
    pub ending: Ending,
    /// When it ended: with its confirm or acknowledgement, else with the last byte of its content.
    pub ended: S,
}

impl<S> Exchange<S> {
    /// A number that no other message of this connection has.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.ordinal << 1 | self.delivery.is_some() as u64
    }
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Delivery tag, a number of the channel.
    pub tag: u64,
    /// The broker has delivered it before.
    pub redelivered: bool,
    /// Consumer tag; `None` of a get.
    pub consumer: Option<SmolStr>,
}

/// How a message's way ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing was to follow: a publish with no confirm, or a delivery that needs no acknowledgement.
    Content,
    /// A publish was confirmed, a delivery was acknowledged: basic.ack.
    Ack,
    /// basic.nack: of the broker, which could not take a publish over, or of the consumer.
    Nack {
        /// A delivery goes back to its queue.
        requeue: bool,
    },
    /// basic.reject of the consumer.
    Reject {
        /// It goes back to its queue.
        requeue: bool,
    },
    /// basic.recover of the consumer: it goes back to its queue.
    Recover,
    /// The channel or the connection was closed with this reply code, of 300 or more (section 1.2).
    Closed(u16),
    /// The transport ended before a publish was confirmed.
    Close(Close),
    /// Not known: it was not acknowledged or confirmed as far as was seen.
    Unseen,
}
