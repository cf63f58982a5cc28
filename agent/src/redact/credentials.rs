//! Secrets that are told by what stands in front of them: a scheme, a name, a user.

use super::keys::Keys;
use std::ops::Range;

/// Shortest credential that is told by its scheme.
const SHORTEST: usize = 8;

/// Schemes of `Authorization` whose credential is one word (RFC 6750, RFC 7617, RFC 4559).
const SCHEMES: &[&[u8]] = &[b"bearer", b"basic", b"negotiate"];

/// More schemes, which are believed where a name says that they are to be expected.
const RARE: &[&[u8]] = &[b"token", b"apikey", b"digest", b"hmac"];

/// The credential in front of which the space at `space` and a scheme are.
pub(super) fn of_scheme(text: &[u8], space: usize) -> Option<Range<usize>> {
    // Their last letters, which most words do not end with.
    if !matches!(text[..space].last()?.to_ascii_lowercase(), b'r' | b'c' | b'e') {
        return None;
    }
    let scheme = &text[word_before(text, space)];
    if !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return None;
    }
    let start = space + text[space..].iter().take_while(|byte| **byte == b' ').count();
    let length = text[start..].iter().take_while(|byte| is_token68(**byte)).count();
    let word = &text[start..start + length];
    // `Bearer realm="x"` names what is wanted, and `bearer authentication` is prose.
    let is_parameter = word
        .strip_suffix(b"=")
        .is_some_and(|name| name.iter().all(u8::is_ascii_lowercase));
    // A path behind a word of prose has no such part either.
    let is_random = |part: &[u8]| {
        let has_upper = part.iter().skip(1).any(u8::is_ascii_uppercase);
        part.iter().any(u8::is_ascii_digit) || has_upper && part.iter().any(u8::is_ascii_lowercase)
    };
    let is_secret = word.split(|byte| *byte == b'/').any(is_random) || word.ends_with(b"=");
    (length >= SHORTEST && is_secret && !is_parameter).then_some(start..start + length)
}

/// The word that ends in front of `end`.
fn word_before(text: &[u8], end: usize) -> Range<usize> {
    let length = text[..end]
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    end - length..end
}

/// RFC 9110, section 11.2.
const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// User and password of the URL whose authority begins at `start`.
pub(super) fn user(text: &[u8], start: usize) -> Option<Range<usize>> {
    let is_end = |byte: &u8| {
        matches!(byte, b'/' | b'?' | b'#' | b'\\' | b'"' | b'<' | b'>' | b'`') || byte.is_ascii_whitespace()
    };
    let length = text[start..].iter().take_while(|byte| !is_end(byte)).count();
    let at = memchr::memrchr(b'@', &text[start..start + length])?;
    (at > 0).then_some(start..start + at)
}

/// The value between which and its name the `=` or `:` at `sign` is, where its name is one of `keys`.
pub(super) fn of_name(text: &[u8], sign: usize, keys: &Keys) -> Option<Range<usize>> {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let is_quote = |byte: &&u8| matches!(byte, b'"' | b'\'' | b'\\');
    let before = &text[..sign];
    let spaces = before.iter().rev().take_while(is_space).count();
    let quotes = before[..sign - spaces].iter().rev().take_while(is_quote).count();
    let end = sign - spaces - quotes;
    let is_name =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'[' | b']');
    let length = text[..end].iter().rev().take_while(is_name).count();
    let name = &text[end - length..end];
    // `http://token:8080` is a host and its port.
    let is_host = text[sign] == b':' && text[..end - length].ends_with(b"//");
    if length == 0 || is_host || !keys.has(name) {
        return None;
    }
    let mut start = sign + 1;
    start += text[start..].iter().take_while(is_space).count();
    let quotes = text[start..].iter().take_while(is_quote).count();
    start += quotes;
    let mut end = value_end(text, start, quotes);
    // `Authorization: Bearer x`: the scheme is no secret, and what follows is.
    let scheme = &text[start..end];
    let is_scheme = SCHEMES
        .iter()
        .chain(RARE)
        .any(|known| known.eq_ignore_ascii_case(scheme));
    if is_scheme && text.get(end) == Some(&b' ') {
        start = end + 1;
        end = value_end(text, start, quotes);
    }
    // What is there in place of a value has been redacted, or is a parameter of SQL.
    let value = &text[start..end];
    let is_nothing =
        matches!(value, b"" | b"?" | b"REDACTED" | b"null" | b"true" | b"false") || value.starts_with(b"$");
    (!is_nothing).then_some(start..end)
}

/// Where the value ends that begins at `start`, with so many quotes in front of it.
fn value_end(text: &[u8], start: usize, quotes: usize) -> usize {
    let is_end = |byte: &u8| match quotes {
        0 => {
            byte.is_ascii_whitespace()
                || matches!(
                    byte,
                    b'&' | b';' | b',' | b'"' | b'\'' | b'<' | b'>' | b')' | b'}' | b']' | b'#' | b'\\'
                )
        }
        _ => matches!(byte, b'"' | b'\'' | b'\\'),
    };
    start + text[start..].iter().take_while(|byte| !is_end(byte)).count()
}
