//! How a function of Go begins on x86-64: with a look at how much of the stack is left (cmd/internal/obj/x86/obj6.go).
//!
//! ```text
//! cmp rsp, [r14+16]    or, with a large frame:    lea r12, [rsp-N]; cmp r12, [r14+16]
//! jbe more
//! push rbp
//! ```
//!
//! The kernel emulates a `push` under a probe, where it executes the others out of line, one step at a time. There the
//! arguments are still in their registers, and it is passed once a call, also where the stack was grown.

const COMPARE_STACK: &[u8] = &[0x49, 0x3b, 0x66, 0x10];
const COMPARE_R12: &[u8] = &[0x4d, 0x3b, 0x66, 0x10];
const LOAD_SHORT: &[u8] = &[0x4c, 0x8d, 0x64, 0x24];
const LOAD: &[u8] = &[0x4c, 0x8d, 0xa4, 0x24];
const JUMP_SHORT: &[u8] = &[0x76];
const JUMP: &[u8] = &[0x0f, 0x86];
const PUSH_FRAME_POINTER: &[u8] = &[0x55];

/// No prologue is longer.
pub(super) const LONGEST: usize = 32;

/// How far behind its beginning a function has its `push rbp`; `None` where it does not begin as above.
pub(super) fn push(code: &[u8]) -> Option<u64> {
    let behind_load = code
        .strip_prefix(LOAD_SHORT)
        .and_then(|rest| rest.get(1..))
        .or_else(|| code.strip_prefix(LOAD).and_then(|rest| rest.get(4..)));
    let rest = match behind_load {
        Some(rest) => rest.strip_prefix(COMPARE_R12)?,
        None => code.strip_prefix(COMPARE_STACK)?,
    };
    let rest = match rest.strip_prefix(JUMP_SHORT) {
        Some(rest) => rest.get(1..)?,
        None => rest.strip_prefix(JUMP)?.get(4..)?,
    };
    let is_push = rest.starts_with(PUSH_FRAME_POINTER);
    is_push.then(|| (code.len() - rest.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_behind_each_kind_of_check() {
        let cases: [(&[u8], Option<u64>); 8] = [
            // net/http.(*persistConn).roundTrip, Go 1.26.8
            (
                b"\x4c\x8d\xa4\x24\x58\xfe\xff\xff\x4d\x3b\x66\x10\x0f\x86\x68\x0e\0\0\x55\x48",
                Some(18),
            ),
            (b"\x49\x3b\x66\x10\x76\x20\x55", Some(6)),
            (b"\x49\x3b\x66\x10\x0f\x86\x68\x0e\0\0\x55", Some(10)),
            (b"\x4c\x8d\x64\x24\xf0\x4d\x3b\x66\x10\x76\x20\x55", Some(11)),
            // The other register is compared.
            (b"\x4c\x8d\x64\x24\xf0\x49\x3b\x66\x10\x76\x20\x55", None),
            // A leaf, which does not look.
            (b"\x55\x48\x89\xe5", None),
            (b"\x49\x3b\x66\x10\x76\x20", None),
            (b"", None),
        ];
        for (code, expect) in cases {
            assert_eq!(push(code), expect, "{code:x?}");
        }
    }
}
