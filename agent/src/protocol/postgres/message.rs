//! What the bodies say that matter here (PostgreSQL documentation, "Message Formats").

use super::frame::Frame;
use super::{Failure, Text, Transaction};
use smol_str::SmolStr;
use std::sync::Arc;

/// Name of a prepared statement or a portal; the unnamed one's is empty.
pub(super) type Name = Box<[u8]>;

/// Parse: `name` stands for `text` from here on.
#[derive(Clone, Debug)]
pub(super) struct Parse {
    pub(super) name: Name,
    pub(super) text: Arc<Text>,
}

/// Bind: `portal` will execute `statement`.
#[derive(Clone, Debug)]
pub(super) struct Bind {
    pub(super) portal: Name,
    pub(super) statement: Name,
}

/// What Close and Describe are about.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Statement(Name),
    Portal(Name),
}

/// A Query's text, of which `limit` bytes are kept.
pub(super) fn query<S>(frame: &Frame<S>, limit: usize) -> Arc<Text> {
    text(&frame.body, limit)
}

/// `None` where the name was not seen whole. Of the text `limit` bytes are kept.
pub(super) fn parse<S>(frame: &Frame<S>, limit: usize) -> Option<Parse> {
    let (name, rest) = string(&frame.body)?;
    Some(Parse {
        name: name.into(),
        text: text(rest, limit),
    })
}

/// `None` where the names were not seen whole.
pub(super) fn bind<S>(frame: &Frame<S>) -> Option<Bind> {
    let (portal, rest) = string(&frame.body)?;
    let (statement, _) = string(rest)?;
    Some(Bind {
        portal: portal.into(),
        statement: statement.into(),
    })
}

/// An Execute's portal; `None` where its name was not seen whole.
pub(super) fn execute<S>(frame: &Frame<S>) -> Option<Name> {
    Some(string(&frame.body)?.0.into())
}

/// Of Close and Describe; `None` where the name was not seen whole.
pub(super) fn target<S>(frame: &Frame<S>) -> Option<Target> {
    let (kind, name) = frame.body.split_first()?;
    let name = string(name)?.0.into();
    match kind {
        b'S' => Some(Target::Statement(name)),
        b'P' => Some(Target::Portal(name)),
        _ => None,
    }
}

/// A CommandComplete's tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The command, without its numbers.
    pub(super) name: SmolStr,
    /// Rows, for commands that count them.
    pub(super) rows: Option<u64>,
}

/// `INSERT oid rows`, `SELECT rows`, `CREATE TABLE`. `None` where the tag was not seen whole.
pub(super) fn command<S>(frame: &Frame<S>) -> Option<Command> {
    let tag = std::str::from_utf8(string(&frame.body)?.0).ok()?;
    let name = tag.trim_end_matches(|c: char| c == ' ' || c.is_ascii_digit());
    let rows = tag[name.len()..]
        .rsplit(' ')
        .next()
        .and_then(|rows| rows.parse().ok());
    Some(Command {
        name: name.into(),
        rows,
    })
}

/// An ErrorResponse: fields of a type byte and a string each.
pub(super) fn failure<S>(frame: &Frame<S>) -> Failure {
    let mut rest = frame.body.as_slice();
    while let Some((kind, behind)) = rest.split_first()
        && let Some((value, behind)) = string(behind)
    {
        if *kind == b'C' {
            let code = <[u8; 5]>::try_from(value).ok();
            return Failure {
                code: code.filter(|code| code.iter().all(u8::is_ascii_alphanumeric)),
            };
        }
        rest = behind;
    }
    Failure { code: None }
}

/// What a ReadyForQuery says.
pub(super) fn transaction<S>(frame: &Frame<S>) -> Option<Transaction> {
    match frame.body.first()? {
        b'I' => Some(Transaction::Idle),
        b'T' => Some(Transaction::Open),
        b'E' => Some(Transaction::Failed),
        _ => None,
    }
}

/// The text that `body` begins with; without its end where `body` does not hold that.
fn text(body: &[u8], limit: usize) -> Arc<Text> {
    let end = memchr::memchr(0, body);
    let length = end.unwrap_or(body.len()).min(limit);
    Arc::new(Text {
        bytes: body[..length].into(),
        is_cut: end != Some(length),
    })
}

/// The string that `body` begins with, and what is behind its end.
pub(super) fn string(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, body)?;
    Some((&body[..end], &body[end + 1..]))
}
