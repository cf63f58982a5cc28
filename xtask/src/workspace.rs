//! Where things are: the work tree, and the caches outside of it that a fresh clone finds again.

use std::env;
use std::path::{Path, PathBuf};

/// The work tree's top folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Build output. `CARGO_TARGET_DIR` moves it, as it does for cargo itself.
pub(crate) fn target() -> PathBuf {
    let folder = env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    folder.map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// What tests download or build once: kernels, a Python environment, compiled workloads.
pub(crate) fn test_cache() -> PathBuf {
    let tools = crate::setup::toolchain::tools_folder();
    let cache = tools.ancestors().nth(2).unwrap_or(&tools);
    cache.join("spanwire-tests")
}
