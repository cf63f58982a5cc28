//! What a cluster stands on: namespaces, control groups and a folder, and who takes them away, also when the test is killed.
//!
//! All processes of a cluster, and all that they start, are below one control group of the unified hierarchy, which is killed as a
//! whole. Mounts, links and rules are in namespaces that end with the last of these processes.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::ADDRESS;
use crate::child::{self, Child};

/// Waits until nobody holds its standard input's other end: the test is done, or dead. `$1`: the folder, `$2`: the unified hierarchy,
/// then the groups to be removed, one in each hierarchy.
const REAPER: &str = r#"
cat >/dev/null
folder=$1 unified=$2
shift 2
for _ in $(seq 200); do
    [ ! -e "$unified/cgroup.kill" ] || echo 1 >"$unified/cgroup.kill"
    left=
    for group; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
        [ ! -e "$group" ] || left=1
    done
    [ -n "$left" ] || break
    sleep 0.05
done
rm -rf "$folder"
[ -z "$left" ]
"#;

/// Holds the namespaces: in folders that programs know by name, there is nothing of the host's. Settings of the whole host that the
/// kubelet makes its own are copies here, of which it may have what it likes.
const HOLDER: &str = r#"
mount --make-rshared /
for folder in /run /var/log /var/lib; do mount -t tmpfs -o mode=755 none $folder; done
mkdir -p /var/lib/kubelet /run/netns /run/settings
for key in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    copy=/run/settings/${key##*/}
    cat /proc/sys/$key >$copy
    mount --bind $copy /proc/sys/$key
done
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
ip link add node type veth peer name wire
ip address add "$0/24" dev node
ip link set wire up
ip link set node up
ip route add default dev node
echo laid
exec sleep infinity
"#;

/// See the module.
#[derive(Debug)]
pub(super) struct Ground {
    holder: Child,
    group: String,
    unified: PathBuf,
    folder: PathBuf,
    reaper: std::process::Child,
    alive: Option<ChildStdin>,
}

impl Ground {
    pub(super) fn lay() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = format!("spanwire-cluster-{}-{number}", std::process::id());
        let hierarchies = hierarchies()?;
        let unified = hierarchies.iter().find(|(kind, _)| kind == "cgroup2");
        let unified = unified.context("no cgroup2 is mounted")?.1.join(&group);
        let groups: Vec<_> = hierarchies.iter().map(|(_, path)| path.join(&group)).collect();
        let folder = TempDir::with_prefix("cluster-")?.keep();
        // Before there is anything to be taken away.
        let mut reaper = Command::new("sh");
        reaper
            .args(["-c", REAPER, "reaper"])
            .arg(&folder)
            .arg(&unified)
            .args(&groups);
        let reaper = reaper
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut reaper = reaper.context("cannot start sh")?;
        let alive = reaper.stdin.take();
        for path in &groups {
            std::fs::create_dir(path).with_context(|| format!("making {}", path.display()))?;
        }
        // Processes are in leaves only.
        std::fs::create_dir(unified.join("system"))?;
        let mut holder = child::command("sh");
        holder.args(["-ec", r#"echo $$ >"$0"; exec "$@""#]);
        holder.arg(unified.join("system/cgroup.procs"));
        holder.args([
            "unshare",
            "--mount",
            "--net",
            "--propagation",
            "private",
            "sh",
            "-ec",
            HOLDER,
        ]);
        holder.arg(ADDRESS.to_string());
        let mut ground = Self {
            holder: Child::spawn(holder)?,
            group,
            unified,
            folder,
            reaper,
            alive,
        };
        ground.holder.line("laid")?;
        Ok(ground)
    }

    /// The name of its control group, in each hierarchy.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Files that both sides of the mount namespace see.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The calling thread, and what it starts, are in the cluster's network from now on.
    pub(super) fn enter_network(&self) -> Result<()> {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.holder.pid()))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// A program in the cluster's namespaces and its group.
    pub(super) fn command(&self, program: &Path) -> Command {
        let holder = self.holder.pid().to_string();
        let mut command = child::command("sh");
        command.args(["-ec", r#"echo $$ >"$0"; exec "$@""#]);
        command.arg(self.unified.join("system/cgroup.procs"));
        command.args(["nsenter", "--target", &holder, "--net", "--mount", "--"]);
        command.arg(program);
        command
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.alive.take());
        let ended = self.reaper.wait();
        if !std::thread::panicking() {
            assert!(
                ended.as_ref().is_ok_and(std::process::ExitStatus::success),
                "control groups {} are left: {ended:?}",
                self.group
            );
        }
    }
}

/// Kind and place of each hierarchy of control groups.
pub(crate) fn hierarchies() -> Result<Vec<(String, PathBuf)>> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let all = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        kind.starts_with("cgroup")
            .then(|| (kind.to_owned(), PathBuf::from(place)))
    });
    let all: Vec<_> = all.collect();
    ensure!(!all.is_empty(), "no control groups are mounted");
    Ok(all)
}

/// An address beside the node's, in text.
pub(super) fn at(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}
