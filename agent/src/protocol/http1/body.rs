//! Where a message's body ends (RFC 9112, section 6.3).

use super::chunked::{Chunked, Progress};
use super::head::Framing;
use super::{Malformed, RequestHead, ResponseHead};

/// A body in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes are to come; never 0.
    Length(u64),
    /// Chunked.
    Chunked(Chunked),
    /// A response without framing: it ends when its direction does.
    UntilEnd,
    /// Its framing is out of sight: it ends where the kernel's walker says, or where the next message begins.
    Unseen,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Nothing: the message has no content, and ends with its head.
    Nothing,
    /// A body of no bytes: the message ends with its head.
    Empty,
    /// A body.
    Body(Body),
    /// Another protocol (RFC 9110, sections 7.8 and 9.3.6).
    Tunnel,
}

/// What follows a request's head.
pub(super) fn after_request(head: &RequestHead, framing: &Framing) -> Result<Follows, Malformed> {
    if framing.unseen {
        return Ok(Follows::Body(Body::Unseen));
    }
    match framing.chunked {
        Some(true) => Ok(Follows::Body(Body::Chunked(Chunked::new()))),
        Some(false) => Err(Malformed::TransferCoding),
        // What follows a CONNECT is the tunnel's already (RFC 9110, section 9.3.6).
        None if head.method() == b"CONNECT" => Ok(Follows::Nothing),
        None => Ok(framing.length?.map_or(Follows::Nothing, of_length)),
    }
}

/// What follows a final response's head; `method` is its request's, `None` where that is not known.
pub(super) fn after_response(
    head: &ResponseHead,
    framing: &Framing,
    method: Option<&[u8]>,
) -> Result<Follows, Malformed> {
    let status = head.status();
    if status == 101 || (method == Some(b"CONNECT") && (200..300).contains(&status)) {
        return Ok(Follows::Tunnel);
    }
    if method == Some(b"HEAD") || matches!(status, 100..200 | 204 | 304) {
        return Ok(Follows::Nothing);
    }
    if framing.unseen {
        return Ok(Follows::Body(Body::Unseen));
    }
    match framing.chunked {
        Some(true) => Ok(Follows::Body(Body::Chunked(Chunked::new()))),
        Some(false) => Ok(Follows::Body(Body::UntilEnd)),
        None => Ok(framing.length?.map_or(Follows::Body(Body::UntilEnd), of_length)),
    }
}

impl Follows {
    /// Bytes of content before the first one is seen; `None` where there may be none to come.
    pub(super) const fn content(self) -> Option<u64> {
        match self {
            Self::Empty | Self::Body(Body::Length(_) | Body::Chunked(_) | Body::UntilEnd) => Some(0),
            Self::Nothing | Self::Tunnel | Self::Body(Body::Unseen) => None,
        }
    }
}

fn of_length(length: u64) -> Follows {
    if length == 0 {
        Follows::Empty
    } else {
        Follows::Body(Body::Length(length))
    }
}

impl Body {
    /// Steps over as much of `data` as belongs to the body.
    pub(super) fn read(&mut self, data: &[u8]) -> Result<Progress, Malformed> {
        let all = Progress {
            used: data.len(),
            content: data.len() as u64,
            done: false,
        };
        match self {
            Self::Length(left) => {
                let used = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= used as u64;
                Ok(Progress {
                    used,
                    content: used as u64,
                    done: *left == 0,
                })
            }
            Self::Chunked(chunked) => chunked.read(data),
            Self::UntilEnd | Self::Unseen => Ok(all),
        }
    }

    /// Steps over `wire` bytes that the kernel's walker did not copy; true where the body ends with them.
    pub(super) fn elide(&mut self, wire: u64, last: bool) -> bool {
        match self {
            Self::Length(left) => {
                *left = left.saturating_sub(wire);
                last || *left == 0
            }
            Self::Chunked(_) if wire > 0 => {
                // Which of the bytes were sizes is not told: from here on only the walker knows the end.
                *self = Self::Unseen;
                last
            }
            Self::Chunked(_) | Self::UntilEnd | Self::Unseen => last,
        }
    }

    /// Steps over `length` lost bytes; how many of them were content, `None` where they may hold the body's end.
    pub(super) fn skip(&mut self, length: u64) -> Option<u64> {
        let within = match self {
            // The very last byte must be seen: when a message ended is not guessed.
            Self::Length(left) if length > 0 && length < *left => {
                *left -= length;
                true
            }
            Self::Length(_) | Self::Unseen => false,
            Self::Chunked(chunked) => chunked.skip(length),
            Self::UntilEnd => true,
        };
        within.then_some(length)
    }
}
