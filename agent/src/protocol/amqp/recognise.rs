//! Telling AMQP 0-9-1 by its bytes.

use super::Flow;
use super::search::{self, Place};

/// What a client says first (section 2.2.4).
pub(super) const PROTOCOL: &[u8; 8] = b"AMQP\0\0\x09\x01";

/// What the first bytes of a direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Too few bytes to tell.
    NeedMore,
    /// The protocol header of version 0-9-1: this direction is the client's.
    Client,
    /// Certainly not that.
    Other,
}

/// Tells from `data`, the first bytes of a direction, whether a client opens a connection with them.
///
/// It answers as soon as it is certain, and an answer once given stays the same however many bytes are added.
#[must_use]
pub fn opening(data: &[u8]) -> Opening {
    let length = data.len().min(PROTOCOL.len());
    if data[..length] != PROTOCOL[..length] {
        Opening::Other
    } else if length < PROTOCOL.len() {
        Opening::NeedMore
    } else {
        Opening::Client
    }
}

/// Tells from `piece`, of a connection that was joined late, which way it goes, where it begins with frames of this
/// protocol. A whole method is proof; most are sent by one side alone.
#[must_use]
pub fn frames(piece: &[u8]) -> Option<Flow> {
    let is = |flow| search::look(flow, piece) == Place::Frame;
    match [is(Flow::Request), is(Flow::Response)] {
        [true, false] => Some(Flow::Request),
        [false, true] => Some(Flow::Response),
        [true, true] => search::sender(piece),
        [false, false] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::*;
    use super::*;

    #[test]
    fn clients_are_known_by_their_protocol_header() {
        for length in 0..PROTOCOL.len() {
            assert_eq!(opening(&PROTOCOL[..length]), Opening::NeedMore);
        }
        assert_eq!(opening(PROTOCOL), Opening::Client);
        assert_eq!(opening(&hello()), Opening::Client);
        // 1.0, 0-9, and others.
        for other in [
            b"AMQP\0\x01\0\0".as_slice(),
            b"AMQP\x01\x01\0\x09",
            b"GET / HTTP/1.1",
            b"\x16\x03\x01",
        ] {
            assert_eq!(opening(other), Opening::Other);
        }
    }

    #[test]
    fn frames_say_which_way_they_go() {
        let client = [
            publish(1, "x:y", "a"),
            ack(1, 1, false)[..]
                .iter()
                .copied()
                .chain(publish(1, "x:y", "a"))
                .collect(),
            [heartbeat(), consume(1, "q", "c", 0)].concat(),
            declare(3, "q"),
            get(1, "q", true),
        ];
        let server = [
            deliver(1, "c", 1, "x:y", "a"),
            got(1, 1, "x:y", "a"),
            [ack(1, 1, true), come_back(1, "x:y", "a")].concat(),
            got_nothing(1),
            consume_ok(1, "c"),
        ];
        for (flow, all) in [(Flow::Request, client), (Flow::Response, server)] {
            for data in all {
                assert_eq!(frames(&data), Some(flow), "{}", data.escape_ascii());
            }
        }
        // Both sides say these, or nobody knows.
        for data in [
            ack(1, 1, false),
            shut(1, 404),
            heartbeat().repeat(4),
            content(1, "a", 20, 5),
        ] {
            assert_eq!(frames(&data), None, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn others_are_not_claimed() {
        for other in [
            b"".as_slice(),
            b"GET / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            // Kafka's Metadata, MongoDB's OP_MSG, MySQL's greeting and its COM_QUERY, an answer of one row of it.
            b"\0\0\0\x1a\0\x03\0\0\0\0\0\x01\0\x02me",
            b"\x1d\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0",
            b"\x4a\0\0\0\x0a8.0.36\0",
            b"\x09\0\0\0\x03SELECT 1",
            b"\x01\0\0\x01\x01\x17\0\0\x02\x03def\0\0\0\x011\0\x0c\x3f\0",
            // HTTP/2's settings, PostgreSQL's, a method on the wrong channel, and one of no class.
            b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64",
            b"Q\0\0\0\x0dSELECT 1\0",
            b"\x01\0\0\0\0\0\x05\0\x14\0\x0a\0\xce",
            b"\x01\0\x01\0\0\0\x05\0\x15\0\x0a\0\xce",
            &[0; 64],
            &[1; 64],
            &[0xce; 64],
        ] {
            assert_eq!(frames(other), None, "{}", other.escape_ascii());
        }
    }
}
