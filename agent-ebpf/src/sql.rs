//! The text of a statement, as far as one has to know it to put a comment with a trace context behind it
//! (<https://google.github.io/sqlcommenter/spec/>).
//!
//! Behind all else is the one place where a comment changes nothing, whatever the text is: what has no comment of its own and
//! ends outside of a literal means the same, and what ends within one is an error with the comment, too. The quotes of the
//! comment come in a pair, so that they never close what is open; of what else opens (`"`, `$tag$`), it has nothing.

use crate::traceparent;
use crate::word::{LOWER, bytes_before, each, pattern};

/// Length of the comment: ` /*traceparent='VALUE'*/`.
pub const COMMENT: u32 = VALUE + traceparent::LENGTH + 3;

/// In the comment, where the value is.
pub const VALUE: u32 = 16;

/// What stands in front of the value, in two words.
pub const COMMENT_BEGINS: [u64; 2] = [pattern(b" /*trace"), pattern(b"parent='")];

/// What stands behind it, and the zero that ends the text.
pub const COMMENT_ENDS: u32 = pattern(b"'*/\0") as u32;

/// What some bytes of a text say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// A comment begins with one of them, or something that looks like it: in a literal it does no harm to leave it alone.
    pub comment: bool,
    /// How many there are before the zero that ends the text; 8 where that is not among them.
    pub length: u32,
}

/// Looks at eight bytes of a text; `next` are those from the second of them on.
#[inline(always)]
#[must_use]
pub fn see(word: u64, next: u64) -> Seen {
    let zeroes = each(word, 0);
    let before = zeroes.wrapping_sub(1) & !zeroes;
    let block = each(word, b'/') & each(next, b'*');
    let line = each(word, b'-') & each(next, b'-');
    Seen {
        comment: (block | line) & before != 0,
        length: bytes_before(zeroes),
    }
}

/// How many of eight bytes are white space, from the first on.
#[inline(always)]
#[must_use]
pub fn spaces(word: u64) -> u32 {
    let space = each(word, b' ') | each(word, b'\n') | each(word, b'\t') | each(word, b'\r');
    bytes_before(!space & each(0, 0))
}

/// Whether a statement that begins with these sixteen bytes may have a context: it is one on rows, or on a transaction. Not
/// all that speaks PostgreSQL's protocol takes comments in all that is sent as a query: a server's walsender does not in
/// commands of replication, and PgBouncer does not in those of its console. None of those begins so.
#[inline(always)]
#[must_use]
pub const fn takes_context(word: u64, next: u64) -> bool {
    is(word, next, b"select")
        | is(word, next, b"insert")
        | is(word, next, b"update")
        | is(word, next, b"delete")
        | is(word, next, b"merge")
        | is(word, next, b"with")
        | is(word, next, b"values")
        | is(word, next, b"call")
        | is(word, next, b"copy")
        | is(word, next, b"declare")
        | is(word, next, b"fetch")
        | is(word, next, b"begin")
        | is(word, next, b"start")
        | is(word, next, b"commit")
        | is(word, next, b"rollback")
}

/// Whether the first word is this one, which has no more than eight letters, in any case.
#[inline(always)]
const fn is(word: u64, next: u64, text: &[u8]) -> bool {
    let (mask, behind) = if text.len() < 8 {
        ((1 << (8 * text.len())) - 1, (word >> (8 * text.len())) as u8)
    } else {
        (u64::MAX, next as u8)
    };
    (word | LOWER) & mask == pattern(text) && !goes_on(behind)
}

/// Whether a word goes on with this byte.
#[inline(always)]
const fn goes_on(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    letter | digit | (byte == b'_') | (byte == b'$') | (byte >= 0x80)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;

    fn word(text: &[u8]) -> u64 {
        // What is behind a text's end is left over from others.
        let mut bytes = *b"*-/-*--/";
        let length = text.len().min(8);
        bytes[..length].copy_from_slice(&text[..length]);
        u64::from_le_bytes(bytes)
    }

    /// What the kernel half does with a text: `None` where it leaves it alone, else where the zero is.
    fn looked(text: &[u8]) -> Option<usize> {
        for at in (0..).step_by(8) {
            let seen = see(word(&text[at..]), word(&text[at + 1..]));
            if seen.comment {
                return None;
            }
            if seen.length < 8 {
                return Some(at + seen.length as usize);
            }
        }
        None
    }

    fn takes(text: &[u8]) -> bool {
        let at = |from: usize| text.get(from..).map_or_else(|| word(b"\0"), word);
        takes_context(at(0), at(8))
    }

    #[test]
    fn a_comment_is_found_wherever_it_begins() {
        for at in 0..40 {
            let filler = "x".repeat(at);
            for comment in ["/*", "--", "/*/", "---", "/* a */", "-- a"] {
                for rest in ["", " ", "x", "more of it, which goes on"] {
                    let text = format!("{filler}{comment}{rest}\0");
                    assert_eq!(looked(text.as_bytes()), None, "{text:?}");
                }
            }
            for none in ["", "*/", "/", "*", "-", "- -", "/ *", "-/", "/-*", "->-", "a.*/b"] {
                let text = format!("{filler}{none}\0");
                assert_eq!(looked(text.as_bytes()), Some(text.len() - 1), "{text:?}");
                // What comes behind the zero is another message.
                let text = format!("{text}/*--");
                assert_eq!(looked(text.as_bytes()), Some(text.len() - 5), "{text:?}");
            }
        }
    }

    #[test]
    fn white_space_is_stepped_over() {
        for (text, expected) in [
            (&b"        "[..], 8),
            (b"\n\t\r    S", 7),
            (b"SELECT 1", 0),
            (b" S", 1),
            (b"\0       ", 0),
            (b" \0      ", 1),
            (b" \x0b", 1),
            (b"  \xa0", 2),
        ] {
            assert_eq!(spaces(word(text)), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn statements_are_told_by_their_first_word() {
        for text in [
            &b"SELECT 1\0"[..],
            b"select\n*",
            b"Select(1)",
            b"SELECT*FROM t",
            b"select\"a\"",
            b"VALUES(1)",
            b"with a as",
            b"WITH\0",
            b"BEGIN\0",
            b"COMMIT;\0",
            b"ROLLBACK\0",
            b"ROLLBACK TO a\0",
            b"START TRANSACTION\0",
            b"COPY t FROM STDIN\0",
            b"DECLARE c CURSOR FOR SELECT 1\0",
            b"FETCH 10 FROM c\0",
        ] {
            assert!(takes(text), "{}", text.escape_ascii());
        }
        for text in [
            &b"\0"[..],
            b";\0",
            b"SELEC\0",
            b"SELECTED\0",
            b"select_\0",
            b"select1\0",
            b"select$\0",
            b"select\xc3\xa4\0",
            b"ROLLBACKS\0",
            b"PREPARE a AS SELECT 1\0",
            b"CREATE VIEW a AS SELECT 1\0",
            b"DO $$ BEGIN END $$\0",
            b"(SELECT 1)\0",
            // Replication (documentation of PostgreSQL, section "Streaming Replication Protocol").
            b"IDENTIFY_SYSTEM\0",
            b"START_REPLICATION 0/0\0",
            b"CREATE_REPLICATION_SLOT a PHYSICAL\0",
            b"READ_REPLICATION_SLOT a\0",
            b"DROP_REPLICATION_SLOT a\0",
            b"ALTER_REPLICATION_SLOT a ()\0",
            b"TIMELINE_HISTORY 1\0",
            b"BASE_BACKUP\0",
            b"UPLOAD_MANIFEST\0",
            b"SHOW data_directory_mode\0",
            // PgBouncer's console.
            b"SHOW POOLS\0",
            b"SET a = b\0",
            b"RELOAD\0",
            b"PAUSE\0",
            b"SUSPEND\0",
            b"RESUME\0",
            b"KILL a\0",
            b"WAIT_CLOSE\0",
            b"RECONNECT\0",
            b"ENABLE a\0",
            b"DISABLE a\0",
            b"SHUTDOWN\0",
        ] {
            assert!(!takes(text), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn the_comment_is_as_it_is_read() {
        let begins = COMMENT_BEGINS.map(u64::to_le_bytes).concat();
        assert_eq!(begins, b" /*traceparent='");
        assert_eq!(COMMENT_ENDS.to_le_bytes(), *b"'*/\0");
        assert_eq!(COMMENT as usize, begins.len() + 55 + 3);
    }
}
