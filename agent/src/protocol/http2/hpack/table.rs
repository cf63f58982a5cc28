//! The dynamic table (RFC 7541, section 2.3.2), of which a listener may know the newest entries only.
//!
//! An index counts back from the newest entry, so the n newest are known as soon as n additions were seen, whatever
//! came before and whatever was evicted since: an encoder never refers to what it evicted. For the same reason it
//! does no harm that an addition may have been larger than a table of unknown size: it emptied the table then
//! (section 4.4), and nothing before it is referred to any more. Eviction is followed all the same, to bound memory
//! and to tell a wrong index where the table is known whole.

use super::Malformed;
use super::static_table::STATIC_TABLE;
use std::collections::VecDeque;

/// What an entry costs beside its text (section 4.1).
const OVERHEAD: usize = 32;

/// Size of the table at a connection's beginning (RFC 9113, section 6.5.2).
const INITIAL: usize = 4096;

/// What an index refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup<'a> {
    /// An entry that was seen; its name is unknown where that was taken from one never seen.
    Known(Option<&'a [u8]>, Option<&'a [u8]>),
    /// One that was never seen.
    Unknown,
}

#[derive(Debug)]
struct Entry {
    name: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
}

impl Entry {
    /// Its size, a lower bound where something is unknown.
    fn size(&self) -> usize {
        let length = |text: &Option<Box<[u8]>>| text.as_ref().map_or(0, |text| text.len());
        length(&self.name) + length(&self.value) + OVERHEAD
    }
}

/// Dynamic and static table in their one address space (section 2.3.3).
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// Its maximum size; `None` where the encoder chose it unseen.
    maximum: Option<usize>,
    /// Bytes kept at most.
    limit: usize,
    /// No entry is missing.
    whole: bool,
}

impl Table {
    /// An empty table.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            maximum: Some(INITIAL),
            limit,
            whole: true,
        }
    }

    /// What it holds is not known any more, nor its maximum size.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.maximum = None;
        self.whole = false;
    }

    /// Sets the maximum size (section 4.3).
    pub(super) fn resize(&mut self, maximum: usize) {
        self.maximum = Some(maximum);
        self.make_room(0);
        // A table of no size has no entries, seen or not.
        self.whole |= maximum == 0;
    }

    /// Bytes kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The field that `index` refers to.
    pub(super) fn field(&self, index: u32) -> Result<Lookup<'_>, Malformed> {
        let index = (index as usize).checked_sub(1).ok_or(Malformed::Index)?;
        if let Some((name, value)) = STATIC_TABLE.get(index) {
            return Ok(Lookup::Known(Some(name.as_bytes()), Some(value.as_bytes())));
        }
        match self.entries.get(index - STATIC_TABLE.len()) {
            Some(Entry { name, value }) => Ok(Lookup::Known(name.as_deref(), value.as_deref())),
            None if self.whole => Err(Malformed::Index),
            None => Ok(Lookup::Unknown),
        }
    }

    /// Adds an entry (section 4.4).
    pub(super) fn insert(&mut self, name: Option<&[u8]>, value: &[u8]) {
        let size = name.map_or(0, <[u8]>::len) + value.len() + OVERHEAD;
        if self.maximum.is_some_and(|maximum| size > maximum) {
            self.entries.clear();
            self.size = 0;
            self.whole = true;
            return;
        }
        let entry = if size > self.limit {
            // It is there, and too large to keep.
            Entry {
                name: None,
                value: None,
            }
        } else {
            Entry {
                name: name.map(Into::into),
                value: Some(value.into()),
            }
        };
        self.make_room(size.min(self.limit));
        self.size += entry.size();
        self.entries.push_front(entry);
    }

    /// Evicts the oldest entries until there is room for one of `size` bytes.
    fn make_room(&mut self, size: usize) {
        let bound = self.maximum.map_or(self.limit, |maximum| maximum.min(self.limit));
        while self.size + size > bound
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size();
            // Whoever has more room has not evicted it.
            self.whole &= self.maximum.is_some_and(|maximum| maximum <= self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(table: &'a Table, index: u32) -> Result<Lookup<'a>, Malformed> {
        table.field(index)
    }

    fn known<'a>(name: &'a str, value: &'a str) -> Result<Lookup<'a>, Malformed> {
        Ok(Lookup::Known(Some(name.as_bytes()), Some(value.as_bytes())))
    }

    #[test]
    fn whole() {
        let mut table = Table::new(1 << 16);
        assert_eq!(text(&table, 0), Err(Malformed::Index));
        assert_eq!(text(&table, 2), known(":method", "GET"));
        assert_eq!(text(&table, 61), known("www-authenticate", ""));
        assert_eq!(text(&table, 62), Err(Malformed::Index));
        table.insert(Some(b"a"), b"1");
        table.insert(Some(b"b"), b"2");
        assert_eq!(
            [text(&table, 62), text(&table, 63)],
            [known("b", "2"), known("a", "1")]
        );
        // Room for one of the two (34 bytes each).
        table.resize(67);
        assert_eq!(
            [text(&table, 62), text(&table, 63)],
            [known("b", "2"), Err(Malformed::Index)]
        );
        // One that is larger than the table empties it.
        table.insert(Some(b"c"), &[b'x'; 35]);
        assert_eq!(text(&table, 62), Err(Malformed::Index));
    }

    #[test]
    fn joined_late() {
        let mut table = Table::new(1 << 16);
        table.insert(Some(b"a"), b"1");
        table.forget();
        assert_eq!(text(&table, 62), Ok(Lookup::Unknown));
        table.insert(None, b"2");
        table.insert(Some(b"c"), b"3");
        assert_eq!(text(&table, 62), known("c", "3"));
        assert_eq!(text(&table, 63), Ok(Lookup::Known(None, Some(b"2"))));
        assert_eq!(text(&table, 64), Ok(Lookup::Unknown));
        table.resize(4096);
        assert_eq!(text(&table, 64), Ok(Lookup::Unknown));
        table.resize(0);
        table.resize(4096);
        assert_eq!(text(&table, 62), Err(Malformed::Index));
    }

    #[test]
    fn more_than_is_kept_is_unknown() {
        let mut table = Table::new(70);
        for value in ["1", "2", "3"] {
            table.insert(Some(b"a"), value.as_bytes());
        }
        assert_eq!(
            [text(&table, 62), text(&table, 63)],
            [known("a", "3"), known("a", "2")]
        );
        assert_eq!(text(&table, 64), Ok(Lookup::Unknown));
        table.insert(Some(b"a"), &[b'x'; 100]);
        assert_eq!(text(&table, 62), Ok(Lookup::Known(None, None)));
        assert_eq!(text(&table, 63), Ok(Lookup::Unknown));
        table.insert(Some(b"b"), b"4");
        assert_eq!(
            [text(&table, 62), text(&table, 63)],
            [known("b", "4"), Ok(Lookup::Known(None, None))]
        );
    }
}
