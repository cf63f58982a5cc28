//! Patterns of the configuration, compiled together.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// All of `patterns` as one.
///
/// # Errors
/// They are too much together.
pub fn compiled(patterns: impl IntoIterator<Item = Glob>) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern);
    }
    set.build()
}

/// Whether one of them fits `text`. Where there is none, all fits, even what has no text.
#[must_use]
pub fn fits(patterns: &GlobSet, text: Option<&str>) -> bool {
    patterns.is_empty() || text.is_some_and(|text| patterns.is_match(text))
}
