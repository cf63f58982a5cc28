//! Patterns of the configuration, compiled together.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Patterns that are right one by one are too much together.
#[derive(Debug, thiserror::Error)]
#[error("{key} has too many patterns: {source}")]
pub struct TooMany {
    key: &'static str,
    source: globset::Error,
}

/// All of `patterns` as one; `key` is where they are from.
///
/// # Errors
/// They are too much together.
pub fn compiled(key: &'static str, patterns: impl IntoIterator<Item = Glob>) -> Result<GlobSet, TooMany> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern);
    }
    set.build().map_err(|source| TooMany { key, source })
}

/// Whether one of them fits `text`. Where there is none, all fits, even what has no text.
#[must_use]
pub fn fits(patterns: &GlobSet, text: Option<&str>) -> bool {
    patterns.is_empty() || text.is_some_and(|text| patterns.is_match(text))
}
