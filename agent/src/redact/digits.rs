//! Card numbers (ISO/IEC 7812-1), telephone numbers (ITU-T E.123, E.164) and other numbers.

use std::ops::Range;

/// Digits of a card number.
const CARD: Range<usize> = 13..20;

/// Digits of a telephone number, its country code included. E.164 has 15 at most.
const PHONE: Range<usize> = 8..16;

/// Numbers that are ids rather than counts have at least so many digits.
const NUMBER: usize = 6;

/// The card number that begins with the digit at `start`: all in a row, or in groups with one space or hyphen between.
pub(super) fn card(text: &[u8], start: usize) -> Option<Range<usize>> {
    if is_within_word(text, start) {
        return None;
    }
    let mut digits = [0; CARD.end];
    let (mut count, mut place, mut groups) = (0, start, 0);
    loop {
        let group = text[place..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count + group >= CARD.end {
            return None;
        }
        for byte in &text[place..place + group] {
            digits[count] = byte - b'0';
            count += 1;
        }
        place += group;
        groups += 1;
        let is_single = groups == 1;
        if CARD.contains(&count) && !is_word(text, place) && is_card(&digits[..count]) {
            return Some(start..place);
        }
        // In groups, they are of 3 to 7 digits: more or less are numbers side by side.
        if is_single && !(3..8).contains(&group) || !is_single && !(2..8).contains(&group) {
            return None;
        }
        let is_next = matches!(text.get(place), Some(b' ' | b'-'))
            && text.get(place + 1).is_some_and(u8::is_ascii_digit);
        if !is_next {
            return None;
        }
        place += 1;
    }
}

/// The issuer's number is one that is given out, and the sum is right.
fn is_card(digits: &[u8]) -> bool {
    is_issued(digits) && luhn(digits)
}

/// Whether a network gives out numbers that begin so and are so long.
fn is_issued(digits: &[u8]) -> bool {
    let begins = |count: usize| {
        digits[..count]
            .iter()
            .fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    match (begins(1), begins(2), begins(3), begins(4), digits.len()) {
        // Visa; American Express; Mastercard, old and new.
        (4, .., 13 | 16 | 19) | (_, 34 | 37, .., 15) | (_, 51..=55, .., 16) | (.., 2221..=2720, 16) => true,
        // Diners Club; Discover; JCB; UnionPay; Maestro.
        (_, _, 300..=305, _, 14..=19) | (_, 36 | 38 | 39, .., 14..=19) => true,
        (_, _, 644..=649, _, 16..=19) | (_, 65, .., 16..=19) | (.., 6011, 16..=19) => true,
        (.., 3528..=3589, 16..=19) | (_, 62 | 81, .., 16..=19) => true,
        (.., 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763, 13..=19) => true,
        _ => false,
    }
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, u32::from(*digit) * 2) {
            (0, _) => u32::from(*digit),
            (_, doubled) => doubled / 10 + doubled % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The telephone number with its country code whose `+` is at `start`.
pub(super) fn international(text: &[u8], start: usize) -> Option<Range<usize>> {
    let first = text.get(start + 1)?;
    if is_within_word(text, start) || !matches!(first, b'1'..=b'9') {
        return None;
    }
    let (mut count, mut end, mut place, mut separators) = (0, start, start + 1, 0);
    while let Some(byte) = text.get(place) {
        match byte {
            b'0'..=b'9' => {
                (count, separators) = (count + 1, 0);
                end = place + 1;
            }
            // As in `+49 (0) 30 / 1234`: at most three between two digits.
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if separators < 3 => separators += 1,
            _ => break,
        }
        place += 1;
    }
    (PHONE.contains(&count) && !is_word(text, end)).then_some(start..end)
}

/// The telephone number of the North American plan that begins at `start`: `(212) 555-0123`, `212-555-0123`, `1-212-…`.
pub(super) fn national(text: &[u8], start: usize) -> Option<Range<usize>> {
    if is_within_word(text, start) || start > 0 && matches!(text[start - 1], b'-' | b'.' | b'+') {
        return None;
    }
    let mut rest = &text[start..];
    if let [b'1', b'-' | b'.' | b' ', behind @ ..] = rest {
        rest = behind;
    }
    let (area, rest, separator) = match rest {
        [b'(', a, b, c, b')', b' ', rest @ ..] | [b'(', a, b, c, b')', rest @ ..] => ([a, b, c], rest, None),
        [a, b, c, separator @ (b'-' | b'.'), rest @ ..] => ([a, b, c], rest, Some(separator)),
        _ => return None,
    };
    let [d, e, f, second @ (b'-' | b'.' | b' '), rest @ ..] = rest else {
        return None;
    };
    if separator.is_some_and(|first| first != second) {
        return None;
    }
    let line = rest.get(..4)?;
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let is_code =
        |[first, rest @ ..]: [&u8; 3]| matches!(first, b'2'..=b'9') && rest.into_iter().all(is_digit);
    let end = text.len() - rest.len() + line.len();
    let is_one = is_code(area) && is_code([d, e, f]) && line.iter().all(is_digit);
    let goes_on = matches!(text.get(end), Some(b'-' | b'.')) && text.get(end + 1).is_some_and(is_digit);
    (is_one && !is_word(text, end) && !goes_on).then_some(start..end)
}

/// The number that begins with the digit at `start`, if it is long enough to be an id.
pub(super) fn number(text: &[u8], start: usize) -> Option<Range<usize>> {
    let count = text[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let end = start + count;
    (count >= NUMBER && !is_within_word(text, start) && !is_word(text, end)).then_some(start..end)
}

/// Whether there is a letter or a digit at `place`.
pub(super) fn is_word(text: &[u8], place: usize) -> bool {
    text.get(place).is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether a letter or a digit is in front of `place`, or a point behind a digit.
pub(super) fn is_within_word(text: &[u8], place: usize) -> bool {
    match &text[..place] {
        [.., before, b'.'] => before.is_ascii_digit(),
        [.., last] => last.is_ascii_alphanumeric(),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum of `digits` that is right, by its last digit.
    fn with_check_digit(digits: &str) -> String {
        let all = (0..10).map(|check| format!("{digits}{check}"));
        let digits = |text: &str| text.bytes().map(|byte| byte - b'0').collect::<Vec<_>>();
        all.into_iter().find(|text| luhn(&digits(text))).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn of_ten_numbers_one_has_the_right_sum(digits in "4[0-9]{14}", separator in "[ -]?") {
            let right = with_check_digit(&digits);
            let groups: Vec<&str> = right.as_bytes().chunks(4).map(|it| std::str::from_utf8(it).unwrap()).collect();
            let written = groups.join(&separator);
            proptest::prop_assert_eq!(card(written.as_bytes(), 0), Some(0..written.len()));
            let last = right.as_bytes()[15];
            for other in (b'0'..=b'9').filter(|other| *other != last) {
                let wrong = format!("{digits}{}", char::from(other));
                proptest::prop_assert_eq!(card(wrong.as_bytes(), 0), None);
            }
        }

        #[test]
        fn nothing_panics(text in "[0-9+() ./a-]*") {
            for start in 0..text.len() {
                let found = [card, international, national, number].map(|look| look(text.as_bytes(), start));
                for range in found.into_iter().flatten() {
                    proptest::prop_assert!(range.start == start && range.end <= text.len());
                }
            }
        }
    }
}
