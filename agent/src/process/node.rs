//! Node.js: where the kernel half finds the async ids, and sees callbacks begin.
//!
//! Nothing here goes by version: offsets are in the code of the functions that use them, which are the same from Node 20 to 24.

use super::elf::{Names, Sections};
use super::execution;
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
/// `v8::internal::Execution::TryRunMicrotasks`, which it calls where there are some.
const RUN: &str = "_ZN2v88internal9Execution16TryRunMicrotasksEPNS0_7IsolateEPNS0_14MicrotaskQueueE";
/// A builtin of V8, so no other program has it.
const RESOLVE: &str = "Builtins_PromiseCapabilityDefaultResolve";

/// What the kernel half has to know of a program or a library with Node.js, and where it sees callbacks begin; `None` where one
/// of it is not found, or is not as it is known.
pub(super) fn callbacks(file: File) -> Option<(Runtime, Vec<Probe>)> {
    execution::READS_CODE.then_some(())?;
    let sections = Sections::read(file)?;
    let [push, later_push, scope, later_scope, microtasks, run] = sections.symbols(
        Names::Exported,
        [PUSH[0], PUSH[1], SCOPE[0], SCOPE[1], MICROTASKS, RUN],
    )?;
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
    let (begin, end) = microtasks_run(&code(microtasks)?, microtasks, run?)?;
    // Its first instruction, a `push`.
    code(resolve)?.starts_with(&[0x55]).then_some(())?;
    let probe = |place, address: u64| {
        let offset = sections.offset(address)?;
        Some(Probe { place, offset })
    };
    let probes = [
        probe(Place::NodeCallbackBegins, push + written)?,
        probe(Place::NodeMicrotasksBegin, microtasks + begin)?,
        probe(Place::NodeMicrotasksEnd, microtasks + end)?,
        probe(Place::NodePromiseResolved, resolve)?,
    ];
    Some((runtime, probes.into()))
}

/// Which register keeps the first argument of `push_async_context` (see [`Runtime::hooks_register`]), and how far behind its
/// beginning the `je` is that follows when the ids are written: it is emulated, as all jumps are.
fn written(code: &[u8]) -> Option<(u32, u64)> {
    /// mov rbx, r12, r13 or r14, rdi
    const KEEP: [[u8; 3]; 4] = [
        [0x48, 0x89, 0xfb],
        [0x49, 0x89, 0xfc],
        [0x49, 0x89, 0xfd],
        [0x49, 0x89, 0xfe],
    ];
    /// movups or movsd [rcx], xmm0
    const STORE: [u8; 3] = [0x0f, 0x11, 0x01];
    let (prologue, rest) = code.split_at_checked(64)?;
    let register = KEEP
        .iter()
        .position(|keep| prologue.windows(3).any(|it| it == keep))?;
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
    let number = |at| number(code, at);
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
        let called = (at + 8..at + 16).any(|call| calls(code, call, address, push));
        called.then(|| number(at + 4))?
    })?;
    u32::try_from(count.checked_sub(hooks)?).ok()
}

/// How far behind its beginning `RunMicrotasks`, with its `code` at `address`, calls `run`, and where it jumps next: both are
/// emulated.
fn microtasks_run(code: &[u8], address: u64, run: u64) -> Option<(u64, u64)> {
    let call = (0..code.len()).find(|at| calls(code, *at, address, run))?;
    let behind = code.get(call + 5..call + 64)?;
    // test r, r; je
    let test = behind
        .windows(5)
        .position(|it| matches!(it, [0x48, 0x85, _, 0x0f, 0x84]))?;
    Some((call as u64, (call + 5 + test + 3) as u64))
}

/// Whether `code`, which is at `address`, calls `function` at this place.
fn calls(code: &[u8], at: usize, address: u64, function: u64) -> bool {
    let next = address.wrapping_add(at as u64 + 5);
    let is = |far: i32| next.wrapping_add(i64::from(far).cast_unsigned()) == function;
    code.get(at) == Some(&0xe8) && number(code, at + 1).is_some_and(is)
}

fn number(code: &[u8], at: usize) -> Option<i32> {
    let bytes = code.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(i32::from_le_bytes(bytes))
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
        assert_eq!(
            written(&push(b"\x49\x89\xff", b"\x0f\x11\x01\x4d\x85\xed\x74\x38")),
            None
        );
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
    fn where_microtasks_begin_and_end() {
        // Node 20, at 0x107e5a0: what it calls is at 0x104aae0.
        let mut code = vec![0x90; 0x91];
        code.extend(
            b"\xe8\xaa\xc4\xfc\xff\x45\x8b\x65\x28\x48\x8b\x15\x07\xa6\x5e\x04\x45\x29\xfc\x49\x89\xd7",
        );
        code.extend(b"\x48\x85\xd2\x0f\x84\x38\x01\0\0");
        code.resize(512, 0x90);
        assert_eq!(microtasks_run(&code, 0x107_e5a0, 0x104_aae0), Some((0x91, 0xaa)));
        assert_eq!(microtasks_run(&code, 0x107_e5a0, 0x104_aae1), None);
        assert_eq!(microtasks_run(&code[..0x98], 0x107_e5a0, 0x104_aae0), None);
    }

    #[test]
    fn this_test_is_not_node() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(callbacks(file).is_none());
    }
}
