//! Splits SQL into tokens (PostgreSQL documentation, section 4.1 "Lexical Structure").
//!
//! It takes any text. What begins like a literal and has no end is a literal up to the text's end, so that a text that
//! was cut never shows half of one.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// White space.
    Space,
    /// `-- ...` or `/* ... */`, which nests.
    Comment,
    /// Keyword or identifier.
    Word,
    /// `"..."` or `U&"..."`.
    Quoted,
    /// `'...'`, with any prefix (`E`, `B`, `X`, `N`, `U&`), or `$tag$...$tag$`.
    Text,
    /// A number in any form.
    Number,
    /// `$1`.
    Parameter,
    /// Any other character.
    Symbol,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As it was written.
    pub text: &'a str,
}

/// The tokens of a text: put together, they are the text.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    /// The tokens of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (kind, length) = token(self.rest.as_bytes())?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Token { kind, text })
    }
}

/// Kind and length of the token that `text` begins with. The length is never within a character: all that is looked
/// for is ASCII.
fn token(text: &[u8]) -> Option<(Kind, usize)> {
    let first = *text.first()?;
    let second = text.get(1).copied().unwrap_or_default();
    Some(match (first, second) {
        _ if is_space(first) => (Kind::Space, run(text, is_space)),
        (b'-', b'-') => (Kind::Comment, run(text, |byte| !matches!(byte, b'\n' | b'\r'))),
        (b'/', b'*') => (Kind::Comment, comment(text)),
        (b'\'', _) => (Kind::Text, quoted(text, 0, b'\'')),
        (b'E' | b'e', b'\'') => (Kind::Text, escaped(text)),
        (b'B' | b'b' | b'X' | b'x' | b'N' | b'n', b'\'') => (Kind::Text, quoted(text, 1, b'\'')),
        (b'U' | b'u', b'&') if text.get(2) == Some(&b'\'') => (Kind::Text, quoted(text, 2, b'\'')),
        (b'U' | b'u', b'&') if text.get(2) == Some(&b'"') => (Kind::Quoted, quoted(text, 2, b'"')),
        (b'"', _) => (Kind::Quoted, quoted(text, 0, b'"')),
        (b'$', b'0'..=b'9') => (Kind::Parameter, 1 + run(&text[1..], |byte| byte.is_ascii_digit())),
        (b'$', _) => dollar(text),
        (b'0'..=b'9', _) | (b'.', b'0'..=b'9') => (Kind::Number, number(text)),
        _ if is_word(first) => (
            Kind::Word,
            run(text, |byte| {
                is_word(byte) || byte.is_ascii_digit() || byte == b'$'
            }),
        ),
        _ => (Kind::Symbol, 1),
    })
}

fn run(text: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| matches(**byte)).count()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Begins an identifier. Every character beyond ASCII does.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// Comments nest.
fn comment(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(two) = text.get(at..at + 2) {
        at += match two {
            b"/*" => {
                depth += 1;
                2
            }
            b"*/" => {
                depth -= 1;
                if depth == 0 {
                    return at + 2;
                }
                2
            }
            _ => 1,
        };
    }
    text.len()
}

/// From a prefix of `prefix` bytes to the closing quote; a doubled one is none.
fn quoted(text: &[u8], prefix: usize, quote: u8) -> usize {
    let mut at = prefix + 1;
    while let Some(found) = memchr::memchr(quote, &text[at..]) {
        at += found + 1;
        if text.get(at) != Some(&quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// `E'...'`, where a backslash takes the next character with it.
fn escaped(text: &[u8]) -> usize {
    let mut at = 2;
    while let Some(found) = memchr::memchr2(b'\'', b'\\', &text[at..]) {
        at += found;
        // In some encodings a character's second byte is a backslash. Of a character that was not understood it is not
        // known, and then nor is where the literal ends.
        let unknown = text[at] == b'\\' && text[..at].ends_with("\u{fffd}".as_bytes());
        let pair = text[at] == b'\\' || text.get(at + 1) == Some(&b'\'');
        if unknown || at + 1 >= text.len() {
            return text.len();
        }
        if !pair {
            return at + 1;
        }
        at += 1 + character(&text[at + 1..]);
    }
    text.len()
}

/// Length of the character that `text` begins with.
fn character(text: &[u8]) -> usize {
    1 + run(text.get(1..).unwrap_or_default(), |byte| byte & 0xc0 == 0x80)
}

/// `$tag$...$tag$`, where the tag may be empty.
fn dollar(text: &[u8]) -> (Kind, usize) {
    let tag = 1 + run(&text[1..], |byte| is_word(byte) || byte.is_ascii_digit());
    match text.get(tag) {
        // Perhaps a tag that was cut.
        None => (Kind::Text, text.len()),
        Some(b'$') => {
            let (delimiter, body) = text.split_at(tag + 1);
            let end = memchr::memmem::find(body, delimiter).map_or(text.len(), |at| at + 2 * delimiter.len());
            (Kind::Text, end)
        }
        Some(_) => (Kind::Symbol, 1),
    }
}

/// Integers of any base, decimals, exponents, underscores; and letters right behind, which older versions take for a
/// word of their own.
fn number(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let goes_on = match byte {
            b'+' | b'-' => {
                matches!(text[..at], [.., b'0'..=b'9' | b'.', b'e' | b'E'])
                    && !matches!(text, [b'0', b'x' | b'X', ..])
                    && text.get(at + 1).is_some_and(u8::is_ascii_digit)
            }
            b'.' => text.get(at + 1) != Some(&b'.'),
            byte => is_word(*byte) || byte.is_ascii_digit(),
        };
        if !goes_on {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of `text`, each as its kind's first letters and its text, without the white space.
    fn check(text: &str, expect: &[(Kind, &str)]) {
        let tokens: Vec<_> = Lexer::new(text)
            .filter(|token| token.kind != Kind::Space)
            .map(|token| (token.kind, token.text))
            .collect();
        assert_eq!(tokens, expect, "{text}");
        assert_eq!(Lexer::new(text).map(|token| token.text).collect::<String>(), text);
    }

    #[test]
    fn strings() {
        for text in [
            "''",
            "'a'",
            "'it''s'",
            "'a\\'",
            "E'a\\'b'",
            "e'\\\\'",
            "E'a''b\\''",
            "B'01'",
            "x'1F'",
            "N'a'",
            "U&'\\0061'",
            "$$a$$",
            "$t$ $$ $u$ ' $t$",
            "$ä$x$ä$",
            "'a\nb'",
            "'unfinished",
            "'",
            "''''",
            "E'a\\",
            "E'",
            "$$a$",
            "$t$a$t",
            "$t",
            "$",
            "'a''",
            "E'a\\'",
            "E'\u{fffd}\\' , 1",
        ] {
            check(text, &[(Kind::Text, text)]);
        }
        check("'a'b", &[(Kind::Text, "'a'"), (Kind::Word, "b")]);
        check("'a' 'b'", &[(Kind::Text, "'a'"), (Kind::Text, "'b'")]);
        check("E'\\\\' x", &[(Kind::Text, "E'\\\\'"), (Kind::Word, "x")]);
        check("a$b$c", &[(Kind::Word, "a$b$c")]);
    }

    #[test]
    fn numbers() {
        for text in [
            "1",
            "42",
            "3.5",
            "4.",
            ".001",
            "5e2",
            "1.925e-3",
            "1E+9",
            "0x1F",
            "0b01",
            "0o17",
            "1_500_000",
            "1.5e",
            "123abc",
            "0xfe",
            "1.2.3",
        ] {
            check(text, &[(Kind::Number, text)]);
        }
        check(
            "1-2",
            &[(Kind::Number, "1"), (Kind::Symbol, "-"), (Kind::Number, "2")],
        );
        check(
            "1..9",
            &[(Kind::Number, "1"), (Kind::Symbol, "."), (Kind::Number, ".9")],
        );
        check(
            "0xe+1",
            &[(Kind::Number, "0xe"), (Kind::Symbol, "+"), (Kind::Number, "1")],
        );
        check("a1", &[(Kind::Word, "a1")]);
        check("$1", &[(Kind::Parameter, "$1")]);
        check(
            "$12::int",
            &[
                (Kind::Parameter, "$12"),
                (Kind::Symbol, ":"),
                (Kind::Symbol, ":"),
                (Kind::Word, "int"),
            ],
        );
    }

    #[test]
    fn identifiers_and_comments() {
        check("größe", &[(Kind::Word, "größe")]);
        check("\"a\"\"b\"", &[(Kind::Quoted, "\"a\"\"b\"")]);
        check("U&\"d\\0061t\"", &[(Kind::Quoted, "U&\"d\\0061t\"")]);
        check("\"unfinished", &[(Kind::Quoted, "\"unfinished")]);
        check(
            "u&x",
            &[(Kind::Word, "u"), (Kind::Symbol, "&"), (Kind::Word, "x")],
        );
        check("-- 'a\nb", &[(Kind::Comment, "-- 'a"), (Kind::Word, "b")]);
        check(
            "/* /* ' */ */b",
            &[(Kind::Comment, "/* /* ' */ */"), (Kind::Word, "b")],
        );
        check("/* /* */ b", &[(Kind::Comment, "/* /* */ b")]);
        check("/*/ a", &[(Kind::Comment, "/*/ a")]);
        check(
            "a/b",
            &[(Kind::Word, "a"), (Kind::Symbol, "/"), (Kind::Word, "b")],
        );
    }
}
