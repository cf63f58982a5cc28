//! HPACK (RFC 7541): header blocks in, fields out, for a listener that may have joined late.
//!
//! A peer knows its dynamic table whole. A listener may not: it joined in the middle, or bytes were lost. Then a field
//! that refers to an entry never seen is *unknown*, and later entries are known all the same, since an index counts
//! back from the newest (section 2.3.3).
//!
//! `SETTINGS_HEADER_TABLE_SIZE` plays no part: it bounds what an encoder may choose, and the encoder says within the
//! header block what it chose (section 6.3).

mod huffman;
mod integer;
mod static_table;
mod table;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod properties;

use super::fields::Fields;
use table::{Lookup, Table};

/// What is wrong with a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// It ends within a field.
    Truncated,
    /// An integer over 32 bits, or in more than five octets behind its prefix (section 5.1).
    Integer,
    /// A Huffman-coded string holds EOS, or ends in padding that is longer than 7 bits or not the beginning of EOS
    /// (section 5.2).
    Huffman,
    /// Index 0, or one behind the end of a table that is known whole (section 2.3.3).
    Index,
    /// A dynamic table size update behind a field (section 4.2).
    SizeUpdate,
}

/// One direction's decoding context (section 2.2).
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// The context at a connection's beginning; of the dynamic table, `limit` bytes are kept at most.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: Table::new(limit),
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// A header block was missed: what the dynamic table holds is not known any more.
    pub(super) fn forget(&mut self) {
        self.table.forget();
    }

    /// Decodes a header block. What was decoded before an error is in `fields`; what the block would have done to the
    /// dynamic table from there on is not known, so that [`Self::forget`] has to follow.
    pub(super) fn decode(&mut self, block: &[u8], fields: &mut Fields) -> Result<(), Malformed> {
        let mut rest = block;
        let mut any = false;
        while let Some(&first) = rest.first() {
            // 001: dynamic table size update (section 6.3).
            if first & 0xe0 == 0x20 {
                if any {
                    return Err(Malformed::SizeUpdate);
                }
                self.table.resize(integer::read(&mut rest, 5)? as usize);
                continue;
            }
            any = true;
            if first & 0x80 != 0 {
                // 1: indexed field (section 6.1).
                let index = integer::read(&mut rest, 7)?;
                match self.table.field(index)? {
                    Lookup::Known(name, value) => fields.push(name, value),
                    Lookup::Unknown => fields.push(None, None),
                }
                continue;
            }
            // 01: literal that is added to the table; 0000 and 0001: one that is not (section 6.2).
            let added = first & 0x40 != 0;
            let index = integer::read(&mut rest, if added { 6 } else { 4 })?;
            self.name.clear();
            self.value.clear();
            let named = if index == 0 {
                string(&mut rest, &mut self.name)?;
                true
            } else {
                match self.table.field(index)? {
                    Lookup::Known(Some(name), _) => {
                        self.name.extend_from_slice(name);
                        true
                    }
                    Lookup::Known(None, _) | Lookup::Unknown => false,
                }
            };
            string(&mut rest, &mut self.value)?;
            let name = named.then_some(&*self.name);
            fields.push(name, Some(&self.value));
            if added {
                self.table.insert(name, &self.value);
            }
        }
        Ok(())
    }
}

/// Reads a string literal (section 5.2) into `out`.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let coded = rest.first().ok_or(Malformed::Truncated)? & 0x80 != 0;
    let length = integer::read(rest, 7)? as usize;
    let (text, behind) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
    *rest = behind;
    if coded {
        huffman::decode(text, out)
    } else {
        out.extend_from_slice(text);
        Ok(())
    }
}
