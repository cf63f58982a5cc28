//! Rules for single attributes: kept, dropped, hashed, masked, or replaced by a pattern.

use super::scan::REDACTED;
use crate::config::expression::Expression;
use crate::config::globs::{self, TooMany};
use crate::config::{self, Traffic};
use crate::span::{Resource, Span, Value, semconv as name};
use globset::GlobSet;
use hashbrown::HashMap;
use ring::hmac;
use smol_str::{SmolStr, SmolStrBuilder};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Processes of which is remembered which rules are for them.
const PROCESSES: usize = 1024;

/// Characters that a mask leaves at each end.
const ENDS: usize = 2;

/// Least characters of a text of which a mask leaves any: of a shorter one the rest could be guessed.
const MASKED: usize = 3 * ENDS;

/// Why rules cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file with the key for hashes cannot be read.
    #[error("cannot read redaction.hash_key_file {path}: {source}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key can be found out by trying.
    #[error(
        "redaction.hash_key_file {0} has less than 16 bytes: make one by `openssl rand -base64 32 > FILE`"
    )]
    ShortKey(PathBuf),
    /// There are too many patterns.
    #[error(transparent)]
    Patterns(#[from] TooMany),
}

/// What becomes of an attribute by a rule.
#[derive(Clone, Debug)]
enum Action {
    Keep,
    Drop,
    Hash(hmac::Key),
    Mask,
    Replace(Expression, String),
}

/// What a rule has made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No rule is for it, or it was replaced in part: the set of rules is still to be followed.
    GoesOn,
    /// It is as it is to be.
    Settled,
    /// It is not to be there.
    Dropped,
}

#[derive(Clone, Debug)]
struct Rule {
    attributes: GlobSet,
    services: GlobSet,
    namespaces: GlobSet,
    protocols: Vec<Traffic>,
    action: Action,
}

/// Rules for single attributes, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct AttributeRules {
    rules: Arc<[Rule]>,
    /// By the address of a resource, which is held so that no other one has it: the rules that are for it.
    known: HashMap<usize, (Arc<Resource>, Arc<[usize]>)>,
}

/// The rules that are for one span.
#[derive(Clone, Debug)]
pub(super) struct Applicable {
    rules: Arc<[Rule]>,
    here: Arc<[usize]>,
    /// What the span is about; `None` where rules are to be for all.
    traffic: Option<Traffic>,
}

impl AttributeRules {
    /// Those of the configuration. Reads the file that holds the key for hashes, if one is named.
    ///
    /// # Errors
    /// That file cannot be read, or holds no key.
    pub(super) fn new(section: &config::Redaction) -> Result<Self, RuleError> {
        let key = match (&section.hash_key, &section.hash_key_file) {
            (Some(key), _) => Some(key.expose().as_bytes().to_vec()),
            (None, Some(path)) => Some(key_of(path)?),
            (None, None) => None,
        };
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key));
        let rules = section.rules.iter().flatten().map(|rule| {
            let action = match (rule.action, &rule.pattern, &key) {
                (config::Action::Keep, ..) => Action::Keep,
                (config::Action::Hash, _, Some(key)) => Action::Hash(key.clone()),
                (config::Action::Mask, ..) => Action::Mask,
                (config::Action::Replace, Some(pattern), _) => Action::Replace(
                    pattern.clone(),
                    rule.with.clone().unwrap_or_else(|| REDACTED.to_owned()),
                ),
                // Without key or pattern, which configuration does not let pass: rather nothing than the value.
                (config::Action::Drop | config::Action::Hash | config::Action::Replace, ..) => Action::Drop,
            };
            Ok(Rule {
                attributes: globs::compiled(
                    "redaction.rules",
                    rule.attributes.iter().map(|pattern| pattern.glob().clone()),
                )?,
                services: globs::compiled(
                    "redaction.rules",
                    rule.services.iter().map(config::value::ServicePattern::glob),
                )?,
                namespaces: globs::compiled(
                    "redaction.rules",
                    rule.namespaces.iter().map(config::value::ServicePattern::glob),
                )?,
                protocols: rule.protocols.clone(),
                action,
            })
        });
        Ok(Self {
            rules: rules.collect::<Result<_, RuleError>>()?,
            known: HashMap::new(),
        })
    }

    /// Those that are for `span`, if there are any at all.
    pub(super) fn of(&mut self, span: &Span) -> Option<Applicable> {
        if self.rules.is_empty() {
            return None;
        }
        let address = Arc::as_ptr(&span.resource).addr();
        if self.known.len() >= PROCESSES && !self.known.contains_key(&address) {
            self.known.clear();
        }
        let (_, here) = self.known.entry(address).or_insert_with(|| {
            let numbered = self.rules.iter().enumerate();
            let here = numbered
                .filter(|(_, rule)| rule.is_for(&span.resource))
                .map(|(number, _)| number);
            (Arc::clone(&span.resource), here.collect())
        });
        (!here.is_empty()).then(|| Applicable {
            rules: Arc::clone(&self.rules),
            here: Arc::clone(here),
            traffic: Some(traffic(span)),
        })
    }
}

impl Rule {
    fn is_for(&self, resource: &Resource) -> bool {
        globs::fits(&self.services, Some(resource.service_name()))
            && globs::fits(&self.namespaces, resource.namespace())
    }
}

impl Applicable {
    /// Those of them that are for all protocols.
    pub(super) fn for_all_traffic(&self) -> Self {
        Self {
            traffic: None,
            ..self.clone()
        }
    }

    /// Follows the first rule that is for `key`.
    pub(super) fn apply(&self, key: &str, value: &mut Value) -> Outcome {
        let fits = |rule: &&Rule| {
            let is_of = |traffic| rule.protocols.contains(&traffic);
            (rule.protocols.is_empty() || self.traffic.is_some_and(is_of)) && rule.attributes.is_match(key)
        };
        let Some(rule) = self.here.iter().map(|number| &self.rules[*number]).find(fits) else {
            return Outcome::GoesOn;
        };
        let change: &dyn Fn(&str) -> Option<SmolStr> = match &rule.action {
            Action::Keep => return Outcome::Settled,
            Action::Drop => return Outcome::Dropped,
            Action::Hash(key) => &|text| Some(hash(key, text)),
            Action::Mask => &|text| Some(mask(text)),
            Action::Replace(pattern, with) => &|text| {
                let replaced = pattern.regex().replace_all(text, with.as_str());
                (replaced != text).then(|| SmolStr::from(replaced))
            },
        };
        match value {
            Value::Text(text) => {
                if let Some(changed) = change(text) {
                    *text = changed;
                }
            }
            Value::Texts(texts) => {
                for text in texts {
                    if let Some(changed) = change(text) {
                        *text = changed.into();
                    }
                }
            }
            Value::Integer(number) => {
                if let Some(changed) = change(&number.to_string()) {
                    *value = Value::Text(changed);
                }
            }
            Value::Boolean(_) => {}
        }
        match rule.action {
            Action::Replace(..) => Outcome::GoesOn,
            _ => Outcome::Settled,
        }
    }
}

/// What a span is about, by the attribute that is the first of each of its kind.
fn traffic(span: &Span) -> Traffic {
    match span.attributes.first().map(|attribute| &*attribute.key) {
        Some(name::DB_SYSTEM_NAME) => Traffic::Postgresql,
        Some(name::RPC_SYSTEM_NAME) => Traffic::Grpc,
        Some(name::MESSAGING_SYSTEM) => Traffic::Amqp,
        _ => Traffic::Http,
    }
}

/// HMAC-SHA-256 (RFC 2104) in lower-case hexadecimal.
fn hash(key: &hmac::Key, text: &str) -> SmolStr {
    let mut digits = SmolStrBuilder::new();
    for byte in hmac::sign(key, text.as_bytes()).as_ref() {
        for digit in [byte >> 4, byte & 15] {
            digits.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    digits.finish()
}

/// Two characters at each end, and as many `*` in between as there were characters.
fn mask(text: &str) -> SmolStr {
    let length = text.chars().count();
    let shown = |index: usize| length >= MASKED && (index < ENDS || index >= length - ENDS);
    let masked = text.chars().enumerate();
    masked
        .map(|(index, letter)| if shown(index) { letter } else { '*' })
        .collect()
}

fn key_of(path: &Path) -> Result<Vec<u8>, RuleError> {
    let mut key = std::fs::read(path).map_err(|source| RuleError::KeyFile {
        path: path.to_owned(),
        source,
    })?;
    if key.ends_with(b"\n") {
        key.pop();
    }
    match key.len() < config::redaction::KEY_LENGTH {
        true => Err(RuleError::ShortKey(path.to_owned())),
        false => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_leaves_two_characters_at_each_end() {
        for (text, expect) in [
            ("", ""),
            ("ab", "**"),
            ("abcde", "*****"),
            ("abcdef", "ab**ef"),
            ("jürgen@exämple.de", "jü*************de"),
        ] {
            assert_eq!(mask(text), expect);
        }
    }

    #[test]
    fn a_hash_is_the_one_of_rfc_4231() {
        // Test case 2.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let expect = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hash(&key, "what do ya want for nothing?"), expect);
    }
}
