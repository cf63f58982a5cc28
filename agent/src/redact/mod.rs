//! Redaction: the one door between building spans and everything that shows, keeps or sends them.

use smol_str::SmolStr;

use crate::span::semconv as name;
use crate::span::sql::Memo;
use crate::span::{Attribute, Span, Value};

mod sql;
mod url;

/// What is taken out of spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Longest text of an attribute, in characters, `None` without limit (`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`).
    pub value_length: Option<usize>,
    /// Whether credentials, and literals and comments of SQL, are replaced. Where not, whoever reads the spans reads them
    /// as well.
    pub secrets: bool,
    /// Query keys whose values are replaced, case-sensitive.
    pub query_keys: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            value_length: Some(4096),
            secrets: true,
            query_keys: name::SENSITIVE_QUERY_KEYS
                .iter()
                .map(|key| (*key).to_owned())
                .collect(),
        }
    }
}

/// A span that went through [`Redactor::span`]. Nothing else makes one, and export takes nothing else.
#[derive(Clone, Debug)]
pub struct Redacted(Span);

impl Redacted {
    /// The span inside.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.0
    }
}

/// Redacts spans, and remembers what became of statements.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    rules: Rules,
    statements: Memo<Option<SmolStr>>,
}

impl Redactor {
    /// With these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            statements: Memo::default(),
        }
    }

    /// Takes out of `span` what the rules say.
    #[must_use]
    pub fn span(&mut self, mut span: Span) -> Redacted {
        let events = span.events.iter_mut().flat_map(|event| &mut event.attributes);
        for attribute in span.attributes.iter_mut().chain(events) {
            self.attribute(attribute);
        }
        Redacted(span)
    }

    fn attribute(&mut self, attribute: &mut Attribute) {
        let rules = &self.rules;
        match &mut attribute.value {
            Value::Text(text) => {
                let redacted = match &*attribute.key {
                    name::URL_FULL if rules.secrets => url::full(text, &rules.query_keys).map(SmolStr::from),
                    name::URL_QUERY if rules.secrets => {
                        url::query(text, &rules.query_keys).map(SmolStr::from)
                    }
                    name::DB_QUERY_TEXT if rules.secrets => self
                        .statements
                        .of(text, |text| sql::literals(text).map(SmolStr::from)),
                    _ => None,
                };
                if let Some(redacted) = redacted {
                    *text = redacted;
                }
                if let Some(end) = end(text, rules.value_length) {
                    *text = text[..end].into();
                }
            }
            Value::Texts(texts) => {
                for text in texts {
                    if let Some(end) = end(text, rules.value_length) {
                        text.truncate(end);
                    }
                }
            }
            Value::Integer(_) | Value::Boolean(_) => {}
        }
    }
}

/// Where `text` is cut if it has more than `limit` characters. Cut last: a cut URL no longer shows where its secrets end.
fn end(text: &str, limit: Option<usize>) -> Option<usize> {
    // A text of no more bytes than that has no more characters either.
    let limit = limit.filter(|limit| text.len() > *limit)?;
    Some(text.char_indices().nth(limit)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(key: &'static str, value: Value, rules: &Rules) -> Value {
        let mut attribute = Attribute {
            key: key.into(),
            value,
        };
        Redactor::new(rules.clone()).attribute(&mut attribute);
        attribute.value
    }

    #[test]
    fn urls_lose_credentials_and_signatures_only_where_a_url_is() {
        let rules = Rules::default();
        let text = "http://user:pass@e.com/?sig=abc";
        for (key, expected) in [
            ("url.full", "http://REDACTED:REDACTED@e.com/?sig=REDACTED"),
            ("user_agent.original", text),
        ] {
            assert_eq!(
                redacted(key, Value::Text(text.into()), &rules),
                Value::Text(expected.into()),
                "{key}"
            );
        }
        assert_eq!(
            redacted("url.query", Value::Text("a=1&sig=abc".into()), &rules),
            Value::Text("a=1&sig=REDACTED".into())
        );
    }

    #[test]
    fn sql_loses_its_literals_unless_it_may_keep_them() {
        let text = "SELECT 'secret'";
        let keeps = Rules {
            secrets: false,
            ..Rules::default()
        };
        for (rules, expected) in [(Rules::default(), "SELECT ?"), (keeps, text)] {
            assert_eq!(
                redacted("db.query.text", Value::Text(text.into()), &rules),
                Value::Text(expected.into())
            );
        }
    }

    #[test]
    fn texts_are_cut_by_characters() {
        let rules = Rules {
            value_length: Some(3),
            ..Rules::default()
        };
        for (text, expected) in [
            ("abc", "abc"),
            ("abcd", "abc"),
            ("äöü", "äöü"),
            ("äöüß", "äöü"),
            ("", ""),
        ] {
            assert_eq!(
                redacted("url.path", Value::Text(text.into()), &rules),
                Value::Text(expected.into())
            );
            let owned = Value::Text(text.to_owned().into());
            assert_eq!(redacted("url.path", owned, &rules), Value::Text(expected.into()));
        }
        let texts = Value::Texts(["abcd", "x"].map(str::to_owned).into());
        let cut = Value::Texts(["abc", "x"].map(str::to_owned).into());
        assert_eq!(redacted("http.request.header.a", texts, &rules), cut);
        assert_eq!(
            redacted("server.port", Value::Integer(80_000), &rules),
            Value::Integer(80_000)
        );
    }

    #[test]
    fn a_secret_is_replaced_before_it_could_be_cut_in_two() {
        let rules = Rules {
            value_length: Some(28),
            ..Rules::default()
        };
        let url = Value::Text("http://user:pass@e.com/".into());
        assert_eq!(
            redacted("url.full", url, &rules),
            Value::Text("http://REDACTED:REDACTED@e.c".into())
        );
    }
}
