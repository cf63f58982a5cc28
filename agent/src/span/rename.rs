//! Names of spans that configuration replaces.

use super::Span;
use crate::config::globs;
use globset::GlobSet;
use regex::Regex;
use smol_str::SmolStr;

/// A name for those that a pattern fits.
#[derive(Clone, Debug)]
pub struct Rename {
    /// Names of services; all, if that is empty.
    pub services: GlobSet,
    /// What is looked for in a name. It takes time in proportion to the name.
    pub pattern: Regex,
    /// What takes the place of the whole name, with `$1` or `${name}` for groups of the pattern.
    pub name: String,
}

/// Gives `span` another name, by the first rule that fits.
pub(super) fn rename(rules: &[Rename], span: &mut Span) {
    for rule in rules {
        if !globs::fits(&rule.services, Some(span.resource.service_name())) {
            continue;
        }
        if let Some(groups) = rule.pattern.captures(&span.name) {
            let mut name = String::new();
            groups.expand(&rule.name, &mut name);
            if !name.is_empty() {
                span.name = SmolStr::from(name);
            }
            return;
        }
    }
}
