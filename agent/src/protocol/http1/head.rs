//! Message heads: start line and fields, kept as they were on the wire.

mod framing;
mod read;
mod start_line;

pub(super) use framing::Framing;
pub(super) use read::{Head, HeadReader, is_field_line};
pub(super) use start_line::StartLine;
pub(in crate::protocol) use start_line::{is_target, is_token};

use std::fmt;

/// `HTTP-version` (RFC 9112, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, and any later minor version.
    Http11,
}

/// Half-open range of bytes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// Heads are shorter than 4 GiB: [`HeadReader`] sees to it.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let [start, end] = [start, end].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        Self { start, end }
    }

    pub(super) fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// A field line: name and value, without the white space around the value (RFC 9112, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// The part of a head that requests and responses share.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) raw: Vec<u8>,
    pub(super) fields: Vec<Field>,
    pub(super) version: Version,
    pub(super) cut: bool,
}

impl Section {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (field.name.of(&self.raw), field.value.of(&self.raw)))
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

/// Request line and fields of a request (RFC 9112, section 3).
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    pub(super) section: Section,
    pub(super) method: Span,
    pub(super) target: Span,
}

/// Status line and fields of a response (RFC 9112, section 4).
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHead {
    pub(super) section: Section,
    pub(super) status: u16,
}

impl RequestHead {
    /// The method, in the case in which it was sent.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.section.raw)
    }

    /// The request target in whichever form it was sent: origin, absolute, authority or asterisk (RFC 9112, 3.2).
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.section.raw)
    }

    /// The version; HTTP/1.1 where the request line was cut before it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.section.version
    }

    /// Value of the first field of this name, in whatever case; folded lines are joined by spaces.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.section.header(name)
    }

    /// All fields, names and values, in order and in the case in which they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.section.headers()
    }

    /// Whether the head was over the limit, so that fields (or the end of the target) are missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.section.cut
    }
}

impl ResponseHead {
    /// The status code, 100 to 999.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.section.version
    }

    /// Value of the first field of this name, in whatever case; folded lines are joined by spaces.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.section.header(name)
    }

    /// All fields, names and values, in order and in the case in which they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.section.headers()
    }

    /// Whether the head was over the limit, so that fields are missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.section.cut
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [method, target] = [self.method(), self.target()].map(<[u8]>::escape_ascii);
        write!(out, "{method} {target} ({} fields)", self.section.fields.len())
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({} fields)", self.status, self.section.fields.len())
    }
}
