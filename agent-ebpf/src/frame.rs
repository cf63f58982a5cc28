//! Frames that say their own length: what the kernel half has to know of the protocols that are made of them. How long is a
//! frame, how much of it is handed on to the agent, and does an exchange begin with it? Each protocol answers from a
//! frame's first bytes alone, in a file of its own.
//!
//! Without loops and with few branches, because a verifier looks at each side of a branch.

pub mod amqp;
pub mod http2;
pub mod postgres;

use crate::protocol::{AMQP, HTTP2, POSTGRES};

/// The first sixteen bytes of a frame, or as many as there are: the first one lowest.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Bytes 0 to 7.
    pub word: u64,
    /// Bytes 8 to 15.
    pub next: u64,
}

impl Head {
    /// The byte at `offset`, which is below 8.
    #[inline(always)]
    #[must_use]
    pub const fn byte(self, offset: u32) -> u8 {
        (self.word >> (8 * offset)) as u8
    }

    /// The 32 bits at `offset`, which is from 1 to 8, in network order.
    #[inline(always)]
    #[must_use]
    pub const fn big_endian(self, offset: u32) -> u32 {
        let joined = if offset == 8 {
            self.next
        } else if offset <= 4 {
            self.word >> (8 * offset)
        } else {
            (self.word >> (8 * offset)) | (self.next << (64 - 8 * offset))
        };
        (joined as u32).swap_bytes()
    }
}

/// What a frame's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the whole frame; 0 where no frame begins so.
    pub length: u32,
    /// How many of them, from the first on, are handed on. 0: it is stepped over.
    pub copy: u32,
    /// [`mark`] bits.
    pub marks: u32,
}

/// Bits of [`Frame::marks`].
pub mod mark {
    /// An exchange begins with it.
    pub const EXCHANGE: u32 = 1;
    /// The agent waits for its end, and has to be told where that is not copied.
    pub const ENDS: u32 = 2;
    /// It is counted where it is stepped over.
    pub const ROW: u32 = 4;
    /// What of it cannot be read may be stepped over: nothing behind it depends on that.
    pub const BODY: u32 = 8;
    /// Whoever sends it is done with what it has received; of HTTP/2, on the frame's stream.
    pub const SETTLES: u32 = 16;
    /// Its stream ends with it, whoever is at work on that.
    pub const RESETS: u32 = 32;
    /// What was asked of whoever sends it is answered.
    pub const ANSWERS: u32 = 64;
}

impl Frame {
    /// No frame.
    pub const NONE: Self = Self {
        length: 0,
        copy: 0,
        marks: 0,
    };

    /// A frame of `length` bytes of which at most `limit` are handed on.
    #[inline(always)]
    #[must_use]
    pub const fn new(length: u32, limit: u32, marks: u32) -> Self {
        Self {
            length,
            copy: if length < limit { length } else { limit },
            marks,
        }
    }

    /// All in one word: of what is copied 24 bits, of the marks 8.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.length as u64) << 32 | (self.copy as u64) << 8 | self.marks as u64
    }

    /// What [`Self::pack`] has packed.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            length: (word >> 32) as u32,
            copy: (word as u32) >> 8,
            marks: word as u8 as u32,
        }
    }
}

/// Whether this is a protocol of frames.
#[inline(always)]
#[must_use]
pub const fn has(protocol: u8) -> bool {
    HTTP2 <= protocol && protocol <= AMQP
}

/// Bytes that [`of`] has to see of a frame, unless the frame is shorter.
#[inline(always)]
#[must_use]
pub const fn header(protocol: u8) -> u32 {
    match protocol {
        HTTP2 => http2::HEADER,
        POSTGRES => postgres::HEADER,
        _ => amqp::HEADER,
    }
}

/// The frame that begins with `head`, of the client's direction or of the server's.
#[inline(always)]
#[must_use]
pub const fn of(protocol: u8, head: Head, request: bool) -> Frame {
    match protocol {
        HTTP2 => http2::frame(head, request),
        POSTGRES => postgres::frame(head, request),
        _ => amqp::frame(head, request),
    }
}

/// What a client says first, before frames; `NONE` where that is nothing of this protocol's.
#[inline(always)]
#[must_use]
pub const fn opening(protocol: u8, head: Head) -> Frame {
    match protocol {
        HTTP2 => http2::opening(head),
        POSTGRES => postgres::opening(head),
        _ => amqp::opening(head),
    }
}
