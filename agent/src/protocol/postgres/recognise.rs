//! Telling PostgreSQL by its bytes.

use super::Flow;
use super::frame;
use super::startup::{self, CANCEL, GSS, LENGTHS, Packet, SSL};

/// What the first bytes of a direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Too few bytes to tell.
    NeedMore,
    /// StartupMessage, SSLRequest, GSSENCRequest or CancelRequest: this direction is the client's.
    Client,
    /// Certainly none of them.
    Other,
}

/// Longest name of a parameter that is waited for.
const NAME: usize = 64;

/// Tells from `data`, the first bytes of a direction, whether a client opens a connection with them.
///
/// It answers as soon as it is certain, and an answer once given stays the same however many bytes are added. The
/// version alone is not enough: a Kafka client's first request has the same eight bytes. The name of the first
/// parameter decides.
#[must_use]
pub fn opening(data: &[u8]) -> Opening {
    let Some((length, rest)) = data.split_first_chunk::<4>() else {
        return so_far(data.iter().take(2).all(|byte| *byte == 0));
    };
    if !LENGTHS.contains(&(u32::from_be_bytes(*length) as usize)) {
        return Opening::Other;
    }
    let Some((code, rest)) = rest.split_first_chunk::<4>() else {
        let codes: [&[u8]; 4] = [&[0, 3], &SSL, &GSS, &CANCEL];
        let begins = |code: &[u8]| code.iter().zip(rest).all(|(code, byte)| code == byte);
        return so_far(codes.into_iter().any(begins));
    };
    match *code {
        SSL | GSS if *length == [0, 0, 0, 8] => Opening::Client,
        CANCEL if u32::from_be_bytes(*length) > 12 => Opening::Client,
        [0, 3, ..] => {
            let name = rest
                .iter()
                .take(NAME)
                .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
                .count();
            match rest.get(name) {
                None => Opening::NeedMore,
                Some(0) if name > 0 => Opening::Client,
                Some(_) => Opening::Other,
            }
        }
        _ => Opening::Other,
    }
}

/// Whether `piece`, of a connection that was joined late, is what a client opens one with: the packet and nothing else, as
/// the client waits for the answer, and of a StartupMessage with all that it must have. Its first bytes alone are soon
/// found within other protocols: BSON has lengths in front of names, MySQL's columns have names between small numbers.
#[must_use]
pub fn is_opening(piece: &[u8]) -> bool {
    let is_whole = piece
        .first_chunk()
        .is_some_and(|length| u32::from_be_bytes(*length) as usize == piece.len());
    is_whole
        && match startup::packet(piece) {
            Some(Packet::Startup(session)) => session.user.is_some(),
            Some(Packet::Encryption | Packet::Cancel) => true,
            None => false,
        }
}

fn so_far(matches: bool) -> Opening {
    if matches {
        Opening::NeedMore
    } else {
        Opening::Other
    }
}

/// Frames at the beginning of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// Which side sends such.
    pub flow: Flow,
    /// They end with the piece, and with the end of that side's turn: Sync or ReadyForQuery. Anything less may be
    /// another protocol's bytes, and wants to be confirmed by the other direction.
    pub certain: bool,
}

/// Tells from `piece`, of a connection that was joined late, whether it begins with frames of this protocol: several in
/// a row, or as many as it holds, of valid type, length and shape; `None` where it does not, or both sides send such.
#[must_use]
pub fn recognise(piece: &[u8]) -> Option<Frames> {
    let is = |flow| frame::is_provable(flow, piece);
    let flow = match (is(Flow::Request), is(Flow::Response)) {
        (true, false) => Flow::Request,
        (false, true) => Flow::Response,
        _ => return None,
    };
    let certain = frame::ends_turn(flow, piece);
    Some(Frames { flow, certain })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at every prefix: `NeedMore` below `certain` bytes, `expect` from there on.
    fn check(input: &[u8], certain: usize, expect: Opening) {
        for length in 0..=input.len() {
            let expect = if length < certain {
                Opening::NeedMore
            } else {
                expect
            };
            assert_eq!(
                opening(&input[..length]),
                expect,
                "{}",
                input[..length].escape_ascii()
            );
        }
    }

    #[test]
    fn clients_are_known_by_their_first_packet() {
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", 8, Opening::Client);
        check(b"\0\0\0\x08\x04\xd2\x16\x30", 8, Opening::Client);
        check(
            b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
            8,
            Opening::Client,
        );
        check(b"\0\0\0\x11\0\x03\0\0user\0me\0\0", 13, Opening::Client);
        check(b"\0\0\0\x11\0\x03\0\x02user\0me\0\0", 13, Opening::Client);
    }

    #[test]
    fn others_are_not() {
        // Kafka's Metadata request, an HTTP/2 frame, AMQP, MySQL's greeting, TLS, MongoDB.
        check(b"\0\0\0\x1a\0\x03\0\0\0\0\0\x01\0\x02me", 9, Opening::Other);
        check(b"\0\0\x12\x04\0\0\0\0\0", 6, Opening::Other);
        check(b"AMQP\0\0\x09\x01", 1, Opening::Other);
        check(b"\x4a\0\0\0\x0a8.0.36\0", 1, Opening::Other);
        check(b"\x16\x03\x01\x02\0\x01", 1, Opening::Other);
        check(b"\0\0\0\0\0\0\0\0", 4, Opening::Other);
        check(b"\0\0\0\x08\x04\xd2\x16\x31", 8, Opening::Other);
        check(b"\0\0\0\x09\x04\xd2\x16\x2f", 8, Opening::Other);
    }

    #[test]
    fn in_the_middle_an_opening_is_whole() {
        for whole in [
            b"\0\0\0\x11\0\x03\0\0user\0me\0\0".as_slice(),
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
        ] {
            assert!(is_opening(whole), "{}", whole.escape_ascii());
            assert!(!is_opening(&whole[..whole.len() - 1]));
            assert!(!is_opening(&[whole, b"Q"].concat()));
        }
        for other in [
            b"".as_slice(),
            // MongoDB's hello, MySQL's columns, and both as long as they seem to be.
            b"\0\0\0\x32\0\x03client\0\xed\0\0\0\x03driver\0\x2e\0\0\0",
            b"\0\0\x1b\0\0\x03\x03def\0\0\0\x04NULL\0\0\x0c?\0\0\0\0",
            b"\0\0\0\x10\0\x03client\0\x01",
            b"\0\0\0\x0e\0\x03\x03def\0\0\0\0",
        ] {
            assert!(!is_opening(other), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn frames_are_known_by_several_in_a_row() {
        let client: [(&[u8], bool); 5] = [
            (b"Q\0\0\0\x0dSELECT 1\0", false),
            (
                b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04",
                true,
            ),
            (b"P\0\0\0\x08\0\0\0\0", false),
            (b"X\0\0\0\x04", false),
            (b"S\0\0\0\x04", true),
        ];
        let server: [(&[u8], bool); 5] = [
            (b"Z\0\0\0\x05I", true),
            (b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I", true),
            (b"1\0\0\0\x042\0\0\0\x04n\0\0\0\x04C\0\0", false),
            (b"1\0\0\0\x042\0\0\0\x04n\0\0\0\x04C\0\0Z\0\0\0\x05I", false),
            (b"D\0\0\0\x0b\0\x01\0\0\0\x011Z\0\0\0\x05T", true),
        ];
        for (flow, pieces) in [(Flow::Request, client), (Flow::Response, server)] {
            for (piece, certain) in pieces {
                assert_eq!(
                    recognise(piece),
                    Some(Frames { flow, certain }),
                    "{}",
                    piece.escape_ascii()
                );
            }
        }
        for other in [
            b"".as_slice(),
            // Either side copies.
            b"d\0\0\0\x061\nd\0\0\0\x062\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"set key 0 0 1\r\n1\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"PUB a 1\r\n1\r\n",
            b"\x03\0\0\0\x03SELECT 1",
            b"C\0\0\0\x08\0\0\0\0\0\0\0\xdd\x07\0\0",
            b"Z\0\0\0\x05X",
            b"Q\0\0\0\x0dSELECT 1",
            b"Q\0\0\0\x0dSELE\0T 1\0",
        ] {
            assert_eq!(recognise(other), None, "{}", other.escape_ascii());
        }
    }
}
