//! What proxies say of the original request: `Forwarded` (RFC 7239) and the `X-Forwarded-*` headers before it.

use std::net::{IpAddr, SocketAddr};

use super::target::{Authority, is_scheme};

/// The original request, as far as proxies passed it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Address of the first client.
    pub client: Option<IpAddr>,
    /// Host that the first client asked for.
    pub host: Option<Authority<'a>>,
    /// Scheme that the first client used.
    pub scheme: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    /// Reads the headers, of which `name` and `value` are given in the order on the wire, names in any case. The
    /// first element is the original client's (RFC 7239, section 4); `Forwarded` goes before its predecessors.
    /// Names in place of addresses (`unknown`, `_hidden`) and malformed elements are left out.
    #[must_use]
    pub fn read(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut standard = Self::default();
        let mut legacy = Self::default();
        let mut seen_standard = false;
        for (name, value) in headers {
            let first = value.split(',').next().unwrap_or(value).trim();
            if name.eq_ignore_ascii_case("forwarded") {
                if !std::mem::replace(&mut seen_standard, true) {
                    standard = Self::element(first);
                }
            } else if name.eq_ignore_ascii_case("x-forwarded-for") {
                legacy.client = legacy.client.or_else(|| node(first));
            } else if name.eq_ignore_ascii_case("x-forwarded-host") {
                legacy.host = legacy.host.or_else(|| Authority::parse(first));
            } else if name.eq_ignore_ascii_case("x-forwarded-proto") {
                legacy.scheme = legacy.scheme.or_else(|| is_scheme(first).then_some(first));
            }
        }
        Self {
            client: standard.client.or(legacy.client),
            host: standard.host.or(legacy.host),
            scheme: standard.scheme.or(legacy.scheme),
        }
    }

    fn element(element: &'a str) -> Self {
        let mut read = Self::default();
        for pair in element.split(';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("for") {
                read.client = node(value);
            } else if name.eq_ignore_ascii_case("host") {
                read.host = Authority::parse(value);
            } else if name.eq_ignore_ascii_case("proto") && is_scheme(value) {
                read.scheme = Some(value);
            }
        }
        read
    }
}

/// A node identifier (RFC 7239, section 6): an address, IPv6 in brackets or bare, with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    // The port may be a name as well: `1.2.3.4:_port`.
    let text = text.split_once(":_").map_or(text, |(host, _)| host);
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(headers: &[(&'static str, &'static str)]) -> Option<String> {
        Forwarded::read(headers.iter().copied())
            .client
            .map(|address| address.to_string())
    }

    #[test]
    fn the_first_client_is_taken() {
        for (name, value, expected) in [
            ("X-Forwarded-For", "203.0.113.7", Some("203.0.113.7")),
            ("x-forwarded-for", "203.0.113.7, 10.0.0.1", Some("203.0.113.7")),
            ("x-forwarded-for", "203.0.113.7:4711", Some("203.0.113.7")),
            ("x-forwarded-for", "2001:db8::1", Some("2001:db8::1")),
            ("x-forwarded-for", "unknown, 10.0.0.1", None),
            ("x-forwarded-for", "\u{1b}[2J", None),
            (
                "Forwarded",
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                Some("192.0.2.60"),
            ),
            (
                "forwarded",
                "For=\"[2001:db8:cafe::17]:4711\", for=10.0.0.1",
                Some("2001:db8:cafe::17"),
            ),
            ("forwarded", "for=\"192.0.2.43:_x\"", Some("192.0.2.43")),
            ("forwarded", "for=_hidden", None),
            ("forwarded", ";;=,", None),
        ] {
            assert_eq!(client(&[(name, value)]).as_deref(), expected, "{name}: {value}");
        }
    }

    #[test]
    fn the_standard_header_goes_before_its_predecessors() {
        let headers = [
            ("X-Forwarded-For", "10.0.0.9"),
            ("Forwarded", "for=192.0.2.1;host=\"shop.example:8443\""),
        ];
        let read = Forwarded::read(headers.iter().copied());
        assert_eq!(read.client, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(
            read.host,
            Some(Authority {
                host: "shop.example",
                port: Some(8443)
            })
        );
    }

    #[test]
    fn host_and_scheme_come_from_the_older_headers_too() {
        let headers = [
            ("X-Forwarded-Host", "shop.example, inner"),
            ("X-Forwarded-Proto", "https"),
        ];
        let read = Forwarded::read(headers.iter().copied());
        assert_eq!(
            read.host,
            Some(Authority {
                host: "shop.example",
                port: None
            })
        );
        assert_eq!(read.scheme, Some("https"));
    }

    #[test]
    fn the_first_of_two_header_lines_counts() {
        assert_eq!(
            client(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")]).unwrap(),
            "192.0.2.1"
        );
        assert_eq!(
            client(&[("forwarded", "for=192.0.2.1"), ("forwarded", "for=192.0.2.2")]).unwrap(),
            "192.0.2.1"
        );
    }
}
