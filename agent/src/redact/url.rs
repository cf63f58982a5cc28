//! What the conventions want out of URLs: user information, and the values of keys that are credentials
//! (`url.full` and `url.query` of the attribute registry); and what looks like a secret anywhere in them.

use super::IN_IDS;
use super::decode::Decoded;
use super::keys::Keys;
use super::scan::{self, REDACTED};
use super::shapes::Shapes;
use crate::config::Shape;
use memchr::{memchr2, memchr3};
use std::borrow::Cow;

/// What is taken out of URLs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Urls<'r> {
    /// Values that look so.
    pub(super) shapes: Shapes,
    /// Values that are called so.
    pub(super) keys: &'r Keys,
    /// All values of a query.
    pub(super) all_values: bool,
}

impl Urls<'_> {
    /// `url` redacted, `None` where there was nothing to take out.
    pub(super) fn full(self, url: &str) -> Option<String> {
        let authority = url.find("://").map_or(0, |colon| colon + 3);
        let path =
            memchr3(b'/', b'?', b'#', &url.as_bytes()[authority..]).map_or(url.len(), |end| authority + end);
        let question = memchr2(b'?', b'#', &url.as_bytes()[path..]).map_or(url.len(), |end| path + end);
        let user = url[authority..path]
            .rfind('@')
            .filter(|_| self.shapes.has(Shape::UserInformation))
            .map(|at| &url[authority..authority + at]);
        let host = user.map_or(authority, |user| authority + user.len());
        let redacted_host = scan::text(&url[host..path], self.shapes.without(IN_IDS), &Keys::default());
        let redacted_path = self.path(&url[path..question]);
        let redacted_query = self.query(&url[question..]);
        let redacted_parts = [&redacted_host, &redacted_path, &redacted_query];
        if user.is_none() && redacted_parts.iter().all(|part| part.is_none()) {
            return None;
        }
        let mut redacted = String::with_capacity(url.len() + 2 * REDACTED.len());
        redacted.push_str(&url[..authority]);
        if let Some(user) = user {
            redacted.push_str(REDACTED);
            if user.contains(':') {
                redacted.push(':');
                redacted.push_str(REDACTED);
            }
        }
        redacted.push_str(redacted_host.as_deref().unwrap_or(&url[host..path]));
        redacted.push_str(redacted_path.as_deref().unwrap_or(&url[path..question]));
        redacted.push_str(redacted_query.as_deref().unwrap_or(&url[question..]));
        Some(redacted)
    }

    /// `path` redacted, `None` where there was nothing to take out. What is called a secret ends with its segment.
    pub(super) fn path(self, path: &str) -> Option<String> {
        if scan::is_clean(path, self.shapes) {
            return None;
        }
        let mut redacted: Option<String> = None;
        let mut read = 0;
        for segment in path.split('/') {
            let found = self.segment(segment);
            if found.is_some() && redacted.is_none() {
                redacted = Some(path[..read].to_owned());
            }
            if let Some(redacted) = &mut redacted {
                redacted.push_str(found.as_deref().unwrap_or(segment));
                redacted.push_str(
                    path.get(read + segment.len()..=read + segment.len())
                        .unwrap_or_default(),
                );
            }
            read += segment.len() + 1;
        }
        redacted
    }

    fn segment(self, segment: &str) -> Option<Cow<'static, str>> {
        // As a whole segment, a number of any length is an id.
        let is_number = || !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        if self.shapes.has(Shape::Number) && is_number() {
            return Some(Cow::Borrowed(REDACTED));
        }
        scan::text(segment, self.shapes, self.keys).map(Cow::Owned)
    }

    /// `query`, with or without `?`, redacted, `None` where there was nothing to take out. Keys stay, a fragment stays.
    pub(super) fn query(self, query: &str) -> Option<String> {
        if query.is_empty() {
            return None;
        }
        let (query, fragment) = query.split_at(query.find('#').unwrap_or(query.len()));
        let fragment_redacted = scan::text(fragment, self.shapes, self.keys);
        let (question, pairs) = query.split_at(usize::from(query.starts_with('?')));
        let is_secret = pairs.split('&').any(|pair| self.pair(pair).is_some());
        if !is_secret && fragment_redacted.is_none() {
            return None;
        }
        let mut redacted = String::with_capacity(query.len());
        redacted.push_str(question);
        for (index, pair) in pairs.split('&').enumerate() {
            if index > 0 {
                redacted.push('&');
            }
            match self.pair(pair) {
                Some(key) => {
                    redacted.push_str(key);
                    redacted.push_str(REDACTED);
                }
                None => redacted.push_str(pair),
            }
        }
        redacted.push_str(fragment_redacted.as_deref().unwrap_or(fragment));
        Some(redacted)
    }

    /// What stays of `pair` in front of what is taken out: its key and `=`, or nothing.
    fn pair(self, pair: &str) -> Option<&str> {
        let equals = pair.find('=');
        let (key, value) = equals.map_or(("", pair), |at| (&pair[..at], &pair[at + 1..]));
        if matches!(value, REDACTED | "?") {
            return None;
        }
        let kept = &pair[..pair.len() - value.len()];
        if self.looks_secret(key) {
            return Some("");
        }
        let is_called = || match key.contains('%') {
            false => self.keys.has(key.as_bytes()),
            true => Decoded::of(key.as_bytes()).is_some_and(|key| self.keys.has(&key.bytes)),
        };
        let is_secret = !value.is_empty()
            && (self.all_values && equals.is_some()
                || equals.is_some() && is_called()
                || self.looks_secret(value));
        is_secret.then_some(kept)
    }

    /// A `+` may be one, and may be a space.
    fn looks_secret(self, part: &str) -> bool {
        let spaced = match part.contains('+') {
            true => Cow::Owned(part.replace('+', " ")),
            false => Cow::Borrowed(part),
        };
        scan::is_secret(part, self.shapes, self.keys)
            || matches!(spaced, Cow::Owned(_)) && scan::is_secret(&spaced, self.shapes, self.keys)
    }
}

#[cfg(test)]
mod tests {
    use crate::redact::Rules;

    fn full(url: &str, expect: Option<&str>) {
        assert_eq!(Rules::default().urls().full(url).as_deref(), expect, "{url}");
    }

    fn query(query: &str, expect: Option<&str>) {
        assert_eq!(Rules::default().urls().query(query).as_deref(), expect, "{query}");
    }

    #[test]
    fn user_information_goes() {
        full("http://u:p@e.com/a", Some("http://REDACTED:REDACTED@e.com/a"));
        full("http://u@e.com", Some("http://REDACTED@e.com"));
        full(
            "http://u:p@x@e.com:80/",
            Some("http://REDACTED:REDACTED@e.com:80/"),
        );
        full("http://@e.com/", Some("http://REDACTED@e.com/"));
        let both = "http://REDACTED:REDACTED@e.com?sig=REDACTED&a=@";
        full("http://u:p@e.com?sig=1&a=@", Some(both));
        for clean in [
            "http://e.com/@me?to=a@b",
            "http://e.com?to=a@b",
            "http://e.com#a@b",
            "",
        ] {
            full(clean, None);
        }
        full("u:p@e.com", Some("REDACTED:REDACTED@e.com"));
    }

    #[test]
    fn values_of_credential_keys_go() {
        query("sig=a", Some("sig=REDACTED"));
        query("?sig=a", Some("?sig=REDACTED"));
        query("a=1&Signature=x%20y&b", Some("a=1&Signature=REDACTED&b"));
        let two = "AWSAccessKeyId=REDACTED&X-Goog-Signature=REDACTED";
        query("AWSAccessKeyId=1&X-Goog-Signature=2", Some(two));
        query("sig=a=b&sig=c", Some("sig=REDACTED&sig=REDACTED"));
        query("sig=a#top", Some("sig=REDACTED#top"));
        query("SIG=a", Some("SIG=REDACTED"));
        query("pass%77ord=x", Some("pass%77ord=REDACTED"));
        query("#access_token=x", Some("#access_token=REDACTED"));
        for clean in ["sig", "sig=", "sig=REDACTED", "page_token=a", "", "&&"] {
            query(clean, None);
        }
    }

    #[test]
    fn what_looks_like_a_secret_goes_wherever_it_is() {
        query("q=4111+1111+1111+1111", Some("q=REDACTED"));
        query("tel=+4930123456", Some("tel=REDACTED"));
        query("jane%40example.com", Some("REDACTED"));
        query("jane@example.com=1&b=2", Some("REDACTED&b=2"));
        let nested = "to=https%3A%2F%2Fe.com%2F%3Ftoken%3Dabc&b=2";
        query(nested, Some("to=REDACTED&b=2"));
        let path = "http://e.com/users/jane@example.com/cards/4111111111111111;v=1?b=2";
        full(path, Some("http://e.com/users/REDACTED/cards/REDACTED;v=1?b=2"));
    }
}
