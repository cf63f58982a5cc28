//! The bytes of BTF: header, type section, string section. Everything that is read is bounds-checked.

use super::BtfError;
use std::ops::Range;

/// `struct btf_header`'s magic number, in the byte order of the machine that wrote it.
const MAGIC: u16 = 0xeb9f;

pub(super) const INT: u8 = 1;
pub(super) const POINTER: u8 = 2;
pub(super) const ARRAY: u8 = 3;
pub(super) const STRUCT: u8 = 4;
pub(super) const UNION: u8 = 5;
pub(super) const ENUM: u8 = 6;
pub(super) const TYPEDEF: u8 = 8;
pub(super) const VOLATILE: u8 = 9;
pub(super) const CONST: u8 = 10;
pub(super) const RESTRICT: u8 = 11;
pub(super) const FUNCTION: u8 = 12;
pub(super) const FLOAT: u8 = 16;
pub(super) const TYPE_TAG: u8 = 18;
pub(super) const ENUM64: u8 = 19;

/// Bytes that follow `struct btf_type`, by kind: once, and for each of its `vlen` elements.
/// From BTF_KIND_INT to BTF_KIND_LOCSEC (7.x); a kind beyond is known only by the layout section.
const LAYOUT: [(u8, u8); 22] = [
    (4, 0),  // INT
    (0, 0),  // PTR
    (12, 0), // ARRAY
    (0, 12), // STRUCT
    (0, 12), // UNION
    (0, 8),  // ENUM
    (0, 0),  // FWD
    (0, 0),  // TYPEDEF
    (0, 0),  // VOLATILE
    (0, 0),  // CONST
    (0, 0),  // RESTRICT
    (0, 0),  // FUNC: its vlen holds the linkage
    (0, 8),  // FUNC_PROTO
    (4, 0),  // VAR
    (0, 12), // DATASEC
    (0, 0),  // FLOAT
    (4, 0),  // DECL_TAG
    (0, 0),  // TYPE_TAG
    (0, 12), // ENUM64
    (4, 4),  // LOC_PARAM
    (0, 4),  // LOC_PROTO
    (0, 12), // LOCSEC
];

/// `struct btf_type`, and where its elements are.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub(super) name: u32,
    pub(super) kind: u8,
    /// For structs and unions: members carry a bit-field size. For enums: values are signed.
    pub(super) flag: bool,
    pub(super) elements: u32,
    /// Size in bytes, or the id of the type referred to.
    pub(super) size_or_type: u32,
    /// Offset of what follows, in the whole file.
    pub(super) body: usize,
}

/// The file as it was read, with the place of each type.
pub(super) struct Sections {
    data: Vec<u8>,
    strings: Range<usize>,
    /// By type id less one: offset of its `struct btf_type`, in the whole file.
    types: Vec<u32>,
}

impl Sections {
    /// Walks the type section once, checking that each record lies within it.
    pub(super) fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let truncated = |what| BtfError::Truncated {
            what,
            length: data.len(),
        };
        let magic = data.get(..2).ok_or(truncated("magic number"))?;
        if magic != MAGIC.to_ne_bytes() {
            return Err(BtfError::Magic(u16::from_ne_bytes([magic[0], magic[1]])));
        }
        let version = *data.get(2).ok_or(truncated("version"))?;
        if version != 1 {
            return Err(BtfError::Version(version));
        }
        let header = |index: usize| u32_at(&data, 4 + index * 4).ok_or(truncated("header"));
        let header_length = header(0)?;
        if header_length < 24 || header_length as usize > data.len() {
            return Err(truncated("header"));
        }
        let section = |what, index| -> Result<Range<usize>, BtfError> {
            let start = (header_length as usize).checked_add(header(index)? as usize);
            let end = start.and_then(|start| start.checked_add(header(index + 1).ok()? as usize));
            match (start, end) {
                (Some(start), Some(end)) if end <= data.len() => Ok(start..end),
                _ => Err(truncated(what)),
            }
        };
        let types = section("type section", 1)?;
        let strings = section("string section", 3)?;
        // From 7.x the header goes on with a layout section, which tells the sizes of kinds yet to come.
        let layout = if header_length >= 32 {
            section("layout section", 5)?
        } else {
            0..0
        };
        let types = walk(&data, types, &data[layout])?;
        Ok(Self { data, strings, types })
    }

    pub(super) fn type_count(&self) -> u32 {
        // `walk` refuses more than that.
        u32::try_from(self.types.len()).unwrap_or(u32::MAX)
    }

    /// The type of that id; `None` for void (0) and for ids that do not exist.
    pub(super) fn type_at(&self, id: u32) -> Option<Type> {
        let offset = *self.types.get(usize::try_from(id.checked_sub(1)?).ok()?)?;
        read_type(&self.data, offset as usize)
    }

    /// The string at that offset of the string section; `None` outside of it, or where no NUL ends it.
    pub(super) fn string(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.data.get(self.strings.clone())?.get(offset as usize..)?;
        rest.get(..memchr::memchr(0, rest)?)
    }

    /// The `index`th 32-bit word behind the type's record.
    pub(super) fn word(&self, of: &Type, index: usize) -> Option<u32> {
        u32_at(&self.data, of.body.checked_add(index.checked_mul(4)?)?)
    }
}

fn u32_at(data: &[u8], offset: usize) -> Option<u32> {
    let bytes = data.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// ```text
/// struct btf_type { u32 name_off; u32 info; u32 size_or_type; }
/// info: bits 0-23 vlen (0-15 before 7.x), 24-30 kind (24-28 before 7.x), 31 kind_flag; unused bits are zero
/// ```
fn read_type(data: &[u8], offset: usize) -> Option<Type> {
    let info = u32_at(data, offset.checked_add(4)?)?;
    Some(Type {
        name: u32_at(data, offset)?,
        kind: ((info >> 24) & 0x7f) as u8,
        flag: info >> 31 == 1,
        elements: info & 0x00ff_ffff,
        size_or_type: u32_at(data, offset.checked_add(8)?)?,
        body: offset.checked_add(12)?,
    })
}

fn walk(data: &[u8], section: Range<usize>, layout: &[u8]) -> Result<Vec<u32>, BtfError> {
    let mut types = Vec::with_capacity(section.len() / 20);
    let mut offset = section.start;
    while offset < section.end {
        let id = types.len() + 1;
        let cut = BtfError::TypeCut { id };
        let read = read_type(data, offset)
            .filter(|read| read.body <= section.end)
            .ok_or(cut)?;
        let (once, each) = size_of_kind(read.kind, layout).ok_or(BtfError::Kind { id, kind: read.kind })?;
        // At most 12 + 255 + 2^24 * 255: no overflow on a 64-bit host, the only kind that is supported.
        let end = read.body + usize::from(once) + read.elements as usize * usize::from(each);
        if end > section.end {
            return Err(BtfError::TypeCut { id });
        }
        types.push(u32::try_from(offset).map_err(|_| BtfError::TypeCut { id })?);
        offset = end;
    }
    Ok(types)
}

/// What follows a record of that kind; `None` where neither this reader nor the file's layout section knows it.
fn size_of_kind(kind: u8, layout: &[u8]) -> Option<(u8, u8)> {
    let known = LAYOUT.get(usize::from(kind.checked_sub(1)?)).copied();
    // struct btf_layout { u8 info_sz; u8 elem_sz; u16 flags; }, indexed by kind
    known.or_else(|| {
        let record = layout.get(usize::from(kind) * 4..)?;
        Some((*record.first()?, *record.get(1)?))
    })
}
