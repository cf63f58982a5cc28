//! `spanwire check`: what this kernel and these privileges allow, found out by trying.
//!
//! Each line of the report is one `Check` of `table::CHECKS`, independent of the others: it tries one
//! thing on this host and leaves nothing behind. The verdict is concluded from the lock and from the hook sets
//! themselves, which the caller loads (see [`Options::hook_sets`]); the other lines say why and what else is lost.

mod finding;
mod hooks;
mod host;
mod privileges;
mod programs;
mod propagation;
mod report;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use finding::{Finding, Group, Need, Status};
pub use report::{HookSet, Options, Report, Verdict};

use super::btf::{self, Btf, BtfError};
use super::sockhash::{self, Behaviour, SockhashError};
use finding::Outcome;
use privileges::{Capability, LockedMemory, Privileges};
use std::cell::OnceCell;

/// What capture cannot do without.
const CAPTURE: &[Capability] = &[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin];

/// What several checks need, read once.
struct Context {
    btf: Result<Btf, BtfError>,
    privileges: Privileges,
    locked_memory: LockedMemory,
    sockhash: OnceCell<Result<Behaviour, SockhashError>>,
}

impl Context {
    fn new() -> Self {
        Self {
            btf: Btf::load(btf::VMLINUX),
            privileges: Privileges::read(),
            locked_memory: LockedMemory::raise(),
            sockhash: OnceCell::new(),
        }
    }

    fn sockhash(&self) -> &Result<Behaviour, SockhashError> {
        self.sockhash.get_or_init(sockhash::self_test)
    }
}

/// One line of the report before it is tried.
struct Check {
    /// Stable name for machines.
    id: &'static str,
    group: Group,
    title: &'static str,
    need: Need,
    /// What is lost where it does not work.
    lost: &'static str,
    /// What to do about it.
    remedy: &'static str,
    attempt: fn(&Context) -> Outcome,
}

/// Tries everything, which takes a second or two at most, and gathers the answers.
#[must_use]
pub fn report(options: &Options) -> Report {
    let context = Context::new();
    let findings = table::CHECKS.iter().map(|check| check.run(&context)).collect();
    let missing = context.privileges.lack(CAPTURE);
    Report::new(findings, options, missing.as_deref())
}

impl Check {
    fn run(&self, context: &Context) -> Finding {
        let outcome = (self.attempt)(context);
        let needs_advice = outcome.status != Status::Works;
        Finding {
            id: self.id,
            group: self.group,
            title: self.title,
            need: self.need,
            status: outcome.status,
            detail: outcome.detail,
            lost: if needs_advice {
                self.lost.to_owned()
            } else {
                String::new()
            },
            remedy: match outcome.remedy {
                Some(remedy) => remedy,
                None if needs_advice => self.remedy.to_owned(),
                None => String::new(),
            },
        }
    }
}

/// Programs of others on this host that work with a sockmap, in words; none where that cannot be found out.
#[must_use]
pub fn redirectors() -> Vec<String> {
    propagation::names()
}

/// Which of the capabilities that capture needs are missing, in words; `None` if none is.
#[must_use]
pub fn missing_privileges() -> Option<String> {
    Privileges::read().lack(CAPTURE)
}
