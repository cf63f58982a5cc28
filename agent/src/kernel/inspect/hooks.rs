//! The places where capture programs attach: each is attached to and left at once, with a program that does nothing.

use super::Context;
use super::finding::Outcome;
use super::privileges::Capability::{Bpf, Perfmon};
use super::programs::trace_function;
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

/// A function of the sockets, at entry and at exit.
pub(super) fn function(context: &Context, name: &str) -> Outcome {
    let entry = trace_function(context, name, AttachType::TracingFentry);
    match entry.and_then(|()| trace_function(context, name, AttachType::TracingFexit)) {
        Ok(()) => Outcome::works("fentry and fexit attach"),
        Err(outcome) => outcome,
    }
}
