//! A procfs made of ordinary files, for tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of one test's own, removed at its end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("spanwire-process-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind in the temporary one is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A folder that looks like /proc, with one root for the host (as of process 1) and all processes.
pub(super) struct FakeProc(Folder);

/// A process to be.
#[derive(Clone)]
pub(super) struct FakeProcess<'a> {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) start: u64,
    pub(super) state: char,
    pub(super) comm: &'a str,
    pub(super) executable: &'a str,
    pub(super) arguments: &'a [&'a str],
    pub(super) environment: &'a [&'a str],
    pub(super) directory: &'a str,
    pub(super) cgroup: &'a str,
    pub(super) uid: u32,
}

impl Default for FakeProcess<'_> {
    fn default() -> Self {
        Self {
            pid: 100,
            parent: 1,
            start: 5000,
            state: 'S',
            comm: "server",
            executable: "/usr/bin/server",
            arguments: &["server"],
            environment: &[],
            directory: "/",
            cgroup: "0::/\n",
            uid: 0,
        }
    }
}

impl FakeProc {
    pub(super) fn new() -> Self {
        let folder = Folder::new();
        for directory in ["1", "root"] {
            fs::create_dir_all(folder.path(directory)).unwrap();
        }
        symlink(folder.path("root"), folder.path("1/root")).unwrap();
        folder.write(
            "sys/kernel/random/boot_id",
            "6fd2ad6e-2b67-4ab4-b2c9-8a9f2c2b8a10\n",
        );
        folder.write("sys/kernel/hostname", "box\n");
        folder.write("root/etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.0
    }

    /// A file below the root that all have.
    pub(super) fn file(&self, path: &str, content: &str) {
        self.0.write(&format!("root{path}"), content);
    }

    pub(super) fn add(&self, process: &FakeProcess<'_>) {
        let FakeProcess {
            pid,
            parent,
            start,
            state,
            comm,
            ..
        } = process;
        let zeros = "0 ".repeat(17);
        let stat = format!(
            "{pid} ({comm}) {state} {parent} {zeros}{start} {}\n",
            "0 ".repeat(30)
        );
        self.write(*pid, "stat", &stat);
        let uid = process.uid;
        self.write(
            *pid,
            "status",
            &format!("Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"),
        );
        self.write(*pid, "cgroup", process.cgroup);
        let zombie = *state == 'Z';
        let list = |parts: &[&str]| parts.iter().map(|part| format!("{part}\0")).collect::<String>();
        self.write(
            *pid,
            "cmdline",
            &if zombie {
                String::new()
            } else {
                list(process.arguments)
            },
        );
        self.write(
            *pid,
            "environ",
            &if zombie {
                String::new()
            } else {
                list(process.environment)
            },
        );
        if !zombie {
            self.link(*pid, "exe", process.executable);
            self.link(*pid, "cwd", process.directory);
            self.link(*pid, "root", &self.0.path("root").display().to_string());
        }
    }

    /// A process of which nothing is asked but its group.
    pub(super) fn add_in(&self, pid: u32, cgroup: &str) {
        self.add(&FakeProcess {
            pid,
            cgroup: &format!("0::{cgroup}\n"),
            ..FakeProcess::default()
        });
    }

    pub(super) fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.0.path(&pid.to_string())).unwrap();
    }

    fn write(&self, pid: u32, name: &str, content: &str) {
        self.0.write(&format!("{pid}/{name}"), content);
    }

    fn link(&self, pid: u32, name: &str, target: &str) {
        let link = self.0.path(&format!("{pid}/{name}"));
        let _ = fs::remove_file(&link);
        symlink(target, link).unwrap();
    }
}
