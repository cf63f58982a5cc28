//! Link layers: from a captured frame to the IP packet in it.
//!
//! Numbers and layouts: <https://www.tcpdump.org/linktypes.html>.

/// Deepest stack of VLAN tags.
const MOST_TAGS: usize = 8;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and what was in use before 802.1ad was there.
const VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];

/// The kinds of link layer that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet.
    Ethernet,
    /// Loopback of BSD: an address family in the capturing host's byte order, or the network's.
    Loopback,
    /// IP without a header before it.
    Raw,
    /// Linux "cooked", version 1.
    Cooked,
    /// Linux "cooked", version 2.
    Cooked2,
}

impl Link {
    /// The kind of a `LINKTYPE_` number, `None` where it is not one that is read.
    #[must_use]
    pub const fn of(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            0 | 108 => Self::Loopback,
            // Beside LINKTYPE_RAW, _IPV4 and _IPV6 what BSDs wrote for it.
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }

    /// The IP packet in `frame`; `None` where it holds none.
    #[must_use]
    pub fn ip(self, frame: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Ethernet => ethernet(frame),
            // The family differs by system: the IP version says it as well.
            Self::Loopback => frame.get(4..),
            Self::Raw => Some(frame),
            Self::Cooked => tagged(number(frame, 14)?, frame.get(16..)?),
            Self::Cooked2 => tagged(number(frame, 0)?, frame.get(20..)?),
        }
        .filter(|packet| matches!(packet.first().map(|first| first >> 4), Some(4 | 6)))
    }
}

/// The IP packet in an Ethernet frame.
pub(super) fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    tagged(number(frame, 12)?, frame.get(14..)?)
}

/// What follows an Ethernet type, behind VLAN tags.
pub(super) fn tagged(mut kind: u16, mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..MOST_TAGS {
        match kind {
            IPV4 | IPV6 => return Some(rest),
            _ if VLAN.contains(&kind) => {
                kind = number(rest, 2)?;
                rest = rest.get(4..)?;
            }
            _ => return None,
        }
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &[u8] = b"\x45packet";

    fn check(link: u16, header: &[u8], expect: Option<&[u8]>) {
        let link = Link::of(link).expect("a link type that is read");
        let frame = [header, PACKET].concat();
        assert_eq!(link.ip(&frame), expect, "{link:?} {}", header.escape_ascii());
        for length in 0..header.len() {
            let _ = link.ip(&frame[..length]);
        }
    }

    #[test]
    fn headers_come_off() {
        let (some, none) = (Some(PACKET), None);
        check(1, b"ddddddssssss\x08\x00", some);
        check(1, b"ddddddssssss\x81\x00\x00\x05\x08\x00", some);
        check(1, b"ddddddssssss\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00", some);
        check(1, b"ddddddssssss\x08\x06", none);
        check(1, b"ddddddssssss\x00\x2e", none);
        check(0, b"\x02\0\0\0", some);
        check(108, b"\0\0\0\x18", some);
        check(101, b"", some);
        check(113, b"\0\x04\x03\x04\0\x06\0\0\0\0\0\0\0\0\x08\0", some);
        check(
            113,
            b"\0\x04\x03\x04\0\x06\0\0\0\0\0\0\0\0\x81\0\0\x05\x08\0",
            some,
        );
        check(276, b"\x08\0\0\0\0\0\0\x01\x03\x04\0\x06\0\0\0\0\0\0\0\0", some);
        check(101, b"\x15", none);
        assert_eq!(Link::of(105), None, "802.11");
    }

    #[test]
    fn tags_without_end_are_given_up() {
        let frame = [b"ddddddssssss".as_slice(), &b"\x81\x00\x00\x05".repeat(100)].concat();
        assert_eq!(Link::Ethernet.ip(&frame), None);
    }
}
