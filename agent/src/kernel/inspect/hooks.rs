//! The places where capture programs attach: each is attached to and left at once, with a program that does nothing.

use super::Context;
use super::finding::Outcome;
use super::privileges::Capability::{Bpf, Perfmon};
use super::programs::load_for;
use crate::kernel::bpf::{AttachType, Instruction, Program, ProgramType};

pub(super) fn raw_tracepoint(context: &Context, name: &str) -> Outcome {
    let loaded = Program::load(
        ProgramType::RawTracepoint,
        AttachType::None,
        0,
        &Instruction::constant(0),
    );
    match loaded.and_then(|program| program.raw_tracepoint(name)) {
        Ok(_) => Outcome::works("attaches"),
        Err(failure) => context.refused(&failure, &[Bpf, Perfmon]),
    }
}

/// A function of the sockets. Both kinds are loaded, one is attached: they share the function's trampoline, and each
/// change of it waits for all CPUs.
pub(super) fn function(context: &Context, name: &str) -> Outcome {
    let loaded = load_for(context, name, AttachType::TracingFentry);
    let loaded = loaded.and_then(|_| load_for(context, name, AttachType::TracingFexit));
    match loaded.map(|program| program.trace()) {
        Ok(Ok(_)) => Outcome::works("fentry and fexit load, fexit attaches"),
        Ok(Err(failure)) => context.refused(&failure, &[Bpf, Perfmon]),
        Err(outcome) => outcome,
    }
}
