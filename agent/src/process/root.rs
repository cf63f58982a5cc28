//! Files below another process's root, read so that nothing in it can harm us.
//!
//! What lies there belongs to the watched process: a link may point outside, a FIFO would block the reader, a file may
//! be endless.

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The root directory of a process.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    pub(super) fn new(directory: impl Into<OwnedFd>) -> Self {
        Self(directory.into())
    }

    /// Links resolve as they would for a process with this root; never out of it.
    pub(super) fn open(&self, path: &Path) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = File::from(openat2(&self.0, path, flags, Mode::empty(), resolve).ok()?);
        let kind = FileType::from_raw_mode(fstat(&file).ok()?.st_mode);
        (kind == FileType::RegularFile).then_some(file)
    }

    /// Whether `path` is a regular file that can be read.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.open(path).is_some()
    }

    /// Content of the regular file at `path`, if it is not longer than `limit` bytes.
    pub(super) fn read(&self, path: &Path, limit: usize) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        self.open(path)?
            .take(limit as u64 + 1)
            .read_to_end(&mut content)
            .ok()?;
        (content.len() <= limit).then_some(content)
    }

    /// The same, as text.
    pub(super) fn text(&self, path: &Path, limit: usize) -> Option<String> {
        String::from_utf8(self.read(path, limit)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Folder;
    use super::*;
    use rustix::fs::{CWD, mknodat};

    #[test]
    fn links_stay_inside_and_what_is_no_file_is_not_opened() {
        let folder = Folder::new();
        folder.write("inside/etc/name", "inner");
        folder.write("secret", "outer");
        let inside = folder.path("inside");
        std::os::unix::fs::symlink("/etc/name", inside.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("outward")).unwrap();
        mknodat(CWD, inside.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Root::new(File::open(&inside).unwrap());
        assert_eq!(root.text("/absolute".as_ref(), 9).unwrap(), "inner");
        assert_eq!(root.text("/outward".as_ref(), 9), None);
        assert_eq!(root.text("/../secret".as_ref(), 9), None);
        assert!(!root.has("/fifo".as_ref()) && !root.has("/etc".as_ref()) && root.has("etc/name".as_ref()));
        assert_eq!(root.text("/etc/name".as_ref(), 4), None);
    }
}
