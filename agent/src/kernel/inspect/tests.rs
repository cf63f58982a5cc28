//! The report on this machine, against what other sources say of it, and without privileges.

use super::*;
use rustix::process::{Uid, geteuid};
use rustix::thread::{UnshareFlags, set_thread_res_uid, unshare_unsafe};
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::process::Command;
use std::{fs, io, thread};

fn loaded(works: bool) -> Options {
    let result = if works {
        Ok(())
    } else {
        Err(String::from("sock_send_length: there is none of that name"))
    };
    Options {
        hook_sets: vec![
            (String::from("socket"), result),
            (String::from("syscall"), Err("no".into())),
        ],
    }
}

/// The report as an ordinary user gets it: capabilities belong to threads, and a change of user ends them.
fn as_nobody() -> Report {
    let nobody = Uid::from_raw(65_534);
    let report = thread::spawn(move || {
        if geteuid().is_root() {
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        report(&Options {
            hook_sets: vec![(String::from("socket"), Err(String::from("not permitted")))],
        })
    });
    report.join().unwrap()
}

fn text(report: &Report, color: bool) -> String {
    let mut out = Vec::new();
    report.write_text(&mut out, color).unwrap();
    String::from_utf8(out).unwrap()
}

fn status(report: &Report, id: &str) -> Status {
    report
        .findings()
        .iter()
        .find(|finding| finding.id == id)
        .unwrap_or_else(|| panic!("no {id}"))
        .status
}

#[track_caller]
fn is_complete(report: &Report) {
    let mut ids = HashSet::new();
    for finding in report.findings() {
        assert!(ids.insert(finding.id), "{} twice", finding.id);
        assert!(
            !finding.title.is_empty() && !finding.detail.is_empty(),
            "{finding:?}"
        );
        let advised = finding.status != Status::Works;
        assert_eq!(!finding.lost.is_empty(), advised, "{finding:?}");
        assert_eq!(!finding.remedy.is_empty(), advised, "{finding:?}");
    }
    for id in [
        "btf",
        "ring_buffer",
        "program.fentry",
        "program.kprobe",
        "raw_tracepoint.sys_exit",
        "lock",
        "function.inet_sendpage",
        "function.tcp_splice_read",
        "cgroup2",
    ] {
        assert!(ids.contains(id), "{id}");
    }
}

#[test]
fn the_report_is_complete_and_ends_with_the_verdict() {
    let report = report(&loaded(true));
    is_complete(&report);
    let text = text(&report, false);
    for finding in report.findings() {
        assert!(text.contains(finding.title), "{}", finding.title);
        assert!(text.contains(finding.group.heading()), "{:?}", finding.group);
    }
    assert_eq!(
        text.lines().last(),
        Some("Capture can run: `spanwire run` would use hook set `socket`.")
    );
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn colours_change_nothing_but_the_look() {
    let report = as_nobody();
    let mut plain = text(&report, true);
    assert!(plain.contains('\x1b'));
    for style in ["0", "1", "2", "31", "32", "33"] {
        plain = plain.replace(&format!("\x1b[{style}m"), "");
    }
    assert_eq!(plain, text(&report, false));
}

#[test]
fn an_ordinary_user_learns_what_root_would_add() {
    let report = as_nobody();
    is_complete(&report);
    assert!(!report.capture_can_run());
    assert_eq!(status(&report, "capability.bpf"), Status::Fails);
    for id in [
        "ring_buffer",
        "program.raw_tracepoint",
        "raw_tracepoint.sys_exit",
        "sockhash.bytes",
    ] {
        let finding = report.findings().iter().find(|finding| finding.id == id).unwrap();
        // CONFIG_BPF_UNPRIV_DEFAULT_OFF is what distributions have; without it a map can be made by anyone.
        assert_ne!(finding.status, Status::Fails, "{finding:?}");
        assert!(
            finding.status == Status::Works || finding.detail.contains("CAP_BPF"),
            "{finding:?}"
        );
    }
    assert!(
        report.verdict().text.contains("sudo"),
        "{}",
        report.verdict().text
    );
}

#[test]
fn the_verdict_follows_the_hook_sets() {
    let of = |options: &Options, missing| Report::new(Vec::new(), options, missing);
    let works = of(&loaded(true), None);
    assert!(works.capture_can_run());
    assert_eq!(works.verdict().hook_set.as_deref(), Some("socket"));
    let second = Options {
        hook_sets: vec![
            (String::from("socket"), Err("no".into())),
            (String::from("syscall"), Ok(())),
        ],
    };
    assert_eq!(of(&second, None).verdict().hook_set.as_deref(), Some("syscall"));
    for options in [loaded(false), Options::default()] {
        let none = of(&options, None);
        assert!(!none.capture_can_run());
        assert!(none.verdict().text.contains("cannot"));
    }
    assert!(text(&of(&loaded(false), None), false).contains("sock_send_length: there is none of that name"));
}

#[test]
fn without_the_lock_no_hook_set_helps() {
    let lock = Finding {
        id: "lock",
        group: Group::Privileges,
        title: "lock",
        need: Need::Capture,
        status: Status::Fails,
        detail: String::from("cannot lock it"),
        lost: String::from("all"),
        remedy: String::from("make it writable"),
    };
    let report = Report::new(vec![lock], &loaded(true), None);
    assert!(!report.capture_can_run());
    assert_eq!(report.verdict().text, "Capture cannot run: cannot lock it.");
}

#[test]
fn the_json_has_its_documented_shape() {
    let finding = Finding {
        id: "btf",
        group: Group::Kernel,
        title: "BTF",
        need: Need::Capture,
        status: Status::Fails,
        detail: String::from("none"),
        lost: String::from("all"),
        remedy: String::from("another kernel"),
    };
    let report = Report::new(vec![finding], &loaded(false), None);
    let mut json = serde_json::to_value(&report).unwrap();
    for own in ["kernel", "machine"] {
        assert!(json[own].as_str().is_some_and(|text| !text.is_empty()));
        json[own] = Value::from("any");
    }
    let expected = serde_json::json!({
        "version": 1, "kernel": "any", "machine": "any", "privileged": true,
        "findings": [{
            "id": "btf", "group": "kernel", "title": "BTF", "need": "capture", "status": "fails",
            "detail": "none", "lost": "all", "remedy": "another kernel",
        }],
        "hook_sets": [
            {"name": "socket", "works": false, "reason": "sock_send_length: there is none of that name"},
            {"name": "syscall", "works": false, "reason": "no"},
        ],
        "verdict": {
            "capture": false, "hook_set": null,
            "text": "Capture cannot run: no hook set loads; see the lines that say `no` above.",
        },
    });
    assert_eq!(json, expected);
}

#[test]
#[expect(
    unsafe_code,
    reason = "a thread with its own descriptors, so that other tests do not disturb the count"
)]
fn nothing_is_left_behind() {
    // By their numbers: files of tests beside this one are renamed and deleted.
    fn descriptors() -> Vec<OsString> {
        let links = fs::read_dir("/proc/thread-self/fd").unwrap().flatten();
        let own = |link: &DirEntry| fs::read_link(link.path()).is_ok_and(|to| to.ends_with("fd"));
        let mut numbers: Vec<_> = links
            .filter(|link| !own(link))
            .map(|link| link.file_name())
            .collect();
        numbers.sort();
        numbers
    }
    let checked = thread::spawn(|| {
        // SAFETY: the copies of other threads' descriptors are only listed here, and closed with the thread.
        unsafe { unshare_unsafe(UnshareFlags::FILES) }.unwrap();
        let before = descriptors();
        let _ = report(&Options::default());
        (before, descriptors())
    });
    let (before, after) = checked.join().unwrap();
    assert_eq!(before, after);
}

/// The kernel's configuration, where it or the distribution shows it.
fn configuration() -> Option<String> {
    let zcat = || {
        Some(
            String::from_utf8_lossy(&Command::new("zcat").arg("/proc/config.gz").output().ok()?.stdout)
                .into_owned(),
        )
    };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let boot = fs::read_to_string(format!("/boot/config-{release}")).ok();
    boot.or_else(zcat)
        .filter(|configuration| configuration.contains("CONFIG_BPF"))
}

#[test]
fn probes_work_where_the_configuration_has_them() {
    let Some(configuration) = configuration().filter(|_| missing_privileges().is_none()) else {
        return;
    };
    let report = report(&Options::default());
    for (id, option) in [
        ("program.kprobe", "CONFIG_KPROBES=y"),
        ("program.uprobe", "CONFIG_UPROBES=y"),
    ] {
        let expected = if configuration.contains(option) {
            Status::Works
        } else {
            Status::Fails
        };
        assert_eq!(status(&report, id), expected, "{id}");
    }
}

#[test]
fn raw_tracepoints_attach_where_the_kernel_has_them() {
    if missing_privileges().is_some() {
        return;
    }
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let report = report(&Options::default());
    for finding in report.findings() {
        let Some(name) = finding.id.strip_prefix("raw_tracepoint.") else {
            continue;
        };
        let there = symbols.contains(&format!(" __traceiter_{name}\n"));
        assert_eq!(
            finding.status,
            if there { Status::Works } else { Status::Fails },
            "{finding:?}"
        );
    }
}

#[test]
fn functions_are_refused_where_their_program_type_is() {
    let report = report(&Options::default());
    let types = [
        status(&report, "program.fentry"),
        status(&report, "program.fexit"),
    ];
    let expected = if types[0] == Status::Works {
        types[1]
    } else {
        types[0]
    };
    assert_eq!(status(&report, "function.inet_sendmsg"), expected);
    assert_eq!(status(&report, "function.unix_stream_recvmsg"), expected);
    assert_eq!(status(&report, "function.tcp_splice_read"), expected);
}

/// Where a write fails, so does the report, instead of claiming to be whole.
#[test]
fn a_closed_pipe_is_an_error() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let report = Report::new(Vec::new(), &loaded(true), None);
    assert_eq!(
        report.write_text(&mut Closed, false).unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}
