//! International bank account numbers (ISO 13616), with their check digits.

use super::digits::is_word;
use std::ops::Range;

/// Countries of the registry, and how many characters theirs have.
const COUNTRIES: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// The account number that begins at `start`, in one piece or in groups of four.
pub(super) fn account(text: &[u8], start: usize) -> Option<Range<usize>> {
    let [first, second, c, d, ..] = text.get(start..)? else {
        return None;
    };
    let is_start = first.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit();
    if !is_start || start > 0 && text[start - 1].is_ascii_alphanumeric() {
        return None;
    }
    let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let (_, length) = COUNTRIES.iter().find(|(code, _)| **code == country)?;
    // Letters stand for 10 to 35, and the first four come last: the rest of the division by 97 is 1.
    let (mut behind, mut head, mut digits) = (0_u32, 0_u32, 0_u32);
    let mut place = start;
    for index in 0..*length {
        if index > 0 && index % 4 == 0 && matches!(text.get(place), Some(b' ' | b'-')) {
            place += 1;
        }
        let value = char::from(*text.get(place)?).to_digit(36)?;
        let added = |rest: u32| (rest * if value > 9 { 100 } else { 10 } + value) % 97;
        if index < 4 {
            head = added(head);
            digits += if value > 9 { 2 } else { 1 };
        } else {
            behind = added(behind);
        }
        place += 1;
    }
    let all = (0..digits).fold(behind, |rest, _| rest * 10 % 97);
    ((all + head) % 97 == 1 && !is_word(text, place)).then_some(start..place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_the_registry_and_none_with_another_digit() {
        for text in [
            "GB82WEST12345698765432",
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "NO9386011117947",
            "MT84MALT011000012345MTLCAST001S",
            "FR1420041010050500013M02606",
            "LC55HEMM000100010012001200023015",
            "de89370400440532013000",
        ] {
            assert_eq!(account(text.as_bytes(), 0), Some(0..text.len()), "{text}");
            for (index, byte) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
                let mut other = text.as_bytes().to_vec();
                other[index] = b'0' + (byte - b'0' + 1) % 10;
                assert_eq!(account(&other, 0), None, "{}", String::from_utf8_lossy(&other));
            }
        }
        for text in [
            "",
            "DE",
            "DE89",
            "XX89370400440532013000",
            "DE89370400440532013000A",
            "DE8937040044053201300",
        ] {
            assert_eq!(account(text.as_bytes(), 0), None, "{text}");
        }
    }
}
