//! The fields that say where a message ends (RFC 9112, section 6).

use crate::protocol::http1::Malformed;

/// What a head's fields say about the message's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::protocol::http1) struct Framing {
    /// `Content-Length`, if there is one; several are one where they are equal.
    pub(in crate::protocol::http1) length: Result<Option<u64>, Malformed>,
    /// Whether the last transfer coding is chunked; `None` without a transfer coding.
    pub(in crate::protocol::http1) chunked: Option<bool>,
    /// The message asks for another protocol (RFC 9110, section 7.8).
    pub(in crate::protocol::http1) upgrade: bool,
    /// A part of the head was not seen: these fields may have been in it.
    pub(in crate::protocol::http1) unseen: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            length: Ok(None),
            chunked: None,
            upgrade: false,
            unseen: false,
        }
    }
}

impl Framing {
    /// Takes one field into account.
    pub(in crate::protocol::http1) fn add(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                for one in value.split(|byte| *byte == b',') {
                    self.length = match (self.length, length(one.trim_ascii())) {
                        (Ok(None), Some(length)) => Ok(Some(length)),
                        (Ok(Some(before)), Some(length)) if before == length => Ok(Some(length)),
                        _ => Err(Malformed::ContentLength),
                    };
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let last = value
                    .rsplit(|byte| *byte == b',')
                    .map(<[u8]>::trim_ascii)
                    .find(|one| !one.is_empty());
                let coding = last
                    .unwrap_or_default()
                    .split(|byte| *byte == b';')
                    .next()
                    .unwrap_or_default();
                // `identity` was no coding at all in RFC 2616, section 3.6, and is still sent.
                if !coding.eq_ignore_ascii_case(b"identity") {
                    self.chunked = Some(coding.trim_ascii_end().eq_ignore_ascii_case(b"chunked"));
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            _ => {}
        }
    }
}

/// `1*DIGIT`; neither a sign nor an overflow passes.
fn length(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}
