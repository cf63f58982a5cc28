//! Eight bytes at a time: searches and conversions in a word whose lowest byte comes first. Without branches, because a
//! verifier looks at each side of a branch.

/// 0x01 in every byte.
pub const ONES: u64 = 0x0101_0101_0101_0101;
/// 0x80 in every byte.
pub const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Lower case of every ASCII letter, by "or"; other bytes change, too.
pub const LOWER: u64 = 0x2020_2020_2020_2020;
/// All but the last byte.
pub const SEVEN: u64 = 0x00ff_ffff_ffff_ffff;

/// The word that begins with this text of at most eight bytes, and ends in zeroes.
#[must_use]
pub const fn pattern(text: &[u8]) -> u64 {
    let mut word = 0;
    let mut index = 0;
    while index < text.len() {
        word |= (text[index] as u64) << (8 * index);
        index += 1;
    }
    word
}

/// How many bytes of the word, from the first on, are 0x00 in `flags` where others are 0x80: 8 where none is 0x80.
#[inline(always)]
#[must_use]
pub const fn bytes_before(flags: u64) -> u32 {
    // The bpf target has no count of trailing zeroes. Below the lowest flag all bits become 1; each byte's is added up.
    let flag = flags >> 7;
    let before = flag.wrapping_sub(1) & !flag & ONES;
    (before.wrapping_mul(ONES) >> 56) as u32
}

/// 0x80 in the bytes of the word that equal `byte`, exact up to the first.
#[inline(always)]
#[must_use]
pub fn equal(word: u64, byte: u8) -> u64 {
    let word = word ^ (ONES * byte as u64);
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// 0x80 in the bytes of the word that equal `byte`, and in no others.
#[inline(always)]
#[must_use]
pub const fn each(word: u64, byte: u8) -> u64 {
    let word = word ^ (ONES * byte as u64);
    !(((word & !HIGHS) + !HIGHS) | word) & HIGHS
}

/// 0x80 in the bytes of the word that are no ASCII digits.
#[inline(always)]
#[must_use]
pub fn no_digits(word: u64) -> u64 {
    let word = word ^ (ONES * b'0' as u64);
    (((word & !HIGHS) + ONES * (0x80 - 10)) | word) & HIGHS
}

/// Index of the first byte of the word that equals `byte`, 8 where none does.
#[inline(always)]
#[must_use]
pub fn find(word: u64, byte: u8) -> u32 {
    bytes_before(equal(word, byte))
}

/// [`find`] in three words, one behind the other; 24 where there is none.
#[inline(always)]
#[must_use]
pub fn find_in(first: u64, second: u64, third: u64, byte: u8) -> u32 {
    let mut index = find(first, byte);
    if index == 8 {
        index += find(second, byte);
    }
    if index == 16 {
        index += find(third, byte);
    }
    index
}

/// The value of an ASCII digit in the lowest byte.
#[inline(always)]
#[must_use]
pub fn digit(byte: u64) -> u32 {
    (byte as u32).wrapping_sub(b'0' as u32) & 0xf
}

/// The number that the first `count` bytes of the word, ASCII digits, are, and ten to the power of `count`; 1 to 8 of them.
#[inline(always)]
#[must_use]
pub fn number(word: u64, count: u32) -> (u64, u64) {
    // Zeroes in front make eight digits; then neighbours are joined, three times.
    let shift = 64 - 8 * count;
    let digits = (word & (ONES * 0x0f)) << (shift & 63);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    let mut scale = 10;
    scale *= if (count - 1) & 1 != 0 { 10 } else { 1 };
    scale *= if (count - 1) & 2 != 0 { 100 } else { 1 };
    scale *= if (count - 1) & 4 != 0 { 10_000 } else { 1 };
    (number, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &[u8]) -> u64 {
        let mut bytes = [b'~'; 8];
        bytes[..text.len()].copy_from_slice(text);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn a_byte_is_found_where_it_is_first() {
        for place in 0..8 {
            for other in [0, 1, b'\n' - 1, b'\n' + 1, 0x7f, 0x80, b'\n' | 0x80, 0xff] {
                let mut bytes = [other; 8];
                bytes[place] = b'\n';
                assert_eq!(
                    find(u64::from_le_bytes(bytes), b'\n') as usize,
                    place,
                    "beside {other}"
                );
                // Bytes behind the first do not matter, whatever they are.
                bytes[place..].fill(b'\n');
                assert_eq!(
                    find(u64::from_le_bytes(bytes), b'\n') as usize,
                    place,
                    "beside {other}"
                );
            }
        }
        assert_eq!(find(word(b""), b'\n'), 8);
        assert_eq!(find(u64::MAX, b'\n'), 8);
        assert_eq!(find(0, b'\n'), 8);
    }

    #[test]
    fn all_bytes_are_told_for_themselves() {
        for byte in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                let bytes = [byte, other, byte, byte ^ 1, other, byte, other, byte];
                let expected = bytes.map(|it| if it == byte { 0x80 } else { 0 });
                assert_eq!(
                    each(u64::from_le_bytes(bytes), byte),
                    u64::from_le_bytes(expected)
                );
            }
        }
    }

    #[test]
    fn three_words_are_searched_in_order() {
        let (nothing, third) = (word(b"abcdefgh"), word(b"ab\nc"));
        assert_eq!(find_in(third, nothing, nothing, b'\n'), 2);
        assert_eq!(find_in(nothing, third, third, b'\n'), 10);
        assert_eq!(find_in(nothing, nothing, third, b'\n'), 18);
        assert_eq!(find_in(nothing, nothing, nothing, b'\n'), 24);
    }

    #[test]
    fn digits_are_told_from_all_else() {
        for byte in 0..=u8::MAX {
            let digits = bytes_before(no_digits(word(&[b'0', b'9', byte])));
            assert_eq!(digits, if byte.is_ascii_digit() { 3 } else { 2 }, "{byte}");
        }
        assert_eq!(bytes_before(no_digits(word(b"01234567"))), 8);
    }

    #[test]
    fn numbers_have_their_value_and_their_scale() {
        let text = b"90817263";
        for count in 1..=8u32 {
            let expected: u64 = core::str::from_utf8(&text[..count as usize])
                .ok()
                .and_then(|digits| digits.parse().ok())
                .unwrap_or_default();
            assert_eq!(number(word(text), count), (expected, 10u64.pow(count)));
        }
        assert_eq!(number(word(b"0\r\n"), 1), (0, 10));
        assert_eq!(digit(word(b"7x")), 7);
    }

    #[test]
    fn patterns_are_words() {
        assert_eq!(pattern(b"HTTP/1."), word(b"HTTP/1.") & SEVEN);
        assert_eq!(word(b"CoNtEnT-") | LOWER, pattern(b"content-"));
    }
}
