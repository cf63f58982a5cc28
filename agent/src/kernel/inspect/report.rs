//! The report as a whole: for people ([`Report::write_text`]) and for machines (its `Serialize`).
//!
//! The JSON shape is stable; keys may be added, none is taken away or changes its meaning within one `version`:
//!
//! ```json
//! {
//!   "version": 1,
//!   "kernel": "6.18.44", "machine": "x86_64", "privileged": true,
//!   "findings": [
//!     {"id": "btf", "group": "kernel", "title": "BTF", "need": "capture", "status": "works",
//!      "detail": "126572 types in /sys/kernel/btf/vmlinux", "lost": "", "remedy": ""}
//!   ],
//!   "hook_sets": [{"name": "socket", "works": true, "reason": null}],
//!   "verdict": {"capture": true, "hook_set": "socket", "text": "Capture can run: ..."}
//! }
//! ```
//!
//! `group`, `need` and `status` are the names of [`Group`](super::Group), [`Need`](super::Need) and
//! [`Status`](super::Status) in snake case.

use super::table::LOCK;
use super::text;
use super::{Finding, Status};
use serde::Serialize;
use std::io::{self, Write};

/// One hook set, and whether it has loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookSet {
    /// As `--hooks` calls it.
    pub name: String,
    /// Whether all of it loaded and attached.
    pub works: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// What the report is to be made of.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The hook sets in the order in which `run` prefers them, each with the result of loading it for real.
    pub hook_sets: Vec<(String, Result<(), String>)>,
}

/// The conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether `spanwire run` would capture anything.
    pub capture: bool,
    /// The hook set that it would use.
    pub hook_set: Option<String>,
    /// The same in one sentence.
    pub text: String,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    version: u32,
    kernel: String,
    machine: String,
    pub(super) privileged: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) hook_sets: Vec<HookSet>,
    pub(super) verdict: Verdict,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>, options: &Options, missing: Option<&str>) -> Self {
        let system = rustix::system::uname();
        let hook_sets: Vec<HookSet> = options
            .hook_sets
            .iter()
            .map(|(name, loaded)| HookSet {
                name: name.clone(),
                works: loaded.is_ok(),
                reason: loaded.as_ref().err().cloned(),
            })
            .collect();
        let lock = findings
            .iter()
            .find(|finding| finding.id == LOCK && finding.status != Status::Works);
        let verdict = match (missing, lock) {
            (None, Some(lock)) => Verdict::refused(&lock.detail),
            _ => Verdict::of(&hook_sets, missing),
        };
        Self {
            version: 1,
            kernel: system.release().to_string_lossy().into_owned(),
            machine: system.machine().to_string_lossy().into_owned(),
            privileged: missing.is_none(),
            findings,
            hook_sets,
            verdict,
        }
    }

    /// Whether capture can run: the exit status of `spanwire check` is 0 then, else 1.
    #[must_use]
    pub fn capture_can_run(&self) -> bool {
        self.verdict.capture
    }

    /// The single answers, in the order of the report.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The conclusion.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Writes it for people: grouped and aligned, with the verdict as the last line.
    pub fn write_text(&self, out: &mut impl Write, color: bool) -> io::Result<()> {
        let who = if self.privileged {
            ""
        } else {
            ", without the privileges that capture needs"
        };
        writeln!(
            out,
            "spanwire check on Linux {} {}{who}",
            self.kernel, self.machine
        )?;
        text::write(out, color, self)
    }
}

impl Verdict {
    fn refused(why: &str) -> Self {
        Self {
            capture: false,
            hook_set: None,
            text: format!("Capture cannot run: {why}."),
        }
    }

    /// After the hook sets, which are what it hangs on where the lock can be had.
    fn of(hook_sets: &[HookSet], missing: Option<&str>) -> Self {
        if let Some(chosen) = hook_sets.iter().find(|set| set.works) {
            let name = &chosen.name;
            let text = format!("Capture can run: `spanwire run` would use hook set `{name}`.");
            return Self {
                capture: true,
                hook_set: Some(name.clone()),
                text,
            };
        }
        Self {
            capture: false,
            hook_set: None,
            text: match missing {
                None => {
                    "Capture cannot run: no hook set loads; see the lines that say `no` above.".to_owned()
                }
                Some(missing) => format!(
                    "Capture cannot run: {missing}. Root has them, and `sudo spanwire check` tries what is `unknown` above."
                ),
            },
        }
    }
}
