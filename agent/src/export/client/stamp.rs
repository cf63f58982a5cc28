//! Whether files have changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::export::settings::Settings;

/// What tells a file from what was there before under the same path. Links are followed: what keeps secrets in
/// Kubernetes changes a link to their folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Of all files that `settings` name; `None` for one that cannot be looked at.
pub(super) fn all(settings: &Settings) -> Vec<Option<Stamp>> {
    let files = [
        &settings.tls.certificate,
        &settings.tls.client_certificate,
        &settings.tls.client_key,
        &settings.headers_file,
    ];
    files.into_iter().flatten().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some(Stamp {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}
