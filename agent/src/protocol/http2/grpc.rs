//! gRPC: what a stream's heads and trailers say of a call.
//!
//! "gRPC over HTTP2" (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use super::head::Head;
use super::{Ending, ErrorCode, Exchange, Messages};
use crate::protocol::percent;
use std::time::Duration;

/// A call that an exchange is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Service with its package, a slash, and the method; `None` where the path is unknown.
    pub method: Option<String>,
    /// How it ended: said by the server, or what every client makes of a stream that ended without. `None` where that
    /// is not known, or is up to more than the stream.
    pub status: Option<StatusCode>,
    /// `grpc-message`, decoded.
    pub message: Option<String>,
    /// How long the client was ready to wait, from when it asked.
    pub timeout: Option<Duration>,
    /// Messages of the client; `None` where they could not be counted.
    pub requests: Option<Messages>,
    /// Messages of the server; `None` where they could not be counted.
    pub responses: Option<Messages>,
}

impl Call {
    /// The call that `exchange` is; `None` where it is none, or nothing is known that says so.
    #[must_use]
    pub fn of<S>(exchange: &Exchange<S>) -> Option<Self> {
        let (request, response) = (&exchange.request, exchange.response.as_ref());
        let said = response.and_then(|response| said_by(&response.head, response.trailers.as_ref()));
        let is_call = match content_type(&request.head) {
            Some(kind) => is_grpc(kind),
            None if !request.head.may_have_more() => false,
            // The request's type is unknown: what the server says will do.
            None => {
                let kind = response.and_then(|response| content_type(&response.head));
                kind.map_or(said.is_some(), is_grpc)
            }
        };
        if !is_call {
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = request.head.path();
        let timeout = request.head.field("grpc-timeout");
        Some(Self {
            method: path.map(|path| text(path.strip_prefix(b"/").unwrap_or(path))),
            status: said.or_else(|| made_up(exchange)),
            message: response.and_then(|response| {
                let trailers = response.trailers.as_ref().unwrap_or(&response.head);
                trailers.field("grpc-message").map(percent_decoded)
            }),
            timeout: timeout.and_then(parse_timeout),
            requests: request.messages,
            // A response without content holds none.
            responses: response.and_then(|response| response.messages),
        })
    }
}

/// Whether a message with this head may be one of gRPC.
pub(super) fn may_be(head: &Head) -> bool {
    content_type(head).map_or(head.may_have_more(), is_grpc)
}

fn content_type(head: &Head) -> Option<&[u8]> {
    head.field("content-type")
}

/// `application/grpc`, with `+proto` or the like behind. gRPC-Web is another protocol.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// `grpc-status` of the trailers, or of the head where there are none ("Trailers-Only").
fn said_by(head: &Head, trailers: Option<&Head>) -> Option<StatusCode> {
    let status = trailers.unwrap_or(head).field("grpc-status")?;
    std::str::from_utf8(status).ok()?.parse().ok().map(StatusCode)
}

/// What clients make of a stream that ended without a status ("Responses" and "Errors"; and "HTTP to gRPC Status Code
/// Mapping", a document of its own).
fn made_up<S>(exchange: &Exchange<S>) -> Option<StatusCode> {
    match exchange.ending {
        Ending::Reset { code, .. } => match code {
            ErrorCode::REFUSED_STREAM => Some(StatusCode::UNAVAILABLE),
            ErrorCode::CANCEL => Some(StatusCode::CANCELLED),
            ErrorCode::ENHANCE_YOUR_CALM => Some(StatusCode::RESOURCE_EXHAUSTED),
            ErrorCode::INADEQUATE_SECURITY => Some(StatusCode::PERMISSION_DENIED),
            _ => Some(StatusCode::INTERNAL),
        },
        Ending::GoAway(_) => Some(StatusCode::UNAVAILABLE),
        Ending::Complete => {
            let response = exchange.response.as_ref()?;
            let trailers = response.trailers.as_ref();
            let unknown = trailers.is_some_and(Head::may_have_more) || response.head.may_have_more();
            match response.head.status()? {
                _ if unknown || response.lossy => None,
                400 => Some(StatusCode::INTERNAL),
                401 => Some(StatusCode::UNAUTHENTICATED),
                403 => Some(StatusCode::PERMISSION_DENIED),
                404 => Some(StatusCode::UNIMPLEMENTED),
                429 | 502 | 503 | 504 => Some(StatusCode::UNAVAILABLE),
                _ => Some(StatusCode::UNKNOWN),
            }
        }
        Ending::Upgraded | Ending::Unseen | Ending::Close(_) => None,
    }
}

/// A number and its unit, such as `100m`: at most 8 digits, and hours, minutes, seconds, milli-, micro- or nanoseconds.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Percent-Encoded text; what is not encoded right stays as it is, as the specification asks.
fn percent_decoded(value: &[u8]) -> String {
    String::from_utf8_lossy(&percent::decoded(value)).into_owned()
}

/// Status of a call (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusCode(pub u32);

impl StatusCode {
    /// Success.
    pub const OK: Self = Self(0);
    /// The caller gave up.
    pub const CANCELLED: Self = Self(1);
    /// Whoever failed did not say how.
    pub const UNKNOWN: Self = Self(2);
    /// The deadline passed first.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// Not allowed.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// Too much was asked for.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Something is broken.
    pub const INTERNAL: Self = Self(13);
    /// Nobody answers; it may work later.
    pub const UNAVAILABLE: Self = Self(14);
    /// Data was lost for good.
    pub const DATA_LOSS: Self = Self(15);
    /// Nobody knows who asks.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// Its name; `None` where it is none of the seventeen.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "OK",
            1 => "CANCELLED",
            2 => "UNKNOWN",
            3 => "INVALID_ARGUMENT",
            4 => "DEADLINE_EXCEEDED",
            5 => "NOT_FOUND",
            6 => "ALREADY_EXISTS",
            7 => "PERMISSION_DENIED",
            8 => "RESOURCE_EXHAUSTED",
            9 => "FAILED_PRECONDITION",
            10 => "ABORTED",
            11 => "OUT_OF_RANGE",
            12 => "UNIMPLEMENTED",
            13 => "INTERNAL",
            14 => "UNAVAILABLE",
            15 => "DATA_LOSS",
            16 => "UNAUTHENTICATED",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (content_type, expect) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(content_type.as_bytes()), expect, "{content_type}");
        }
    }

    #[test]
    fn timeouts() {
        for (value, expect) in [
            ("1H", Some(3_600_000_000_000)),
            ("2M", Some(120_000_000_000)),
            ("3S", Some(3_000_000_000)),
            ("100m", Some(100_000_000)),
            ("99999999u", Some(99_999_999_000)),
            ("7n", Some(7)),
            ("123456789n", None),
            ("n", None),
            ("", None),
            ("-1S", None),
            ("1s", None),
        ] {
            let expect = expect.map(Duration::from_nanos);
            assert_eq!(parse_timeout(value.as_bytes()), expect, "{value}");
        }
        assert!(parse_timeout(b"99999999H").is_some());
    }

    #[test]
    fn messages_are_percent_decoded() {
        for (value, expect) in [
            ("a%20b", "a b"),
            ("%C3%A4", "\u{e4}"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%FF", "\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(value.as_bytes()), expect, "{value}");
        }
    }
}
