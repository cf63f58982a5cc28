//! `cargo xtask test kernels`: capture on the kernels that Debian ships, each booted under qemu, for x86-64 and for aarch64.
//!
//! No KVM, no root, no disk image: a Debian cloud kernel, an initramfs with busybox, spanwire and a test program
//! (tests/src/bin/guest), and an emulated machine for each, as many at once as there are cores.
//! `SPANWIRE_KERNELS=5.10,6.1-arm64` boots only these, and runs all that there is on them; `all` is all of them. `SPANWIRE_GUESTS=1`
//! boots one at a time, and [`BESIDE`] so long as others are at work.

mod boot;
pub(crate) mod build;
mod fetch;
mod initramfs;

use crate::machine::Machine;
use crate::{shell, workspace};
use anyhow::{Context as _, Result, bail};
use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A line of kernels, and what has to work there.
struct Kernel {
    /// Beginning of the version, such as `6.1.`; of those that are to be had, the newest is taken.
    line: &'static str,
    /// What it runs on.
    machine: Machine,
    /// Debian suite that has it.
    suite: &'static str,
    /// Hook sets that must load there. A set that is not named is run all the same where it loads, on this machine's kind.
    must: &'static str,
    /// Whether Debian keeps it for years. Backports come and go: one that is gone is said, and is no failure.
    kept: bool,
    /// Whether all is run there, also where it is not named: on the oldest, the most used and the newest. On others that is what has
    /// to load, and injection.
    whole: bool,
}

/// From the oldest that spanwire promises to run on to the newest that there is. Those of another machine take longest, and are not the
/// last, beside which there would be no other.
const KERNELS: &[Kernel] = &[
    Kernel {
        line: "5.10.",
        machine: Machine::X86,
        suite: "bullseye",
        must: "trampoline,syscall",
        kept: true,
        whole: true,
    },
    Kernel {
        line: "6.1.",
        machine: Machine::X86,
        suite: "bookworm",
        must: "trampoline,syscall",
        kept: true,
        whole: true,
    },
    Kernel {
        line: "6.1.",
        machine: Machine::Arm,
        suite: "bookworm",
        must: "syscall",
        kept: true,
        whole: false,
    },
    Kernel {
        line: "6.18.",
        machine: Machine::Arm,
        suite: "trixie-backports",
        must: "socket,trampoline",
        kept: false,
        whole: false,
    },
    Kernel {
        line: "6.12.",
        machine: Machine::X86,
        suite: "trixie",
        must: "trampoline,syscall",
        kept: true,
        whole: false,
    },
    Kernel {
        line: "6.18.",
        machine: Machine::X86,
        suite: "trixie-backports",
        must: "socket,trampoline,syscall",
        kept: false,
        whole: true,
    },
    Kernel {
        line: "7.",
        machine: Machine::X86,
        suite: "trixie-backports",
        must: "socket,trampoline,syscall",
        kept: false,
        whole: true,
    },
];

impl Kernel {
    /// Such as `6.1`, or `6.1-arm64`.
    fn name(&self) -> String {
        let line = self.line.trim_end_matches('.');
        match self.machine {
            Machine::X86 => line.to_owned(),
            Machine::Arm => format!("{line}-{}", self.machine.debian()),
        }
    }
}

/// A kernel that is booted.
struct Wanted {
    kernel: &'static Kernel,
    /// Whether all is run there.
    whole: bool,
}

/// How one guest ended.
struct Outcome {
    name: String,
    passed: usize,
    failed: usize,
    error: Option<anyhow::Error>,
}

/// Fetches what is missing, builds for the guest, boots all kernels, and fails when one guest did.
pub(crate) fn command() -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!(
            "most kernels are x86-64 ones, and this machine is not: emulating all of them is too slow to be of use"
        );
    }
    let cache = workspace::test_cache().join("kernels");
    let named = env::var("SPANWIRE_KERNELS").ok();
    let running = shell::output(Command::new("uname").arg("-r"))?;
    let images = fetch::images(&wanted(named.as_deref(), running.trim())?, &cache)?;
    if images.is_empty() {
        bail!("no kernel could be had");
    }
    let folder = workspace::target().join("kernels");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // For each machine once, when its first guest is due: another one's takes a while to be built.
    let (x86, arm) = (Mutex::new(None::<PathBuf>), Mutex::new(None));
    let packed = |machine| -> Result<PathBuf> {
        let packed = match machine {
            Machine::X86 => &x86,
            Machine::Arm => &arm,
        };
        let mut packed = packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*packed {
            return Ok(path.clone());
        }
        let path = initramfs::pack(machine, &folder, &cache)?;
        Ok(packed.insert(path).clone())
    };
    println!(
        "  booting {}",
        images
            .iter()
            .map(|image| image.version.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let Guests { at_once, beside } = guests(env::var("SPANWIRE_GUESTS").ok().as_deref())?;
    let next = AtomicUsize::new(0);
    let boot_next = |place| {
        if place > 0 && beside {
            // Until the others are done; where it cannot be read, they are taken to be.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
        }
        let images = std::iter::from_fn(|| images.get(next.fetch_add(1, Ordering::Relaxed)));
        let boot = |image: &fetch::Image| {
            let log = folder.join(format!("{}.log", image.version));
            let initramfs = packed(image.machine);
            outcome(image, initramfs.and_then(|it| boot::run(image, &it, &log)))
        };
        images.map(boot).collect::<Vec<_>>()
    };
    let boot_next = &boot_next;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let guests: Vec<_> = (0..at_once)
            .map(|place| scope.spawn(move || boot_next(place)))
            .collect();
        guests
            .into_iter()
            .filter_map(|guest| guest.join().ok())
            .flatten()
            .collect()
    });
    if outcomes.len() != images.len() {
        bail!(
            "a boot was lost: {} of {} came back",
            outcomes.len(),
            images.len()
        );
    }
    conclude(&outcomes)
}

/// What is booted: all kernels but the line of the one that is `running`, on which the live tests are; or those whose lines `named`
/// names, with commas between.
fn wanted(named: Option<&str>, running: &str) -> Result<Vec<Wanted>> {
    let whole = |kernel| Wanted { kernel, whole: true };
    match named {
        None => Ok(KERNELS
            .iter()
            .filter(|kernel| !(kernel.machine.is_this() && running.starts_with(kernel.line)))
            .map(|kernel| Wanted {
                kernel,
                whole: kernel.whole,
            })
            .collect()),
        Some("all") => Ok(KERNELS.iter().map(whole).collect()),
        Some(named) => named.split(',').map(|name| Ok(whole(of_line(name)?))).collect(),
    }
}

fn of_line(name: &str) -> Result<&'static Kernel> {
    let kernel = KERNELS.iter().find(|kernel| kernel.name() == name);
    let known = KERNELS.iter().map(Kernel::name).collect::<Vec<_>>();
    kernel.with_context(|| format!("SPANWIRE_KERNELS: no `{name}` among {}", known.join(", ")))
}

/// `SPANWIRE_GUESTS` of who runs something beside, for which it keeps our standard input open.
pub(crate) const BESIDE: &str = "beside";

/// How many guests run at once, and whether that is one as long as something else is run beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guests {
    at_once: usize,
    beside: bool,
}

/// As many as there are cores, unless `wanted` says another number.
fn guests(wanted: Option<&str>) -> Result<Guests> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (at_once, beside) = match wanted {
        None => (cores, false),
        Some(BESIDE) => (cores, true),
        Some(wanted) => {
            let number = wanted.parse().ok().filter(|number| *number > 0);
            let number =
                number.with_context(|| format!("SPANWIRE_GUESTS: `{wanted}` is no number of guests"));
            (number?, false)
        }
    };
    Ok(Guests { at_once, beside })
}

fn outcome(image: &fetch::Image, log: Result<boot::Log>) -> Outcome {
    let name = image.version.clone();
    match log {
        Ok(log) => {
            let (passed, failed) = log.counts();
            Outcome {
                name,
                passed,
                failed,
                error: log.failure().map(anyhow::Error::msg),
            }
        }
        Err(error) => Outcome {
            name,
            passed: 0,
            failed: 0,
            error: Some(error),
        },
    }
}

fn conclude(outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes {
        println!(
            "  {:<32} {} passed, {} failed",
            outcome.name, outcome.passed, outcome.failed
        );
    }
    let total = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum::<usize>();
    println!(
        "{} passed, {} failed",
        total(|outcome| outcome.passed),
        total(|outcome| outcome.failed)
    );
    let errors = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {:#}", outcome.name, outcome.error.as_ref()?)));
    let errors: Vec<_> = errors.collect();
    if !errors.is_empty() {
        bail!("{}", errors.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_by_their_line() -> Result<()> {
        let lines = |named| -> Result<Vec<_>> {
            let wanted = wanted(named, "6.18.44")?;
            Ok(wanted.iter().map(|it| (it.kernel.name(), it.whole)).collect())
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), true))
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(Some("7,6.1-arm64"))?, names(&["7", "6.1-arm64"]));
        assert_eq!(lines(Some("all"))?.len(), KERNELS.len());
        assert!(lines(Some("4.19")).is_err());
        Ok(())
    }

    #[test]
    fn what_this_machine_runs_itself_is_not_booted_unless_it_is_named() -> Result<()> {
        let booted = |running| -> Result<Vec<_>> {
            let wanted = wanted(None, running)?;
            Ok(wanted.iter().map(|it| it.kernel.name()).collect())
        };
        assert_eq!(booted("6.8.0-generic")?.len(), KERNELS.len());
        let booted = booted("6.18.44-fc")?;
        assert_eq!(booted.len(), KERNELS.len() - 1);
        let line = if Machine::this()? == Machine::X86 {
            "6.18"
        } else {
            "6.18-arm64"
        };
        assert!(!booted.contains(&line.to_owned()));
        Ok(())
    }

    #[test]
    fn guests_are_as_many_as_is_said() -> Result<()> {
        let one = Guests {
            at_once: 1,
            beside: false,
        };
        assert_eq!(guests(Some("1"))?, one);
        assert!(guests(None)?.at_once > 0 && !guests(None)?.beside);
        assert!(guests(Some(BESIDE))?.beside);
        assert!(guests(Some("0")).is_err() && guests(Some("all")).is_err());
        Ok(())
    }

    #[test]
    fn a_guest_that_failed_fails_the_whole() {
        let outcome = |error| Outcome {
            name: "6.1".to_owned(),
            passed: 1,
            failed: 0,
            error,
        };
        assert!(conclude(&[outcome(None)]).is_ok());
        let error = conclude(&[outcome(None), outcome(Some(anyhow::anyhow!("panicked")))]).unwrap_err();
        assert_eq!(error.to_string(), "6.1: panicked");
    }
}
