//! cargo-deny, for licences and sources of dependencies: built once, into the cache.

use super::Done;
use super::tool::Tool;
use anyhow::Result;
use std::path::PathBuf;

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    takes: "three minutes",
};

/// Where it is.
pub(crate) fn program() -> PathBuf {
    DENY.program()
}

/// Builds it where it is missing or of another version.
pub(crate) fn ensure() -> Result<Done> {
    DENY.ensure()
}
