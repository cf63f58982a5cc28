//! The guest's only file system: busybox, spanwire, the test programs, and an init that runs the test. A guest of this machine's
//! kind has two proxies with the libraries that they are linked with, another a program in Go: its kernel half is the one
//! that no live test sees.

use super::build;
use crate::apt::Apt;
use crate::machine::Machine;
use crate::shell;
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts what a host has mounted, runs the test, says how it ended, and switches the machine off.
const INIT: &str = "#!/bin/busybox sh
b=/bin/busybox
export PATH=/bin
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mount -t tmpfs tmp /tmp
$b mount -t tmpfs run /run
$b mount -t bpf bpf /sys/fs/bpf
$b mount -t cgroup2 cgroup /sys/fs/cgroup
$b mount -t tracefs tracing /sys/kernel/tracing
$b ip link set lo up
$b hostname guest
# Before 5.11, BPF maps and programs count as locked memory.
ulimit -l unlimited
# A warning in the middle of a line would break it.
echo 1 >/proc/sys/kernel/printk
echo VMTEST_INIT
/bin/guest
echo \"VMTEST_EXIT=$?\"
$b poweroff -f
";

/// What the init says before it begins.
pub(super) const INIT_RUNS: &str = "VMTEST_INIT";

/// Debian's, which is what the package busybox-static installs.
const BUSYBOX: &str = "/bin/busybox";

/// Debian's, which are linked dynamically.
const PROXIES: &[&str] = &["nginx", "haproxy"];

/// Builds what it has, and packs it in `folder`; what has to be fetched for it is kept in `cache`.
pub(super) fn pack(machine: Machine, folder: &Path, cache: &Path) -> Result<PathBuf> {
    let programs = build::programs(machine)?;
    let root = folder.join(format!("root-{}", machine.name()));
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for inner in ["bin", "proc", "sys", "dev", "tmp", "etc", "run"] {
        fs::create_dir_all(root.join(inner))?;
    }
    let copy = |from: &Path, to: &str| {
        fs::copy(from, root.join(to)).with_context(|| format!("copying {} for the guest", from.display()))
    };
    copy(&busybox(machine, cache)?, "bin/busybox")?;
    copy(&programs.spanwire, "bin/spanwire")?;
    copy(&programs.guest, "bin/guest")?;
    copy(&build::peer(machine)?, "bin/peer")?;
    if !machine.is_this() {
        copy(&build::relay(machine)?, "bin/relay")?;
    }
    for name in PROXIES.iter().filter(|_| machine.is_this()) {
        let program = Path::new("/usr/sbin").join(name);
        copy(&program, &format!("bin/{name}"))?;
        for library in libraries(&program)? {
            let inner = library.strip_prefix("/")?;
            fs::create_dir_all(root.join(inner.parent().context("a library in no folder")?))?;
            copy(&library, &inner.to_string_lossy())?;
        }
    }
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    let init = root.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let archive = folder.join(format!("initramfs-{}.cpio.gz", machine.name()));
    let mut pack = Command::new("sh");
    pack.current_dir(&root).args(["-e", "-c"]);
    // --owner: who builds may be anyone, and the guest knows only root.
    pack.arg("find . | cpio --quiet -o -H newc --owner 0:0 | gzip -1 >\"$1\"")
        .arg("sh")
        .arg(&archive);
    shell::run_silently(&mut pack)?;
    let size = fs::metadata(&archive)?.len();
    println!("  initramfs for {}: {} MB", machine.name(), size / 1_000_000);
    Ok(archive)
}

/// This machine's own, or the same package of another.
fn busybox(machine: Machine, cache: &Path) -> Result<PathBuf> {
    const PACKAGE: &str = "busybox-static";
    if machine.is_this() {
        return Ok(PathBuf::from(BUSYBOX));
    }
    let folder = cache.join(format!("{PACKAGE}-{}", machine.debian()));
    let program = folder.join("bin/busybox");
    if !program.exists() {
        println!("  fetching {PACKAGE} for {}", machine.name());
        let state = cache.join("apt").join(format!("this-{}", machine.debian()));
        let download = cache.join("download");
        let package = Apt::beside_this(&state, machine)?.download(PACKAGE, &download)?;
        shell::run_silently(Command::new("dpkg-deb").arg("-x").args([&package, &folder]))?;
        fs::remove_dir_all(&download)?;
    }
    Ok(program)
}

/// What a program is linked with, and what links it: each path that ldd(1) prints.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = shell::output(Command::new("ldd").arg(program))?;
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}
