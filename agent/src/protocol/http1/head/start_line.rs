//! Request lines and status lines (RFC 9112, sections 3 and 4).

use super::{Span, Version};
use crate::protocol::http1::{Flow, Malformed};
use memchr::{memchr, memrchr};

/// A start line, its parts as ranges of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol::http1) enum StartLine {
    /// `method SP request-target SP HTTP-version`
    Request {
        method: Span,
        target: Span,
        version: Version,
    },
    /// `HTTP-version SP status-code [ SP reason-phrase ]`
    Status { status: u16, version: Version },
}

/// `tchar` (RFC 9110, section 5.6.2).
pub(in crate::protocol) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// By byte: names of fields are looked at byte for byte.
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        #[expect(clippy::cast_possible_truncation, reason = "below 128")]
        let it = byte as u8;
        token[byte] = it.is_ascii_alphanumeric()
            || matches!(
                it,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    token
};

/// Bytes that a target may hold. Raw non-ASCII is not allowed by the standard, but sent, and served.
pub(in crate::protocol) const fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

impl StartLine {
    /// Parses `line`, which is without its line end.
    pub(in crate::protocol::http1) fn parse(flow: Flow, line: &[u8]) -> Result<Self, Malformed> {
        match flow {
            Flow::Request => request_line(line),
            Flow::Response => status_line(line),
        }
        .ok_or(Malformed::StartLine)
    }

    /// What there is of a request line that was cut at `line`'s end: the method, and the target as far as it goes.
    pub(in crate::protocol::http1) fn parse_cut(flow: Flow, line: &[u8]) -> Result<Self, Malformed> {
        match flow {
            Flow::Request => cut_request_line(line),
            Flow::Response => status_line(line),
        }
        .ok_or(Malformed::StartLine)
    }
}

fn method(line: &[u8]) -> Option<Span> {
    let end = memchr(b' ', line)?;
    (end > 0 && line[..end].iter().all(|byte| is_token(*byte))).then(|| Span::new(0, end))
}

fn request_line(line: &[u8]) -> Option<StartLine> {
    let method = method(line)?;
    let start = method.end as usize + 1;
    let end = memrchr(b' ', line).filter(|end| *end > start)?;
    let valid = line[start..end].iter().all(|byte| is_target(*byte));
    let version = version(&line[end + 1..])?;
    valid.then(|| StartLine::Request {
        method,
        target: Span::new(start, end),
        version,
    })
}

fn cut_request_line(line: &[u8]) -> Option<StartLine> {
    let method = method(line)?;
    let start = method.end as usize + 1;
    let rest = &line[start..];
    let length = memchr(b' ', rest).unwrap_or(rest.len());
    let valid = length > 0 && rest[..length].iter().all(|byte| is_target(*byte));
    let target = Span::new(start, start + length);
    valid.then_some(StartLine::Request {
        method,
        target,
        version: Version::Http11,
    })
}

fn status_line(line: &[u8]) -> Option<StartLine> {
    let (version_part, rest) = line.split_at_checked(8)?;
    let version = version(version_part)?;
    // The space behind the code belongs there even without a reason phrase, but is often left out.
    let (
        [
            b' ',
            hundreds @ b'1'..=b'9',
            tens @ b'0'..=b'9',
            ones @ b'0'..=b'9',
        ],
        reason,
    ) = rest.split_first_chunk()?
    else {
        return None;
    };
    let status = [hundreds, tens, ones]
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'));
    matches!(reason.first(), None | Some(b' ')).then_some(StartLine::Status { status, version })
}

fn version(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.0" => Some(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Some(Version::Http11),
        _ => None,
    }
}
