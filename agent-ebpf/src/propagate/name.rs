//! Names of the headers that go beside a context.

use spanwire_ebpf::word::pattern;

/// What stands in front of a header's value, in three words: of HTTP/1, and of HTTP/2 in front of the value's length, where it is
/// a literal that is never indexed (RFC 7541, section 6.2.3). By chance, both are of the same length.
pub(super) struct Name {
    pub(super) line: [u64; 3],
    pub(super) field: [u64; 3],
    pub(super) length: u32,
}

pub(super) const STATE: Name = Name {
    line: [pattern(b"tracesta"), pattern(b"te: "), 0],
    field: [pattern(b"\x10\x0atraces"), pattern(b"tate"), 0],
    length: 12,
};
pub(super) const BAGGAGE: Name = Name {
    line: [pattern(b"baggage:"), pattern(b" "), 0],
    field: [pattern(b"\x10\x07baggag"), pattern(b"e"), 0],
    length: 9,
};
pub(super) const REQUEST_ID: Name = Name {
    line: [pattern(b"x-reques"), pattern(b"t-id: "), 0],
    field: [pattern(b"\x10\x0cx-requ"), pattern(b"est-id"), 0],
    length: 14,
};
pub(super) const CORRELATION_ID: Name = Name {
    line: [pattern(b"x-correl"), pattern(b"ation-id"), pattern(b": ")],
    field: [pattern(b"\x10\x10x-corr"), pattern(b"elation-"), pattern(b"id")],
    length: 18,
};
