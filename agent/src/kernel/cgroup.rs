//! Where the unified cgroup hierarchy is: `/sys/fs/cgroup` mostly, `/sys/fs/cgroup/unified` beside version 1,
//! anywhere in a container.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::path::PathBuf;
use thiserror::Error;

/// Inode number of the first cgroup namespace (`include/linux/proc_ns.h`).
const HOST_NAMESPACE: u64 = 0xEFFF_FFFB;

/// Why there is none to be found.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// The mounts could not be read.
    #[error("reading /proc/self/mountinfo: {0}")]
    Mounts(#[from] io::Error),
    /// It is not mounted here.
    #[error("no cgroup2 file system is mounted")]
    NotMounted,
}

/// The upper end of the hierarchy, as far as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Whether that is the host's own root. If not, a program attached there reaches this container only.
    pub whole: bool,
}

/// Looks the mount up, taking the highest one where there are several.
pub fn root() -> Result<Root, CgroupError> {
    let namespace = fs::metadata("/proc/self/ns/cgroup").map(|namespace| namespace.st_ino());
    let on_host = namespace.is_ok_and(|inode| inode == HOST_NAMESPACE);
    highest(&fs::read_to_string("/proc/self/mountinfo")?, on_host).ok_or(CgroupError::NotMounted)
}

/// ```text
/// id parent major:minor root mount-point options ... - kind source options    (a blank in a path is written \040)
/// ```
/// In a cgroup namespace, `root` is told from its own root, so the host's is some `/../..`.
fn highest(mounts: &str, on_host: bool) -> Option<Root> {
    let mounts = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        kind.starts_with("cgroup2 ").then_some((root, point))
    });
    let (root, point) = mounts.min_by_key(|(root, _)| match *root {
        above if above.starts_with("/..") => 0,
        "/" => 1,
        _ => 2,
    })?;
    let whole = if on_host {
        root == "/"
    } else {
        root.starts_with("/..")
    };
    Some(Root {
        path: PathBuf::from(point.replace("\\040", " ")),
        whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mounts: &str, on_host: bool, expected: Option<(&str, bool)>) {
        let expected = expected.map(|(path, whole)| Root {
            path: PathBuf::from(path),
            whole,
        });
        assert_eq!(highest(mounts, on_host), expected);
    }

    #[test]
    fn the_mount_is_found_wherever_it_is() {
        let hybrid = "24 22 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                      25 24 0:22 / /sys/fs/cgroup/cpu rw,relatime shared:5 - cgroup cgroup rw,cpu\n\
                      26 24 0:23 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        check(hybrid, true, Some(("/sys/fs/cgroup/unified", true)));
        check(
            "26 24 0:23 / /a\\040b rw - cgroup2 none rw",
            true,
            Some(("/a b", true)),
        );
        check(
            "26 24 0:23 / /cgroup2 rw - tmpfs cgroup2 rw\n\nodd - cgroup2 x",
            true,
            None,
        );
    }

    #[test]
    fn a_containers_own_root_is_not_the_hosts() {
        let own = "26 24 0:23 / /sys/fs/cgroup ro - cgroup2 cgroup rw";
        check(own, false, Some(("/sys/fs/cgroup", false)));
        let both = format!("{own}\n30 24 0:23 /../../.. /host/cgroup rw - cgroup2 cgroup rw");
        check(&both, false, Some(("/host/cgroup", true)));
        check(
            "26 24 0:23 /system.slice /part rw - cgroup2 cgroup rw",
            true,
            Some(("/part", false)),
        );
    }

    #[test]
    fn this_machines_is_a_cgroup() {
        match root() {
            // Every cgroup has this file, and nothing else has.
            Ok(root) => assert!(root.path.join("cgroup.procs").exists(), "{}", root.path.display()),
            Err(error) => assert!(matches!(error, CgroupError::NotMounted), "{error}"),
        }
    }
}
