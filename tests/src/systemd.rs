//! The shipped systemd unit as it stands, under a real systemd: a user manager of root's, which need not be the first process.
//!
//! Its mount namespace is its own: `/usr/bin`, `/etc` and `/var/lib` are overlays in which the package's files are where the
//! package puts them, and `/run` is empty. With `XDG_RUNTIME_DIR=/run` and `XDG_CONFIG_HOME=/var/lib` a user manager has its
//! folders where the system's has them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::agent::{Turn, binary};
use crate::child;
use crate::cluster::hierarchies;
use crate::wait;

const PROGRAM: &str = "/usr/lib/systemd/systemd";
const UNIT: &str = "spanwire.service";

/// `deploy/systemd`.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd")
}

/// Arguments: a folder of our own, the binary, the folder of the unit.
const PREPARE: &str = r#"
set -e
own=$1 binary=$2 deploy=$3
# A manager takes all processes of its own group with it: it has to be alone there.
for top in $(awk '$3 ~ /^cgroup/ { print $2 }' /proc/mounts); do
    group=$top/spanwire-tests-$$
    { mkdir -p "$group" && echo $$ >"$group/cgroup.procs"; } 2>/dev/null || true
done
# In memory: what holds the folder may itself be an overlay, which cannot be another's upper one.
mkdir "$own/layers"
mount -t tmpfs -o mode=755 none "$own/layers"
for place in usr/bin etc var/lib; do
    layer=$own/layers/$place
    mkdir -p "$layer/up" "$layer/work"
    mount -t overlay -o "lowerdir=/$place,upperdir=$layer/up,workdir=$layer/work" overlay "/$place"
done
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/systemd/system
cp "$binary" /usr/bin/spanwire
mkdir -p /etc/spanwire
cp "$deploy/spanwire.yaml" /etc/spanwire/
cp "$own/default" /etc/default/spanwire
touch "$own/laid"
exec env -i PATH="$PATH" HOME=/root XDG_RUNTIME_DIR=/run XDG_CONFIG_HOME=/var/lib SYSTEMD_UNIT_PATH="$own/units:" \
    SYSTEMD_LOG_TARGET=console /usr/lib/systemd/systemd --user --unit=basic.target
"#;

/// A manager, and the unit in it.
#[derive(Debug)]
pub struct Manager {
    own: TempDir,
    process: std::process::Child,
    _turn: Turn,
}

impl Manager {
    /// Starts a manager whose unit has `default` as its environment file and `drop_in` as its one drop-in, but not the unit.
    ///
    /// # Errors
    /// There is no systemd, or no overlay.
    pub fn start(default: &str, drop_in: &str) -> Result<Self> {
        let turn = Turn::take()?;
        let own = tempfile::tempdir()?;
        let units = own.path().join("units");
        std::fs::create_dir_all(units.join(format!("{UNIT}.d")))?;
        std::fs::copy(folder().join(UNIT), units.join(UNIT))?;
        let log = own.path().join("unit.log");
        let said = format!(
            "[Service]\nStandardOutput=append:{0}\nStandardError=append:{0}\n",
            log.display()
        );
        std::fs::write(units.join(format!("{UNIT}.d/test.conf")), said + drop_in)?;
        std::fs::write(own.path().join("default"), default)?;
        ensure!(Path::new(PROGRAM).exists(), "no {PROGRAM}: apt install systemd");
        let log = std::fs::File::create(own.path().join("log"))?;
        // A manager ends at SIGTERM, and its units with it: also where the test is killed.
        let process = child::command("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh"])
            .arg(own.path())
            .arg(binary()?)
            .arg(folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting unshare")?;
        let mut manager = Self {
            own,
            process,
            _turn: turn,
        };
        // Until then, whoever enters its mount namespace may be in that of the host, and ask the host's manager.
        wait::until("a mount namespace of the manager's own", || {
            let ended = manager.process.try_wait()?;
            ensure!(ended.is_none(), "{ended:?}");
            Ok(manager.is_laid().then_some(()))
        })
        .with_context(|| manager.log())?;
        wait::until("a manager", || {
            Ok(manager
                .run(&["systemctl", "--user", "is-active", "basic.target"])?
                .status
                .success()
                .then_some(()))
        })
        .with_context(|| manager.log())?;
        Ok(manager)
    }

    /// Whether all is in place in its mount namespace.
    fn is_laid(&self) -> bool {
        self.own.path().join("laid").exists()
    }

    /// What it and the unit have said.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.own.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("log"), read("unit.log"))
    }

    /// Runs a command in its mount namespace.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        let pid = self.process.id().to_string();
        Command::new("nsenter")
            .args(["--mount", "--wd=/", "--target", &pid, "--"])
            .args(command)
            .env("XDG_RUNTIME_DIR", "/run")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .output()
            .context("starting nsenter")
    }

    /// The same; fails where the command does.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub fn succeed(&self, command: &[&str]) -> Result<String> {
        let output = self.run(command)?;
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {text}\n{}", self.log());
        Ok(text)
    }

    /// `systemctl VERB spanwire.service`
    ///
    /// # Errors
    /// systemd refuses, or the unit fails.
    pub fn systemctl(&self, verb: &str) -> Result<String> {
        self.succeed(&["systemctl", "--user", verb, UNIT])
    }

    /// A property of the unit (systemctl(1), `show`).
    ///
    /// # Errors
    /// systemd does not tell.
    pub fn property(&self, name: &str) -> Result<String> {
        let shown = self.succeed(&["systemctl", "--user", "show", "--value", "--property", name, UNIT])?;
        Ok(shown.trim().to_owned())
    }

    /// The unit's process.
    ///
    /// # Errors
    /// There is none.
    pub fn main_pid(&self) -> Result<Pid> {
        Pid::from_raw(self.property("MainPID")?.parse()?).context("no process")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if self.is_laid() {
            let _ = self.run(&["systemctl", "--user", "stop", UNIT]);
        }
        if let Some(pid) = Pid::from_raw(self.process.id().cast_signed()) {
            // systemd(1): a user manager ends at it, and its units with it.
            let _ = kill_process(pid, Signal::TERM);
        }
        let ended = wait::within(Duration::from_secs(20), "end of systemd", || {
            Ok(self.process.try_wait()?)
        });
        let name = format!("spanwire-tests-{}", self.process.id());
        let tops = hierarchies().unwrap_or_default().into_iter();
        let groups: Vec<PathBuf> = tops.map(|(_, top)| top.join(&name)).collect();
        if ended.is_err() {
            // What it started is not its child alone. Version 1 has no such file.
            for group in &groups {
                let _ = std::fs::write(group.join("cgroup.kill"), "1");
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        // Its own groups stay where they are; they are empty now.
        for group in groups.iter().filter(|group| group.exists()) {
            remove(group);
        }
    }
}

/// A control group, and those in it.
fn remove(group: &Path) {
    for inner in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if inner.path().is_dir() {
            remove(&inner.path());
        }
    }
    let _ = std::fs::remove_dir(group);
}
