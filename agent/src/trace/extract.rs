//! Where in a request of each protocol the fields are that carry a context.

use super::context::{Extracted, Fields};
use crate::protocol::{Request, amqp, percent};
use crate::span::sql::{Kind, Lexer};
use memchr::memmem;

/// The context that a request carries.
///
/// - HTTP and gRPC: header fields. Of a head that was cut, or is known in part, those that are there.
/// - AMQP: headers of the message, where they are texts.
/// - PostgreSQL: a comment as sqlcommenter writes it (<https://google.github.io/sqlcommenter/spec/>), of a simple query alone.
///   The text of a prepared statement was written for another execution.
#[must_use]
pub fn extract(request: Request<'_>) -> Extracted {
    match request {
        Request::Http1(head) => of(head.headers()),
        Request::Http2(head) => of(head.known()),
        Request::Amqp(content) => {
            let headers = content.properties().headers;
            of(headers
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| match value {
                    amqp::Value::Text(value) => Some((name, value)),
                    _ => None,
                }))
        }
        Request::Postgres(text) => text.map_or_else(Extracted::default, |text| statement(&text.bytes)),
    }
}

fn of<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Extracted {
    let mut all = Fields::default();
    for (name, value) in fields {
        all.show(name, value);
    }
    all.read()
}

/// What the comments of a statement say: `/*key='value',key='value'*/`, values as in a URL.
fn statement(text: &[u8]) -> Extracted {
    // Hardly any statement has one.
    if memmem::find(text, b"traceparent").is_none() {
        return Extracted::default();
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Extracted::default();
    };
    let comments = Lexer::new(text).filter(|token| token.kind == Kind::Comment);
    let comments = comments.filter_map(|token| token.text.strip_prefix("/*")?.strip_suffix("*/"));
    let pairs: Vec<_> = comments
        .flat_map(|comment| comment.split(','))
        .filter_map(pair)
        .collect();
    of(pairs.iter().map(|(name, value)| (name.as_bytes(), &**value)))
}

/// `key='value'`
fn pair(text: &str) -> Option<(&str, Vec<u8>)> {
    let (name, value) = text.trim().split_once('=')?;
    let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
    Some((name, percent::decoded(value.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> Option<String> {
        let extracted = statement(text.as_bytes());
        assert_eq!(extracted.malformed, 0, "{text}");
        extracted.context.map(|context| context.state.to_string())
    }

    #[test]
    fn comments_of_statements() {
        let parent = "traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'";
        let check =
            |text: String, expect: Option<&str>| assert_eq!(state(&text).as_deref(), expect, "{text}");
        check(format!("SELECT 1 /*{parent}*/"), Some(""));
        check(format!("/* action='run' , {parent} */ SELECT 1"), Some(""));
        check(
            format!("SELECT 1 /*{parent},tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/;"),
            Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        );
        // Texts and names that look like one.
        check(format!("SELECT '/*{}*/'", parent.replace('\'', "''")), None);
        check(format!("SELECT $$/*{parent}*/$$"), None);
        check(format!("SELECT \"/*{parent}*/\""), None);
        check(format!("SELECT 1 -- {parent}"), None);
        // A comment that was cut off.
        check(format!("SELECT 1 /*{parent}"), None);
        check("SELECT traceparent FROM t".to_owned(), None);
        assert_eq!(statement(b"SELECT 1 /*traceparent='00-1'*/").malformed, 1);
        assert_eq!(percent::decoded(b"%41%4%zz%"), b"A%4%zz%");
    }
}
