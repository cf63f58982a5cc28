//! One look at a text: nearly all are clean, and those are to cost a few cycles a byte and no allocation.
//!
//! A first pass counts what any secret would have to have ([`Signs`]). Only where something of that is there, the shapes are
//! looked for one by one, in the text without its percent-encoding.

use super::decode::Decoded;
use super::keys::Keys;
use super::shapes::Shapes;
use super::{credentials, digits, email, iban, token};
use crate::config::Shape;
use memchr::{memchr_iter, memchr2_iter, memmem};
use std::ops::Range;

/// What stands in the place of what was taken out, as the conventions have it.
pub(super) const REDACTED: &str = "REDACTED";

/// Digits in a row, with what may be between them, from which on a number is looked at.
const DIGITS: u32 = 8;

/// Letters and digits in a row from which on a word is looked at.
const WORD: u32 = 16;

const _: () = assert!(WORD as usize == token::SHORTEST);

/// What a text has, gathered in one pass: the bits that its bytes' steps have set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signs(u32);

/// What a byte does to the count of digits (the low 12 bits), the count of letters and digits (the next 12), and the signs
/// (the rest, which never last). A count that runs over only makes a text be looked at.
#[derive(Clone, Copy)]
struct Step {
    keep: u32,
    add: u32,
}

const ONE_DIGIT: u32 = 1;
const ONE_LETTER: u32 = 1 << 12;
const COUNTS: [u32; 2] = [ONE_LETTER - 1, (ONE_LETTER - 1) << 12];
const AT: u32 = 1 << 24;
const PERCENT: u32 = 1 << 25;
const SIGN: u32 = 1 << 26;
/// What may be the end of a scheme, or a space. Where one follows the other, their sum is the next bit, [`SCHEME`].
const SCHEME_ENDS: u32 = 1 << 28;
const SCHEME: u32 = 1 << 29;

const STEPS: [Step; 256] = {
    let mut steps = [Step { keep: 0, add: 0 }; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let step = match byte as u8 {
            b'0'..=b'9' => (COUNTS[0] | COUNTS[1], ONE_DIGIT + ONE_LETTER),
            // `Bearer`, `Basic`, `Negotiate`.
            b'r' | b'R' | b'c' | b'C' | b'e' | b'E' => (COUNTS[1], ONE_LETTER + SCHEME_ENDS),
            b'a'..=b'z' | b'A'..=b'Z' => (COUNTS[1], ONE_LETTER),
            b' ' => (COUNTS[0] | SCHEME_ENDS, SCHEME_ENDS),
            b'-' => (COUNTS[0] | COUNTS[1], 0),
            b'_' => (COUNTS[1], 0),
            b'.' | b'(' | b')' | b'/' => (COUNTS[0], 0),
            b'@' => (0, AT),
            b'%' => (0, PERCENT),
            b'=' | b':' => (0, SIGN),
            _ => (0, 0),
        };
        steps[byte] = Step {
            keep: step.0,
            add: step.1,
        };
        byte += 1;
    }
    steps
};

impl Signs {
    fn of(text: &[u8]) -> Self {
        let (mut state, mut seen) = (0_u32, 0_u32);
        for byte in text {
            let Step { keep, add } = STEPS[usize::from(*byte)];
            state = (state & keep) + add;
            seen |= state;
        }
        Self(seen)
    }

    const fn has(self, sign: u32) -> bool {
        self.0 & sign != 0
    }

    /// At least [`DIGITS`] in a row.
    const fn has_number(self) -> bool {
        self.0 & COUNTS[0] >= DIGITS
    }

    /// At least [`WORD`] letters and digits in a row, hyphens and underscores between them left out.
    const fn has_word(self) -> bool {
        self.0 & COUNTS[1] >= WORD * ONE_LETTER
    }

    /// Nothing of what any of `shapes`, or a name with a value, has.
    const fn are_none(self, shapes: Shapes) -> bool {
        !(self.has(AT | PERCENT | SIGN | SCHEME) || self.has_number() || self.has_word() || shapes.have_ids())
    }
}

/// `text` without what looks like one of `shapes`, and without the values of `keys`; `None` where there is nothing to be taken
/// out.
pub(super) fn text(text: &str, shapes: Shapes, keys: &Keys) -> Option<String> {
    let bytes = text.as_bytes();
    let signs = Signs::of(bytes);
    if signs.are_none(shapes) {
        return None;
    }
    let decoded = match signs.has(PERCENT) {
        true => Decoded::of(bytes),
        false => None,
    };
    let mut found = match &decoded {
        None => find(bytes, signs, shapes, keys),
        Some(decoded) => {
            let found = find(&decoded.bytes, Signs::of(&decoded.bytes), shapes, keys);
            let written = |range: Range<usize>| decoded.written(range.start)..decoded.written(range.end);
            found.into_iter().map(written).collect()
        }
    };
    if found.is_empty() {
        return None;
    }
    found.sort_unstable_by_key(|range| range.start);
    let mut redacted = String::with_capacity(text.len());
    let mut read = 0;
    for range in found {
        let (start, end) = (
            text.floor_char_boundary(range.start),
            text.ceil_char_boundary(range.end),
        );
        if end <= read {
            continue;
        }
        if start >= read {
            redacted.push_str(&text[read..start]);
            redacted.push_str(REDACTED);
        }
        read = end;
    }
    redacted.push_str(&text[read..]);
    Some(redacted)
}

/// Whether anything of `part`, a value of a query or a segment of a path, looks like one of `shapes`, or is the value of one of
/// `keys`.
pub(super) fn is_secret(part: &str, shapes: Shapes, keys: &Keys) -> bool {
    let bytes = part.as_bytes();
    let holds = |bytes: &[u8]| {
        let signs = Signs::of(bytes);
        !signs.are_none(shapes) && !find(bytes, signs, shapes, keys).is_empty()
    };
    match Decoded::of(bytes) {
        None => holds(bytes),
        Some(decoded) => holds(&decoded.bytes),
    }
}

/// Whether there is nothing in `text`, nor in any part of it, that looks like one of `shapes` or has a name: as
/// [`text`], it is told by one pass. `false` says nothing.
pub(super) fn is_clean(text: &str, shapes: Shapes) -> bool {
    Signs::of(text.as_bytes()).are_none(shapes)
}

/// Everything in `text`, whose signs these are, in no order.
fn find(text: &[u8], signs: Signs, shapes: Shapes, keys: &Keys) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if signs.has(AT) {
        if shapes.has(Shape::UserInformation) {
            let authorities = memmem::find_iter(text, b"://").map(|colon| colon + 3);
            found.extend(authorities.filter_map(|start| credentials::user(text, start)));
        }
        if shapes.has(Shape::Email) {
            // What is between a password and a host is no address.
            let users: Vec<usize> = found.iter().map(|user| user.end).collect();
            let ats = memchr_iter(b'@', text).filter(|at| !users.contains(at));
            found.extend(ats.filter_map(|at| email::address(text, at)));
        }
    }
    if signs.has(SCHEME) && shapes.has(Shape::Credentials) {
        found.extend(memchr_iter(b' ', text).filter_map(|space| credentials::of_scheme(text, space)));
    }
    if signs.has(SIGN) && !keys.is_empty() {
        found
            .extend(memchr2_iter(b'=', b':', text).filter_map(|sign| credentials::of_name(text, sign, keys)));
    }
    if signs.has_word() || shapes.has(Shape::UniqueId) || shapes.has(Shape::Opaque) {
        words(text, shapes, &mut found);
    }
    if signs.has_number() || shapes.has(Shape::Number) {
        numbers(text, shapes, &mut found);
    }
    if (signs.has_number() || signs.has_word()) && shapes.has(Shape::Iban) {
        let starts = (0..text.len())
            .filter(|start| text[*start].is_ascii_alphabetic() && !digits::is_within_word(text, *start));
        found.extend(starts.filter_map(|start| iban::account(text, start)));
    }
    found
}

fn words(text: &[u8], shapes: Shapes, found: &mut Vec<Range<usize>>) {
    type Look = fn(&[u8], Range<usize>) -> Option<Range<usize>>;
    const LOOKS: [(Shape, Look); 5] = [
        (Shape::Jwt, token::web_token),
        (Shape::ApiKey, token::service_key),
        (Shape::LongHex, token::long_hex),
        (Shape::UniqueId, token::unique_id),
        (Shape::Opaque, token::opaque),
    ];
    let mut place = 0;
    while place < text.len() {
        let end = token::end(text, place);
        if shapes.has(Shape::ApiKey)
            && let Some(key) = token::private_key(text, place..end)
        {
            found.push(key);
            return;
        }
        if end - place >= token::SHORTEST {
            let looks = LOOKS.iter().filter(|(shape, _)| shapes.has(*shape));
            found.extend(looks.filter_map(|(_, look)| look(text, place..end)));
        }
        place = end + 1;
    }
}

fn numbers(text: &[u8], shapes: Shapes, found: &mut Vec<Range<usize>>) {
    let mut place = 0;
    while let Some(byte) = text.get(place) {
        let is_first = place == 0 || !text[place - 1].is_ascii_digit();
        let range = match byte {
            b'+' if shapes.has(Shape::Phone) => digits::international(text, place),
            b'(' if shapes.has(Shape::Phone) => digits::national(text, place),
            b'0'..=b'9' if is_first => {
                let card = || digits::card(text, place).filter(|_| shapes.has(Shape::Card));
                let phone = || digits::national(text, place).filter(|_| shapes.has(Shape::Phone));
                let number = || digits::number(text, place).filter(|_| shapes.has(Shape::Number));
                card().or_else(phone).or_else(number)
            }
            _ => None,
        };
        place = match range {
            Some(range) => {
                found.push(range.clone());
                range.end
            }
            None => place + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn signs_say_what_a_slow_count_says(text in "[a-c0-9 .@%=x-]{0,60}") {
            let signs = Signs::of(text.as_bytes());
            let longest = |is: &dyn Fn(char) -> bool, counts: &dyn Fn(char) -> bool| {
                text.split(|letter| !is(letter)).map(|run| run.chars().filter(|it| counts(*it)).count()).max().unwrap_or(0)
            };
            let is_digit = |letter: char| letter.is_ascii_digit();
            let is_word = |letter: char| letter.is_ascii_alphanumeric();
            let word = longest(&|letter| is_word(letter) || letter == '-', &is_word);
            let number = longest(&|letter| is_digit(letter) || " .-".contains(letter), &is_digit);
            proptest::prop_assert_eq!(signs.has_word(), word >= 16, "{}", word);
            proptest::prop_assert_eq!(signs.has_number(), number >= 8, "{}", number);
            proptest::prop_assert_eq!(signs.has(AT), text.contains('@'));
            proptest::prop_assert_eq!(signs.has(SIGN), text.contains('='));
        }

        #[test]
        fn what_is_around_a_secret_stays(before in "[a-z ]{0,9}", after in "[a-z ]{0,9}") {
            let keys = Keys::new(["password"], [""; 0]);
            let all = Shapes::standard();
            for secret in ["jane@example.com", "4111 1111 1111 1111", "DE89370400440532013000", "+49 30 123456"] {
                let text_ = format!("{before} <{secret}> {after}");
                let expect = format!("{before} <REDACTED> {after}");
                proptest::prop_assert_eq!(text(&text_, all, &keys), Some(expect));
            }
        }

        #[test]
        fn no_text_panics_and_nothing_is_left_to_be_done(text_ in "([a-z@.:=/%+ 0-9-]|[%][0-9a-f]{2}|ä|eyJ|Bearer |password=){0,40}") {
            let keys = Keys::new(["password", "*token"], [""; 0]);
            for shapes in [Shapes::standard(), Shapes::strict()] {
                if let Some(redacted) = text(&text_, shapes, &keys) {
                    proptest::prop_assert!(redacted.contains(REDACTED));
                }
                let _ = is_secret(&text_, shapes, &keys);
            }
        }
    }
}
