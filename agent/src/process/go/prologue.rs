//! How a function of Go begins: with a look at how much of the stack is left (cmd/internal/obj/x86/obj6.go, arm64/obj7.go).
//!
//! ```text
//! cmp rsp, [r14+16]    or, with a large frame:    lea r12, [rsp-N]; cmp r12, [r14+16]
//! jbe more
//! push rbp
//!
//! ldr x16, [x28, #16]
//! cmp sp, x16          or, with a large frame:    sub x17, sp, #N; cmp x17, x16
//! b.ls more
//! ```
//!
//! Behind it the arguments are still in their registers, and it is passed once a call, also where the stack was grown. The kernel
//! emulates a `push` under a probe, where it executes the others out of line, one step at a time.

/// No prologue is longer.
pub(super) const LONGEST: usize = 32;

/// How far behind its beginning a function has what follows the look; `None` where it does not begin as above.
pub(super) fn behind(code: &[u8]) -> Option<u64> {
    let length = if cfg!(target_arch = "aarch64") {
        aarch64(code)?
    } else {
        x86_64(code)?
    };
    Some(length as u64)
}

fn x86_64(code: &[u8]) -> Option<usize> {
    const COMPARE_STACK: &[u8] = &[0x49, 0x3b, 0x66, 0x10];
    const COMPARE_R12: &[u8] = &[0x4d, 0x3b, 0x66, 0x10];
    const LOAD_SHORT: &[u8] = &[0x4c, 0x8d, 0x64, 0x24];
    const LOAD: &[u8] = &[0x4c, 0x8d, 0xa4, 0x24];
    const JUMP_SHORT: &[u8] = &[0x76];
    const JUMP: &[u8] = &[0x0f, 0x86];
    const PUSH_FRAME_POINTER: &[u8] = &[0x55];
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
    is_push.then(|| code.len() - rest.len())
}

fn aarch64(code: &[u8]) -> Option<usize> {
    const LOAD_LIMIT: u32 = 0xf940_0b90;
    const COMPARE_STACK: u32 = 0xeb30_63ff;
    const COMPARE_X17: u32 = 0xeb10_023f;
    /// `sub x17, sp, #N`, whatever N is.
    const LOWER: (u32, u32) = (0xff80_03ff, 0xd100_03f1);
    /// `b.ls`, wherever to.
    const BRANCH: (u32, u32) = (0xff00_001f, 0x5400_0009);
    let is = |word: u32, (mask, value): (u32, u32)| word & mask == value;
    let words: Vec<_> = code
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(u32::from_le_bytes)
        .collect();
    let length = match *words.as_slice() {
        [LOAD_LIMIT, COMPARE_STACK, branch, _, ..] if is(branch, BRANCH) => 3,
        [LOAD_LIMIT, lower, COMPARE_X17, branch, _, ..] if is(lower, LOWER) && is(branch, BRANCH) => 4,
        _ => return None,
    };
    Some(length * size_of::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_behind_each_kind_of_check_on_x86_64() {
        let cases: [(&[u8], Option<usize>); 8] = [
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
            assert_eq!(x86_64(code), expect, "{code:x?}");
        }
    }

    #[test]
    fn what_is_behind_each_kind_of_check_on_aarch64() {
        let cases: [(&[u32], Option<usize>); 7] = [
            // net/http.(*persistConn).roundTrip, Go 1.26.8
            (
                &[0xf940_0b90, 0xd107_03f1, 0xeb10_023f, 0x5400_5b09, 0xd109_03f4],
                Some(16),
            ),
            (&[0xf940_0b90, 0xeb30_63ff, 0x5400_0709, 0xf817_0ffe], Some(12)),
            // With a frame that may be lower than any address, which is looked at first.
            (
                &[0xf940_0b90, 0xf144_03f1, 0x5400_0703, 0xeb10_023f, 0x5400_0709],
                None,
            ),
            // Another condition.
            (&[0xf940_0b90, 0xeb30_63ff, 0x5400_0708, 0xf817_0ffe], None),
            // A leaf, which does not look.
            (&[0x3980_001b, 0x17ff_ccef], None),
            (&[0xf940_0b90, 0xeb30_63ff, 0x5400_0709], None),
            (&[], None),
        ];
        for (code, expect) in cases {
            let bytes: Vec<_> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(aarch64(&bytes), expect, "{code:x?}");
        }
    }
}
