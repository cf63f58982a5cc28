//! Addresses of people (RFC 5321, section 4.1.2; RFC 6531 for other scripts).

use std::ops::Range;

/// What ends names of files that have an `@` and a version or a resolution in them, such as `logo@2x.png`.
const FILES: &[&[u8]] = &[
    b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"avif", b"ico", b"css", b"js", b"mjs", b"cjs", b"ts",
    b"map", b"json", b"html", b"htm", b"tgz", b"gz", b"zip", b"whl", b"jar", b"woff", b"woff2",
];

/// The address whose `@` is at `at`.
pub(super) fn address(text: &[u8], at: usize) -> Option<Range<usize>> {
    let start = local(&text[..at])?;
    let end = at + 1 + domain(&text[at + 1..])?;
    // How Git writes where a repository is: everybody's user.
    (&text[start..at] != b"git").then_some(start..end)
}

/// Where the local part begins that `text` ends with.
fn local(text: &[u8]) -> Option<usize> {
    if let [quoted @ .., b'"'] = text
        && let Some(start) = memchr::memrchr(b'"', quoted)
    {
        return Some(start);
    }
    let length = text.iter().rev().take_while(|byte| is_local(**byte)).count();
    let local = &text[text.len() - length..];
    // What stands around an address in a text may also be part of one.
    let around = local.iter().take_while(|byte| !is_letter(**byte)).count();
    (around < length).then_some(text.len() - length + around)
}

/// `atext`, but for what ends a part of a URL.
const fn is_local(byte: u8) -> bool {
    is_letter(byte)
        || matches!(
            byte,
            b'.' | b'!'
                | b'#'
                | b'$'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Length of the domain that `text` begins with: at least two labels, the last of letters.
fn domain(text: &[u8]) -> Option<usize> {
    if let [b'[', literal @ ..] = text {
        let end = memchr::memchr(b']', literal).filter(|end| (1..=64).contains(end))?;
        return Some(end + 2);
    }
    let is_name = |byte: &u8| is_letter(*byte) || matches!(byte, b'-' | b'.');
    let length = text.iter().take_while(|byte| is_name(byte)).count();
    let name = text[..length].trim_ascii_end();
    let end = name.iter().rposition(|byte| is_letter(*byte))? + 1;
    let name = &name[..end];
    let point = memchr::memrchr(b'.', name).filter(|point| *point > 0)?;
    let top = &name[point + 1..];
    let is_top = top.len() >= 2
        && (top.iter().all(|byte| !byte.is_ascii_digit() && *byte != b'-') || top.starts_with(b"xn--"));
    let is_file = name[0].is_ascii_digit() && FILES.iter().any(|file| file.eq_ignore_ascii_case(top));
    (is_top && !is_file).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let at = text.find('@').unwrap();
        let found = address(text.as_bytes(), at).map(|range| &text[range]);
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn addresses() {
        check("jane@example.com", Some("jane@example.com"));
        check(
            "<jane.doe+tag@mail.example.co.uk>.",
            Some("jane.doe+tag@mail.example.co.uk"),
        );
        check("'o'brien@example.ie'", Some("o'brien@example.ie"));
        check("to=jane@example.com&x", Some("jane@example.com"));
        check("jürgen@exämple.de", Some("jürgen@exämple.de"));
        check("a@xn--exmple-cua.xn--p1ai", Some("a@xn--exmple-cua.xn--p1ai"));
        check("\"jane doe\"@example.com", Some("\"jane doe\"@example.com"));
        check("jane@[192.0.2.1]", Some("jane@[192.0.2.1]"));
        for other in [
            "@me",
            "a@b",
            "a@",
            "/@angular/core",
            "logo@2x.png",
            "lodash@4.17.21",
            "lodash@4.17.21.tgz",
            "git@github.com:a/b",
            "a@.com",
            "a@1.2.3.4",
            "*@*",
        ] {
            check(other, None);
        }
    }
}
