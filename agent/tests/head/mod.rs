//! Bytes as the kernel half looks at them. Shared by the tests that hold its pure functions against recorded sessions.

use spanwire_ebpf::frame::Head;

/// The first bytes of `data`; zeroes where it has fewer.
pub(crate) fn head(data: &[u8]) -> Head {
    let mut bytes = [0; 16];
    let length = data.len().min(16);
    bytes[..length].copy_from_slice(&data[..length]);
    let [word, next] = [0, 8].map(|at| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap()));
    Head { word, next }
}
