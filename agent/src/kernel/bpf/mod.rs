//! bpf(2) in the small: programs assembled by hand, to *try* what a kernel allows.
//!
//! aya loads objects; to find out why one would not load, single steps are needed that carry errno and verifier log.
//! All that is made here goes away with its descriptor; nothing outlives the process, however it ends.
#![expect(unsafe_code, reason = "system calls that neither libc nor rustix wrap")]

mod attributes;
mod instruction;
mod perf;

use attributes::Attributes;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use thiserror::Error;

pub(in crate::kernel) use instruction::{Instruction, Register};
pub(in crate::kernel) use perf::{Probe, attach_probe};

// enum bpf_cmd
const MAP_CREATE: u32 = 0;
const MAP_UPDATE: u32 = 2;
const PROGRAM_LOAD: u32 = 5;
const PROGRAM_ATTACH: u32 = 8;
const PROGRAM_NEXT_ID: u32 = 11;
const PROGRAM_BY_ID: u32 = 13;
const MAP_BY_ID: u32 = 14;
const INFO: u32 = 15;
const PROGRAM_QUERY: u32 = 16;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const LINK_CREATE: u32 = 28;

/// Verifier logs are cut to their end anyhow.
const LOG_BYTES: usize = 64 << 10;

/// A step that the kernel refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{step}: {}{}{log}", io::Error::from_raw_os_error(*errno), if log.is_empty() { "" } else { ": " })]
pub struct Failure {
    /// What was tried.
    pub step: &'static str,
    /// The error number.
    pub errno: i32,
    /// The verifier's last line, where it has spoken.
    pub log: String,
}

impl Failure {
    fn new(step: &'static str) -> impl FnOnce(i32) -> Self {
        move |errno| Self {
            step,
            errno,
            log: String::new(),
        }
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// `enum bpf_prog_type`, those that are needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::kernel) enum ProgramType {
    Kprobe = 2,
    SockOps = 13,
    SkSkb = 14,
    SkMsg = 16,
    RawTracepoint = 17,
    CgroupSockAddr = 18,
    Tracing = 26,
}

/// `enum bpf_attach_type`, those that are needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::kernel) enum AttachType {
    /// What program types without a choice have.
    None = 0,
    SockOps = 3,
    SkMsgVerdict = 7,
    Connect4 = 10,
    TracingRawTracepoint = 23,
    TracingFentry = 24,
    TracingFexit = 25,
}

/// `enum bpf_map_type`, those that are needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::kernel) enum MapType {
    SockMap = 15,
    SockHash = 18,
    RingBuffer = 27,
}

/// Something attached, for as long as it lives.
pub(in crate::kernel) struct Link {
    _descriptor: OwnedFd,
}

/// A loaded program.
pub(in crate::kernel) struct Program(OwnedFd);

/// What the kernel tells of a program.
pub(in crate::kernel) struct ProgramInfo {
    pub(in crate::kernel) kind: u32,
    pub(in crate::kernel) name: String,
    pub(in crate::kernel) maps: Vec<u32>,
}

impl Program {
    /// Loads `instructions`; `target` is the BTF type id of a tracing program's function or tracepoint, else 0.
    pub(in crate::kernel) fn load(
        kind: ProgramType,
        attach: AttachType,
        target: u32,
        instructions: &[Instruction],
    ) -> Result<Self, Failure> {
        let code = Instruction::bytes(instructions);
        let attempt = |log: &mut [u8]| {
            let mut attributes = Attributes::new()
                .u32(0, kind as u32)
                .u32(4, instructions.len() as u32)
                .input(8, &code)
                .input(16, b"Dual MIT/GPL\0")
                .text(48, "spanwire_check")
                .u32(68, attach as u32)
                .u32(108, target);
            if !log.is_empty() {
                attributes = attributes.u32(24, 1).u32(28, log.len() as u32).output(32, log);
            }
            // SAFETY: insn_cnt and log_size are those of the buffers, the licence ends with NUL.
            unsafe { attributes.open(PROGRAM_LOAD) }
        };
        let refused = match attempt(&mut []) {
            Ok(descriptor) => return Ok(Self(descriptor)),
            Err(errno) => errno,
        };
        let mut log = vec![0; LOG_BYTES];
        if let Ok(descriptor) = attempt(&mut log) {
            return Ok(Self(descriptor));
        }
        Err(Failure {
            step: "loading a program",
            errno: refused,
            log: last_line(&log),
        })
    }

    /// Attaches to the raw tracepoint of that name.
    pub(in crate::kernel) fn raw_tracepoint(&self, name: &str) -> Result<Link, Failure> {
        let name = format!("{name}\0");
        let mut attributes = Attributes::new().input(0, name.as_bytes()).u32(8, self.number());
        // SAFETY: the name ends with NUL.
        let descriptor = unsafe { attributes.open(RAW_TRACEPOINT_OPEN) };
        Ok(Link {
            _descriptor: descriptor.map_err(Failure::new("attaching to a raw tracepoint"))?,
        })
    }

    /// Attaches a tracing program to the target that it was loaded for.
    pub(in crate::kernel) fn trace(&self) -> Result<Link, Failure> {
        let mut attributes = Attributes::new().u32(8, self.number());
        // SAFETY: no buffers; without a name the target is the program's own.
        let descriptor = unsafe { attributes.open(RAW_TRACEPOINT_OPEN) };
        Ok(Link {
            _descriptor: descriptor.map_err(Failure::new("attaching a tracing program"))?,
        })
    }

    /// Attaches to a cgroup by a link, which unlike an attachment ends with its descriptor.
    pub(in crate::kernel) fn cgroup(
        &self,
        cgroup: BorrowedFd<'_>,
        attach: AttachType,
    ) -> Result<Link, Failure> {
        let mut attributes = Attributes::new()
            .u32(0, self.number())
            .u32(4, number(cgroup))
            .u32(8, attach as u32);
        // SAFETY: no buffers.
        let descriptor = unsafe { attributes.open(LINK_CREATE) };
        Ok(Link {
            _descriptor: descriptor.map_err(Failure::new("attaching to the cgroup"))?,
        })
    }

    /// Attaches a verdict program to a sockmap. The map holds it: it goes with the map.
    pub(in crate::kernel) fn verdict(&self, map: &Map, attach: AttachType) -> Result<(), Failure> {
        let mut attributes = Attributes::new()
            .u32(0, number(map.0.as_fd()))
            .u32(4, self.number())
            .u32(8, attach as u32);
        // SAFETY: no buffers.
        let attached = unsafe { attributes.run(PROGRAM_ATTACH) };
        attached
            .map(drop)
            .map_err(Failure::new("attaching to a sockhash"))
    }

    /// The id of the first program after `after` on this host; `None` after the last.
    pub(in crate::kernel) fn next_id(after: u32) -> Result<Option<u32>, Failure> {
        let mut attributes = Attributes::new().u32(0, after);
        // SAFETY: no buffers.
        match unsafe { attributes.run(PROGRAM_NEXT_ID) } {
            Ok(_) => Ok(Some(attributes.read_u32(4))),
            Err(libc::ENOENT) => Ok(None),
            Err(errno) => Err(Failure::new("listing programs")(errno)),
        }
    }

    /// The program of that id, anybody's.
    pub(in crate::kernel) fn by_id(id: u32) -> Result<Self, Failure> {
        let mut attributes = Attributes::new().u32(0, id);
        // SAFETY: no buffers.
        let descriptor = unsafe { attributes.open(PROGRAM_BY_ID) };
        Ok(Self(descriptor.map_err(Failure::new("opening a program"))?))
    }

    /// Type, name and maps.
    pub(in crate::kernel) fn info(&self) -> Result<ProgramInfo, Failure> {
        const MAPS: usize = 64;
        let mut maps = [0_u8; MAPS * 4];
        // struct bpf_prog_info: type 0, nr_map_ids 52 (in: room, out: how many there are), map_ids 56, name 64
        let mut info = [0_u8; 80];
        info[52..56].copy_from_slice(&(MAPS as u32).to_ne_bytes());
        info[56..64].copy_from_slice(&(maps.as_mut_ptr() as u64).to_ne_bytes());
        read_info(self.0.as_fd(), &mut info)?;
        let count = (word(&info, 52) as usize).min(MAPS);
        let maps = (0..count).map(|index| word(&maps, index * 4)).collect();
        Ok(ProgramInfo {
            kind: word(&info, 0),
            name: text(&info[64..80]),
            maps,
        })
    }

    fn number(&self) -> u32 {
        number(self.0.as_fd())
    }
}

/// A map.
pub(in crate::kernel) struct Map(OwnedFd);

impl Map {
    /// Makes a map; sizes in bytes.
    pub(in crate::kernel) fn create(
        kind: MapType,
        key: u32,
        value: u32,
        entries: u32,
    ) -> Result<Self, Failure> {
        let mut attributes = Attributes::new()
            .u32(0, kind as u32)
            .u32(4, key)
            .u32(8, value)
            .u32(12, entries)
            .text(28, "spanwire_check");
        // SAFETY: no buffers.
        let descriptor = unsafe { attributes.open(MAP_CREATE) };
        Ok(Self(descriptor.map_err(Failure::new("making a map"))?))
    }

    /// Puts a socket into a sockhash with keys of four bytes.
    pub(in crate::kernel) fn enrol(&self, key: u32, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        let [key, value] = [key.to_ne_bytes(), number(socket).to_ne_bytes()];
        let mut attributes = Attributes::new()
            .u32(0, number(self.0.as_fd()))
            .input(8, &key)
            .input(16, &value);
        // SAFETY: key and value have the four bytes each that the map was made for.
        let updated = unsafe { attributes.run(MAP_UPDATE) };
        updated
            .map(drop)
            .map_err(Failure::new("putting a socket into a sockhash"))
    }

    /// The kind of anybody's map, as `enum bpf_map_type` numbers it, and its name.
    pub(in crate::kernel) fn info_of(id: u32) -> Result<(u32, String), Failure> {
        let mut attributes = Attributes::new().u32(0, id);
        // SAFETY: no buffers.
        let map = unsafe { attributes.open(MAP_BY_ID) }.map_err(Failure::new("opening a map"))?;
        // struct bpf_map_info: type 0, name 24
        let mut info = [0_u8; 40];
        read_info(map.as_fd(), &mut info)?;
        Ok((word(&info, 0), text(&info[24..40])))
    }
}

/// Ids of the programs attached to a cgroup itself.
pub(in crate::kernel) fn attached(cgroup: BorrowedFd<'_>, attach: AttachType) -> Result<Vec<u32>, Failure> {
    const ROOM: usize = 64;
    let mut ids = [0_u8; ROOM * 4];
    let mut attributes = Attributes::new()
        .u32(0, number(cgroup))
        .u32(4, attach as u32)
        .output(16, &mut ids)
        .u32(24, ROOM as u32);
    // SAFETY: prog_cnt is the number of ids there is room for.
    unsafe { attributes.run(PROGRAM_QUERY) }.map_err(Failure::new("asking what is attached to a cgroup"))?;
    let count = (attributes.read_u32(24) as usize).min(ROOM);
    Ok((0..count).map(|index| word(&ids, index * 4)).collect())
}

fn read_info(of: BorrowedFd<'_>, info: &mut [u8]) -> Result<(), Failure> {
    let length = info.len() as u32;
    let mut attributes = Attributes::new()
        .u32(0, number(of))
        .u32(4, length)
        .output(8, info);
    // SAFETY: info_len is the buffer's; a pointer inside it was set by `Program::info`, with its length.
    unsafe { attributes.run(INFO) }
        .map(drop)
        .map_err(Failure::new("reading about a program or map"))
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The verifier's verdict: its last line that is no statistics.
fn last_line(log: &[u8]) -> String {
    let log = text(log);
    let mut lines = log.lines().rev().map(str::trim);
    lines
        .find(|line| !line.is_empty() && !line.starts_with("processed "))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_log_is_the_verdict() {
        let log =
            b"0: (85) call bpf_loop#181\nunknown func bpf_loop#181\nprocessed 1 insns (limit 1000000)\n\0\0";
        assert_eq!(last_line(log), "unknown func bpf_loop#181");
        assert_eq!(last_line(&[0; 8]), "");
    }

    #[test]
    fn instructions_are_encoded_as_the_standard_says() {
        let program = [
            Instruction::copy(Register::R1, Register::R10),
            Instruction::add(Register::R1, -8),
            Instruction::store(Register::R10, -8, 1),
            Instruction::call(6),
        ];
        #[cfg(target_endian = "little")]
        assert_eq!(
            Instruction::bytes(&program),
            [
                [0xbf, 0xa1, 0, 0, 0, 0, 0, 0],
                [0x07, 0x01, 0, 0, 0xf8, 0xff, 0xff, 0xff],
                [0x7a, 0x0a, 0xf8, 0xff, 1, 0, 0, 0],
                [0x85, 0, 0, 0, 6, 0, 0, 0],
            ]
            .concat()
        );
    }
}
