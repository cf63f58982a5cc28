//! Frames (RFC 9113, section 4.1) and what of their payload matters here.
//!
//! ```text
//!   Length (24)  Type (8)  Flags (8)  Reserved (1)  Stream Identifier (31)  Frame Payload (Length)
//! ```

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// Payload that every peer has to take (section 4.2), and that hardly any peer goes over.
const USUAL_PAYLOAD: u32 = 1 << 14;

/// What a client sends first (section 3.4), before its SETTINGS.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Frame types (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Of an extension; ignored (section 5.5).
    Other,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
    reserved: bool,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        let stream = u32::from_be_bytes(stream);
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                2 => Kind::Priority,
                3 => Kind::RstStream,
                4 => Kind::Settings,
                5 => Kind::PushPromise,
                6 => Kind::Ping,
                7 => Kind::GoAway,
                8 => Kind::WindowUpdate,
                9 => Kind::Continuation,
                _ => Kind::Other,
            },
            flags,
            stream: stream & !(1 << 31),
            reserved: stream >> 31 == 1,
        }
    }

    /// The last of its message (DATA and HEADERS).
    pub(super) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// No CONTINUATION follows (HEADERS, PUSH_PROMISE and CONTINUATION).
    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Padding surrounds the payload (DATA, HEADERS and PUSH_PROMISE).
    pub(super) fn is_padded(&self) -> bool {
        self.flags & PADDED != 0
    }

    /// Whether a peer may send this at all: size and stream are right for the type, else it is a connection error.
    pub(super) fn is_valid(&self) -> bool {
        let on_stream = self.stream != 0;
        match self.kind {
            Kind::Data | Kind::Headers | Kind::PushPromise | Kind::Continuation => on_stream,
            Kind::Priority => on_stream && self.length == 5,
            Kind::RstStream => on_stream && self.length == 4,
            Kind::Settings => {
                !on_stream && self.length.is_multiple_of(6) && !(self.is_ack() && self.length > 0)
            }
            Kind::Ping => !on_stream && self.length == 8,
            Kind::GoAway => !on_stream && self.length >= 8,
            Kind::WindowUpdate => self.length == 4,
            Kind::Other => true,
        }
    }

    /// Whether it looks like one where anything might be: a type that is known, in the way in which everybody uses it.
    pub(super) fn is_usual(&self) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Priority | Kind::RstStream | Kind::GoAway | Kind::WindowUpdate => 0,
            Kind::Other => return false,
        };
        // Nobody says nothing.
        let empty = self.length == 0
            && match self.kind {
                Kind::Data => !self.ends_stream(),
                Kind::Headers | Kind::PushPromise => true,
                _ => false,
            };
        self.is_valid()
            && !self.reserved
            && !empty
            && self.flags & !flags == 0
            && self.length <= USUAL_PAYLOAD
    }

    fn is_ack(&self) -> bool {
        self.flags & ACK != 0
    }

    /// Takes what is before and behind the header block out of the payload of HEADERS or PUSH_PROMISE (sections 6.2
    /// and 6.6); `None` where there is less of it than it says. A payload that was `cut` has lost its padding first.
    pub(super) fn fragment<'a>(&self, payload: &'a [u8], cut: bool) -> Option<&'a [u8]> {
        let (padding, rest) = if self.is_padded() {
            let (padding, rest) = payload.split_first()?;
            (usize::from(*padding), rest)
        } else {
            (0, payload)
        };
        let before = match self.kind {
            Kind::Headers if self.flags & PRIORITY != 0 => 5,
            Kind::PushPromise => 4,
            _ => 0,
        };
        let rest = rest.get(before..)?;
        let lost = if cut {
            self.length as usize - payload.len()
        } else {
            0
        };
        rest.get(..rest.len().checked_sub(padding.saturating_sub(lost))?)
    }
}

/// Error codes (section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Graceful.
    pub const NO_ERROR: Self = Self(0x0);
    /// The stream was not processed.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Self = Self(0x8);
    /// The peer asks for too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is not good enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);

    /// Its name in the registry, `UNKNOWN` where it has none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => "UNKNOWN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32, kind: u8, flags: u8, stream: u32) -> Header {
        let [_, a, b, c] = length.to_be_bytes();
        let [d, e, f, g] = stream.to_be_bytes();
        Header::parse(&[a, b, c, kind, flags, d, e, f, g])
    }

    #[test]
    fn sizes_and_streams() {
        for (length, kind, flags, stream, valid) in [
            (0, 0, 0, 1, true),
            (5, 0, 0, 0, false),
            (5, 1, 5, 1, true),
            (5, 2, 0, 1, true),
            (6, 2, 0, 1, false),
            (4, 3, 0, 1, true),
            (4, 3, 0, 0, false),
            (12, 4, 0, 0, true),
            (12, 4, 1, 0, false),
            (13, 4, 0, 0, false),
            (0, 4, 0, 1, false),
            (8, 6, 0, 0, true),
            (7, 6, 0, 0, false),
            (8, 7, 0, 0, true),
            (4, 8, 0, 0, true),
            (4, 8, 0, 9, true),
            (5, 8, 0, 9, false),
            (9, 9, 4, 0, false),
            (9, 0x10, 0xff, 0, true),
        ] {
            assert_eq!(
                header(length, kind, flags, stream).is_valid(),
                valid,
                "{length} {kind} {flags} {stream}"
            );
        }
    }

    #[test]
    fn usual_is_less_than_valid() {
        assert!(header(1 << 14, 0, 9, 1).is_usual());
        assert!(!header((1 << 14) + 1, 0, 0, 1).is_usual());
        assert!(!header(1, 0, 2, 1).is_usual());
        assert!(!header(1, 0, 0, 1 << 31 | 1).is_usual());
        assert!(!header(1, 0x10, 0, 0).is_usual());
        assert!(!header(0, 1, 4, 1).is_usual());
        assert!(!header(0, 0, 0, 1).is_usual());
        assert!(header(0, 0, 1, 1).is_usual());
    }

    #[test]
    fn fragments() {
        let check = |kind, flags, payload: &[u8], cut, expect: Option<&[u8]>| {
            let header = header(payload.len() as u32 + cut, kind, flags, 1);
            assert_eq!(
                header.fragment(payload, cut > 0),
                expect,
                "{header:?} {payload:?}"
            );
        };
        check(1, 0, b"abc", 0, Some(b"abc"));
        check(1, PADDED, b"\x02abc..", 0, Some(b"abc"));
        check(1, PADDED, b"\x05abc..", 0, Some(b""));
        check(1, PADDED, b"\x06abc..", 0, None);
        check(1, PADDED, b"", 0, None);
        check(1, PRIORITY, b"12345abc", 0, Some(b"abc"));
        check(1, PRIORITY, b"1234", 0, None);
        check(1, PADDED | PRIORITY, b"\x0112345abc.", 0, Some(b"abc"));
        check(5, 0, b"1234abc", 0, Some(b"abc"));
        check(1, PADDED, b"\x03abc.", 2, Some(b"abc"));
        check(1, PADDED, b"\x03abc", 9, Some(b"abc"));
    }
}
