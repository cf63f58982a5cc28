//! What the conventions want out of URLs: user information, and the values of keys that are credentials
//! (`url.full` and `url.query` of the attribute registry).

const REDACTED: &str = "REDACTED";

/// `url` redacted, `None` where there was nothing to take out.
pub(super) fn full(url: &str, keys: &[String]) -> Option<String> {
    let authority = url.find("://").map_or(0, |colon| colon + 3);
    let end = url[authority..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |end| authority + end);
    let user = url[authority..end]
        .rfind('@')
        .map(|at| &url[authority..authority + at]);
    let start = url.find('?').map(|question| question + 1);
    let query = start.and_then(|start| query(&url[start..], keys));
    if user.is_none() && query.is_none() {
        return None;
    }
    let mut redacted = String::with_capacity(url.len() + 2 * REDACTED.len());
    let mut rest = url;
    if let Some(user) = user {
        redacted.push_str(&url[..authority]);
        redacted.push_str(REDACTED);
        if user.contains(':') {
            redacted.push(':');
            redacted.push_str(REDACTED);
        }
        rest = &url[authority + user.len()..];
    }
    match query {
        Some(query) => {
            let question = rest.find('?').map_or(rest.len(), |question| question + 1);
            redacted.push_str(&rest[..question]);
            redacted.push_str(&query);
        }
        None => redacted.push_str(rest),
    }
    Some(redacted)
}

/// `query` (without `?`) redacted, `None` where there was nothing to take out. Keys stay, a fragment stays.
pub(super) fn query(query: &str, keys: &[String]) -> Option<String> {
    let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
    if !query.split('&').any(|pair| secret(pair, keys).is_some()) {
        return None;
    }
    let mut redacted = String::with_capacity(query.len());
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            redacted.push('&');
        }
        match secret(pair, keys) {
            Some(key) => {
                redacted.push_str(key);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            None => redacted.push_str(pair),
        }
    }
    redacted.push_str(fragment);
    Some(redacted)
}

/// The key of `pair`, where its value is a secret.
fn secret<'a>(pair: &'a str, keys: &[String]) -> Option<&'a str> {
    let (key, value) = pair.split_once('=')?;
    (!value.is_empty() && keys.iter().any(|secret| secret == key)).then_some(key)
}

#[cfg(test)]
mod tests {
    use crate::redact::Rules;

    #[test]
    fn user_information_goes() {
        let keys = Rules::default().query_keys;
        for (url, expected) in [
            ("http://u:p@e.com/a", Some("http://REDACTED:REDACTED@e.com/a")),
            ("http://u@e.com", Some("http://REDACTED@e.com")),
            (
                "http://u:p@x@e.com:80/",
                Some("http://REDACTED:REDACTED@e.com:80/"),
            ),
            ("http://@e.com/", Some("http://REDACTED@e.com/")),
            (
                "http://u:p@e.com?sig=1&a=@",
                Some("http://REDACTED:REDACTED@e.com?sig=REDACTED&a=@"),
            ),
            ("http://e.com/@me?to=a@b", None),
            ("http://e.com?to=a@b", None),
            ("http://e.com#a@b", None),
            ("u:p@e.com", Some("REDACTED:REDACTED@e.com")),
            ("", None),
        ] {
            assert_eq!(super::full(url, &keys).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn values_of_credential_keys_go() {
        let keys = Rules::default().query_keys;
        for (query, expected) in [
            ("sig=a", Some("sig=REDACTED")),
            ("a=1&Signature=x%20y&b", Some("a=1&Signature=REDACTED&b")),
            (
                "AWSAccessKeyId=1&X-Goog-Signature=2",
                Some("AWSAccessKeyId=REDACTED&X-Goog-Signature=REDACTED"),
            ),
            ("sig=a=b&sig=c", Some("sig=REDACTED&sig=REDACTED")),
            ("sig=a#top", Some("sig=REDACTED#top")),
            ("SIG=a", None),
            ("sig", None),
            ("sig=", None),
            ("design=1", None),
            ("a=sig=1", None),
            ("", None),
        ] {
            assert_eq!(super::query(query, &keys).as_deref(), expected, "{query}");
        }
        assert_eq!(
            super::full("http://e/a?x=1&sig=2", &keys).unwrap(),
            "http://e/a?x=1&sig=REDACTED"
        );
    }
}
