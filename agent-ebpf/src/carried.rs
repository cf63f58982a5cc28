//! What goes on with a request beside its context: `baggage` (W3C Baggage, section 3), and the header by which people find a
//! request in logs. Eight bytes at a time; of a list that is too long, whole members are left out, from the last on.

use crate::word::{HIGHS, LOWER, ONES, bytes_before, each, pattern};

/// Bytes and members of `baggage` that everybody has to carry on (section 3.3.2).
pub const LIMIT: u32 = 8192;
/// The same of members.
pub const MEMBERS: u32 = 64;

/// Longest id that is carried on.
pub const ID_LIMIT: u32 = 128;

/// Most bytes that [`List::take`] is given at a time.
pub const CHUNK: u32 = 64;

/// Kinds of header lines.
pub mod kind {
    /// Nothing that is carried on.
    pub const NONE: u64 = 0;
    /// `baggage`.
    pub const BAGGAGE: u64 = 1;
    /// `x-request-id`.
    pub const REQUEST_ID: u64 = 2;
    /// `x-correlation-id`.
    pub const CORRELATION_ID: u64 = 3;
}

/// Switches: bits of [`Globals::carries`](crate::Globals::carries).
pub mod carries {
    /// Baggage is carried on.
    pub const BAGGAGE: u32 = 1;
    /// Ids are, and one is made as `x-request-id` where none came.
    pub const REQUEST_ID: u32 = 2;
    /// The same as `x-correlation-id`.
    pub const CORRELATION_ID: u32 = 4;
}

/// What a header line is of that begins with these 24 bytes: one of [`mod@kind`].
#[inline(always)]
#[must_use]
pub const fn kind(word: u64, second: u64, third: u64) -> u64 {
    let (word, second) = (word | LOWER, second | LOWER);
    if word == pattern(b"baggage:") {
        kind::BAGGAGE
    } else if word == pattern(b"x-reques") && second & 0xff_ffff_ffff == pattern(b"t-id:") {
        kind::REQUEST_ID
    } else if word == pattern(b"x-correl") && second == pattern(b"ation-id") && third as u8 == b':' {
        kind::CORRELATION_ID
    } else {
        kind::NONE
    }
}

/// What a field of HTTP/2 is whose name, a plain string (RFC 7541, section 5.2), begins with these 24 bytes: one of [`mod@kind`].
#[inline(always)]
#[must_use]
pub const fn field_kind(word: u64, second: u64, third: u64) -> u64 {
    if word == pattern(b"\x07baggage") {
        kind::BAGGAGE
    } else if word == pattern(b"\x0cx-reque") && second & 0xff_ffff_ffff == pattern(b"st-id") {
        kind::REQUEST_ID
    } else if word == pattern(b"\x10x-corre") && second == pattern(b"lation-i") && third as u8 == b'd' {
        kind::CORRELATION_ID
    } else {
        kind::NONE
    }
}

/// The same of a name that is coded by Huffman (RFC 7541, appendix B).
#[inline(always)]
#[must_use]
pub const fn coded_kind(word: u64, second: u64) -> u64 {
    const SIX: u64 = 0xffff_ffff_ffff;
    if word & SIX == pattern(&[0x85, 0x8c, 0x73, 0x4c, 0x39, 0x8b]) {
        kind::BAGGAGE
    } else if word == pattern(&[0x89, 0xf2, 0xb5, 0x85, 0xed, 0x69, 0x50, 0x95])
        && second & 0xffff == pattern(&[0x8d, 0x27])
    {
        kind::REQUEST_ID
    } else if word == pattern(&[0x8c, 0xf2, 0xb1, 0x0f, 0x65, 0x85, 0xa0, 0x69])
        && second & 0xff_ffff_ffff == pattern(&[0x31, 0xea, 0x58, 0xd2, 0x7f])
    {
        kind::CORRELATION_ID
    } else {
        kind::NONE
    }
}

/// Length of the name of a kind, with its colon.
#[inline(always)]
#[must_use]
pub const fn name(kind: u64) -> u32 {
    match kind {
        kind::BAGGAGE => 8,
        kind::REQUEST_ID => 13,
        _ => 17,
    }
}

/// What is known of a value so far, of which as much as has room was stored.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Bytes so far; more than the limit where it is longer.
    pub length: u32,
    /// Index of the last comma up to which both limits are kept.
    pub whole: u32,
    /// Commas so far.
    pub commas: u32,
    /// 1 once a byte was neither blank nor comma.
    pub visible: u32,
    /// 1 behind a carriage return.
    pub carriage: u32,
    /// 1 where nothing of it is carried on.
    pub broken: u32,
}

impl List {
    /// Of nothing.
    pub const EMPTY: Self = Self {
        length: 0,
        whole: 0,
        commas: 0,
        visible: 0,
        carriage: 0,
        broken: 0,
    };

    /// What is known behind `count` bytes more, 8 at most, which `word` begins with. Callers count `length` on themselves.
    #[inline(always)]
    #[must_use]
    pub const fn take(mut self, word: u64, at: u32, count: u32) -> Self {
        let mask = if count >= 8 {
            u64::MAX
        } else {
            (1 << (8 * count)) - 1
        };
        // Neither control characters nor what is not ASCII: no line ends within it.
        let printable = ((word | HIGHS).wrapping_sub(ONES * 0x20)) & !word & !((word & !HIGHS) + ONES);
        let tab = each(word, b'\t');
        self.broken |= ((printable | tab) & HIGHS & mask != HIGHS & mask) as u32;
        let commas = each(word, b',') & mask;
        let blank = commas | each(word, b' ') | tab;
        self.visible |= (blank & mask != HIGHS & mask) as u32;
        self.commas += ones(commas);
        // All up to the last of them.
        let mut before = commas | commas >> 8;
        before |= before >> 16;
        before |= before >> 32;
        let index = at.wrapping_add(ones(before).wrapping_sub(1));
        if commas != 0 && self.commas <= MEMBERS && index <= LIMIT {
            self.whole = index;
        }
        self
    }

    /// How many of its bytes are carried on: as many as there are, or up to the last member that has room.
    #[inline(always)]
    #[must_use]
    pub const fn carried(self) -> u32 {
        if !self.is_whole() {
            0
        } else if self.is_cut() {
            self.whole
        } else {
            self.length
        }
    }

    /// Whether it can go on as it is.
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.broken | self.carriage == 0 && self.visible != 0
    }

    /// Whether members are left out.
    #[inline(always)]
    #[must_use]
    pub const fn is_cut(self) -> bool {
        self.length > LIMIT || self.commas >= MEMBERS
    }
}

/// How many blanks a value begins with, and ends with, by its first eight bytes and its last: 8 where there may be more.
#[inline(always)]
#[must_use]
pub const fn blanks(first: u64, last: u64) -> (u32, u32) {
    let first = HIGHS & !(each(first, b' ') | each(first, b'\t'));
    let last = HIGHS & !(each(last, b' ') | each(last, b'\t'));
    // All up to the last that is none.
    let mut before = last | last >> 8;
    before |= before >> 16;
    before |= before >> 32;
    (bytes_before(first), 8 - ones(before))
}

/// How many bytes are 0x80, where others are 0.
#[inline(always)]
const fn ones(flags: u64) -> u32 {
    ((flags >> 7).wrapping_mul(ONES) >> 56) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn word(text: &[u8]) -> u64 {
        let mut bytes = [0xff; 8];
        bytes[..text.len()].copy_from_slice(text);
        u64::from_le_bytes(bytes)
    }

    /// What is carried on of a value, `None` where it is nothing.
    fn carried(value: &[u8]) -> Option<String> {
        let mut list = List::EMPTY;
        for part in value.chunks(8) {
            list = list.take(word(part), list.length, part.len() as u32);
            list.length += part.len() as u32;
        }
        let length = list.carried() as usize;
        (length != 0).then(|| String::from_utf8(value[..length].to_vec()).unwrap())
    }

    fn members(count: usize, length: usize) -> String {
        let members = (0..count).map(|number| format!("k{number:04}={}", "v".repeat(length - 6)));
        members.collect::<Vec<_>>().join(",")
    }

    #[test]
    fn names_are_told_whole_and_in_any_case() {
        let told = |line: &[u8]| {
            let mut padded = [0xff; 24];
            padded[..line.len().min(24)].copy_from_slice(&line[..line.len().min(24)]);
            kind(word(&padded[..8]), word(&padded[8..16]), word(&padded[16..]))
        };
        for (line, expected) in [
            (&b"baggage: a=1"[..], kind::BAGGAGE),
            (b"Baggage:a", kind::BAGGAGE),
            (b"X-Request-ID: 1", kind::REQUEST_ID),
            (b"x-request-id:", kind::REQUEST_ID),
            (b"X-Correlation-Id: 1", kind::CORRELATION_ID),
            (b"x-correlation-id:", kind::CORRELATION_ID),
        ] {
            assert_eq!(told(line), expected, "{}", line.escape_ascii());
            assert_eq!(line[name(expected) as usize - 1], b':');
        }
        for line in [
            &b"baggages: a"[..],
            b"baggage : a",
            b"x-request-ids: 1",
            b"x-request-id : 1",
            b"x-correlation-ids: 1",
            b"x-correlation-id",
            b"\r\n",
        ] {
            assert_eq!(told(line), kind::NONE, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn names_of_fields_are_told_in_both_their_forms() {
        let told = |name: &[u8]| {
            let mut padded = [0xff; 24];
            padded[..name.len()].copy_from_slice(name);
            let third = word(&padded[16..]);
            let (word, second) = (word(&padded[..8]), word(&padded[8..16]));
            (field_kind(word, second, third), coded_kind(word, second))
        };
        for (plain, coded, expected) in [
            (
                &b"\x07baggage"[..],
                &[0x85, 0x8c, 0x73, 0x4c, 0x39, 0x8b][..],
                kind::BAGGAGE,
            ),
            (
                b"\x0cx-request-id",
                &[0x89, 0xf2, 0xb5, 0x85, 0xed, 0x69, 0x50, 0x95, 0x8d, 0x27],
                kind::REQUEST_ID,
            ),
            (
                b"\x10x-correlation-id",
                &[
                    0x8c, 0xf2, 0xb1, 0x0f, 0x65, 0x85, 0xa0, 0x69, 0x31, 0xea, 0x58, 0xd2, 0x7f,
                ],
                kind::CORRELATION_ID,
            ),
        ] {
            assert_eq!(told(plain), (expected, kind::NONE));
            assert_eq!(told(coded), (kind::NONE, expected));
            for form in [plain, coded] {
                let mut other = form.to_vec();
                *other.last_mut().unwrap() ^= 1;
                assert_eq!(told(&other), (kind::NONE, kind::NONE));
            }
        }
    }

    #[test]
    fn what_is_within_the_limits_goes_on_as_it_is() {
        for value in ["a=1", "a=1;p=2, b = %20 ,c=\t3", "a=~!", ",a=1,", "x"] {
            assert_eq!(carried(value.as_bytes()).as_deref(), Some(value));
        }
        let longest = format!("{},k=v{}", members(63, 127), "w".repeat(8192 - 63 * 128 - 3));
        assert_eq!(longest.len(), 8192);
        assert_eq!(carried(longest.as_bytes()), Some(longest));
    }

    #[test]
    fn blanks_are_counted_at_both_ends() {
        for before in 0..=8 {
            for behind in 0..=8 {
                let first = format!("{}{}", "\t ".repeat(4).split_at(before).0, "a b,c=de");
                let last = format!("{}{}", "a b,c=de", " \t".repeat(4).split_at(behind).0);
                let counted = blanks(
                    word(&first.as_bytes()[..8]),
                    word(&last.as_bytes()[last.len() - 8..]),
                );
                assert_eq!(counted, (before as u32, behind as u32));
            }
        }
    }

    #[test]
    fn nothing_goes_on_of_what_is_blank_or_may_end_a_line() {
        for value in ["", " ", "\t, ,", ",,,,,,,,,,"] {
            assert_eq!(carried(value.as_bytes()), None, "{value:?}");
        }
        for byte in 0..=u8::MAX {
            for place in 0..11 {
                let mut value = *b"ab=c,d=e,fg";
                value[place] = byte;
                let expected = (0x20..0x7f).contains(&byte) || byte == b'\t';
                assert_eq!(carried(&value).is_some(), expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn whole_members_are_left_out_from_the_last_on() {
        for count in [65, 100, 1000] {
            let list = members(count, 20);
            let kept = carried(list.as_bytes()).unwrap();
            assert_eq!(kept, members(64, 20), "{count}");
        }
        let long = members(20, 500);
        assert_eq!(carried(long.as_bytes()), Some(members(16, 500)));
        assert_eq!(carried(format!("a={}", "v".repeat(8191)).as_bytes()), None);
        // Of members that are shorter than a word it may be some more that are left out.
        let short = "a,".repeat(500);
        let kept = carried(short.as_bytes()).unwrap();
        assert!(
            kept.split(',').count() <= 64 && kept.split(',').count() > 60,
            "{kept}"
        );
    }

    #[test]
    fn no_list_is_cut_within_a_member() {
        for length in 6..40 {
            for over in 8180..8210 {
                let mut list = members(63, length);
                list.push_str(",z=");
                list.push_str(&"v".repeat(over - list.len()));
                let kept = carried(list.as_bytes()).unwrap();
                let expected = if over > 8192 { members(63, length) } else { list };
                assert_eq!(kept, expected);
            }
        }
    }
}
