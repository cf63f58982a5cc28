//! CPython: where the kernel half finds the context that runs, and how contexts come from one another.

use super::elf::Sections;
use super::execution;
use super::probe::{Place, Probe};
use spanwire_ebpf::{Runtime, unit};
use std::fs::File;

/// What the names of libraries with an interpreter begin with.
pub(super) const LIBRARY: &str = "libpython3.";

/// What an executable with one is called.
const EXECUTABLE: &str = "python3.";

/// Where a type has its `tp_dealloc` (Doc/c-api/typeobj.rst).
const DEALLOC: u64 = 48;

/// As much of a function as is looked at.
const GLANCE: usize = 48;

/// Where `PyThreadState` has its `context`, in bytes (Include/cpython/pystate.h), by the minor version of Python 3: measured.
/// What is read there is checked to be a context.
fn context(minor: u32) -> Option<u32> {
    match minor {
        9 | 10 => Some(240),
        11 => Some(224),
        12 | 13 => Some(208),
        _ => None,
    }
}

/// What the kernel half has to know of a file of this name, and where contexts are copied; `None` where that is no interpreter
/// that is known.
pub(super) fn contexts(name: &str, file: File) -> Option<(Runtime, Vec<Probe>)> {
    execution::READS_CODE.then_some(())?;
    let context = context(minor(name)?)?;
    let sections = Sections::read(file)?;
    let [copy, kind, state, interpreter, exit] = sections.exported([
        "PyContext_CopyCurrent",
        "PyContext_Type",
        "PyGILState_GetThisThreadState",
        "_PyRuntime",
        "PyContext_Exit",
    ])?;
    let (copy, kind, state) = (copy?, kind?, state?);
    let key = key(&sections.at(state, GLANCE)?, state, interpreter?)?;
    let runtime = Runtime {
        unit: unit::CONTEXT,
        context,
        key_distance: i32::try_from(key.wrapping_sub(kind).cast_signed()).ok()?,
        ..Runtime::default()
    };
    let copied = Probe {
        place: Place::PythonContextCopied,
        offset: sections.offset(copy)?,
    };
    let probe = |place, function: u64| {
        let emulated = function + emulated(&sections.at(function, GLANCE)?)?;
        let offset = sections.offset(emulated)?;
        Some(Probe { place, offset })
    };
    let freed = probe(Place::PythonContextFreed, sections.pointer(kind + DEALLOC)?)?;
    let left = exit.and_then(|exit| probe(Place::PythonContextLeft, exit));
    Some((runtime, [copied, freed].into_iter().chain(left).collect()))
}

/// How far behind its beginning a function has an instruction that the kernel emulates under a probe, and that is passed at
/// each call: a `push` at its beginning, or the `jmp` of one that only puts the thread's state before its argument.
fn emulated(code: &[u8]) -> Option<u64> {
    match code {
        [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..] => Some(0),
        // mov rsi, rdi; mov rdi, [rip + N]; jmp
        [0x48, 0x89, 0xfe, 0x48, 0x8b, 0x3d, _, _, _, _, 0xe9, ..] => Some(10),
        _ => None,
    }
}

/// The minor version in the name of an executable or a library; `None` where there is more to it, such as the `t` of a build
/// without the global lock.
fn minor(name: &str) -> Option<u32> {
    let rest = name
        .strip_prefix(LIBRARY)
        .or_else(|| name.strip_prefix(EXECUTABLE))?;
    let version = rest.split(".so").next()?;
    version.parse().ok()
}

/// Address of the number of the key by which threads find their state, from the `code` at `address` that asks for it
/// (Python/pystate.c, `PyGILState_GetThisThreadState`). It loads the address of a `Py_tss_t` (Include/pythread.h), whose second
/// word the number is, behind that of `interpreter`; or, where all of that was put in its place, the number itself.
fn key(code: &[u8], address: u64, interpreter: u64) -> Option<u64> {
    /// lea rdi or rbx, [rax + N]
    const LOAD: [[u8; 3]; 2] = [[0x48, 0x8d, 0xb8], [0x48, 0x8d, 0x98]];
    /// lea rdi or rbx, [rip + N]
    const LOAD_NEAR: [[u8; 3]; 2] = [[0x48, 0x8d, 0x3d], [0x48, 0x8d, 0x1d]];
    /// mov edi, [rip + N]
    const NUMBER: [u8; 2] = [0x8b, 0x3d];
    /// How much of the interpreter's state there may be before it.
    const LONGEST: u64 = 64 << 10;
    let found = (0..code.len()).find_map(|at| {
        let code = code.get(at..)?;
        let distance = |length: usize| {
            let bytes = code.get(length..length + 4)?.try_into().ok()?;
            let next = address.wrapping_add((at + length + 4) as u64);
            Some((i64::from(i32::from_le_bytes(bytes)).cast_unsigned(), next))
        };
        if LOAD.iter().any(|load| code.starts_with(load)) {
            let (distance, _) = distance(3)?;
            return Some(interpreter.wrapping_add(distance).wrapping_add(4));
        }
        if LOAD_NEAR.iter().any(|load| code.starts_with(load)) {
            let (distance, next) = distance(3)?;
            return Some(next.wrapping_add(distance).wrapping_add(4));
        }
        if code.starts_with(&NUMBER) {
            let (distance, next) = distance(2)?;
            return Some(next.wrapping_add(distance));
        }
        None
    })?;
    (interpreter..interpreter + LONGEST)
        .contains(&found)
        .then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_by_the_names_of_files() {
        let cases = [
            ("python3.11", Some(11)),
            ("libpython3.9.so.1.0", Some(9)),
            ("libpython3.13.so", Some(13)),
            ("libpython3.13t.so.1.0", None),
            ("libpython3.so", None),
            ("python3", None),
            ("python", None),
        ];
        for (name, expect) in cases {
            assert_eq!(minor(name), expect, "{name}");
        }
        assert_eq!([8, 9, 13, 14].map(context), [None, Some(240), Some(208), None]);
    }

    #[test]
    fn the_key_as_each_build_asks_for_it() {
        /// Build, code and where it is, where the interpreter's state is, the key.
        type Case<'a> = (&'a str, &'a [u8], u64, u64, Option<u64>);
        let cases: [Case<'_>; 5] = [
            (
                "3.9, library",
                b"\x48\x8b\x05\x21\x7b\x17\0\x48\x83\xb8\x40\x02\0\0\0\x74\x0f\x48\x8d\xb8\x48\x02\0\0\xe9\x83\x90\xe8\xff",
                0x1d_c1e0,
                0x3a_cf60,
                Some(0x3a_cf60 + 588),
            ),
            (
                "3.12, library",
                b"\x48\x8b\x05\xc9\xc0\x26\0\x53\x48\x8d\x98\x08\x06\0\0\x48\x89\xdf\xe8\xd9\x21\xe3\xff",
                0x2d_7c30,
                0x64_3340,
                Some(0x64_3340 + 1548),
            ),
            (
                "3.11 of Debian, executable",
                b"\x48\x83\x3d\x50\x3d\x56\0\0\x0f\x84\x1f\xc8\xf2\xff\x8b\x3d\x50\x3d\x56\0\xe9\xa7\x8a\xf2\xff",
                0x4f_7c30,
                0xa5_b740,
                Some(0xa5_b740 + 596),
            ),
            ("far from the interpreter's state", b"\x8b\x3d\x50\x3d\x56\0", 0x4f_7c30, 0x10, None),
            ("cut", b"\x48\x8d\xb8\x48\x02", 0, 0, None),
        ];
        for (name, code, address, interpreter, expect) in cases {
            assert_eq!(key(code, address, interpreter), expect, "{name}");
        }
    }

    #[test]
    fn instructions_that_are_emulated() {
        // PyContext_Exit of 3.11 and 3.12 in a library, and of Debian's 3.11
        assert_eq!(emulated(b"\x55\x53\x48\x83\xec\x08"), Some(0));
        assert_eq!(emulated(b"\x41\x54\x55"), Some(0));
        assert_eq!(
            emulated(b"\x48\x89\xfe\x48\x8b\x3d\x1c\xad\x56\0\xe9\xb7"),
            Some(10)
        );
        assert_eq!(emulated(b"\x48\x83\xec\x08"), None);
        assert_eq!(emulated(b"\x41"), None);
    }

    #[test]
    fn this_test_is_no_interpreter() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(contexts("python3.11", file).is_none());
    }
}
