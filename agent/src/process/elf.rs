//! What an executable says of the compiler that made it, and where in the file its code is.

use object::elf::{FileHeader64, Machine};
use object::read::elf::{FileHeader as _, SectionHeader as _};
use object::{Endianness, ReadCache, ReadRef};
use regex::bytes::Regex;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// `e_machine` of a program for the machine that this is.
#[cfg(target_arch = "x86_64")]
const MACHINE: Machine = object::elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: Machine = object::elf::EM_AARCH64;

/// The relocation of a pointer within a program (elf.h): `R_X86_64_RELATIVE`, `R_AARCH64_RELATIVE`.
const RELATIVE: u64 = if cfg!(target_arch = "aarch64") { 1027 } else { 8 };

/// No table of section headers is longer, unless it was made to harm its reader.
const MAX_READ: u64 = 1 << 20;

/// No table of exported symbols that is longer is read.
const LONGEST_SYMBOLS: u64 = 16 << 20;

/// The version of Go that built the executable, such as `go1.26.8`; empty for one that is too old to say (before 1.18).
///
/// From the section `.go.buildinfo`, as Go's `debug/buildinfo` reads it: 14 bytes of magic, the size of a pointer, flags,
/// and, when the flag 2 is set, at offset 32 the version behind its length as a varint. Only the section headers and this
/// are read: executables may have a gigabyte of symbols.
pub(super) fn go_version(executable: File) -> Option<String> {
    let cache = ReadCache::new(executable);
    let data = Bounded(&cache);
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let (_, section) = sections.section_by_name(endian, b".go.buildinfo")?;
    let (offset, size) = section.file_range(endian)?;
    version(data.read_bytes_at(offset, size.min(256)).ok()?)
}

/// Tables of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// What others can use.
    Exported,
    /// What debuggers use, where it was left in.
    All,
}

/// The sections of an executable, or of a library.
pub(super) struct Sections {
    file: File,
    sections: Vec<Section>,
}

/// A section that is in the file, and in memory where it has an address.
#[derive(Clone, Debug)]
pub(super) struct Section {
    name: Vec<u8>,
    pub(super) address: u64,
    offset: u64,
    pub(super) size: u64,
}

impl Sections {
    /// Reads where they are, of a program for the machine that this is.
    pub(super) fn read(file: File) -> Option<Self> {
        let cache = ReadCache::new(file.try_clone().ok()?);
        let data = Bounded(&cache);
        let header = FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        (header.e_machine(endian) == MACHINE).then_some(())?;
        let table = header.sections(endian, data).ok()?;
        let sections = table.iter().filter_map(|section| {
            let (offset, size) = section.file_range(endian)?;
            Some(Section {
                name: table.section_name(endian, section).ok()?.to_vec(),
                address: section.sh_addr(endian),
                offset,
                size,
            })
        });
        let sections = sections.collect();
        Some(Self { file, sections })
    }

    /// The first whose name is this, or ends like this behind a dot.
    pub(super) fn named(&self, name: &str) -> Option<&Section> {
        let name = name.as_bytes();
        self.sections.iter().find(|section| section.name.ends_with(name))
    }

    /// The content of a section, where it is not longer than `limit`.
    pub(super) fn content(&self, section: &Section, limit: u64) -> Option<Vec<u8>> {
        (section.size <= limit).then_some(())?;
        self.bytes(section.offset, usize::try_from(section.size).ok()?)
    }

    /// The first group of the first match of `pattern` in a section, of which no more than `limit` bytes are looked through. A match
    /// is not longer than 1 KiB.
    pub(super) fn find(&self, section: &Section, limit: u64, pattern: &Regex) -> Option<String> {
        const WINDOW: u64 = 1 << 20;
        const OVERLAP: u64 = 1 << 10;
        let size = section.size.min(limit);
        let mut at = 0;
        while at < size {
            let length = (size - at).min(WINDOW + OVERLAP);
            let bytes = self.bytes(section.offset.checked_add(at)?, usize::try_from(length).ok()?)?;
            if let Some(found) = pattern.captures(&bytes) {
                return Some(String::from_utf8_lossy(found.get(1)?.as_bytes()).into_owned());
            }
            at += WINDOW;
        }
        None
    }

    /// So many bytes at an address.
    pub(super) fn at(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        self.bytes(self.offset(address)?, length)
    }

    /// Where in the file an address is.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        let holds = |section: &&Section| {
            section.address != 0
                && (section.address..section.address.saturating_add(section.size)).contains(&address)
        };
        let section = self.sections.iter().find(holds)?;
        section.offset.checked_add(address - section.address)
    }

    /// Addresses of what a library, or an executable with libraries of its own, has for others, by name.
    pub(super) fn exported<const N: usize>(&self, names: [&str; N]) -> Option<[Option<u64>; N]> {
        self.symbols(Names::Exported, names)
    }

    /// Addresses of functions and the like, by name.
    pub(super) fn symbols<const N: usize>(&self, which: Names, names: [&str; N]) -> Option<[Option<u64>; N]> {
        let content = |name| self.content(self.named(name)?, LONGEST_SYMBOLS);
        let (symbols, texts) = match which {
            Names::Exported => (content(".dynsym")?, content(".dynstr")?),
            Names::All => (content(".symtab")?, content(".strtab")?),
        };
        let mut found = [None; N];
        // elf.h, `Elf64_Sym`: name, info, other, section, value, size
        for symbol in symbols.as_chunks::<24>().0 {
            let [
                a,
                b,
                c,
                d,
                _,
                _,
                section @ ..,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
            ] = *symbol;
            let name = texts
                .get(u32::from_le_bytes([a, b, c, d]) as usize..)
                .unwrap_or_default();
            let is = |wanted: &str| {
                let rest = name.strip_prefix(wanted.as_bytes());
                rest.is_some_and(|rest| rest.starts_with(&[0]))
            };
            if section != [0, 0]
                && let Some(at) = names.iter().position(|wanted| is(wanted))
            {
                found[at] = symbol[8..16].try_into().ok().map(u64::from_le_bytes);
            }
        }
        Some(found)
    }

    /// The address that a pointer at an address has, as the program is linked: in a library a relocation says it.
    pub(super) fn pointer(&self, address: u64) -> Option<u64> {
        let word = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
        if let Some(relocations) = self.named(".rela.dyn") {
            let relocations = self.content(relocations, LONGEST_SYMBOLS)?;
            // elf.h, `Elf64_Rela`: offset, info, addend
            let found = relocations
                .as_chunks::<24>()
                .0
                .iter()
                .find(|relocation| word(&relocation[..8]) == Some(address));
            if let Some(relocation) = found {
                return match word(&relocation[8..16])? {
                    RELATIVE => word(&relocation[16..]),
                    // By its symbol, which may come from elsewhere.
                    _ => None,
                };
            }
        }
        word(&self.at(address, 8)?).filter(|pointer| *pointer != 0)
    }

    fn bytes(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        // What the file does not have is not made room for.
        let end = offset.checked_add(length as u64)?;
        (end <= self.file.metadata().ok()?.len()).then_some(())?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

/// A file of someone else's: it is not believed when it wants much to be read at once.
#[derive(Clone, Copy)]
struct Bounded<'a>(&'a ReadCache<File>);

impl<'a> ReadRef<'a> for Bounded<'a> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > MAX_READ {
            Err(())
        } else {
            self.0.read_bytes_at(offset, size)
        }
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
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
    fn a_file_that_wants_gigabytes_to_be_read_is_not_believed() {
        let folder = super::super::fake::Folder::new();
        folder.write("executable", "");
        let path = folder.path("executable");
        let mut header = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        header.truncate(64);
        header[40..48].copy_from_slice(&64_u64.to_le_bytes()); // e_shoff: section headers right behind
        header[60..62].copy_from_slice(&0_u16.to_le_bytes()); // e_shnum: their number is in the first one
        header.resize(128, 0);
        header[64 + 32..64 + 40].copy_from_slice(&(1_u64 << 30).to_le_bytes()); // sh_size: 2^30 of 64 bytes
        std::fs::write(&path, header).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        file.set_len(1 << 38).unwrap();
        assert_eq!(go_version(file), None);
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
