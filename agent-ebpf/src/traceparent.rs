//! `traceparent` (W3C Trace Context, section 3.2) in whole words, the first byte lowest. Without branches, because a
//! verifier looks at each side of a branch.
//!
//! ```text
//!   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//!   version-trace id-parent id-flags
//! ```

use crate::word::{LOWER, ONES, pattern};

/// Length of a value of version 00.
pub const LENGTH: u32 = 55;

/// A header of HTTP/1 with its line end: `traceparent: VALUE\r\n`.
pub const LINE: u32 = 13 + LENGTH + 2;

/// The hexadecimal digits of four bytes, in lower case.
#[inline(always)]
#[must_use]
pub const fn hex(bytes: u32) -> u64 {
    let wide = bytes as u64;
    let pairs = (wide & 0xffff) | (wide & 0xffff_0000) << 16;
    let each = (pairs & 0x0000_00ff_0000_00ff) | (pairs & 0x0000_ff00_0000_ff00) << 8;
    let nibbles = ((each >> 4) & 0x000f_000f_000f_000f) | (each & 0x000f_000f_000f_000f) << 8;
    let letters = ((nibbles + 6 * ONES) >> 4) & ONES;
    nibbles + b'0' as u64 * ONES + letters * (b'a' - b'0' - 10) as u64
}

/// The four bytes that eight hexadecimal digits in lower case mean; `None` where they are something else.
#[inline(always)]
#[must_use]
pub const fn bytes(digits: u64) -> Option<u32> {
    let letters = (digits >> 6) & ONES;
    let nibbles = (digits & (0x0f * ONES)) + letters * 9;
    // Neighbours are joined, three times.
    let each = ((nibbles << 4) | (nibbles >> 8)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (each | each >> 8) & 0x0000_ffff_0000_ffff;
    let all = (pairs | pairs >> 16) as u32;
    if hex(all) == digits { Some(all) } else { None }
}

/// Bytes in front of a header's value: its name and a colon.
pub const NAME: u32 = 12;

/// What a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace id, in memory order.
    pub trace: [u64; 2],
    /// Its flags.
    pub flags: u64,
}

/// Reads a value of any version, of which later ones may be longer. The words are those at 0, 8, 16, 24, 32, 40 and 47.
#[inline(always)]
#[must_use]
pub const fn read(words: [u64; 7]) -> Option<Context> {
    const DASH: u64 = b'-' as u64;
    let [first, second, third, fourth, fifth, sixth, last] = words;
    let dashes = (first >> 16) & 0xff == DASH && (fifth >> 24) & 0xff == DASH && (last >> 40) & 0xff == DASH;
    let is_version = first as u16 != 0x6666 && bytes(first << 48 | 0x3030_3030_3030).is_some();
    if !dashes || !is_version {
        return None;
    }
    // Each digit's word begins in the third byte of its own, but the flags are the last two.
    let trace = (
        bytes(first >> 24 | second << 40),
        bytes(second >> 24 | third << 40),
        bytes(third >> 24 | fourth << 40),
        bytes(fourth >> 24 | fifth << 40),
    );
    let span = (
        bytes(fifth >> 32 | sixth << 32),
        bytes(sixth >> 32 | (last >> 8) << 32),
    );
    let flags = bytes((last >> 48) << 48 | 0x3030_3030_3030);
    let ((Some(a), Some(b), Some(c), Some(d)), (Some(e), Some(f)), Some(flags)) = (trace, span, flags) else {
        return None;
    };
    let trace = [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32];
    if trace[0] | trace[1] == 0 || e | f == 0 {
        return None;
    }
    Some(Context {
        trace,
        flags: (flags >> 24) as u64,
    })
}

/// Whether a value of HTTP/1, of which this is the first word, ends where its version says, by the word behind [`LENGTH`] bytes:
/// later versions may go on behind a dash. One with blanks around it is read by [`Partial`].
#[inline(always)]
#[must_use]
pub const fn ends(first: u64, behind: u64) -> bool {
    let goes_on = behind as u8 == b'-' && first as u16 != 0x3030;
    goes_on || behind as u8 == b'\n' || behind as u16 == 0x0a0d
}

/// Whether it is one of those that may be around a header's value (RFC 9110, section 5.6.3).
#[inline(always)]
#[must_use]
pub const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What is known of a value of HTTP/1, with its line's end, that comes in parts or with blanks around it: the trace id as far as it
/// has come, in memory order, and
///
/// ```text
/// | 31 .. 24 | 23 .. 16 | 8                       | 7 .. 0                                               |
/// | flags    | version  | the span id is not zero | its bytes; behind them, one more, or two after a blank |
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partial(pub [u64; 3]);

/// What has come of one byte more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It goes on.
    More(Partial),
    /// It was whole before, and this is its line's end, or what a later version has more.
    Whole(Context),
    /// It means nothing.
    Malformed,
}

/// Bytes of a value and a carriage return: as many are taken at a time.
pub const PARTS: u32 = LENGTH + 1;

impl Partial {
    const SPAN: u64 = 1 << 8;
    const VERSION: u64 = 16;
    const FLAGS: u64 = 24;
    const AFTER_RETURN: u64 = LENGTH as u64 + 1;
    const AFTER_BLANK: u64 = LENGTH as u64 + 2;

    /// Takes one byte more.
    #[inline(always)]
    #[must_use]
    pub const fn take(self, byte: u8) -> Taken {
        let Self([mut first, mut second, mut rest]) = self;
        let at = rest & 0xff;
        let version = rest >> Self::VERSION & 0xff;
        if at >= LENGTH as u64 {
            let is_end = byte == b'\n' || at == LENGTH as u64 && byte == b'-' && version != 0;
            if is_end && first | second != 0 && rest & Self::SPAN != 0 {
                return Taken::Whole(Context {
                    trace: [first, second],
                    flags: rest >> Self::FLAGS & 0xff,
                });
            }
            let behind = if byte == b'\r' {
                Self::AFTER_RETURN
            } else {
                Self::AFTER_BLANK
            };
            if at == Self::AFTER_RETURN || byte != b'\r' && !is_blank(byte) {
                return Taken::Malformed;
            }
            return Taken::More(Self([first, second, rest - at + behind]));
        }
        if at == 0 && is_blank(byte) {
            return Taken::More(self);
        }
        if at == 2 || at == 35 || at == 52 {
            if byte != b'-' || version == 0xff {
                return Taken::Malformed;
            }
            return Taken::More(Self([first, second, rest + 1]));
        }
        let digit = if byte.is_ascii_digit() {
            byte - b'0'
        } else if byte >= b'a' && byte <= b'f' {
            byte - b'a' + 10
        } else {
            return Taken::Malformed;
        } as u64;
        // The higher half of each byte comes first.
        if at < 2 {
            rest |= digit << (Self::VERSION + (1 - at) * 4);
        } else if at < 35 {
            let half = digit << ((((at - 3) & 15) ^ 1) * 4);
            if at < 19 {
                first |= half;
            } else {
                second |= half;
            }
        } else if at < 52 {
            rest |= if digit != 0 { Self::SPAN } else { 0 };
        } else {
            rest |= digit << (Self::FLAGS + (54 - at) * 4);
        }
        Taken::More(Self([first, second, rest + 1]))
    }
}

/// What a header line of HTTP/1 is of interest for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Nothing.
    Other,
    /// It is a context of the application's own, in one of the formats that spanwire reads.
    Context,
    /// `tracestate`: it goes with a context of the application's own.
    State,
    /// Content-Length; its value begins behind 15 bytes.
    Length,
    /// Transfer-Encoding.
    Coding,
}

/// Bytes from which every [`Field`] can be told.
pub const NAME_BYTES: u32 = 19;

/// Whether the header whose line begins with these sixteen bytes is `traceparent`.
#[inline(always)]
#[must_use]
pub const fn is_traceparent(word: u64, second: u64) -> bool {
    word | LOWER == pattern(b"tracepar") && (second | LOWER) & 0xffff_ffff == pattern(b"ent:")
}

/// Whether it is a context, in one of the formats that spanwire reads.
#[inline(always)]
#[must_use]
pub const fn is_context(word: u64, second: u64) -> bool {
    /// The first bytes of a word.
    const THREE: u64 = 0xff_ffff;
    const FIVE: u64 = 0xff_ffff_ffff;
    const SIX: u64 = 0xffff_ffff_ffff;
    let (lower, then) = (word | LOWER, second | LOWER);
    let b3 = lower & THREE == pattern(b"b3:");
    let b3_multi = lower == pattern(b"x-b3-tra") && then & FIVE == pattern(b"ceid:");
    let jaeger = lower == pattern(b"uber-tra") && then & SIX == pattern(b"ce-id:");
    is_traceparent(word, second) | b3 | b3_multi | jaeger
}

/// The field whose line begins with these 24 bytes.
#[inline(always)]
#[must_use]
pub const fn field(word: u64, second: u64, third: u64) -> Field {
    let (word, second, third) = (word | LOWER, second | LOWER, third | LOWER);
    let tracestate = word == pattern(b"tracesta") && second & 0xff_ffff == pattern(b"te:");
    // Blanks in front of the colon are an error that some servers bear.
    let blank = word == pattern(b"tracepar") && second & 0xffff_ffff == pattern(b"ent ");
    let length = word == pattern(b"content-") && second & crate::word::SEVEN == pattern(b"length:");
    let coding =
        word == pattern(b"transfer") && second == pattern(b"-encodin") && third & 0xffff == pattern(b"g:");
    if blank || is_context(word, second) {
        Field::Context
    } else if tracestate {
        Field::State
    } else if length {
        Field::Length
    } else if coding {
        Field::Coding
    } else {
        Field::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &[u8]) -> u64 {
        let mut bytes = [0xff; 8];
        bytes[..text.len()].copy_from_slice(text);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn digits_are_those_of_the_bytes_in_their_order() {
        assert_eq!(
            &hex(u32::from_le_bytes([0x0a, 0xf7, 0x65, 0x19])).to_le_bytes(),
            b"0af76519"
        );
        assert_eq!(&hex(0).to_le_bytes(), b"00000000");
        assert_eq!(&hex(u32::MAX).to_le_bytes(), b"ffffffff");
        for value in (0..=u32::MAX).step_by(65_521) {
            assert_eq!(bytes(hex(value)), Some(value));
        }
    }

    #[test]
    fn what_is_no_digit_in_lower_case_means_nothing() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut digits = *b"0af76519";
                digits[place] = byte;
                let expected = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                assert_eq!(bytes(u64::from_le_bytes(digits)).is_some(), expected, "{byte}");
            }
        }
    }

    #[test]
    fn a_value_is_read_to_its_end() {
        const VALUE: &[u8; 55] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let told = |value: &[u8; 55]| read([0, 8, 16, 24, 32, 40, 47].map(|at| word(&value[at..at + 8])));
        let context = told(VALUE).unwrap();
        let bytes = context.trace.map(u64::to_le_bytes).concat();
        assert_eq!(bytes[..4], [0x0a, 0xf7, 0x65, 0x19]);
        assert_eq!(bytes[12..], [0x1c, 0x80, 0x31, 0x9c]);
        assert_eq!(context.flags, 1);
        assert_eq!(
            told(b"42-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe")
                .unwrap()
                .flags,
            0xfe
        );
        for place in 0..55 {
            let mut value = *VALUE;
            value[place] = b'x';
            assert_eq!(told(&value), None, "{place}");
        }
        for value in [
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(told(value), None);
        }
    }

    #[test]
    fn a_value_of_the_first_version_ends_its_line() {
        for (version, behind, expected) in [
            (b"00", &b"\r\n"[..], true),
            (b"00", b"\nX", true),
            (b"00", b"-more", false),
            (b"00", b", 00-", false),
            (b"00", b"\rX", false),
            (b"00", b"ff", false),
            (b"cc", b"\r\n", true),
            (b"cc", b"-what", true),
            (b"cc", b"more", false),
        ] {
            assert_eq!(
                ends(word(version), word(behind)),
                expected,
                "{}",
                behind.escape_ascii()
            );
        }
    }

    /// What comes of a value and what is behind it, byte by byte.
    fn in_parts(line: &[u8]) -> Option<Context> {
        let mut partial = Partial::default();
        for byte in line {
            partial = match partial.take(*byte) {
                Taken::More(partial) => partial,
                Taken::Whole(context) => return Some(context),
                Taken::Malformed => return None,
            };
        }
        None
    }

    #[test]
    fn a_value_in_parts_means_what_it_means_as_a_whole() {
        const LINE: &[u8; 57] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        let whole = |line: &[u8; 57]| {
            let read = read([0, 8, 16, 24, 32, 40, 47].map(|at| word(&line[at..at + 8])));
            read.filter(|_| ends(word(&line[..8]), word(&line[55..])))
        };
        let same = |line: &[u8; 57]| {
            // Those are read in parts alone.
            if !is_blank(line[0]) && !is_blank(line[55]) {
                assert_eq!(in_parts(line), whole(line), "{}", line.escape_ascii());
            }
        };
        assert!(in_parts(LINE).is_some());
        for place in 0..57 {
            for byte in 0..=u8::MAX {
                let mut line = *LINE;
                line[place] = byte;
                same(&line);
                line[0] = b'c';
                same(&line);
            }
        }
        for line in [
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
            b"fe-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe-x",
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n",
            b"00-00000000000000000000000000000001-b7ad6b7169203331-01\r\n",
            b"00-10000000000000000000000000000000-0000000000000001-80\r\n",
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01\r\n",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nX",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\n",
        ] {
            same(line);
        }
        // It is looked at up to there.
        assert_eq!(in_parts(&LINE[..56]), None);
        assert_eq!(in_parts(b"00-0af7651916cd43dd8448eb211c80319c\r\n"), None);
    }

    #[test]
    fn blanks_around_a_value_are_not_part_of_it() {
        const VALUE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = |line: &[&[u8]]| in_parts(&line.concat());
        let context = read(&[VALUE, b"\r\n"]);
        assert!(context.is_some());
        for before in [&b""[..], b" ", b"\t", b"  \t   "] {
            for behind in [&b"\n"[..], b" \r\n", b"\t\n", b" \t  \r\n"] {
                assert_eq!(read(&[before, VALUE, behind]), context);
            }
        }
        for behind in [&b" ,"[..], b" -", b"\r \n", b"\r\r\n"] {
            assert_eq!(read(&[VALUE, behind]), None, "{}", behind.escape_ascii());
        }
        for place in 1..VALUE.len() {
            assert_eq!(read(&[&VALUE[..place], b" ", &VALUE[place + 1..], b"\r\n"]), None);
            assert_eq!(read(&[&VALUE[..place], b" ", &VALUE[place..], b"\r\n"]), None);
        }
    }

    #[test]
    fn fields_are_told_by_their_whole_names() {
        let told = |line: &[u8]| {
            let mut padded = [0xff; 24];
            let length = line.len().min(24);
            padded[..length].copy_from_slice(&line[..length]);
            field(word(&padded[..8]), word(&padded[8..16]), word(&padded[16..]))
        };
        for line in [
            &b"traceparent: 00-"[..],
            b"TraceParent:00",
            b"traceparent : 00",
            b"b3: 0",
            b"B3:1",
            b"X-B3-TraceId: 1",
            b"uber-trace-id: 5",
        ] {
            assert_eq!(told(line), Field::Context, "{}", line.escape_ascii());
        }
        assert_eq!(told(b"Content-Length: 5\r\n"), Field::Length);
        assert_eq!(told(b"tracestate: a"), Field::State);
        assert_eq!(told(b"TraceState:a=1\r\n"), Field::State);
        assert_eq!(told(b"transfer-encoding: chunked"), Field::Coding);
        for line in [
            &b"traceparents: "[..],
            b"tracestates: a",
            b"x-b3-spanid: 1",
            b"b3x: 1",
            b"content-lengths",
            b"uber-trace-ids:",
            b"\r\n",
        ] {
            assert_eq!(told(line), Field::Other, "{}", line.escape_ascii());
        }
    }
}
