//! Program types, each by loading two instructions of it, and attaching them where that needs no other's leave.

use super::Context;
use super::finding::{AS_ROOT, Outcome};
use super::privileges::Capability::{Bpf, NetAdmin, Perfmon};
use crate::kernel::bpf::{
    AttachType, Failure, Instruction, Map, MapType, Probe, Program, ProgramType, Register, attach_probe,
};
use crate::kernel::cgroup;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// A function that every kernel with IPv4 has, and that no one calls who does not use a socket.
const HARMLESS: &str = "inet_sendmsg";
/// A tracepoint of which every host sees little.
const RARE: &str = "sched_process_exec";

pub(super) fn raw_tracepoint(context: &Context) -> Outcome {
    let loaded = Program::load(
        ProgramType::RawTracepoint,
        AttachType::None,
        0,
        &Instruction::constant(0),
    );
    match loaded.and_then(|program| program.raw_tracepoint(RARE)) {
        Ok(_) => Outcome::works("loads and attaches"),
        Err(failure) => context.refused(&failure, &[Bpf, Perfmon]),
    }
}

/// Loads a tracing program for a kernel function.
pub(super) fn load_for(context: &Context, function: &str, attach: AttachType) -> Result<Program, Outcome> {
    let btf = context
        .btf
        .as_ref()
        .map_err(|error| Outcome::unknown(format!("it needs BTF: {error}")))?;
    let Some(target) = btf.function_id(function) else {
        return Err(Outcome::fails(format!(
            "this kernel's BTF has no function {function}"
        )));
    };
    Program::load(ProgramType::Tracing, attach, target, &Instruction::constant(0))
        .map_err(|failure| context.refused(&failure, &[Bpf, Perfmon]))
}

fn trace(context: &Context, attach: AttachType) -> Outcome {
    let loaded = load_for(context, HARMLESS, attach);
    match loaded.map(|program| program.trace()) {
        Ok(Ok(_)) => Outcome::works("loads and attaches"),
        Ok(Err(failure)) => context.refused(&failure, &[Bpf, Perfmon]),
        Err(outcome) => outcome,
    }
}

pub(super) fn fentry(context: &Context) -> Outcome {
    trace(context, AttachType::TracingFentry)
}

pub(super) fn fexit(context: &Context) -> Outcome {
    trace(context, AttachType::TracingFexit)
}

pub(super) fn typed_tracepoint(context: &Context) -> Outcome {
    let btf = match &context.btf {
        Ok(btf) => btf,
        Err(error) => return Outcome::unknown(format!("it needs BTF: {error}")),
    };
    let Some(target) = btf.tracepoint_id(RARE) else {
        return Outcome::fails(format!("this kernel's BTF has no tracepoint {RARE}"));
    };
    let attach = AttachType::TracingRawTracepoint;
    let loaded = Program::load(ProgramType::Tracing, attach, target, &Instruction::constant(0));
    match loaded.and_then(|program| program.trace()) {
        Ok(_) => Outcome::works("loads and attaches"),
        Err(failure) => context.refused(&failure, &[Bpf, Perfmon]),
    }
}

fn probe(context: &Context, probe: Probe<'_>) -> Outcome {
    let tried = Program::load(
        ProgramType::Kprobe,
        AttachType::None,
        0,
        &Instruction::constant(0),
    )
    .and_then(|program| {
        attach_probe(&program, probe, false)?;
        attach_probe(&program, probe, true)
    });
    match tried {
        Ok(_) => Outcome::works("loads and attaches, at entry and at return"),
        Err(failure) => context.refused(&failure, &[Bpf, Perfmon]),
    }
}

pub(super) fn kprobe(context: &Context) -> Outcome {
    probe(context, Probe::Kernel(HARMLESS))
}

/// On a file of our own that nobody runs, so that no process gets a breakpoint.
pub(super) fn uprobe(context: &Context) -> Outcome {
    const NO_OPERATION: u8 = 0x90;
    let file = memfd_create("spanwire_check", MemfdFlags::CLOEXEC).map(File::from);
    let file = file
        .map_err(Into::into)
        .and_then(|mut file| file.write_all(&[NO_OPERATION; 64]).map(|()| file));
    match file {
        Ok(file) => probe(
            context,
            Probe::User(&format!("/proc/self/fd/{}", file.as_raw_fd()), 0),
        ),
        Err(error) => Outcome::unknown(format!("making a file to try it on: {error}")),
    }
}

pub(super) fn sock_ops(context: &Context) -> Outcome {
    on_cgroup(context, ProgramType::SockOps, AttachType::SockOps)
}

pub(super) fn connect(context: &Context) -> Outcome {
    on_cgroup(context, ProgramType::CgroupSockAddr, AttachType::Connect4)
}

/// By link, on the root of the hierarchy, as injection does it. The program says yes to everything, for a moment.
fn on_cgroup(context: &Context, kind: ProgramType, attach: AttachType) -> Outcome {
    let program = match Program::load(kind, attach, 0, &Instruction::constant(1)) {
        Ok(program) => program,
        Err(failure) => return context.refused(&failure, &[Bpf, NetAdmin]),
    };
    let cgroup = cgroup::root()
        .map_err(|error| error.to_string())
        .and_then(|root| {
            File::open(&root.path).map_err(|error| format!("opening {}: {error}", root.path.display()))
        });
    match cgroup {
        Ok(cgroup) => match program.cgroup(cgroup.as_fd(), attach) {
            Ok(_) => Outcome::works("loads and attaches to the cgroup root"),
            Err(failure) => context.refused(&failure, &[Bpf, NetAdmin]),
        },
        Err(why) => Outcome::fails(format!("loads, but cannot be attached: {why}")),
    }
}

pub(super) fn sk_msg(context: &Context) -> Outcome {
    const PASS: i32 = 1;
    let attach = AttachType::SkMsgVerdict;
    let tried =
        Program::load(ProgramType::SkMsg, attach, 0, &Instruction::constant(PASS)).and_then(|program| {
            let map = Map::create(MapType::SockHash, 4, 4, 1)?;
            program.verdict(&map, attach)
        });
    match tried {
        Ok(()) => Outcome::works("loads and attaches to a sockhash"),
        Err(failure) => context.refused(&failure, &[Bpf, NetAdmin]),
    }
}

pub(super) fn ring_buffer(context: &Context) -> Outcome {
    const BYTES: u32 = 1 << 20;
    match Map::create(MapType::RingBuffer, 0, 0, BYTES) {
        Ok(_) => Outcome::works("a map of 1 MiB was made"),
        Err(failure) => context.refused(&failure, &[Bpf]),
    }
}

fn load_traced(instructions: &[Instruction]) -> Result<Program, Failure> {
    Program::load(ProgramType::RawTracepoint, AttachType::None, 0, instructions)
}

/// The registers with which a task has entered the kernel, in the way in which the capture programs ask.
pub(super) fn task_registers(context: &Context) -> Outcome {
    const CURRENT_TASK_BTF: i32 = 158;
    const TASK_PT_REGS: i32 = 175;
    let [zero, exit] = Instruction::constant(0);
    let copy = Instruction::copy(Register::R1, Register::R0);
    let calls = [
        Instruction::call(CURRENT_TASK_BTF),
        copy,
        Instruction::call(TASK_PT_REGS),
        zero,
        exit,
    ];
    match load_traced(&calls) {
        Ok(_) => Outcome::works("bpf_task_pt_regs(bpf_get_current_task_btf()) loads"),
        Err(failure) => context.refused(&failure, &[Bpf, Perfmon]),
    }
}

/// The arguments of a helper that takes (destination, size, source) with the memory behind R1 or R3.
fn eight_bytes_of_stack(call: i32, [memory, size, other]: [Register; 3]) -> [Instruction; 8] {
    let [zero, exit] = Instruction::constant(0);
    [
        Instruction::store(Register::R10, -8, 0),
        Instruction::copy(memory, Register::R10),
        Instruction::add(memory, -8),
        Instruction::set(size, 8),
        Instruction::set(other, 0),
        Instruction::call(call),
        zero,
        exit,
    ]
}

pub(super) fn kernel_reads(context: &Context) -> Outcome {
    const PROBE_READ_KERNEL: i32 = 113;
    let [into, size, from] = [Register::R1, Register::R2, Register::R3];
    match load_traced(&eight_bytes_of_stack(PROBE_READ_KERNEL, [into, size, from])) {
        Ok(_) => Outcome::works("bpf_probe_read_kernel loads"),
        Err(failure) => context.refused(&failure, &[Bpf, Perfmon]),
    }
}

pub(super) fn lockdown(context: &Context) -> Outcome {
    let said = std::fs::read_to_string("/sys/kernel/security/lockdown").ok();
    // "none [integrity] confidentiality": what is in force is in brackets.
    let said = said
        .as_deref()
        .and_then(|line| line.split_once('[')?.1.split_once(']'))
        .map(|(mode, _)| mode);
    match said {
        Some("none") => Outcome::works("none in force"),
        Some(mode) => Outcome::note(format!("`{mode}` is in force")),
        None if kernel_reads(context).status == super::Status::Fails => Outcome::fails(
            "`confidentiality`, as it seems: kernel memory may not be read (no securityfs to ask)",
        ),
        // Only where the kernel does not say it: it logs a warning whenever a program with this helper loads.
        None => match write_user() {
            Ok(_) => Outcome::works("none in force: bpf_probe_write_user loads (no securityfs to ask)"),
            Err(failure) => match context.refused(&failure, &[Bpf, Perfmon]) {
                refused if refused.status == super::Status::Unknown => refused,
                _ => Outcome::note(
                    "`integrity`, as it seems: bpf_probe_write_user is refused (no securityfs to ask)",
                ),
            },
        },
    }
}

fn write_user() -> Result<Program, Failure> {
    const PROBE_WRITE_USER: i32 = 36;
    let [to, from, size] = [Register::R1, Register::R2, Register::R3];
    load_traced(&eight_bytes_of_stack(PROBE_WRITE_USER, [from, size, to]))
}

pub(super) fn loops(context: &Context) -> Outcome {
    use aya::programs::ProgramType;
    use aya::sys::{BpfHelper, is_helper_supported};
    match is_helper_supported(ProgramType::RawTracePoint, BpfHelper::BPF_FUNC_loop) {
        Ok(true) => Outcome::works("bpf_loop is known"),
        Ok(false) => Outcome::note("this kernel has no bpf_loop (it came with 5.17)"),
        Err(error) => match context.privileges.lack(&[Bpf, Perfmon]) {
            Some(why) => Outcome::unknown(format!("not permitted: {why}")).remedy(AS_ROOT),
            None => Outcome::unknown(format!("trying bpf_loop: {error}")),
        },
    }
}
