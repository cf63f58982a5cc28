//! Header blocks of HTTP/2 (RFC 7541, section 6), as far as one has to know them to add a field, or to read a context: where fields
//! end, what their names are, and the one value of interest.
//!
//! A name that is in the dynamic table was sent as a literal before, so whoever sees all blocks of a connection knows it: see
//! [`Names`].

use crate::traceparent;
use crate::word::pattern;

/// Length of the field that is added: a literal that is never indexed, with a literal name, none of it coded by Huffman.
/// No table of either side changes by it.
pub const FIELD: u32 = 1 + 1 + NAME + 1 + traceparent::LENGTH;

/// Length of `traceparent`.
const NAME: u32 = 11;

/// What stands in front of the field's value, in two words: the second one's last byte is the value's length.
pub const FIELD_BEGINS: [u64; 2] = [
    pattern(&[0x10, NAME as u8, b't', b'r', b'a', b'c', b'e', b'p']),
    pattern(&[b'a', b'r', b'e', b'n', b't', traceparent::LENGTH as u8]),
];

/// Whether the field begins with these sixteen bytes that is added.
#[inline(always)]
#[must_use]
pub const fn is_field(word: u64, next: u64) -> bool {
    word == FIELD_BEGINS[0] && next & 0xffff_ffff_ffff == FIELD_BEGINS[1]
}

/// Length of what stands in front of the length of `tracestate`, which is added in the same way.
pub const STATE: u32 = 1 + 1 + 10;

/// That, in two words.
pub const STATE_BEGINS: [u64; 2] = [
    pattern(&[0x10, 10, b't', b'r', b'a', b'c', b'e', b's']),
    pattern(b"tate"),
];

/// The length of a plain string, and how many bytes it takes, in which it is written from the lowest on.
#[inline(always)]
#[must_use]
pub const fn prefix(length: u32) -> (u32, u32) {
    let rest = length.wrapping_sub(0x7f);
    if length < 0x7f {
        (length, 1)
    } else if rest < 0x80 {
        (0x7f | rest << 8, 2)
    } else {
        (0x7f | (0x80 | (rest & 0x7f)) << 8 | (rest >> 7) << 16, 3)
    }
}

/// An integer (section 5.1), and how many bytes it takes: 0 where it is larger than any that is borne.
#[inline(always)]
const fn integer(word: u64, mask: u64) -> (u32, u32) {
    let first = word & mask;
    let second = (word >> 8) & 0xff;
    let third = (word >> 16) & 0xff;
    if first != mask {
        (first as u32, 1)
    } else if second < 0x80 {
        ((mask + second) as u32, 2)
    } else if third < 0x80 {
        ((mask + (second & 0x7f) + (third << 7)) as u32, 3)
    } else {
        (0, 0)
    }
}

/// A string (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Bytes of its prefix; 0 where it is longer than any that is borne.
    pub prefix: u32,
    /// Bytes behind that.
    pub length: u32,
}

impl Text {
    /// Its length with its prefix; 0 where it is longer than any that is borne.
    #[inline(always)]
    #[must_use]
    pub const fn whole(self) -> u32 {
        self.prefix + self.length
    }
}

/// The string that begins with these bytes.
#[inline(always)]
#[must_use]
pub const fn string(word: u64) -> Text {
    let (length, prefix) = integer(word, 0x7f);
    Text { prefix, length }
}

/// What a field begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Representation {
    /// How many bytes it takes in front of its strings; 0 where no field begins so.
    pub length: u32,
    /// How many strings follow: its name, its value.
    pub strings: u32,
    /// Where in the tables its name is, or all of it (section 2.3.3); 0 where it is nowhere.
    pub index: u32,
    /// Whether it is added to the dynamic table (section 6.2.1).
    pub adds: bool,
}

impl Representation {
    /// Whether its name, or all of it, is in the dynamic table.
    #[inline(always)]
    #[must_use]
    pub const fn is_dynamic(self) -> bool {
        self.index > STATIC
    }
}

/// Entries of the static table (appendix A).
const STATIC: u32 = 61;

/// The representation that begins with these bytes.
#[inline(always)]
#[must_use]
pub const fn representation(word: u64) -> Representation {
    let first = word as u8;
    let (mask, literal) = if first & 0x80 != 0 {
        (0x7f, false)
    } else if first & 0x40 != 0 {
        (0x3f, true)
    } else if first & 0x20 != 0 {
        (0x1f, false)
    } else {
        (0x0f, true)
    };
    let (index, length) = integer(word, mask);
    let strings = if !literal {
        0
    } else if index == 0 {
        2
    } else {
        1
    };
    // The table's new size (section 6.3) is no index.
    let resizes = !literal && first & 0x80 == 0;
    Representation {
        length,
        strings,
        index: if resizes { 0 } else { index },
        adds: literal && first & 0x40 != 0,
    }
}

/// Whether the string that begins with these bytes is as long as a `traceparent`'s value: plain, or coded by Huffman, which makes
/// 5 bits of `0`, `1`, `2`, `a`, `c` and `e` and 6 of what else is in it (appendix B).
#[inline(always)]
#[must_use]
pub const fn may_be_context(word: u64) -> bool {
    const SHORTEST: u8 = (traceparent::LENGTH * 5).div_ceil(8) as u8;
    const LONGEST: u8 = (traceparent::LENGTH * 6).div_ceil(8) as u8;
    let length = word as u8 & 0x7f;
    if word & 0x80 == 0 {
        length == traceparent::LENGTH as u8
    } else {
        SHORTEST <= length && length <= LONGEST
    }
}

/// The same of `traceparent`.
#[inline(always)]
#[must_use]
pub const fn is_traceparent(word: u64, next: u64) -> bool {
    let plain = word == pattern(&[NAME as u8, b't', b'r', b'a', b'c', b'e', b'p', b'a'])
        && next & 0xffff_ffff == pattern(b"rent");
    let coded = word == pattern(&[0x88, 0x4d, 0x83, 0x21, 0x6b, 0x1d, 0x85, 0xa9]) && next as u8 == 0x3f;
    plain || coded
}

/// Whether the string that begins with these sixteen bytes is the name of a field with a trace context, in one of the formats
/// that spanwire reads; plain or coded by Huffman (appendix B).
#[inline(always)]
#[must_use]
pub const fn is_context(word: u64, next: u64) -> bool {
    const THREE: u64 = 0xff_ffff;
    /// Bytes of the second word.
    const TWO: u64 = 0xffff;
    const FIVE: u64 = 0xff_ffff_ffff;
    const SIX: u64 = 0xffff_ffff_ffff;
    let b3 = word & THREE == pattern(b"\x02b3") || word & THREE == pattern(&[0x82, 0x8d, 0x9f]);
    let b3_multi = word == pattern(b"\x0cx-b3-tr") && next & FIVE == pattern(b"aceid")
        || word == pattern(&[0x89, 0xf2, 0xb4, 0x6c, 0xac, 0x9b, 0x06, 0x42])
            && next & TWO == pattern(&[0x9a, 0x4f]);
    let jaeger = word == pattern(b"\x0duber-tr") && next & SIX == pattern(b"ace-id")
        || word == pattern(&[0x89, 0xb6, 0x32, 0xd8, 0xb2, 0x6c, 0x19, 0x0a])
            && next & TWO == pattern(&[0xb1, 0xa4]);
    is_traceparent(word, next) | b3 | b3_multi | jaeger
}

/// The same of `tracestate`.
#[inline(always)]
#[must_use]
pub const fn is_tracestate(word: u64, next: u64) -> bool {
    let plain = word == pattern(b"\x0atracest") && next & 0xff_ffff == pattern(b"ate");
    let coded = word == pattern(&[0x87, 0x4d, 0x83, 0x21, 0x50, 0x91, 0xa4, 0xbf]);
    plain || coded
}

/// What a field is for: two bits.
pub mod purpose {
    /// Nothing of interest.
    pub const NONE: u64 = 0;
    /// `traceparent`.
    pub const TRACEPARENT: u64 = 1;
    /// `tracestate`.
    pub const TRACESTATE: u64 = 2;
    /// A context in another format, or it is not known what for.
    pub const OTHER: u64 = 3;
}

/// What the field is for whose name is the string that begins with these sixteen bytes.
#[inline(always)]
#[must_use]
pub const fn purpose(word: u64, next: u64) -> u64 {
    if is_traceparent(word, next) {
        purpose::TRACEPARENT
    } else if is_tracestate(word, next) {
        purpose::TRACESTATE
    } else if is_context(word, next) {
        purpose::OTHER
    } else {
        purpose::NONE
    }
}

/// What the fields in the dynamic table are for (section 2.3.2), the last added first: so many as [`Names::COUNT`]. How many of
/// them have been evicted does not matter, since nobody names those.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The low bits of their purposes.
    pub low: u64,
    /// The high ones.
    pub high: u64,
}

impl Names {
    /// How many are known.
    pub const COUNT: u32 = 64;

    /// Of a table that nobody has seen.
    pub const UNKNOWN: Self = Self {
        low: u64::MAX,
        high: u64::MAX,
    };

    /// What a field is for that has this [`Representation::index`].
    #[inline(always)]
    #[must_use]
    pub const fn purpose(self, index: u32) -> u64 {
        let place = index.wrapping_sub(STATIC + 1);
        if place < Self::COUNT {
            (self.low >> place) & 1 | ((self.high >> place) & 1) << 1
        } else if index > STATIC {
            purpose::OTHER
        } else {
            purpose::NONE
        }
    }

    /// One is added.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, purpose: u64) -> Self {
        Self {
            low: self.low << 1 | purpose & 1,
            high: self.high << 1 | purpose >> 1,
        }
    }
}

/// The character that a Huffman code stands for which these six bits begin with, of those that are in a `traceparent`; 0 where it
/// is none of them.
pub static CHARACTERS: [u8; 64] = {
    let mut characters = [0; 64];
    // Appendix B: of 5 bits these come first, and of 6 bits these from 0x14 on.
    let (five, six) = (b"012aceiost", b" %-./3456789=A_bdf");
    let mut code = 0;
    while code < 2 * five.len() {
        characters[code] = five[code / 2];
        code += 1;
    }
    while code - 2 * five.len() < six.len() {
        characters[code] = six[code - 2 * five.len()];
        code += 1;
    }
    characters
};

/// How many bits the code takes.
#[inline(always)]
#[must_use]
pub const fn code_length(bits: u32) -> u32 {
    5 + (bits >= 20) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8]) -> u64 {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(padded)
    }

    #[test]
    fn representations_are_those_of_the_rfc() {
        let of = |bytes: &[u8]| {
            let Representation { length, strings, .. } = representation(word(bytes));
            (length, strings)
        };
        // RFC 7541, appendix C: C.2.1 to C.2.4, then an index, a name and a size that take more than a byte.
        assert_eq!(of(&[0x40, 0x0a]), (1, 2));
        assert_eq!(of(&[0x04, 0x0c]), (1, 1));
        assert_eq!(of(&[0x10, 0x08]), (1, 2));
        assert_eq!(of(&[0x82]), (1, 0));
        assert_eq!(of(&[0xff, 0x00]), (2, 0));
        assert_eq!(of(&[0x0f, 0x2b]), (2, 1));
        assert_eq!(of(&[0x3f, 0xe1, 0x1f]), (3, 0));
        assert_eq!(of(&[0xff, 0xff, 0xff, 0xff]), (0, 0));
    }

    #[test]
    fn names_from_the_dynamic_table() {
        let of = |bytes: &[u8]| representation(word(bytes)).is_dynamic();
        assert!(of(&[0x7e]) && of(&[0x7f, 0x00]) && of(&[0x0f, 0x2f]) && of(&[0xbe]));
        assert!(!of(&[0x7d]) && !of(&[0x0f, 0x2e]) && !of(&[0x40]) && !of(&[0xbd]));
        // The size of the table is no index.
        assert!(!of(&[0x3f, 0xe1, 0x1f]));
    }

    #[test]
    fn names_are_known_from_when_they_were_added() {
        let adds = |bytes: &[u8]| representation(word(bytes)).adds;
        assert!(adds(&[0x40]) && adds(&[0x7e]) && !adds(&[0x10]) && !adds(&[0x00]));
        assert!(!adds(&[0xbe]) && !adds(&[0x3f, 0xe1, 0x1f]));
        let purposes = [
            purpose::TRACEPARENT,
            purpose::NONE,
            purpose::TRACESTATE,
            purpose::OTHER,
        ];
        let mut names = Names { low: 0, high: 0 };
        for number in 0..100 {
            names = names.add(purposes[number % 4]);
            for place in 0..64 {
                let expected = number.checked_sub(place).map_or(0, |number| purposes[number % 4]);
                assert_eq!(names.purpose(62 + place as u32), expected);
            }
            assert_eq!(names.purpose(62 + 64), purpose::OTHER);
            assert_eq!(names.purpose(61), purpose::NONE);
            assert_eq!(names.purpose(0), purpose::NONE);
        }
        let names = Names::UNKNOWN.add(purpose::NONE);
        assert_eq!(names.purpose(62), purpose::NONE);
        assert_eq!(names.purpose(63), purpose::OTHER);
    }

    #[test]
    fn characters_are_those_of_their_codes() {
        // RFC 7541, appendix B.
        for (code, length, character) in [
            (0x0, 5, b'0'),
            (0x2, 5, b'2'),
            (0x3, 5, b'a'),
            (0x4, 5, b'c'),
            (0x5, 5, b'e'),
            (0x16, 6, b'-'),
            (0x19, 6, b'3'),
            (0x1f, 6, b'9'),
            (0x23, 6, b'b'),
            (0x24, 6, b'd'),
            (0x25, 6, b'f'),
        ] {
            for behind in 0..1 << (6 - length) {
                let bits = code << (6 - length) | behind;
                assert_eq!(CHARACTERS[bits as usize], character);
                assert_eq!(code_length(bits), length);
            }
        }
        assert_eq!(CHARACTERS[0x26..], [0; 26]);
    }

    #[test]
    fn values_as_long_as_a_context() {
        let of = |byte: u8| may_be_context(word(&[byte, b'0']));
        assert!(of(55) && !of(54) && !of(56) && !of(0));
        // All of 5 bits and all of 6: 275 and 330 bits.
        assert!(of(0x80 | 35) && of(0x80 | 42) && !of(0x80 | 34) && !of(0x80 | 43) && !of(0x80 | 55));
    }

    #[test]
    fn strings_are_as_long_as_they_say() {
        assert_eq!(string(word(&[0x0a])).whole(), 11);
        assert_eq!(string(word(&[0x8a])).whole(), 11);
        assert_eq!(
            string(word(&[0x7f, 0x01])),
            Text {
                prefix: 2,
                length: 128
            }
        );
        assert_eq!(string(word(&[0x7f, 0x81, 0x01])).whole(), 3 + 128 + 128);
        assert_eq!(string(word(&[0x7f, 0x81, 0x81, 0x01])).whole(), 0);
    }

    #[test]
    fn names_are_known_in_both_their_forms() {
        let of = |bytes: &[u8]| is_context(word(&bytes[..8]), word(&bytes[8..]));
        assert!(of(b"\x0btraceparent\x37"));
        assert!(of(&[0x88, 0x4d, 0x83, 0x21, 0x6b, 0x1d, 0x85, 0xa9, 0x3f, 0x37]));
        assert!(of(b"\x02b3\x01abcdef"));
        assert!(of(&[0x82, 0x8d, 0x9f, 1, 2, 3, 4, 5, 6]));
        assert!(of(b"\x0cx-b3-traceid\x10"));
        assert!(of(&[
            0x89, 0xf2, 0xb4, 0x6c, 0xac, 0x9b, 0x06, 0x42, 0x9a, 0x4f, 0x10
        ]));
        assert!(of(b"\x0duber-trace-id\x10"));
        assert!(of(&[
            0x89, 0xb6, 0x32, 0xd8, 0xb2, 0x6c, 0x19, 0x0a, 0xb1, 0xa4, 0x10
        ]));
        assert!(!of(b"\x0atracestate\x00"));
        assert!(!of(b"\x0btraceparenT\x37"));
        assert!(!of(b"\x0bx-b3-spanid\x10"));
        let of = |bytes: &[u8]| is_tracestate(word(&bytes[..8]), word(&bytes[8..]));
        assert!(of(b"\x0atracestate\x00"));
        assert!(of(&[0x87, 0x4d, 0x83, 0x21, 0x50, 0x91, 0xa4, 0xbf, 0x03]));
        assert!(!of(b"\x0btraceparent\x37"));
        assert!(!of(b"\x0atracestatE\x00"));
    }

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for length in 0..=16_000 {
            let (word, bytes) = prefix(length);
            assert_eq!(
                string(word as u64),
                Text {
                    prefix: bytes,
                    length
                }
            );
            assert_eq!(word as u64 >> (8 * bytes), 0, "{length}");
        }
        let [first, second] = STATE_BEGINS.map(u64::to_le_bytes);
        assert_eq!([&first[..], &second[..4]].concat(), b"\x10\x0atracestate");
    }

    #[test]
    fn the_field_begins_as_it_is_read() {
        let [first, second] = FIELD_BEGINS.map(u64::to_le_bytes);
        let bytes = [&first[..], &second[..6]].concat();
        assert_eq!(bytes, b"\x10\x0btraceparent\x37");
        assert_eq!(FIELD as usize, bytes.len() + 55);
        assert!(is_field(word(&bytes[..8]), word(&[&bytes[8..], b"00"].concat())));
        assert!(!is_field(word(&bytes[..8]), word(&bytes[7..])));
        assert_eq!(
            representation(word(&bytes[..8])),
            Representation {
                length: 1,
                strings: 2,
                index: 0,
                adds: false
            }
        );
        assert!(is_context(word(&bytes[1..9]), word(&bytes[9..])));
    }
}
