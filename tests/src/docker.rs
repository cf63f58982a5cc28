//! Docker itself, with a storage of its own; it changes nothing of the host's network.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::podman::{self, Engine};
use crate::service::Service;
use crate::{wait, workload};

/// Debian's Docker, unpacked: installed, it would start and change the host's firewall.
fn programs() -> Result<PathBuf> {
    workload::built("docker", &[], |output| {
        let mut command = Command::new("sh");
        command.args([
            "-ec",
            "mkdir $0 $0.work; cd $0.work; packages=docker.io; \
             command -v containerd >&2 || packages=\"$packages containerd\"; \
             apt-get -qq download $packages || { apt-get -qq update; apt-get -qq download $packages; }; \
             for file in *.deb; do dpkg-deb --extract $file .; done; \
             mv usr/bin/* usr/sbin/* $0; rm -r $0.work",
        ]);
        command.arg(output);
        command
    })
}

/// Docker, whose containers end with it.
#[derive(Debug)]
pub struct Docker {
    folder: TempDir,
    programs: PathBuf,
    daemon: Child,
}

impl Docker {
    /// Starts it, without images.
    ///
    /// # Errors
    /// Its package is not to be had, or it does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = programs()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("daemon.json"), "{}")?;
        // What it mounts goes with it.
        let mut daemon = child::command("unshare");
        daemon.args(["--mount", "dockerd", "--config-file", &path("daemon.json")]);
        daemon.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
        daemon.args(["--pidfile", &path("pid"), "--host"]);
        daemon.arg(format!("unix://{}", path("docker.sock")));
        daemon.args([
            "--storage-driver",
            "vfs",
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ]);
        daemon.args(["--iptables=false", "--ip6tables=false", "--bridge", "none"]);
        daemon.env("PATH", beside(&programs)?);
        let socket = folder.path().join("docker.sock");
        let mut daemon = Child::spawn(daemon)?;
        wait::within(wait::START, "Docker's socket", || {
            daemon.ensure_running()?;
            Ok(UnixStream::connect(&socket).ok())
        })?;
        Ok(Self {
            folder,
            programs,
            daemon,
        })
    }

    /// What a command of docker's writes.
    ///
    /// # Errors
    /// It fails.
    pub fn output(&self, arguments: &[&str]) -> Result<String> {
        let output = self.client()?.args(arguments).output()?;
        ensure!(
            output.status.success(),
            "docker {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn client(&self) -> Result<Command> {
        let program = self.programs.join("docker");
        let mut client = child::command(program.to_str().context("path in UTF-8")?);
        client.env("DOCKER_CONFIG", self.folder.path());
        client
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()));
        Ok(client)
    }
}

/// The search path with this folder before all others.
fn beside(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [folder.to_owned()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(folders)?)
}

impl Engine for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn version(&self) -> Result<String> {
        self.output(&["version", "--format", "{{.Server.Version}}"])
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    fn id(&self, name: &str) -> Result<String> {
        let id = self.output(&["container", "inspect", "--format", "{{.Id}}", name])?;
        Ok(id.trim().to_owned())
    }

    fn image(&self, name: &str, labels: &[&str]) -> Result<serde_json::Value> {
        let archive = self.folder.path().join("image.tar");
        podman::archive(&archive)?;
        let labels: Vec<String> = labels.iter().map(|label| format!("LABEL {label}")).collect();
        let mut arguments = vec!["import"];
        for label in &labels {
            arguments.extend(["--change", label]);
        }
        arguments.extend([archive.to_str().context("path in UTF-8")?, name]);
        self.output(&arguments)?;
        Ok(serde_json::from_str(&self.output(&["image", "inspect", name])?)?)
    }

    fn files(&self, image: &str, options: &[&str]) -> Result<Service> {
        podman::files(image, options, |options, image, command| {
            let mut client = self.client()?;
            client
                .args(["run", "--rm"])
                .args(options)
                .arg(image)
                .args(command);
            Child::spawn(client)
        })
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let containers = self.output(&["ps", "--all", "--quiet"]).unwrap_or_default();
        let containers: Vec<&str> = containers.lines().collect();
        if !containers.is_empty() {
            let _ = self.output(&[&["rm", "--force"], &containers[..]].concat());
        }
        // In order, it ends the daemon beneath it, too.
        if self.daemon.signal(Signal::TERM).is_ok() {
            let _ = self.daemon.wait();
        }
    }
}
