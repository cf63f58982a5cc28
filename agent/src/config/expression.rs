//! Patterns of configuration: of names of attributes, and of texts.

use super::value::{Invalid, parsed, scalar};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use std::str::FromStr;

/// Most memory that one expression takes once it is compiled, in bytes.
const SIZE: usize = 1 << 20;

/// A regular expression, which takes time in proportion to the text, whatever it says.
#[derive(Clone, Debug)]
pub struct Expression(regex::Regex);

impl Expression {
    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &regex::Regex {
        &self.0
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromStr for Expression {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let built = regex::RegexBuilder::new(text).size_limit(SIZE).build();
        let expression = built.map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            Invalid::new(format!("`{text}` is not a regular expression: {why}"))
        })?;
        match expression.is_match("") {
            true => Err(Invalid::new(format!(
                "`{text}` matches where nothing is; say what has to be there"
            ))),
            false => Ok(Self(expression)),
        }
    }
}

impl Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

scalar!(
    Expression,
    "string",
    ".",
    "A regular expression without look-around and back-references."
);

/// The name of an attribute, with `*` for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributePattern(globset::Glob);

impl AttributePattern {
    /// The pattern, to be compiled.
    #[must_use]
    pub fn glob(&self) -> &globset::Glob {
        &self.0
    }
}

impl FromStr for AttributePattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new(
                "an empty pattern matches nothing; give a name such as `url.query` or `http.request.header.*`",
            ));
        }
        let glob = globset::Glob::new(text);
        glob.map(Self)
            .map_err(|error| Invalid::new(format!("`{text}` is not a pattern: {}", error.kind())))
    }
}

impl Display for AttributePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.glob())
    }
}

scalar!(
    AttributePattern,
    "string",
    ".",
    "The name of an attribute, `span.name` or `span.status.message`; `*`, `?`, `[...]`, `{a,b}`."
);

/// A name whose value is a secret: letters and digits count, `*` in front stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_prefix('*').unwrap_or(text);
        let is_name = name.bytes().any(|byte| byte.is_ascii_alphanumeric()) && !name.contains('*');
        match is_name {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid::new(format!(
                "`{text}` is not a name such as `password` or `*token`: it needs letters or digits, and `*` only in front"
            ))),
        }
    }
}

impl Display for KeyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

scalar!(
    KeyName,
    "string",
    "^[*]?[^*]*[0-9A-Za-z][^*]*$",
    "A name, in any case; `*` in front stands for anything."
);

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = Invalid> + Display>(input: &str, expect: Result<&str, &str>) {
        let found = input.parse::<T>().map(|value| value.to_string());
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expect, "{input}");
    }

    #[test]
    fn expressions_say_what_is_wrong_with_them() {
        check::<Expression>("[0-9]{3}", Ok("[0-9]{3}"));
        check::<Expression>("a(", Err("`a(` is not a regular expression: unclosed group"));
        let back = "backreferences are not supported";
        check::<Expression>(
            r"(a)\1",
            Err(&format!(r"`(a)\1` is not a regular expression: {back}")),
        );
        let nothing = "`a*` matches where nothing is; say what has to be there";
        check::<Expression>("a*", Err(nothing));
        assert!("(a{1000}){1000}".parse::<Expression>().is_err());
    }

    #[test]
    fn names_and_patterns() {
        check::<AttributePattern>("http.*", Ok("http.*"));
        let unclosed = "`a[` is not a pattern: unclosed character class; missing ']'";
        check::<AttributePattern>("a[", Err(unclosed));
        assert!("".parse::<AttributePattern>().is_err());
        for name in ["password", "*token", "X-Api-Key", "user[pin]"] {
            check::<KeyName>(name, Ok(name));
        }
        for name in ["", "*", "-", "to*ken", "**token"] {
            assert!(name.parse::<KeyName>().is_err(), "{name}");
        }
    }
}
