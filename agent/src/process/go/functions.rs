//! Where the functions of a Go program are: its table of functions and lines, which `strip` leaves in place.
//!
//! Of the section `.gopclntab` (runtime/symtab.go, `pcHeader`; runtime/runtime2.go, `_func`), as of Go 1.20:
//!
//! ```text
//!  0  u32  0xfffffff1        32  word offset of function names
//!  4  u16  0                 40  word offset of compilation units
//!  6  u8   instruction size  48  word offset of file names
//!  7  u8   pointer size      56  word offset of tables by instruction
//!  8  word functions         64  word offset of the functions' table
//! 16  word files
//! 24  word address of the text (0 as of Go 1.26)
//! ```
//!
//! The functions' table has two `u32` a function, in the order of addresses: its offset in the text, and where behind the
//! table's beginning its description is, whose second `u32` is the offset of its name. One more offset ends it.

use std::ops::Range;

const MAGIC: u32 = 0xffff_fff1;
const POINTER: u8 = 8;

/// A table of functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions<'a> {
    count: usize,
    text: u64,
    names: &'a [u8],
    /// The functions' table, and all behind it.
    table: &'a [u8],
}

impl<'a> Functions<'a> {
    /// The table in a section; `None` where it is none, or one of another version.
    pub(super) fn parse(section: &'a [u8]) -> Option<Self> {
        if u32_at(section, 0)? != MAGIC || *section.get(7)? != POINTER {
            return None;
        }
        let part = |at: usize| section.get(usize::try_from(u64_at(section, at)?).ok()?..);
        let count = usize::try_from(u64_at(section, 8)?).ok()?;
        let table = part(64)?;
        // Two words each, and the end of the last.
        (count.checked_mul(8)?.checked_add(4)? <= table.len()).then_some(())?;
        Some(Self {
            count,
            text: u64_at(section, 24)?,
            names: part(32)?,
            table,
        })
    }

    /// The address from which offsets count, where the table says so.
    pub(super) fn text(&self) -> Option<u64> {
        Some(self.text).filter(|text| *text != 0)
    }

    /// Of each of `wanted`, by its full name, which offsets of the text it takes up.
    pub(super) fn find<const N: usize>(&self, wanted: [&str; N]) -> [Option<Range<u64>>; N] {
        let names = wanted.map(|name| self.name(name));
        let mut found = [const { None }; N];
        for index in 0..self.count {
            let Some(name) = self.name_of(index) else { continue };
            for (at, _) in names.iter().enumerate().filter(|(_, it)| **it == Some(name)) {
                found[at] = self.range(index);
            }
        }
        found
    }

    /// Offset of a name.
    fn name(&self, name: &str) -> Option<u32> {
        let mut ended = Vec::with_capacity(name.len() + 2);
        ended.push(0);
        ended.extend_from_slice(name.as_bytes());
        ended.push(0);
        let at = memchr::memmem::find(self.names, &ended)?;
        u32::try_from(at + 1).ok()
    }

    /// Offset of the name of a function.
    fn name_of(&self, index: usize) -> Option<u32> {
        let description = u32_at(self.table, index * 8 + 4)?;
        u32_at(self.table, usize::try_from(description).ok()?.checked_add(4)?)
    }

    fn range(&self, index: usize) -> Option<Range<u64>> {
        let start = u32_at(self.table, index * 8)?;
        let end = u32_at(self.table, index * 8 + 8)?;
        (start < end).then(|| start.into()..end.into())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A section with functions of these names and lengths, one behind the other.
    pub(in crate::process::go) fn section(functions: &[(&str, u32)], text: u64) -> Vec<u8> {
        let mut names = vec![0];
        let (mut table, mut descriptions, mut start) = (Vec::new(), Vec::new(), 0_u32);
        let behind = functions.len() * 8 + 4;
        for (name, length) in functions {
            table.extend_from_slice(&start.to_le_bytes());
            table.extend_from_slice(&u32::try_from(behind + descriptions.len()).unwrap().to_le_bytes());
            descriptions.extend_from_slice(&start.to_le_bytes());
            descriptions.extend_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            start += length;
        }
        table.extend_from_slice(&start.to_le_bytes());
        let mut section = MAGIC.to_le_bytes().to_vec();
        section.extend_from_slice(&[0, 0, 1, POINTER]);
        let words = [
            functions.len() as u64,
            0,
            text,
            72,
            0,
            0,
            0,
            72 + names.len() as u64,
        ];
        section.extend(words.into_iter().flat_map(u64::to_le_bytes));
        [section, names, table, descriptions].concat()
    }

    #[test]
    fn functions_are_found_by_their_whole_name() {
        let section = section(&[("main.main", 32), ("net.a", 64), ("net.a.func1", 16)], 0x1000);
        let functions = Functions::parse(&section).unwrap();
        assert_eq!(functions.text(), Some(0x1000));
        assert_eq!(
            functions.find(["net.a", "net.a.func1", "et.a", "net", "none"]),
            [Some(32..96), Some(96..112), None, None, None]
        );
        let untold = self::section(&[], 0);
        assert_eq!(Functions::parse(&untold).unwrap().text(), None);
    }

    #[test]
    fn other_versions_and_machines_are_not_read() {
        let section = section(&[("a", 1)], 1);
        for (at, value) in [(0, 0xf0), (7, 4), (72 - 8 + 7, 1)] {
            let mut other = section.clone();
            other[at] = value;
            assert!(Functions::parse(&other).is_none(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(mut section in Just(section(&[("main.main", 32), ("net.a", 64)], 0)),
            damage in prop::collection::vec((0_usize..200, any::<u8>()), 0..8), end in 0_usize..200) {
            for (at, value) in damage {
                if let Some(byte) = section.get_mut(at) {
                    *byte = value;
                }
            }
            section.truncate(end);
            if let Some(functions) = Functions::parse(&section) {
                let _ = functions.find(["main.main", "net.a"]);
            }
        }
    }
}
