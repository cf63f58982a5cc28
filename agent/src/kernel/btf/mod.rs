//! BTF: the kernel's own description of its types, as in `Documentation/bpf/btf.rst`.
//!
//! Read for the offsets of fields that the kernel half needs, since Rust cannot emit CO-RE relocations, and for
//! what this kernel has at all: functions, tracepoints (`btf_trace_NAME`), helpers (`enum bpf_func_id`).

mod section;
#[cfg(test)]
mod tests;

use hashbrown::{DefaultHashBuilder, HashTable};
use section::{Sections, Type};
use std::fs;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use thiserror::Error;

/// Where a kernel built with `CONFIG_DEBUG_INFO_BTF` shows its own BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// How deep types may refer to types before the file is taken for a lie.
const DEPTH: u32 = 32;
/// How many members one lookup may look at. The largest structs of a kernel have a few hundred.
const MEMBERS: u32 = 100_000;

/// Why BTF could not be read.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("reading BTF from {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not BTF, or from a machine of the other byte order.
    #[error("this is not BTF of this machine's byte order: it begins with {0:#06x}, not 0xeb9f")]
    Magic(u16),
    /// A version of the format that did not exist when this was written.
    #[error("BTF of version {0}: only version 1 is known")]
    Version(u8),
    /// A part lies outside the file.
    #[error("BTF is cut: its {what} does not fit into {length} bytes")]
    Truncated {
        /// Which part.
        what: &'static str,
        /// Length of the file in bytes.
        length: usize,
    },
    /// A type does not end within the type section.
    #[error("BTF is cut: type {id} does not end within the type section")]
    TypeCut {
        /// Which type.
        id: usize,
    },
    /// A kind of type whose size nobody tells.
    #[error("BTF type {id} is of kind {kind}, which this version of spanwire does not know")]
    Kind {
        /// Which type.
        id: usize,
        /// Its kind.
        kind: u8,
    },
}

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the beginning of the outermost type to the field, or to the byte its lowest bits are in.
    pub offset: u32,
    /// Bytes of the field's type.
    pub size: u32,
    /// Where in the bytes at `offset` the field is, if it is a bit-field.
    pub bits: Option<Bits>,
}

/// The part of its bytes that a bit-field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Bits to step over, counted as BTF does: from the least significant on little-endian machines.
    pub shift: u8,
    /// How many bits there are.
    pub width: u8,
}

/// The types of one kernel.
pub struct Btf {
    sections: Sections,
    /// Ids of all named types, by name; several types may have one name. Made at the first lookup.
    names: OnceLock<HashTable<u32>>,
    hasher: DefaultHashBuilder,
}

impl Btf {
    /// Reads the BTF at `path`, most often [`VMLINUX`]: a few milliseconds for a kernel's.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, BtfError> {
        let path = path.as_ref();
        let data = fs::read(path).map_err(|source| BtfError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(data)
    }

    /// Reads BTF out of bytes.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let sections = Sections::parse(data)?;
        Ok(Self {
            sections,
            names: OnceLock::new(),
            hasher: DefaultHashBuilder::default(),
        })
    }

    /// How many types there are.
    #[must_use]
    pub fn type_count(&self) -> u32 {
        self.sections.type_count()
    }

    /// Bytes from the beginning of struct or union `of` to `field`; see [`Btf::field`]. `field` may be a path with
    /// dots (`"thread.fsbase"`). `None` for a bit-field, which has no byte of its own.
    #[must_use]
    pub fn offset(&self, of: &str, field: &str) -> Option<u32> {
        let path: Vec<&str> = std::iter::once(of).chain(field.split('.')).collect();
        self.field(&path)
            .filter(|field| field.bits.is_none())
            .map(|field| field.offset)
    }

    /// The field at the end of `path`: first a struct, union or typedef, then the members to go through. Anonymous
    /// structs and unions are gone through unnamed, of an array its first element is taken, and a pointer ends
    /// the path.
    #[must_use]
    pub fn field(&self, path: &[&str]) -> Option<Field> {
        let (first, members) = path.split_first()?;
        let mut budget = MEMBERS;
        self.named(first)
            .find_map(|id| self.field_of(id, members, &mut budget))
    }

    /// Size in bytes of a struct, union, enum, typedef or basic type.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u32> {
        self.named(name).find_map(|id| self.size_of(id))
    }

    /// Whether the kernel has a function of that name which BTF describes (so that fentry can take it).
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.function_id(name).is_some()
    }

    /// Whether there is a struct, union, enum, typedef or basic type of that name.
    #[must_use]
    pub fn has_type(&self, name: &str) -> bool {
        self.named(name)
            .any(|id| self.size_of(id).is_some() || self.is_typedef(id))
    }

    /// Whether the kernel has a tracepoint of that name (without its subsystem: `inet_sock_set_state`).
    #[must_use]
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoint_id(name).is_some()
    }

    /// The type id of a function, as `attach_btf_id` of an fentry program wants it.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.of_kind(name, section::FUNCTION)
    }

    /// The type id of a tracepoint's prototype, as `attach_btf_id` of a `tp_btf` program wants it.
    #[must_use]
    pub fn tracepoint_id(&self, name: &str) -> Option<u32> {
        self.of_kind(&format!("btf_trace_{name}"), section::TYPEDEF)
    }

    /// The value of an enumerator of a named enum, such as `BPF_FUNC_loop` of `bpf_func_id`.
    #[must_use]
    pub fn enumerator(&self, of: &str, name: &str) -> Option<i64> {
        self.named(of).find_map(|id| {
            let within = self.sections.type_at(id)?;
            let words = match within.kind {
                section::ENUM => 2,
                section::ENUM64 => 3,
                _ => return None,
            };
            let word = |index| self.sections.word(&within, index);
            let elements = (0..within.elements as usize).map(|index| index * words);
            let mut found = elements.filter(|&at| {
                word(at).and_then(|offset| self.sections.string(offset)) == Some(name.as_bytes())
            });
            let at = found.next()?;
            let low = word(at + 1)?;
            match within.kind {
                section::ENUM if within.flag => Some(i64::from(low.cast_signed())),
                section::ENUM => Some(i64::from(low)),
                _ => Some((u64::from(word(at + 2)?) << 32 | u64::from(low)).cast_signed()),
            }
        })
    }

    /// The number of a BPF helper (`"loop"` for `bpf_loop`), where this kernel knows it.
    #[must_use]
    pub fn helper(&self, name: &str) -> Option<i64> {
        self.enumerator("bpf_func_id", &format!("BPF_FUNC_{name}"))
    }

    fn is_typedef(&self, id: u32) -> bool {
        self.sections
            .type_at(id)
            .is_some_and(|found| found.kind == section::TYPEDEF)
    }

    fn of_kind(&self, name: &str, kind: u8) -> Option<u32> {
        self.named(name)
            .find(|&id| self.sections.type_at(id).is_some_and(|found| found.kind == kind))
    }

    /// Ids of the types of that name.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let names = self.names.get_or_init(|| self.index());
        let found = names.iter_hash(self.hasher.hash_one(name.as_bytes())).copied();
        found.filter(move |&id| self.name_of(id) == Some(name.as_bytes()))
    }

    fn name_of(&self, id: u32) -> Option<&[u8]> {
        self.sections.string(self.sections.type_at(id)?.name)
    }

    fn index(&self) -> HashTable<u32> {
        let mut names = HashTable::with_capacity(self.sections.type_count() as usize);
        let hash = |id: &u32| self.hasher.hash_one(self.name_of(*id).unwrap_or_default());
        for id in 1..=self.sections.type_count() {
            let Some(named) = self.sections.type_at(id).filter(|named| named.name != 0) else {
                continue;
            };
            // Variables, sections and tags are never looked up by name.
            if !matches!(
                named.kind,
                section::INT..=section::FUNCTION | section::FLOAT | section::ENUM64
            ) {
                continue;
            }
            names.insert_unique(hash(&id), id, hash);
        }
        names
    }

    /// The type behind typedefs, qualifiers and tags.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let found = self.sections.type_at(id)?;
            match found.kind {
                section::TYPEDEF
                | section::VOLATILE
                | section::CONST
                | section::RESTRICT
                | section::TYPE_TAG => id = found.size_or_type,
                _ => return Some(found),
            }
        }
        None
    }

    fn size_of(&self, mut id: u32) -> Option<u32> {
        let mut count = 1_u32;
        for _ in 0..DEPTH {
            let found = self.resolve(id)?;
            match found.kind {
                section::ARRAY => {
                    // struct btf_array { u32 type; u32 index_type; u32 nelems; }
                    count = count.checked_mul(self.sections.word(&found, 2)?)?;
                    id = self.sections.word(&found, 0)?;
                }
                section::POINTER => return count.checked_mul(size_of::<usize>() as u32),
                section::INT
                | section::STRUCT
                | section::UNION
                | section::ENUM
                | section::FLOAT
                | section::ENUM64 => return count.checked_mul(found.size_or_type),
                _ => return None,
            }
        }
        None
    }

    /// The struct or union behind `id`, through arrays too.
    fn composite(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let found = self.resolve(id)?;
            match found.kind {
                section::STRUCT | section::UNION => return Some(found),
                section::ARRAY => id = self.sections.word(&found, 0)?,
                _ => return None,
            }
        }
        None
    }

    fn field_of(&self, id: u32, path: &[&str], budget: &mut u32) -> Option<Field> {
        let (last, way) = path.split_last()?;
        let mut id = id;
        let mut offset = 0_u32;
        for step in way {
            let member = self.member(&self.composite(id)?, step, DEPTH, budget)?;
            if member.width != 0 {
                return None;
            }
            offset = offset.checked_add(member.bit / 8)?;
            id = member.of;
        }
        let member = self.member(&self.composite(id)?, last, DEPTH, budget)?;
        let bits = (member.width != 0).then_some(Bits {
            shift: (member.bit % 8) as u8,
            width: member.width,
        });
        Some(Field {
            offset: offset.checked_add(member.bit / 8)?,
            size: self.size_of(member.of)?,
            bits,
        })
    }

    /// Looks a member up, through anonymous structs and unions, at most `depth` of them.
    fn member(&self, of: &Type, name: &str, depth: u32, budget: &mut u32) -> Option<Member> {
        let depth = depth.checked_sub(1)?;
        for index in 0..of.elements as usize {
            *budget = budget.checked_sub(1)?;
            // struct btf_member { u32 name_off; u32 type; u32 offset; }: with kind_flag, the offset's upper
            // eight bits are the bit-field's size, and zero for what is none.
            let word = |at| self.sections.word(of, index * 3 + at);
            let (member_name, id, place) = (word(0)?, word(1)?, word(2)?);
            let (bit, width) = if of.flag {
                (place & 0x00ff_ffff, (place >> 24) as u8)
            } else {
                (place, 0)
            };
            if member_name != 0 {
                if self.sections.string(member_name) == Some(name.as_bytes()) {
                    return Some(Member { bit, width, of: id });
                }
            } else if let Some(inner) = self
                .resolve(id)
                .filter(|inner| matches!(inner.kind, section::STRUCT | section::UNION))
                && let Some(found) = self.member(&inner, name, depth, budget)
            {
                return Some(Member {
                    bit: found.bit.checked_add(bit)?,
                    ..found
                });
            }
        }
        None
    }
}

/// A member of a struct or union: where it begins, in bits, its bit-field's width or zero, and its type's id.
struct Member {
    bit: u32,
    width: u8,
    of: u32,
}
