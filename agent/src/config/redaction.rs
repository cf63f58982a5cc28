//! `redaction`: what is taken out of spans before they are shown, kept or sent.

use super::choice::{Action, RuleSet, Shape, Traffic};
use super::expression::{AttributePattern, Expression, KeyName};
use super::layer::section;
use super::value::{Secret, ServicePattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Least length of a key for hashes, in bytes: shorter ones can be tried out.
pub const KEY_LENGTH: usize = 16;

/// Names of attributes that are parts of the span itself.
pub const SPAN_NAME: &str = "span.name";
/// See [`SPAN_NAME`].
pub const SPAN_STATUS_MESSAGE: &str = "span.status.message";

/// Names whose values are secrets, in `standard` and `strict`. The first seven are the conventions' own.
const KEYS: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Goog-Signature",
    "sig",
    "*password",
    "*passwd",
    "pwd",
    "pass",
    "*passphrase",
    "passcode",
    "pin",
    "otp",
    "mfa_code",
    "*secret",
    "*token",
    "*api_key",
    "app_key",
    "*access_key",
    "*secret_key",
    "*private_key",
    "*encryption_key",
    "*signing_key",
    "*credential",
    "*credentials",
    "*authorization",
    "auth",
    "jwt",
    "bearer",
    "*session_id",
    "session",
    "sid",
    "*sess_id",
    "cookie",
    "set_cookie",
    "code_verifier",
    "*assertion",
    "SAMLResponse",
    "SAMLRequest",
    "oauth_signature",
    "csrf",
    "xsrf",
    "card_number",
    "credit_card",
    "cc_number",
    "cvv",
    "cvv2",
    "cvc",
    "iban",
    "account_number",
    "ssn",
    "social_security_number",
    "passport_number",
    "phone",
    "phone_number",
    "telephone",
    "mobile_number",
    "msisdn",
];

/// Names that end like the above, and say where a list goes on.
const KEPT_KEYS: &[&str] = &[
    "page_token",
    "next_page_token",
    "next_token",
    "prev_token",
    "previous_token",
    "continuation_token",
    "continue_token",
    "starting_token",
    "sync_token",
    "cancellation_token",
];

/// What `strict` takes beside what `standard` does.
const IDS: [Shape; 3] = [Shape::UniqueId, Shape::Number, Shape::Opaque];

const SECRETS: [Shape; 9] = [
    Shape::Card,
    Shape::Email,
    Shape::Iban,
    Shape::Jwt,
    Shape::Credentials,
    Shape::Phone,
    Shape::LongHex,
    Shape::ApiKey,
    Shape::UserInformation,
];

impl RuleSet {
    /// The shapes that it takes out.
    #[must_use]
    pub fn shapes(self) -> Vec<Shape> {
        match self {
            Self::Strict => SECRETS.into_iter().chain(IDS).collect(),
            Self::Standard => SECRETS.to_vec(),
            Self::None => Vec::new(),
        }
    }

    fn names(self, names: &[&str]) -> Vec<KeyName> {
        let names = names.iter().filter(|_| self != Self::None);
        names.map(|name| name.parse().expect("a valid name")).collect()
    }
}

section! {
    /// What is taken out of spans before they are shown, kept or sent. Keys that are not set follow from `set`.
    pub struct Redaction {
        /// The set of rules.
        pub set: Option<RuleSet>,
        /// What values look like that are taken out of all texts that came by the wire.
        pub shapes: Option<Vec<Shape>>,
        /// Names whose values are taken out: of query parameters, headers, and in texts (`password=x`).
        pub keys: Option<Vec<KeyName>>,
        /// More such names.
        pub extra_keys: Option<Vec<KeyName>>,
        /// Names whose values stay although they end like one of the others.
        pub kept_keys: Option<Vec<KeyName>>,
        /// Whether all values of query strings are taken out.
        pub all_query_values: Option<bool>,
        /// Whether literals and comments are taken out of statements.
        pub sql_literals: Option<bool>,
        /// Rules for single attributes. For each attribute the first that fits is followed.
        pub rules: Option<Vec<AttributeRule>>,
        /// File with the key for rules with the action `hash`, of at least 16 bytes; one newline at its end does not count.
        pub hash_key_file: Option<PathBuf>,
        /// The key itself; better kept in SPANWIRE_HASH_KEY or in a file.
        pub hash_key: Option<Secret>,
    }
}

/// What becomes of the attributes that it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping of keys to values")]
pub struct AttributeRule {
    /// Names of attributes; `span.name` and `span.status.message` are the span's own, and are to be written out.
    pub attributes: Vec<AttributePattern>,
    /// Services whose spans it is for; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePattern>,
    /// Namespaces (`k8s.namespace.name`, else `service.namespace`) whose spans it is for; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<ServicePattern>,
    /// What the spans are about that it is for; all unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<Traffic>,
    /// What becomes of them.
    pub action: Action,
    /// With `replace`: what is replaced, wherever it is in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Expression>,
    /// With `replace`: what is put there, with `$1` or `${name}` for groups of the pattern. `REDACTED` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

impl Redaction {
    /// What holds where nobody says anything.
    #[must_use]
    pub fn standard() -> Self {
        let mut standard = Self::default();
        standard.fill();
        standard
    }

    /// The same after another set, also where single keys say what differs from the set for all; but for `extra_keys` and
    /// `rules`, which hold for each.
    #[must_use]
    pub fn with_set(&self, set: RuleSet) -> Self {
        let mut other = Self {
            set: Some(set),
            shapes: None,
            keys: None,
            kept_keys: None,
            all_query_values: None,
            sql_literals: None,
            ..self.clone()
        };
        other.fill();
        other
    }

    /// Keys that are not set say what follows from `set`; returns which those are.
    pub(super) fn fill(&mut self) -> Vec<&'static str> {
        let set = self.set.unwrap_or(RuleSet::Standard);
        let mut filled = Vec::new();
        let mut fill = |key, is_set: bool| {
            if !is_set {
                filled.push(key);
            }
        };
        fill("redaction.shapes", self.shapes.is_some());
        fill("redaction.keys", self.keys.is_some());
        fill("redaction.kept_keys", self.kept_keys.is_some());
        fill("redaction.all_query_values", self.all_query_values.is_some());
        fill("redaction.sql_literals", self.sql_literals.is_some());
        self.shapes.get_or_insert_with(|| set.shapes());
        self.keys.get_or_insert_with(|| set.names(KEYS));
        self.kept_keys.get_or_insert_with(|| set.names(KEPT_KEYS));
        self.all_query_values.get_or_insert(set == RuleSet::Strict);
        self.sql_literals.get_or_insert(set != RuleSet::None);
        filled
    }

    /// What does not go together: the key, and the problem.
    pub(super) fn conflict(&self) -> Option<(&'static str, String)> {
        const RULES: &str = "redaction.rules";
        let is_short = |key: &Secret| key.expose().len() < KEY_LENGTH;
        if self.hash_key.as_ref().is_some_and(is_short) {
            return Some((
                "redaction.hash_key",
                format!("has less than {KEY_LENGTH} characters"),
            ));
        }
        if self.hash_key.is_some() && self.hash_key_file.is_some() {
            let problem = "does not go with `redaction.hash_key` (SPANWIRE_HASH_KEY); leave one of them out";
            return Some(("redaction.hash_key_file", problem.to_owned()));
        }
        let has_key = self.hash_key.is_some() || self.hash_key_file.is_some();
        self.rules.iter().flatten().enumerate().find_map(|(index, rule)| {
            let problem = rule.problem(has_key)?;
            Some((
                RULES,
                format!("has a rule (the one at place {}) that {problem}", index + 1),
            ))
        })
    }
}

impl AttributeRule {
    fn problem(&self, has_key: bool) -> Option<&'static str> {
        let names = |name: &str| {
            self.attributes
                .iter()
                .any(|pattern| pattern.glob().glob() == name)
        };
        let (has_pattern, has_with) = (self.pattern.is_some(), self.with.is_some());
        match self.action {
            _ if self.attributes.is_empty() => Some("names no attributes"),
            Action::Replace if !has_pattern => Some("replaces, and has no `pattern` that says what"),
            Action::Keep | Action::Drop | Action::Hash | Action::Mask if has_pattern || has_with => {
                Some("has a `pattern` or `with`, which only the action `replace` heeds")
            }
            Action::Hash if !has_key => {
                Some("hashes, and there is no key: set `redaction.hash_key_file` or SPANWIRE_HASH_KEY")
            }
            Action::Drop if names(SPAN_NAME) => Some("drops `span.name`, which each span has; use `replace`"),
            _ => None,
        }
    }
}
