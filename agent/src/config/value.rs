//! Values with a meaning of their own. Each is parsed in one place, whether file, environment or flag gave it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

/// A value that cannot be taken; says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }

    pub(super) fn choice(text: &str, words: &[&str]) -> Self {
        let mut problem = format!("`{text}` is not one of {}", words.join(", "));
        if let Some(near) = nearest(text, words.iter().copied()) {
            problem.push_str(&format!("; did you mean `{near}`?"));
        }
        Self(problem)
    }
}

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Deserialises through `FromStr`, within the scalar, so that an error has the scalar's own line.
pub(super) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = Invalid>,
    D: Deserializer<'de>,
{
    struct Scalar<T>(PhantomData<T>);

    impl<T: FromStr<Err = Invalid>> de::Visitor<'_> for Scalar<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("one value")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Scalar(PhantomData))
}

/// Serialises through `Display`, deserialises through `FromStr` from any scalar, and describes itself in the schema.
macro_rules! scalar {
    ($name:ident, $types:tt, $pattern:literal, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parsed(deserializer)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types, "pattern": $pattern, "description": $description })
            }
        }
    };
}
pub(super) use scalar;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let factor: u64 = match &text[digits.len()..] {
            "" => 1,
            "k" | "K" | "KiB" => 1 << 10,
            "m" | "M" | "MiB" => 1 << 20,
            "g" | "G" | "GiB" => 1 << 30,
            _ => return Err(Self::invalid(text)),
        };
        let size = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor));
        size.map(Self).ok_or_else(|| Self::invalid(text))
    }
}

impl Size {
    fn invalid(text: &str) -> Invalid {
        Invalid::new(format!(
            "`{text}` is not a size in bytes, such as 65536, 512K or 8M"
        ))
    }
}

impl Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bits, letter) in [(30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.trailing_zeros() >= bits {
                return write!(formatter, "{}{letter}", self.0 >> bits);
            }
        }
        write!(formatter, "{}", self.0)
    }
}

scalar!(
    Size,
    ["string", "integer"],
    "^[0-9]+([kKmMgG]|KiB|MiB|GiB)?$",
    "Bytes, with K, M or G for powers of 1024."
);

/// A period of time, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let factor: u64 = match text[digits.len()..].trim_start() {
            "" | "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(Self::invalid(text)),
        };
        let milliseconds = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor));
        milliseconds
            .map(|number| Self(Duration::from_millis(number)))
            .ok_or_else(|| Self::invalid(text))
    }
}

impl Period {
    fn invalid(text: &str) -> Invalid {
        Invalid::new(format!(
            "`{text}` is not a time, such as 500ms, 10s or 2m; a bare number is milliseconds"
        ))
    }
}

impl Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        if milliseconds != 0 && milliseconds.is_multiple_of(1_000) {
            write!(formatter, "{}s", milliseconds / 1_000)
        } else {
            write!(formatter, "{milliseconds}ms")
        }
    }
}

scalar!(
    Period,
    ["string", "integer"],
    "^[0-9]+ ?(ms|s|m|min|h)?$",
    "A time with its unit; a bare number is milliseconds."
);

/// TCP ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port, not below `first`.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let port = |text: &str| match text.trim().parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(Invalid::new(format!(
                "`{}` is not a port from 1 to 65535",
                text.trim()
            ))),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self {
            first: port(first)?,
            last: port(last)?,
        };
        if range.first > range.last {
            return Err(Invalid::new(format!(
                "the range `{text}` runs backwards; did you mean `{}-{}`?",
                range.last, range.first
            )));
        }
        Ok(range)
    }
}

impl Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.first)?;
        if self.first != self.last {
            write!(formatter, "-{}", self.last)?;
        }
        Ok(())
    }
}

scalar!(
    PortRange,
    ["string", "integer"],
    "^[0-9]+(-[0-9]+)?$",
    "A port, or a range of ports such as 8000-8999."
);

/// A shell-like pattern for the path of an executable: `*` and `?` within a part of the path, `**` across parts. A
/// pattern without `/` is matched against the file's name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    glob: globset::Glob,
}

impl Pattern {
    /// The compiled pattern and whether it is for whole paths.
    #[must_use]
    pub fn matcher(&self) -> (globset::GlobMatcher, bool) {
        (self.glob.compile_matcher(), self.text.contains('/'))
    }
}

impl FromStr for Pattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new(
                "an empty pattern matches nothing; give a name such as `nginx` or `/opt/shop/**`",
            ));
        }
        let glob = globset::GlobBuilder::new(text).literal_separator(true).build();
        let glob =
            glob.map_err(|error| Invalid::new(format!("`{text}` is not a pattern: {}", error.kind())))?;
        Ok(Self {
            text: text.to_owned(),
            glob,
        })
    }
}

impl Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

scalar!(
    Pattern,
    "string",
    ".",
    "A file name or path; `*`, `?`, `[...]`, `{a,b}`, and `**` across folders."
);

/// A shell-like pattern for the name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePattern(globset::Glob);

impl ServicePattern {
    /// The pattern, to be compiled.
    #[must_use]
    pub fn glob(&self) -> globset::Glob {
        self.0.clone()
    }
}

impl FromStr for ServicePattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new(
                "an empty pattern matches nothing; give a name such as `cart` or `shop-*`",
            ));
        }
        let glob = globset::Glob::new(text);
        glob.map(Self)
            .map_err(|error| Invalid::new(format!("`{text}` is not a pattern: {}", error.kind())))
    }
}

impl Display for ServicePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.glob())
    }
}

scalar!(
    ServicePattern,
    "string",
    ".",
    "A service's name; `*`, `?`, `[...]`, `{a,b}`."
);

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange(pub ipnet::IpNet);

impl FromStr for AddressRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let one = || text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from);
        let range = text.parse().ok().or_else(one);
        range.map(|range| Self(range.trunc())).ok_or_else(|| {
            Invalid::new(format!(
                "`{text}` is not a range of addresses, such as 203.0.113.0/24 or 2001:db8::/32"
            ))
        })
    }
}

impl Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

scalar!(
    AddressRange,
    "string",
    "^[0-9a-fA-F.:]+(/[0-9]+)?$",
    "An address, or a range of them such as 203.0.113.0/24."
);

/// The name of an HTTP field, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldName(String);

impl FieldName {
    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FieldName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match http::HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) => Ok(Self(name.as_str().to_owned())),
            Err(_) => Err(Invalid::new(format!(
                "`{text}` is not the name of an HTTP header"
            ))),
        }
    }
}

impl Display for FieldName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

scalar!(
    FieldName,
    "string",
    "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    "The name of an HTTP header, in any case."
);

/// The name of a message's header, of up to 128 characters (AMQP 0-9-1, section 4.2.5.5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderName(String);

impl HeaderName {
    /// The name, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_name = (1..=128).contains(&text.chars().count()) && !text.contains(char::is_control);
        match is_name {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid::new(format!(
                "`{text}` is not the name of a message's header, which has 1 to 128 characters"
            ))),
        }
    }
}

impl Display for HeaderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

scalar!(
    HeaderName,
    "string",
    "^.{1,128}$",
    "The name of a message's header."
);

/// An HTTP method, which is case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method(String);

impl FromStr for Method {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match http::Method::from_bytes(text.as_bytes()) {
            Ok(method) => Ok(Self(method.as_str().to_owned())),
            Err(_) => Err(Invalid::new(format!("`{text}` is not an HTTP method"))),
        }
    }
}

impl Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

scalar!(
    Method,
    "string",
    "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    "An HTTP method, case-sensitive."
);

/// Text that is never printed: not by `Debug`, not by `config print`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that has to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match http::HeaderValue::from_str(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Invalid::new(
                "the value has characters that a header cannot carry",
            )),
        }
    }
}

impl Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("********")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, formatter)
    }
}

scalar!(Secret, "string", "", "A header's value; never printed.");

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = Invalid> + Display>(input: &str, expect: Result<&str, &str>) {
        let found = input
            .parse::<T>()
            .map(|value| value.to_string())
            .map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expect, "{input}");
    }

    #[test]
    fn sizes() {
        check::<Size>("8M", Ok("8M"));
        check::<Size>("8192K", Ok("8M"));
        check::<Size>("65536", Ok("64K"));
        check::<Size>("1000", Ok("1000"));
        check::<Size>("0", Ok("0"));
        for wrong in [
            "",
            "M",
            "8T",
            "-1",
            "1.5M",
            "99999999999999999999",
            "99999999999999G",
            "8 M",
            "8Mé",
        ] {
            let problem = format!("`{wrong}` is not a size in bytes, such as 65536, 512K or 8M");
            check::<Size>(wrong, Err(&problem));
        }
    }

    #[test]
    fn times() {
        check::<Period>("10s", Ok("10s"));
        check::<Period>("1500", Ok("1500ms"));
        check::<Period>("2 min", Ok("120s"));
        check::<Period>("0", Ok("0ms"));
        let hint = "is not a time, such as 500ms, 10s or 2m; a bare number is milliseconds";
        check::<Period>("-1", Err(&format!("`-1` {hint}")));
        check::<Period>("1h", Ok("3600s"));
        check::<Period>("1d", Err(&format!("`1d` {hint}")));
        check::<Period>(
            "99999999999999999999s",
            Err(&format!("`99999999999999999999s` {hint}")),
        );
    }

    #[test]
    fn ports() {
        check::<PortRange>("80", Ok("80"));
        check::<PortRange>("8000-8999", Ok("8000-8999"));
        check::<PortRange>("80-80", Ok("80"));
        check::<PortRange>("0", Err("`0` is not a port from 1 to 65535"));
        check::<PortRange>("80-", Err("`` is not a port from 1 to 65535"));
        check::<PortRange>("http", Err("`http` is not a port from 1 to 65535"));
        check::<PortRange>("65536", Err("`65536` is not a port from 1 to 65535"));
        check::<PortRange>(
            "90-80",
            Err("the range `90-80` runs backwards; did you mean `80-90`?"),
        );
    }

    #[test]
    fn patterns_without_a_slash_are_for_the_file_name() {
        let (name, whole) = "pyth*".parse::<Pattern>().unwrap().matcher();
        assert!(!whole && name.is_match("python3.11") && !name.is_match("ruby"));
        let (path, whole) = "/opt/*/server".parse::<Pattern>().unwrap().matcher();
        assert!(whole && path.is_match("/opt/shop/server") && !path.is_match("/opt/shop/bin/server"));
        check::<Pattern>(
            "/opt/[",
            Err("`/opt/[` is not a pattern: unclosed character class; missing ']'"),
        );
        assert!("".parse::<Pattern>().is_err());
        assert!("".parse::<ServicePattern>().is_err() && "a[".parse::<ServicePattern>().is_err());
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret: Secret = "Bearer abc".parse().unwrap();
        assert_eq!(
            (secret.expose(), format!("{secret} {secret:?}")),
            ("Bearer abc", "******** ********".into())
        );
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"********\"");
        check::<Secret>("a\nb", Err("the value has characters that a header cannot carry"));
    }

    #[test]
    fn choices_name_the_words_and_the_near_one() {
        use super::super::choice::{Hooks, Protocol};
        assert_eq!("socket".parse(), Ok(Hooks::Socket));
        let problem = "sokcet".parse::<Hooks>().unwrap_err().to_string();
        assert_eq!(
            problem,
            "`sokcet` is not one of auto, socket, trampoline, syscall; did you mean `socket`?"
        );
        let problem = "http/xml".parse::<Protocol>().unwrap_err().to_string();
        assert_eq!(problem, "`http/xml` is not one of http/protobuf, grpc, http/json");
    }
}
