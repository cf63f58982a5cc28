//! Request targets and authorities: what of a URL is on the wire (RFC 9112, section 3.2; RFC 3986, section 3.2).

use memchr::{memchr, memchr2};

/// A request target, taken apart into the components of the target URI (RFC 9112, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/path?query`: the usual form.
    Origin {
        /// Path, beginning with `/`.
        path: &'a str,
        /// Query without `?`, `None` where there is no `?`.
        query: Option<&'a str>,
    },
    /// `http://host/path?query`: sent to proxies.
    Absolute {
        /// Scheme as it was written.
        scheme: &'a str,
        /// Authority without user information, `None` where it is not a valid one.
        authority: Option<Authority<'a>>,
        /// Path, `/` where the URL has none (RFC 9110, section 4.2.3).
        path: &'a str,
        /// Query without `?`, `None` where there is no `?`.
        query: Option<&'a str>,
    },
    /// `host:port`: CONNECT. The target URI has no path.
    Authority(Authority<'a>),
    /// `*`: OPTIONS. The target URI has no path.
    Asterisk,
    /// None of the four forms; taken for a path, as servers do.
    Other(&'a str),
}

impl<'a> Target<'a> {
    /// Takes `target` apart; `connect` says that the method is CONNECT, which alone has the authority form.
    #[must_use]
    pub fn parse(target: &'a str, connect: bool) -> Self {
        if target == "*" {
            return Self::Asterisk;
        }
        if connect && let Some(authority) = Authority::parse(target) {
            return Self::Authority(authority);
        }
        if target.starts_with('/') {
            let (path, query) = split_query(target);
            return Self::Origin { path, query };
        }
        if let Some((scheme, rest)) = target.split_once("://")
            && is_scheme(scheme)
        {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let (path, query) = split_query(rest);
            let path = if path.is_empty() { "/" } else { path };
            return Self::Absolute {
                scheme,
                authority: Authority::parse(host),
                path,
                query,
            };
        }
        Self::Other(target)
    }

    /// Path and query of the target URI; both empty for CONNECT and `*`.
    #[must_use]
    pub fn path_and_query(&self) -> (&'a str, Option<&'a str>) {
        match *self {
            Self::Origin { path, query } | Self::Absolute { path, query, .. } => (path, query),
            Self::Authority(_) | Self::Asterisk => ("", None),
            Self::Other(target) => split_query(target),
        }
    }

    /// Port that the target URI means where it names none.
    #[must_use]
    pub fn default_port(&self) -> Option<u16> {
        match self {
            Self::Absolute { scheme, .. } => default_port(&scheme.to_ascii_lowercase()),
            _ => Some(80),
        }
    }
}

/// Host and port, such as `example.com:8080` or `[::1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Host, IPv6 addresses without their brackets.
    pub host: &'a str,
    /// Port, `None` where none is written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host[:port]` (RFC 9110, section 7.2). `None` for an empty host and for anything that is no authority,
    /// so that garbage in a `Host` header never becomes an address.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let (host, rest) = if let Some(bracketed) = text.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']')?;
            let (address, zone) = host.split_once('%').unwrap_or((host, ""));
            let is_address = address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.');
            (is_address && zone.bytes().all(is_name_byte)).then_some((host, rest))?
        } else {
            let end = memchr(b':', text.as_bytes()).unwrap_or(text.len());
            let (host, rest) = text.split_at(end);
            host.bytes().all(is_name_byte).then_some((host, rest))?
        };
        if host.is_empty() {
            return None;
        }
        let port = match rest.strip_prefix(':') {
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }
}

/// Port that a URL without one means (RFC 9110, section 4.2).
#[must_use]
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Whether `text` is a scheme (RFC 3986, section 3.1).
#[must_use]
pub fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    let Some(end) = memchr2(b'?', b'#', text.as_bytes()) else {
        return (text, None);
    };
    let (path, rest) = text.split_at(end);
    let query = rest.strip_prefix('?');
    (path, query.and_then(|query| query.split('#').next()))
}

/// `reg-name` of RFC 3986, section 3.2.2; bytes beyond ASCII as well,
/// because some clients send them and they do no harm.
fn is_name_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9'
            | b'A'..=b'Z'
            | b'a'..=b'z'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'%'
            | b'!'
            | b'$'
            | b'&'..=b','
            | b';'
            | b'='
            | 0x80..
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(host: &str, port: Option<u16>) -> Option<Authority<'_>> {
        Some(Authority { host, port })
    }

    #[test]
    fn an_authority_is_a_host_and_maybe_a_port() {
        for (text, expected) in [
            ("example.com", authority("example.com", None)),
            (" example.com:8080\t", authority("example.com", Some(8080))),
            ("my_service:80", authority("my_service", Some(80))),
            ("10.0.0.1:", authority("10.0.0.1", None)),
            ("[::1]:9000", authority("::1", Some(9000))),
            ("[fe80::1%25eth0]", authority("fe80::1%25eth0", None)),
            ("", None),
            (":80", None),
            ("[]:80", None),
            ("::1", None),
            ("a:b", None),
            ("a:70000", None),
            ("a:+1", None),
            ("[::1]x", None),
            ("a b", None),
            ("user@host", None),
            ("a/b", None),
            ("a\u{1b}[31m", None),
        ] {
            assert_eq!(Authority::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_form_of_target_is_told_apart() {
        let absolute = |scheme, authority, path, query| Target::Absolute {
            scheme,
            authority,
            path,
            query,
        };
        for (target, connect, expected) in [
            (
                "/",
                false,
                Target::Origin {
                    path: "/",
                    query: None,
                },
            ),
            (
                "/a?b=c?d",
                false,
                Target::Origin {
                    path: "/a",
                    query: Some("b=c?d"),
                },
            ),
            (
                "/a?",
                false,
                Target::Origin {
                    path: "/a",
                    query: Some(""),
                },
            ),
            (
                "//a//b",
                false,
                Target::Origin {
                    path: "//a//b",
                    query: None,
                },
            ),
            (
                "/go?to=http://x/",
                false,
                Target::Origin {
                    path: "/go",
                    query: Some("to=http://x/"),
                },
            ),
            (
                "http://e.com",
                false,
                absolute("http", authority("e.com", None), "/", None),
            ),
            (
                "http://e.com?q",
                false,
                absolute("http", authority("e.com", None), "/", Some("q")),
            ),
            (
                "https://u:p@e.com:1/x",
                false,
                absolute("https", authority("e.com", Some(1)), "/x", None),
            ),
            ("http://a b/x", false, absolute("http", None, "/x", None)),
            ("*", false, Target::Asterisk),
            (
                "e.com:443",
                true,
                Target::Authority(Authority {
                    host: "e.com",
                    port: Some(443),
                }),
            ),
            ("e.com:443", false, Target::Other("e.com:443")),
            ("1x://y", false, Target::Other("1x://y")),
            ("", false, Target::Other("")),
        ] {
            assert_eq!(Target::parse(target, connect), expected, "{target:?}");
        }
    }
}
