//! Literals and comments out of SQL (`db.query.text`; "Sanitization of db.query.text" in the database conventions).

use crate::span::sql::{Kind, Lexer};

/// What a literal becomes.
const PLACEHOLDER: &str = "?";

/// `text` without its literals and comments, `None` where it has none.
///
/// Numbers, strings and truth values become `?`; NULL stays, and so do parameters. A comment is white space to SQL, and
/// becomes that. Wherever `text` was cut, nothing of a literal is left.
pub(super) fn literals(text: &str) -> Option<String> {
    let mut redacted: Option<String> = None;
    let mut read = 0;
    // The last word, for `IS TRUE`, which is a predicate.
    let mut word = "";
    for token in Lexer::new(text) {
        let is_literal = match token.kind {
            Kind::Text | Kind::Number => true,
            Kind::Word => {
                is_truth(token.text) && !["is", "not"].iter().any(|it| it.eq_ignore_ascii_case(word))
            }
            _ => false,
        };
        let is_comment = token.kind == Kind::Comment;
        if is_literal || is_comment {
            let redacted = redacted.get_or_insert_with(|| text[..read].to_owned());
            if is_literal {
                redacted.push_str(PLACEHOLDER);
            } else if !redacted.is_empty() && !redacted.ends_with(char::is_whitespace) {
                redacted.push(' ');
            }
        } else if let Some(redacted) = &mut redacted {
            redacted.push_str(token.text);
        }
        read += token.text.len();
        match token.kind {
            Kind::Space | Kind::Comment => {}
            Kind::Word => word = token.text,
            _ => word = "",
        }
    }
    redacted
}

fn is_truth(word: &str) -> bool {
    word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let redacted = literals(text);
        assert_eq!(redacted.as_deref().unwrap_or(text), expect);
        // Nothing is left to be done.
        assert_eq!(literals(expect), None, "{expect}");
    }

    #[test]
    fn literals_go() {
        check(
            "SELECT * FROM t WHERE a = 'x' AND b=-1.5e3",
            "SELECT * FROM t WHERE a = ? AND b=-?",
        );
        check("SELECT $1, $2::int FROM t1", "SELECT $1, $2::int FROM t1");
        check(
            "SELECT E'it\\'s', U&'\\0061', B'1', X'F', N'x'",
            "SELECT ?, ?, ?, ?, ?",
        );
        check(
            "SELECT ARRAY[1,2]::int[], '{1,2}'::int[]",
            "SELECT ARRAY[?,?]::int[], ?::int[]",
        );
        check("DO $do$ BEGIN RAISE 'secret'; END $do$", "DO ?");
        check(
            "INSERT INTO t VALUES (1,'a',NULL,true,DATE '2020-01-01')",
            "INSERT INTO t VALUES (?,?,NULL,?,DATE ?)",
        );
        check(
            "SELECT a IS TRUE, b IS NOT FALSE, c = false",
            "SELECT a IS TRUE, b IS NOT FALSE, c = ?",
        );
        check("ALTER USER u PASSWORD 'secret'", "ALTER USER u PASSWORD ?");
        check("SELECT \"a'b\" FROM \"1\"", "SELECT \"a'b\" FROM \"1\"");
        check(
            "SELECT x FROM t LIMIT 10 OFFSET .5",
            "SELECT x FROM t LIMIT ? OFFSET ?",
        );
        check("SELECT 'a''b' || 'c'\n'd'", "SELECT ? || ?\n?");
        check("", "");
    }

    #[test]
    fn comments_go() {
        check("SELECT a -- secret\nFROM t", "SELECT a \nFROM t");
        check("SELECT/* secret /* x */ */a FROM t", "SELECT a FROM t");
        check("/* secret */SELECT a", "SELECT a");
        check("SELECT a /*secret", "SELECT a ");
        check("SELECT a/*traceparent='00-1'*/", "SELECT a ");
    }

    #[test]
    fn a_cut_text_shows_no_half_literal() {
        let text = "SELECT a, 'secret', E'se\\'cret', $s$secret$s$, $$secret$$, U&'secret', 'se''cret', 7331, 7.331e7 \
                    /* secret */ -- secret";
        for (end, _) in text.char_indices() {
            let redacted = literals(&text[..end]).unwrap_or_else(|| text[..end].to_owned());
            assert!(
                !redacted.contains("sec") && !redacted.contains("cret"),
                "{redacted}"
            );
            assert!(!redacted.contains(|c: char| c.is_ascii_digit()), "{redacted}");
        }
    }
}
