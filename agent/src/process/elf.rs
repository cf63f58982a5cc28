//! What an executable says of the compiler that made it.

use object::{Object as _, ObjectSection as _, ReadCache};
use std::fs::File;

/// The version of Go that built the executable, such as `go1.26.8`; empty for one that is too old to say (before 1.18).
///
/// From the section `.go.buildinfo`, as Go's `debug/buildinfo` reads it: 14 bytes of magic, the size of a pointer, flags,
/// and, when the flag 2 is set, at offset 32 the version behind its length as a varint.
pub(super) fn go_version(executable: File) -> Option<String> {
    let cache = ReadCache::new(executable);
    let file = object::File::parse(&cache).ok()?;
    let section = file.section_by_name(".go.buildinfo")?;
    let start = section
        .data_range(section.address(), section.size().min(256))
        .ok()??;
    version(start)
}

fn version(section: &[u8]) -> Option<String> {
    if !section.starts_with(b"\xff Go buildinf:") {
        return None;
    }
    if section.get(15)? & 2 == 0 {
        return Some(String::new());
    }
    // No version is as long as 128 bytes, where a varint would take a second byte.
    let length = usize::from(*section.get(32)?);
    let text = section.get(33..33 + length).filter(|_| length < 128)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_pointer_and_foreign_sections() {
        let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
        section.resize(32, 0);
        section.extend_from_slice(b"\x08go1.26.8\x05modul");
        assert_eq!(version(&section).as_deref(), Some("go1.26.8"));
        assert_eq!(version(&section[..36]), None);
        section[32] = 0xff;
        assert_eq!(version(&section), None);
        section[15] = 0;
        assert_eq!(version(&section).as_deref(), Some(""));
        assert_eq!(version(b"\x7fELF"), None);
        assert_eq!(version(b""), None);
    }

    #[test]
    fn this_test_is_not_written_in_go() {
        assert_eq!(
            go_version(File::open(std::env::current_exe().unwrap()).unwrap()),
            None
        );
        assert_eq!(go_version(File::open("/proc/self/status").unwrap()), None);
    }
}
