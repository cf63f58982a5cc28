//! The corpus through the parts that a URL, a statement and a text are made of. Through whole captures and all outputs it goes in
//! `tests/tests/redaction.rs`.

use super::*;

const CORPUS: &str = include_str!("../../../tests/corpus/redaction.tsv");

/// Kind, text, and what of it is secret; nothing where all of it has to stay.
fn values() -> impl Iterator<Item = (&'static str, String, Vec<String>)> {
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let (kind, value) = line.split_once('\t').expect("a tab");
        let value = value.replace('¦', "");
        let marked: Vec<_> = value
            .split("[[")
            .skip(1)
            .filter_map(|part| part.split_once("]]"))
            .collect();
        let secrets = match (kind.starts_with('+'), marked.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => vec![value.clone()],
            (true, false) => marked.into_iter().map(|(secret, _)| secret.to_owned()).collect(),
        };
        let text = if secrets.is_empty() {
            value
        } else {
            value.replace("[[", "").replace("]]", "")
        };
        (&kind[1..], text, secrets)
    })
}

/// All but letters and digits encoded, as often as `times`.
fn encoded(text: &str, times: usize) -> String {
    (0..times).fold(text.to_owned(), |text, _| {
        let bytes = text.bytes().map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        });
        bytes.collect()
    })
}

#[test]
fn what_is_secret_goes_and_what_is_not_stays() {
    let mut wrong = Vec::new();
    let (mut positive, mut negative) = (0, 0);
    for (kind, text, secrets) in values() {
        if secrets.is_empty() {
            negative += 1;
        } else {
            positive += 1;
        }
        for times in 0..4 {
            let written = encoded(&text, times);
            let value = &written;
            let mut places = vec![(Place::Text, written.clone())];
            if times > 0 {
                places.extend([
                    (Place::Path, format!("/a/{value}/b")),
                    (Place::Query, format!("a=1&q={value}&b=2")),
                    (Place::Url, format!("http://e.com/a/{value}?q={value}&b=2")),
                ]);
            }
            if times == 0 && kind != "key" {
                places.push((
                    Place::Statement,
                    format!("SELECT a FROM \"{}\"", value.replace('"', "\"\"")),
                ));
                places.push((Place::Header("x-any"), value.clone()));
            }
            for (place, written) in places {
                let redacted = Redactor::default().text(place, &written);
                let shown = redacted.as_deref().unwrap_or(&written);
                let leaks = |secret: &String| shown.contains(&*encoded(secret, times));
                if secrets.iter().any(leaks) || secrets.is_empty() && shown != written {
                    wrong.push(format!("{kind} in {place:?}: {written} -> {shown}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(positive > 200 && negative > 200, "{positive} and {negative}");
}
