//! Prometheus' text format, read: samples as the server of this module writes them.

use std::collections::BTreeMap;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name with its suffix.
    pub name: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// All samples of `text`; lines that are none are left out.
pub fn samples(text: &str) -> impl Iterator<Item = Sample> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.trim_start().split(' ').next()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// What is in front of the closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::family::{Family, Kind, Value};
    use crate::metrics::text::{self, Format};

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(value in ".{0,20}", count: u32) {
            let family = Family::new("a.b", Kind::Gauge, "", "Help.")
                .with([("first.one", &value), ("x", "}\",")], Value::Count(count.into()));
            let text = text::write(&[family], Format::Prometheus);
            let labels = [("first_one", &*value), ("x", "}\",")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            let expect = Sample { name: "a_b".to_owned(), labels: labels.into(), value: count.into() };
            proptest::prop_assert_eq!(samples(&text).collect::<Vec<_>>(), [expect]);
        }

        #[test]
        fn no_text_panics(text in "[a-c{}=\",\\\\ 0-9\n#é]{0,60}") {
            let _ = samples(&text).count();
        }
    }
}
