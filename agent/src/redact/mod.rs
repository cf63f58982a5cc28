//! Redaction: the one door between building spans and everything that shows, keeps or sends them.
//!
//! Every text of a span that came by the wire goes through it: attributes, the span's name, what is said of an error, and
//! `tracestate`; and labels of containers. First the rules for single attributes, then the set of rules, by what an attribute is (`Place`).

use smol_str::SmolStr;
use std::borrow::Cow;

use crate::config::redaction::{SPAN_NAME, SPAN_STATUS_MESSAGE};
use crate::config::{self, RuleSet, Shape};
use crate::span::semconv as name;
use crate::span::sql::Memo;
use crate::span::{Attribute, Span, Status, Value};
use attribute::{Applicable, AttributeRules, Outcome};
use keys::Keys;
use labels::Labels;
use scan::REDACTED;
use shapes::Shapes;
use url::Urls;

mod attribute;
#[cfg(test)]
mod corpus;
mod credentials;
mod decode;
mod digits;
mod email;
mod iban;
mod keys;
mod labels;
mod scan;
mod shapes;
mod sql;
#[cfg(test)]
mod tests;
mod token;
mod url;

pub use attribute::RuleError;

/// What is taken out of spans.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Longest text of an attribute, in characters, `None` without limit (`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`).
    pub value_length: Option<usize>,
    shapes: Shapes,
    keys: Keys,
    all_query_values: bool,
    sql_literals: bool,
    attributes: AttributeRules,
    /// The same for the spans of those that have a set of their own; none where nobody can.
    sets: Vec<(RuleSet, Self)>,
}

impl Rules {
    /// Those of the configuration. Reads the file that holds the key for hashes, if one is named.
    ///
    /// # Errors
    /// That file cannot be read, or holds no key.
    pub fn new(section: &config::Redaction) -> Result<Self, RuleError> {
        let keys = section.keys.iter().chain(&section.extra_keys).flatten();
        Ok(Self {
            value_length: None,
            shapes: Shapes::new(section.shapes.iter().flatten().copied()),
            keys: Keys::new(
                keys.map(config::expression::KeyName::as_str),
                section
                    .kept_keys
                    .iter()
                    .flatten()
                    .map(config::expression::KeyName::as_str),
            ),
            all_query_values: section.all_query_values.unwrap_or_default(),
            sql_literals: section.sql_literals.unwrap_or_default(),
            attributes: AttributeRules::new(section)?,
            sets: Vec::new(),
        })
    }

    /// The same, and those that hold in place of them for who has a set of rules of its own.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_sets(self, section: &config::Redaction, sets: &[RuleSet]) -> Result<Self, RuleError> {
        let mut made: Vec<(RuleSet, Self)> = Vec::new();
        for set in sets {
            if made.iter().all(|(known, _)| known != set) {
                made.push((*set, Self::new(&section.with_set(*set))?));
            }
        }
        Ok(Self { sets: made, ..self })
    }

    /// None: whoever reads the spans reads what was on the wire.
    #[must_use]
    pub fn none() -> Self {
        Self {
            value_length: None,
            shapes: Shapes::default(),
            keys: Keys::default(),
            all_query_values: false,
            sql_literals: false,
            attributes: AttributeRules::default(),
            sets: Vec::new(),
        }
    }

    fn urls(&self) -> Urls<'_> {
        Urls {
            shapes: self.shapes,
            keys: &self.keys,
            all_values: self.all_query_values,
        }
    }

    /// There is nothing that the set of rules takes out.
    fn are_none(&self) -> bool {
        self.shapes.are_none() && self.keys.is_empty() && !self.all_query_values && !self.sql_literals
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            value_length: Some(4096),
            ..Self::new(&config::Redaction::standard()).expect("no file is read")
        }
    }
}

/// A span that went through [`Redactor::span`]. Nothing else makes one, and export takes nothing else.
#[derive(Clone, Debug)]
pub struct Redacted(Span);

impl Redacted {
    /// The span inside.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.0
    }

    /// Replaces its `tracestate` by one that was made of it, and of what is decided here.
    pub(crate) fn set_state(&mut self, state: SmolStr) {
        self.0.state = state;
    }
}

/// What an attribute's text is, and so what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    /// One of a few words, or an address that was seen rather than said.
    Fixed,
    /// A whole URL.
    Url,
    /// Its path.
    Path,
    /// Its query.
    Query,
    /// A statement.
    Statement,
    /// The name of a host: it may well be a number, or have one in it.
    Host,
    /// An id by which people find what belongs together: numbers, hexadecimal ones too, are what it is for.
    Id,
    /// Values of the header, or of the entry of baggage, of this name.
    Header(&'a str),
    /// Any other text.
    Text,
}

/// Headers that are ids.
const IDS: &[&str] = &[
    "b3",
    "etag",
    "if-match",
    "if-none-match",
    "traceparent",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-b3-parentspanid",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-request-id",
];

/// What names of attributes begin with that end with the name of a header, or of a label.
const HEADERS: [&str; 6] = [
    name::CONTAINER_LABEL,
    name::HTTP_REQUEST_HEADER,
    name::HTTP_RESPONSE_HEADER,
    name::MESSAGING_HEADER,
    name::RPC_REQUEST_METADATA,
    name::RPC_RESPONSE_METADATA,
];

/// What ids are not asked for.
const IN_IDS: [Shape; 5] = [
    Shape::LongHex,
    Shape::UniqueId,
    Shape::Number,
    Shape::Opaque,
    Shape::Phone,
];

impl<'a> Place<'a> {
    fn of(key: &'a str) -> Self {
        match key {
            name::HTTP_REQUEST_METHOD
            | name::HTTP_RESPONSE_STATUS_CODE
            | name::NETWORK_PEER_ADDRESS
            | name::NETWORK_PROTOCOL_NAME
            | name::NETWORK_PROTOCOL_VERSION
            | name::NETWORK_TRANSPORT
            | name::CLIENT_ADDRESS
            | name::DB_SYSTEM_NAME
            | name::DB_RESPONSE_STATUS_CODE
            | name::MESSAGING_SYSTEM
            | name::MESSAGING_OPERATION_NAME
            | name::MESSAGING_OPERATION_TYPE
            | name::MESSAGE_SETTLEMENT
            | name::RPC_SYSTEM_NAME
            | name::RPC_RESPONSE_STATUS_CODE => Self::Fixed,
            name::URL_FULL => Self::Url,
            name::URL_PATH => Self::Path,
            name::URL_QUERY => Self::Query,
            name::DB_QUERY_TEXT => Self::Statement,
            name::SERVER_ADDRESS => Self::Host,
            name::MESSAGING_MESSAGE_ID | name::MESSAGING_MESSAGE_CONVERSATION_ID => Self::Id,
            _ => {
                let prefixes = &HEADERS;
                match prefixes.iter().find_map(|prefix| key.strip_prefix(prefix)) {
                    Some(header) => Self::named(header),
                    None => Self::Text,
                }
            }
        }
    }
}

impl<'a> Place<'a> {
    /// Of what whoever sent it has given a name.
    fn named(name: &'a str) -> Self {
        match IDS.contains(&name) {
            true => Self::Id,
            false => Self::Header(name),
        }
    }
}

/// Redacts spans, and remembers what became of statements.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    rules: Rules,
    statements: Memo<Option<SmolStr>>,
    labels: Labels,
    sets: Vec<(RuleSet, Self)>,
}

impl Redactor {
    /// With these rules.
    #[must_use]
    pub fn new(mut rules: Rules) -> Self {
        let length = rules.value_length;
        let sets = std::mem::take(&mut rules.sets)
            .into_iter()
            .map(|(set, mut rules)| {
                rules.value_length = length;
                (set, Self::new(rules))
            });
        Self {
            sets: sets.collect(),
            rules,
            statements: Memo::default(),
            labels: Labels::default(),
        }
    }

    /// Takes out of `span` what the rules say.
    #[must_use]
    pub fn span(&mut self, span: Span) -> Redacted {
        let own = span.resource.own.redaction;
        match self.sets.iter_mut().find(|(set, _)| Some(*set) == own) {
            Some((_, redactor)) => redactor.redacted(span),
            None => self.redacted(span),
        }
    }

    fn redacted(&mut self, mut span: Span) -> Redacted {
        let rules = self.rules.attributes.of(&span);
        let follow = |key: &str, value: &mut Value| {
            rules
                .as_ref()
                .map_or(Outcome::GoesOn, |rules| rules.apply(key, value))
        };
        let applicable = rules.as_ref();
        let attributes = &mut span.attributes;
        attributes.retain_mut(|attribute| self.attribute(attribute, applicable));
        for event in &mut span.events {
            event
                .attributes
                .retain_mut(|attribute| self.attribute(attribute, applicable));
        }
        if let Some(name) = self.part(SPAN_NAME, &span.name, follow) {
            span.name = name;
        }
        if let Status::Error(message) = &span.status
            && let Some(message) = self.part(SPAN_STATUS_MESSAGE, message, follow)
        {
            span.status = Status::Error(message);
        }
        let states = span.link.as_mut().map(|link| &mut link.state);
        for state in states.into_iter().chain([&mut span.state]) {
            if let Some(redacted) = self.state(state) {
                *state = redacted;
            }
        }
        self.resource(&mut span, rules.as_ref());
        Redacted(span)
    }

    /// Redacts an attribute; whether it is to be there.
    fn attribute(&mut self, attribute: &mut Attribute, rules: Option<&Applicable>) -> bool {
        let outcome = rules.map_or(Outcome::GoesOn, |rules| {
            rules.apply(&attribute.key, &mut attribute.value)
        });
        if outcome == Outcome::GoesOn && !matches!(attribute.value, Value::Integer(_) | Value::Boolean(_)) {
            let place = match (&attribute.key, Place::of(&attribute.key)) {
                // Names of the conventions are ours; what else there is has come with a request.
                (Cow::Owned(name), Place::Text) => Place::named(name),
                (_, place) => place,
            };
            self.value(place, &mut attribute.value);
        }
        self.cut(&mut attribute.value);
        outcome != Outcome::Dropped
    }

    /// What becomes of a part of the span itself, if it does not stay.
    fn part(
        &mut self,
        key: &'static str,
        text: &SmolStr,
        follow: impl Fn(&str, &mut Value) -> Outcome,
    ) -> Option<SmolStr> {
        if text.is_empty() {
            return None;
        }
        let mut value = Value::Text(text.clone());
        match follow(key, &mut value) {
            Outcome::GoesOn => self.value(Place::Text, &mut value),
            Outcome::Settled => {}
            Outcome::Dropped => return Some(SmolStr::default()),
        }
        match value {
            Value::Text(redacted) if redacted != *text => Some(redacted),
            _ => None,
        }
    }

    /// Takes out of an attribute's value what the set of rules says.
    fn value(&mut self, place: Place<'_>, value: &mut Value) {
        if self.rules.are_none() {
            return;
        }
        match value {
            Value::Text(text) => {
                if let Some(redacted) = self.text(place, text) {
                    *text = redacted;
                }
            }
            Value::Texts(texts) => {
                for text in texts {
                    if let Some(redacted) = self.text(place, text) {
                        *text = redacted.into();
                    }
                }
            }
            Value::Integer(_) | Value::Boolean(_) => {}
        }
    }

    /// `text` redacted, `None` where there is nothing to be taken out.
    fn text(&mut self, place: Place<'_>, text: &str) -> Option<SmolStr> {
        let rules = &self.rules;
        let redacted = match place {
            Place::Fixed => None,
            Place::Url => rules.urls().full(text),
            Place::Path => rules.urls().path(text),
            Place::Query => rules.urls().query(text),
            Place::Statement => {
                return self
                    .statements
                    .of(text, |text| statement(rules, text).map(SmolStr::from));
            }
            Place::Host => scan::text(text, rules.shapes.without(IN_IDS), &rules.keys),
            Place::Id if is_hexadecimal(text) => None,
            Place::Id => scan::text(text, rules.shapes.without(IN_IDS), &rules.keys),
            Place::Header(name) if rules.keys.has(name.as_bytes()) => {
                (!text.is_empty()).then(|| REDACTED.to_owned())
            }
            Place::Header(_) | Place::Text => scan::text(text, rules.shapes, &rules.keys),
        };
        redacted.map(SmolStr::from)
    }

    /// `tracestate` without the entries that hold a secret. What is a number there is another tracer's id.
    fn state(&self, state: &str) -> Option<SmolStr> {
        let (shapes, keys) = (self.rules.shapes.without(IN_IDS), &self.rules.keys);
        if state.is_empty() || !state.split(',').any(|entry| entry_is_secret(entry, shapes, keys)) {
            return None;
        }
        let kept = state
            .split(',')
            .filter(|entry| !entry_is_secret(entry, shapes, keys));
        Some(kept.collect::<Vec<_>>().join(",").into())
    }

    /// Cut last: a cut URL no longer shows where its secrets end.
    fn cut(&self, value: &mut Value) {
        match value {
            Value::Text(text) => {
                if let Some(end) = end(text, self.rules.value_length) {
                    *text = text[..end].into();
                }
            }
            Value::Texts(texts) => {
                for text in texts {
                    if let Some(end) = end(text, self.rules.value_length) {
                        text.truncate(end);
                    }
                }
            }
            Value::Integer(_) | Value::Boolean(_) => {}
        }
    }
}

/// A statement without its literals, and without what looks like a secret in what is left of it: names of things.
fn statement(rules: &Rules, text: &str) -> Option<String> {
    let bare = sql::literals(text).filter(|_| rules.sql_literals);
    let none = Keys::default();
    // With its literals, a statement is a text like others.
    let keys = if rules.sql_literals { &none } else { &rules.keys };
    let redacted = scan::text(bare.as_deref().unwrap_or(text), rules.shapes, keys);
    redacted.or(bare)
}

/// An entry of `tracestate`: vendor, `=`, and what the vendor likes.
fn entry_is_secret(entry: &str, shapes: Shapes, keys: &Keys) -> bool {
    let (vendor, value) = entry.split_once('=').unwrap_or(("", entry));
    scan::is_secret(value, shapes, keys) || scan::is_secret(vendor, shapes, &Keys::default())
}

/// Whether `text` is a UUID, or 128 bits in hexadecimal, as most ids are. Of other lengths, it could be an IBAN or a card number.
fn is_hexadecimal(text: &str) -> bool {
    let bytes = text.as_bytes();
    match bytes.len() {
        32 => bytes.iter().all(u8::is_ascii_hexdigit),
        36 => {
            let fits = |(place, byte): (usize, &u8)| match place {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            };
            bytes.iter().enumerate().all(fits)
        }
        _ => false,
    }
}

/// Where `text` is cut if it has more than `limit` characters.
fn end(text: &str, limit: Option<usize>) -> Option<usize> {
    // A text of no more bytes than that has no more characters either.
    let limit = limit.filter(|limit| text.len() > *limit)?;
    Some(text.char_indices().nth(limit)?.0)
}
