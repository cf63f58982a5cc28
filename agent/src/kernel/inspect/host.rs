//! What is there on the host: BTF, cgroups, io_uring.

use super::Context;
use super::finding::{AS_ROOT, Outcome};
use crate::kernel::cgroup;
use std::fs;
use std::path::Path;

/// Descriptors looked at before giving up, to stay within a second on a host with a million of them.
const DESCRIPTORS: usize = 300_000;

pub(super) fn btf(context: &Context) -> Outcome {
    match &context.btf {
        Ok(btf) => Outcome::works(format!(
            "{} types in {}",
            btf.type_count(),
            crate::kernel::btf::VMLINUX
        )),
        Err(error) => Outcome::fails(error.to_string()),
    }
}

pub(super) fn cgroup(_: &Context) -> Outcome {
    match cgroup::root() {
        Ok(root) if !root.path.is_dir() => Outcome::fails(format!(
            "{} is mounted, but cannot be entered",
            root.path.display()
        )),
        Ok(root) if root.whole => Outcome::works(root.path.display().to_string()),
        Ok(root) => Outcome::fails(format!(
            "{} is not the host's root, only a part below it",
            root.path.display()
        )),
        Err(error) => Outcome::fails(error.to_string()),
    }
}

/// Who uses io_uring, by the descriptors that processes hold.
pub(super) fn io_uring(_: &Context) -> Outcome {
    match fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .as_deref()
        .map(str::trim)
    {
        Ok("2") => return Outcome::works("switched off on this host"),
        Err(_) if !Path::new("/proc/sys/kernel").exists() => {
            return Outcome::unknown("/proc is not mounted").remedy("mount /proc");
        }
        _ => {}
    }
    let users = IoUringUsers::read();
    let unseen = match users.unreadable {
        0 => String::new(),
        count => format!("; {count} processes could not be looked into"),
    };
    match (users.names.as_slice(), users.unreadable, users.complete) {
        ([], 0, true) => Outcome::works("no process has one open"),
        ([], _, true) => Outcome::unknown(format!("none found{unseen}")).remedy(AS_ROOT),
        ([], _, false) => Outcome::unknown(format!(
            "none found in {DESCRIPTORS} descriptors; the rest was left{unseen}"
        ))
        .remedy("look for `anon_inode:[io_uring]` in /proc/PID/fd of the service in question"),
        (names, _, _) => Outcome::note(format!("in use by {}{unseen}", first_few(names))),
    }
}

fn first_few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

struct IoUringUsers {
    /// `name (pid)` each.
    names: Vec<String>,
    unreadable: usize,
    complete: bool,
}

impl IoUringUsers {
    fn read() -> Self {
        let mut users = Self {
            names: Vec::new(),
            unreadable: 0,
            complete: true,
        };
        let mut left = DESCRIPTORS;
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes.filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .first()
                .is_some_and(u8::is_ascii_digit)
        }) {
            let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
                // Gone in the meantime is not unreadable.
                users.unreadable += usize::from(process.path().exists());
                continue;
            };
            let mut links = descriptors.flatten().inspect(|_| left = left.saturating_sub(1));
            if links.any(|link| {
                fs::read_link(link.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]")
            }) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                users
                    .names
                    .push(format!("{} ({})", name.trim(), process.file_name().display()));
            }
            if left == 0 {
                users.complete = false;
                break;
            }
        }
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..7).map(|index| index.to_string()).collect();
        assert_eq!(first_few(&names), "0, 1, 2, 3, 4 and 2 more");
        assert_eq!(first_few(&names[..1]), "0");
    }
}
