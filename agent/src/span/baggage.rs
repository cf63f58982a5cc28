//! Entries of `baggage` (W3C Baggage) that become attributes.

use super::{Attribute, Span, Value};
use crate::protocol::{Request, amqp, percent};

/// Name of the header, and of the entry in the headers of a message.
const BAGGAGE: &[u8] = b"baggage";

/// Bytes and entries that are read of one request: as much as the specification has to be passed on (section 3.3.2).
const BYTES: usize = 8192;
const ENTRIES: usize = 64;

/// Adds to `span` those entries of its request's baggage that are called one of `keys`, under their own names. What the span says
/// itself goes before.
pub(super) fn add(span: &mut Span, request: Request<'_>, keys: &[String]) {
    if keys.is_empty() {
        return;
    }
    match request {
        Request::Http1(head) => read(span, head.headers(), keys),
        Request::Http2(head) => read(span, head.known(), keys),
        Request::Amqp(content) => {
            let headers = content.properties().headers.into_iter().flatten();
            let texts = headers.filter_map(|(name, value)| match value {
                amqp::Value::Text(value) => Some((name, value)),
                _ => None,
            });
            read(span, texts, keys);
        }
        Request::Postgres(_) => {}
    }
}

/// Reads all headers that are baggage as one: there may be several (section 3.1).
fn read<'a>(span: &mut Span, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, keys: &[String]) {
    let mut bytes = BYTES;
    let lines = fields.filter(|(name, _)| name.eq_ignore_ascii_case(BAGGAGE));
    let lines = lines.map_while(|(_, line)| {
        bytes = bytes.checked_sub(line.len())?;
        Some(line)
    });
    let own = span.attributes.len();
    for entry in lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .take(ENTRIES)
    {
        let Some((key, value)) = entry_of(entry, keys) else {
            continue;
        };
        let place = span.attributes.iter().position(|attribute| attribute.key == *key);
        match place {
            // Of entries with the same name, the last counts.
            Some(place) if place >= own => span.attributes[place].value = Value::Text(value.into()),
            Some(_) => {}
            None => span.attributes.push(Attribute {
                key: key.clone().into(),
                value: Value::Text(value.into()),
            }),
        }
    }
}

/// Key and value of `entry`, `key=value;property`, where it is one of `keys`. What is not UTF-8 behind its percent-encoding has
/// U+FFFD in its place (section 3.2.1.2).
fn entry_of<'k>(entry: &[u8], keys: &'k [String]) -> Option<(&'k String, String)> {
    let entry = entry.split(|byte| *byte == b';').next()?;
    let equals = memchr::memchr(b'=', entry)?;
    let name = entry[..equals].trim_ascii();
    let key = keys.iter().find(|key| key.as_bytes() == name)?;
    let value = percent::decoded(entry[equals + 1..].trim_ascii());
    Some((key, String::from_utf8_lossy(&value).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::example::example;

    fn check(lines: &[&str], expect: &[(&str, &str)]) {
        let mut span = Span {
            attributes: vec![Attribute {
                key: "url.path".into(),
                value: Value::Text("/".into()),
            }],
            ..example()
        };
        let fields = lines.iter().map(|line| (&b"Baggage"[..], line.as_bytes()));
        let keys = ["tenant", "user.tier", "url.path"].map(str::to_owned);
        read(&mut span, fields, &keys);
        let found: Vec<_> = span
            .attributes
            .iter()
            .map(|attribute| match &attribute.value {
                Value::Text(text) => (&*attribute.key, text.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, [&[("url.path", "/")], expect].concat(), "{lines:?}");
    }

    #[test]
    fn chosen_entries_become_attributes() {
        check(&["tenant=a"], &[("tenant", "a")]);
        check(
            &["other=x, tenant = a%20b ;p=1;q , user.tier=gold"],
            &[("tenant", "a b"), ("user.tier", "gold")],
        );
        check(
            &["tenant=a", "user.tier=b"],
            &[("tenant", "a"), ("user.tier", "b")],
        );
        check(&["tenant=a,tenant=b"], &[("tenant", "b")]);
        check(&["tenant=%C3%A4%ff"], &[("tenant", "ä\u{fffd}")]);
        check(&["Tenant=a", "tenant", "=a", "", ",;=", "url.path=/other"], &[]);
        check(&["tenant="], &[("tenant", "")]);
    }

    #[test]
    fn no_more_is_read_than_has_to_be_passed_on() {
        let many = |count: usize| format!("{}tenant=a", "x=1,".repeat(count));
        check(&[&many(ENTRIES - 1)], &[("tenant", "a")]);
        check(&[&many(ENTRIES)], &[]);
        let long = |length: usize| format!("tenant=a,x={}", "1".repeat(length - 11));
        check(&[&long(BYTES)], &[("tenant", "a")]);
        check(&[&long(BYTES + 1)], &[]);
    }
}
