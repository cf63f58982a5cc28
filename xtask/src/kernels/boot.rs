//! One guest: qemu from start to power-off, its serial line read and kept.

use super::fetch::Image;
use super::initramfs::INIT_RUNS;
use crate::machine::Machine;
use anyhow::{Context as _, Result};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Emulated, a verifier takes half a minute for what takes a second otherwise, and on 5.10 some minutes; more where other
/// tests go first.
const LIMIT: Duration = Duration::from_secs(1_800);

/// What takes longer to run its init has hung: it takes 15 seconds, or some times that beside other tests.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// What a guest said.
pub(super) struct Log {
    /// Where it is kept.
    path: PathBuf,
    lines: Vec<String>,
    /// Whether it was cut off at the limit.
    timed_out: bool,
}

/// How often a kernel is booted whose failure may be the emulation's.
const BOOTS: usize = 3;

/// Boots `image` and waits until it has switched itself off. Its lines are printed when it is over, so that guests
/// do not mix. Emulation of more than one processor is not perfect: a machine that panics or hangs before its init runs,
/// or on which a client or server of the test fails by itself, is booted again. That spanwire harms nobody is shown
/// elsewhere, on this machine's own kernel.
pub(super) fn run(image: &Image, initramfs: &Path, log: &Path) -> Result<Log> {
    let started = Instant::now();
    let mut boots = 1;
    let log = loop {
        let log = boot(image, initramfs, log)?;
        let Some(why) = log.emulation().filter(|_| boots < BOOTS) else {
            break log;
        };
        println!("  {}: again, for boot {boots} ended so: {why}", image.version);
        boots += 1;
    };
    log.print(&image.version, started.elapsed());
    Ok(log)
}

/// The machine to emulate.
struct Emulated {
    program: &'static str,
    board: &'static str,
    processor: &'static str,
    console: &'static str,
}

fn emulated(image: &Image) -> Emulated {
    match image.machine {
        Machine::X86 => Emulated {
            program: "qemu-system-x86_64",
            board: "q35",
            // Without cmpxchg16b, whose emulation now and then corrupts the flags, at which the kernel's allocator (from 6.4)
            // double faults; but 7.x does not boot without it.
            processor: if image.version.starts_with("7.") {
                "max"
            } else {
                "max,-cx16"
            },
            console: "ttyS0",
        },
        Machine::Arm => Emulated {
            program: "qemu-system-aarch64",
            board: "virt",
            // Signing pointers as the architecture says takes longer than all else.
            processor: "max,pauth-impdef=on",
            console: "ttyAMA0",
        },
    }
}

fn boot(image: &Image, initramfs: &Path, log: &Path) -> Result<Log> {
    let started = Instant::now();
    let emulated = emulated(image);
    let mut qemu = Command::new(emulated.program);
    // Mitigations protect from nobody here, and cost most where every branch is emulated.
    // A processor for each task: where programs in the kernel can be preempted, which emulation makes a hundred times as
    // likely, the kernel skips them for the next task on that processor.
    // TCG, not KVM: /dev/kvm may be there and still hang its guests, as it does in nested virtual machines.
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
    ]);
    qemu.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        emulated.processor,
        "-M",
        emulated.board,
        "-m",
        "1024",
        "-smp",
        "4",
    ]);
    qemu.arg("-kernel").arg(&image.path).arg("-initrd").arg(initramfs);
    qemu.args([
        "-append",
        &format!(
            "console={} panic=-1 quiet mitigations=off spanwire.must={}{}",
            emulated.console,
            image.must,
            if image.whole { "" } else { " spanwire.brief" }
        ),
    ]);
    qemu.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = qemu
        .spawn()
        .with_context(|| format!("starting {}", emulated.program))?;
    let serial = BufReader::new(child.stdout.take().context("no serial line")?);
    let (sender, receiver) = channel();
    let reader = thread::spawn(move || {
        for line in serial.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut file = fs::File::create(log).with_context(|| format!("making {}", log.display()))?;
    let mut lines = Vec::new();
    let mut limit = BOOT_LIMIT;
    let timed_out = loop {
        match receiver.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(line) => {
                if line == INIT_RUNS {
                    limit = LIMIT;
                }
                writeln!(file, "{line}")?;
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    if timed_out {
        child.kill().context("ending qemu")?;
    }
    child.wait().context("waiting for qemu")?;
    // Its pipe is closed, so it ends.
    let _ = reader.join();
    Ok(Log {
        path: log.to_owned(),
        lines,
        timed_out,
    })
}

impl Log {
    /// The assertions, and all of the log when one failed.
    fn print(&self, name: &str, took: Duration) {
        let whole = self.failure().is_some();
        let mut text = format!("  -- {name}, {:.0} s\n", took.as_secs_f64());
        for line in &self.lines {
            if whole || line.starts_with("ok ") || line.starts_with("     hooks") {
                text.push_str(&format!("     {line}\n"));
            }
        }
        // In one piece: other guests print too.
        print!("{text}");
    }

    /// What may be the emulation's fault.
    fn emulation(&self) -> Option<&str> {
        let workload = |line: &&String| line.starts_with("FAIL ") && line.contains(": workload: ");
        if !self.lines.iter().any(|line| line == INIT_RUNS) {
            Some("no init")
        } else if self.timed_out {
            None
        } else {
            self.lines.iter().find(workload).map(String::as_str)
        }
    }

    /// Assertions that held, and that did not.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |prefix: &str| self.lines.iter().filter(|line| line.starts_with(prefix)).count();
        (count("ok "), count("FAIL "))
    }

    /// Why this guest's run is a failure; `None` when all is well.
    pub(super) fn failure(&self) -> Option<String> {
        let kept = format!("its log is {}", self.path.display());
        if self.timed_out {
            return Some(format!("not over in time; {kept}"));
        }
        let exit = self
            .lines
            .iter()
            .find_map(|line| line.strip_prefix("VMTEST_EXIT="));
        match (exit, self.counts()) {
            (Some("0"), (1.., 0)) => None,
            (Some("0"), (0, 0)) => Some(format!("it asserted nothing; {kept}")),
            (Some(_), (_, failed)) => Some(format!("{failed} assertions failed; {kept}")),
            (None, _) => Some(format!("it died before its test was over; {kept}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str], timed_out: bool) -> Log {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Log {
            path: PathBuf::from("a.log"),
            lines,
            timed_out,
        }
    }

    #[test]
    fn only_a_guest_without_init_or_workload_is_booted_again() {
        let emulation = |lines: &[&str], timed_out| log(lines, timed_out).emulation().map(str::to_owned);
        assert_eq!(emulation(&["Kernel panic"], false).as_deref(), Some("no init"));
        assert_eq!(emulation(&[INIT_RUNS, "Kernel panic"], false), None);
        assert_eq!(emulation(&[], true).as_deref(), Some("no init"));
        assert_eq!(emulation(&[INIT_RUNS], true), None);
        let failed = "FAIL hooks syscall: workload: busybox: wget exit status: 1";
        assert_eq!(emulation(&[INIT_RUNS, failed], false).as_deref(), Some(failed));
        assert_eq!(
            emulation(&[INIT_RUNS, "FAIL hooks syscall: client spans"], false),
            None
        );
    }

    #[test]
    fn only_a_guest_that_asserted_and_ended_well_is_well() {
        assert_eq!(log(&["ok   a", "VMTEST_EXIT=0"], false).failure(), None);
        let check = |lines: &[&str], timed_out, expect: &str| {
            let failure = log(lines, timed_out).failure().unwrap_or_default();
            assert!(
                failure.contains(expect) && failure.contains("a.log"),
                "{lines:?}: {failure}"
            );
        };
        check(&["VMTEST_EXIT=0"], false, "asserted nothing");
        check(
            &["ok   a", "FAIL b", "VMTEST_EXIT=1"],
            false,
            "1 assertions failed",
        );
        check(
            &["ok   a", "FAIL b", "VMTEST_EXIT=0"],
            false,
            "1 assertions failed",
        );
        check(&["ok   a", "Kernel panic"], false, "died");
        check(&["ok   a"], true, "not over");
    }
}
