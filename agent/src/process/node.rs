//! Node.js: where the kernel half finds the async ids, and sees callbacks begin.
//!
//! Nothing here goes by version: offsets are in the code of the functions that use them, which are the same from Node 18 to 24.

use super::elf::{Names, Sections};
use super::probe::{Place, Probe};
use spanwire_ebpf::{Runtime, unit};
use std::fs::File;

/// What the names of libraries with Node.js begin with.
pub(super) const LIBRARY: &str = "libnode.so.";

/// As much of a function as is looked at.
const GLANCE: usize = 1_024;

/// `AsyncHooks::push_async_context` up to Node 20, and later.
const PUSH: [&str; 2] = [
    "_ZN4node10AsyncHooks18push_async_contextEddN2v85LocalINS1_6ObjectEEE",
    "_ZN4node10AsyncHooks18push_async_contextEddPN2v85LocalINS1_6ObjectEEE",
];
/// `InternalCallbackScope::InternalCallbackScope`, which calls it, up to Node 20, and later.
const SCOPE: [&str; 2] = [
    "_ZN4node21InternalCallbackScopeC1EPNS_11EnvironmentEN2v85LocalINS3_6ObjectEEERKNS_13async_contextEi",
    "_ZN4node21InternalCallbackScopeC1EPNS_11EnvironmentESt7variantIJN2v85LocalINS4_6ObjectEEEPS7_EERKNS_13async_contextEiNS5_INS4_5ValueEEE",
];
/// `v8::internal::MicrotaskQueue::RunMicrotasks`
const MICROTASKS: &str = "_ZN2v88internal14MicrotaskQueue13RunMicrotasksEPNS0_7IsolateE";
/// A builtin of V8, so no other program has it.
const RESOLVE: &str = "Builtins_PromiseCapabilityDefaultResolve";

/// What the kernel half has to know of a program or a library with Node.js, and where it sees callbacks begin; `None` where one
/// of it is not found, or is not as it is known.
pub(super) fn callbacks(file: File) -> Option<(Runtime, Vec<Probe>)> {
    let sections = Sections::read(file)?;
    let [push, later_push, scope, later_scope, microtasks] =
        sections.symbols(Names::Exported, [PUSH[0], PUSH[1], SCOPE[0], SCOPE[1], MICROTASKS])?;
    let [resolve] = sections.symbols(Names::All, [RESOLVE])?;
    let (push, scope) = (push.or(later_push)?, scope.or(later_scope)?);
    let (microtasks, resolve) = (microtasks?, resolve?);
    let code = |function| sections.at(function, GLANCE);
    let (hooks_register, written) = written(&code(push)?)?;
    let runtime = Runtime {
        unit: unit::NODE,
        hooks_register,
        hooks_depth: depth(&code(scope)?, scope, push)?,
        ..Runtime::default()
    };
    let probe = |place, function: u64, behind: Option<u64>| {
        let offset = sections.offset(function + behind?)?;
        Some(Probe { place, offset })
    };
    let probes = [
        probe(Place::NodeCallbackBegins, push, Some(written))?,
        probe(Place::NodeMicrotasksRun, microtasks, emulated(&code(microtasks)?))?,
        probe(Place::NodePromiseResolved, resolve, emulated(&code(resolve)?))?,
    ];
    Some((runtime, probes.into()))
}

/// Which register keeps the first argument of `push_async_context` (see [`Runtime::hooks_register`]), and how far behind its
/// beginning the `je` is that follows when the ids are written: it is emulated, as all jumps are.
fn written(code: &[u8]) -> Option<(u32, u64)> {
    /// mov rbx, r12, r13 or r14, rdi
    const KEEP: [[u8; 3]; 4] = [[0x48, 0x89, 0xfb], [0x49, 0x89, 0xfc], [0x49, 0x89, 0xfd], [0x49, 0x89, 0xfe]];
    /// movups or movsd [rcx], xmm0
    const STORE: [u8; 3] = [0x0f, 0x11, 0x01];
    let (prologue, rest) = code.split_at_checked(64)?;
    let register = KEEP.iter().position(|keep| prologue.windows(3).any(|it| it == keep))?;
    let stored = rest.windows(3).position(|it| it == STORE)? + STORE.len();
    let behind = rest.get(stored..stored + 32)?;
    // test r14, r14; je
    let test = behind
        .windows(5)
        .position(|it| matches!(it, [0x4d, 0x85, _, 0x74, _] | [0x4d, 0x85, _, 0x0f, 0x84]))?;
    let jump = prologue.len() + stored + test + 3;
    Some((u32::try_from(register).ok()?, jump as u64))
}

/// How far behind `AsyncHooks` its environment has the number of callbacks that it is in, from the `code` at `address` that adds
/// to it and then calls `push`.
fn depth(code: &[u8], address: u64, push: u64) -> Option<u32> {
    let number = |at: usize| {
        let bytes = code.get(at..at + 4)?.try_into().ok()?;
        Some(i32::from_le_bytes(bytes))
    };
    // add qword [rsi + N], 1 or [r12 + N]
    let count = (0..code.len()).find_map(|at| match code.get(at..at + 9)? {
        [0x48, 0x83, 0x86, _, _, _, _, 1, _] => number(at + 3),
        [0x49, 0x83, 0x84, 0x24, _, _, _, _, 1] => number(at + 4),
        _ => None,
    })?;
    // lea rdi, [r12 + N]; call, perhaps with a mov in between
    let hooks = (0..code.len()).find_map(|at| {
        if !code.get(at..)?.starts_with(&[0x49, 0x8d, 0xbc, 0x24]) {
            return None;
        }
        let calls = |call: &usize| {
            let next = address.wrapping_add(*call as u64 + 5);
            code.get(*call) == Some(&0xe8)
                && number(*call + 1)
                    .is_some_and(|far| next.wrapping_add(i64::from(far).cast_unsigned()) == push)
        };
        (at + 8..at + 16).find(calls).and_then(|_| number(at + 4))
    })?;
    u32::try_from(count.checked_sub(hooks)?).ok()
}

/// How far behind its beginning a function has an instruction that the kernel emulates under a probe, and that is passed at
/// each call: a `push`, or the jump for a queue that is empty.
fn emulated(code: &[u8]) -> Option<u64> {
    match code {
        [0x55, ..] => Some(0),
        // cmp qword [rdi + 8], 0; je
        [0x48, 0x83, 0x7f, 0x08, 0x00, 0x74, ..] => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `push_async_context` of Node 20 and 22: its prologue, and what comes behind the ids.
    fn push(keep: &[u8], end: &[u8]) -> Vec<u8> {
        let mut code = b"\x55\x48\x89\xe5\x41\x57".to_vec();
        code.extend(keep);
        code.resize(80, 0x90);
        code.extend(end);
        code.resize(160, 0x90);
        code
    }

    #[test]
    fn where_the_ids_are_written() {
        let node_20 = push(b"\x48\x89\xfb", b"\x0f\x11\x01\x4d\x85\xed\x74\x38");
        assert_eq!(written(&node_20), Some((0, 86)));
        let node_22 = push(
            b"\x49\x89\xfd",
            b"\xf2\x0f\x11\x01\x49\x8b\x8d\x98\0\0\0\xf2\x0f\x11\x49\x08\x4d\x85\xf6\x0f\x84\xad\0\0\0",
        );
        assert_eq!(written(&node_22), Some((2, 99)));
        assert_eq!(written(&push(b"\x49\x89\xff", b"\x0f\x11\x01\x4d\x85\xed\x74\x38")), None);
        assert_eq!(written(&push(b"\x48\x89\xfb", b"\x0f\x11\x01\x90")), None);
        assert_eq!(written(&node_20[..90]), None);
    }

    #[test]
    fn how_deep_callbacks_are() {
        // Node 20, at 0xbba830: what it calls is at 0xc22280.
        let mut node_20 = b"\x48\x83\x86\xf8\x05\0\0\x01\x90".to_vec();
        node_20.resize(0xeb, 0x90);
        node_20.extend(b"\x49\x8d\xbc\x24\xe8\x03\0\0\xe8\x58\x79\x06\0");
        assert_eq!(depth(&node_20, 0xbb_a830, 0xc2_2280), Some(0x210));
        assert_eq!(depth(&node_20, 0xbb_a830, 0xc2_2281), None);
        // Node 22, at 0xe7ef90: 0xeedee0.
        let mut node_22 = vec![0x90; 0x85];
        node_22.extend(b"\x49\x83\x84\x24\x30\x06\0\0\x01");
        node_22.resize(0x16d, 0x90);
        node_22.extend(b"\x49\x8d\xbc\x24\xe8\x03\0\0\x48\x8b\x73\x20\xe8\xd2\xed\x06\0");
        assert_eq!(depth(&node_22, 0xe7_ef90, 0xee_dee0), Some(0x248));
    }

    #[test]
    fn instructions_that_are_emulated() {
        assert_eq!(emulated(b"\x55\x48\x89\xe5"), Some(0));
        assert_eq!(emulated(b"\x48\x83\x7f\x08\0\x74\x09"), Some(5));
        assert_eq!(emulated(b"\x48\x83\x7f\x08\0\x75\x09"), None);
    }

    #[test]
    fn this_test_is_not_node() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(callbacks(file).is_none());
    }
}
