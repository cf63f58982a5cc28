//! Rust text without its comments and without the insides of its strings.

/// One entry a line of `text`. What is blanked becomes nothing, or a pair of quotes where a string was.
pub(super) fn without_comments(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match Token::at(rest) {
            Token::Plain => {
                if first == '\n' {
                    lines.push(String::new());
                } else if let Some(line) = lines.last_mut() {
                    line.push(first);
                }
                first.len_utf8()
            }
            Token::Comment(length) => {
                break_lines(&mut lines, &rest[..length]);
                length
            }
            Token::Literal(length) => {
                if let Some(line) = lines.last_mut() {
                    line.push_str("\"\"");
                }
                break_lines(&mut lines, &rest[..length]);
                length
            }
            // A word is taken whole, so that the `r` of `for"…"` begins no raw string.
            Token::Word(length) => {
                if let Some(line) = lines.last_mut() {
                    line.push_str(&rest[..length]);
                }
                length
            }
        };
        rest = &rest[length..];
    }
    lines
}

fn break_lines(lines: &mut Vec<String>, blanked: &str) {
    lines.extend(blanked.matches('\n').map(|_| String::new()));
}

/// What a text begins with, and its length in bytes.
enum Token {
    Comment(usize),
    Literal(usize),
    Word(usize),
    Plain,
}

impl Token {
    fn at(text: &str) -> Self {
        if text.starts_with("//") {
            return Self::Comment(text.find('\n').unwrap_or(text.len()));
        }
        if text.starts_with("/*") {
            return Self::Comment(block_comment(text));
        }
        let word = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        let (prefix, rest) = text.split_at(word);
        if ["", "b", "c"].contains(&prefix) && rest.starts_with('"') {
            return Self::Literal(word + quoted(rest, '"'));
        }
        if ["r", "br", "cr"].contains(&prefix)
            && let Some(length) = raw_string(rest)
        {
            return Self::Literal(word + length);
        }
        if ["", "b"].contains(&prefix) && is_character(rest) {
            return Self::Literal(word + quoted(rest, '\''));
        }
        if word > 0 { Self::Word(word) } else { Self::Plain }
    }
}

/// Comments of this kind nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of a literal that begins and ends with `quote`, with backslash escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `#"…"#` with any number of `#`; `None` where it is none, such as the `#ident` of `r#ident`.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.find(|c| c != '#').unwrap_or(text.len());
    let body = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(
        body.find(&end)
            .map_or(text.len(), |at| hashes + 1 + at + end.len()),
    )
}

/// Whether a quote begins a character, not a lifetime: `'a'` and `'\n'`, but not `'a`.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars();
    if characters.next() != Some('\'') {
        return false;
    }
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_go_and_lines_stay() {
        let check = |text: &str, expect: &[&str]| assert_eq!(without_comments(text), expect, "{text}");
        check("a // b\nc", &["a ", "c"]);
        check("a /* b /* c */ d\n */ e", &["a ", " e"]);
        check("f(\"unsafe \\\" // x\") + 1", &["f(\"\") + 1"]);
        check("r#\"a \" b\"# + br\"c\\\" + d", &["\"\" + \"\" + d"]);
        check(
            "let a: &'static str = '\\'' ; 'b' b'\"' g",
            &["let a: &'static str = \"\" ; \"\" \"\" g"],
        );
        check("\"two\nlines\" a", &["\"\"", " a"]);
        check("r#type", &["r#type"]);
        check("\"never ended", &["\"\""]);
    }
}
