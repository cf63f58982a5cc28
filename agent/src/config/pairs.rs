//! `key1=value1,key2=value2`: how OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS are written.
//!
//! The form of a [W3C baggage] header without its properties: keys and values percent-encoded, white space around them
//! of no meaning. The [resource specification] asks to discard the whole text when any part of it is wrong.
//!
//! [W3C baggage]: https://www.w3.org/TR/baggage/#header-content
//! [resource specification]: https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable

/// What is wrong with a list of pairs. Values are left out of it: they may be credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An entry without `=`.
    #[error("entry {0} has no `=`")]
    NoEquals(usize),
    /// An entry without a key.
    #[error("entry {0} has no key before the `=`")]
    NoKey(usize),
    /// A percent sign that two hexadecimal digits do not follow, or bytes that are no UTF-8.
    #[error("entry {0} is not percent-encoded UTF-8")]
    Encoding(usize),
}

/// The pairs of `text`, in order; a key that comes twice has its last value. Entries count from 1 in errors.
///
/// # Errors
/// The first entry that is not a pair.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, Malformed> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (number, entry) in text
        .split(',')
        .enumerate()
        .map(|(index, entry)| (index + 1, entry.trim()))
    {
        if entry.is_empty() {
            continue; // As a comma at the end leaves.
        }
        let (key, value) = entry.split_once('=').ok_or(Malformed::NoEquals(number))?;
        let decode = |text: &str| decode(text.trim()).ok_or(Malformed::Encoding(number));
        let (key, value) = (decode(key)?, decode(value)?);
        if key.is_empty() {
            return Err(Malformed::NoKey(number));
        }
        match pairs.iter_mut().find(|(known, _)| *known == key) {
            Some(pair) => pair.1 = value,
            None => pairs.push((key, value)),
        }
    }
    Ok(pairs)
}

/// RFC 3986, section 2.1.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expect: Result<&[(&str, &str)], Malformed>) {
        let expect = expect.map(|pairs| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect()
        });
        assert_eq!(parse(input), expect, "{input}");
    }

    #[test]
    fn pairs() {
        check("", Ok(&[]));
        check("a=1,b=2", Ok(&[("a", "1"), ("b", "2")]));
        check(" a = 1 , b = 2 ,", Ok(&[("a", "1"), ("b", "2")]));
        check("a=", Ok(&[("a", "")]));
        check("a=1,a=2", Ok(&[("a", "2")]));
        check(
            "authorization=Basic%20dXNlcjpw,x=a=b",
            Ok(&[("authorization", "Basic dXNlcjpw"), ("x", "a=b")]),
        );
        check("k%2C%3D=%C3%A9%2c", Ok(&[("k,=", "é,")]));
        check("a=1,b", Err(Malformed::NoEquals(2)));
        check("=1", Err(Malformed::NoKey(1)));
        check("a=%", Err(Malformed::Encoding(1)));
        check("a=%4", Err(Malformed::Encoding(1)));
        check("a=%zz", Err(Malformed::Encoding(1)));
        check("a=1,b=%ff", Err(Malformed::Encoding(2)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_was_encoded_comes_back(
            text in ".*",
            key in "[a-z.]{1,9}",
            value in proptest::collection::vec(proptest::char::any(), 0..9),
        ) {
            let _ = parse(&text);
            let value: String = value.into_iter().collect();
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            proptest::prop_assert_eq!(parse(&format!("{key}={encoded}")), Ok(vec![(key, value)]));
        }
    }
}
