//! podman with a storage of its own, and its service, which speaks Docker's API; and what an engine is asked to do in tests.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::service::{Service, python};
use crate::{port, wait, workload};

/// What runs containers, and is asked for them by Docker's API.
pub trait Engine {
    /// `container.runtime.name`
    fn name(&self) -> &'static str;

    /// `container.runtime.version`, and the end of a line.
    ///
    /// # Errors
    /// It does not say.
    fn version(&self) -> Result<String>;

    /// Where it is asked.
    fn socket(&self) -> PathBuf;

    /// The whole id of a container.
    ///
    /// # Errors
    /// There is none of that name.
    fn id(&self, name: &str) -> Result<String>;

    /// Makes an image of empty folders, into which programs of the host are mounted, with labels `KEY=VALUE`; what it says of that.
    ///
    /// # Errors
    /// It does not take it.
    fn image(&self, name: &str, labels: &[&str]) -> Result<serde_json::Value>;

    /// Python's file server with `/hello` of 5 bytes in a container of such an image, in the host's network.
    ///
    /// # Errors
    /// It does not start.
    fn files(&self, image: &str, options: &[&str]) -> Result<Service>;
}

/// Such an image, as an archive.
pub(crate) fn archive(path: &Path) -> Result<()> {
    let root = tempfile::tempdir()?;
    for folder in ["usr", "lib", "lib64", "served"] {
        fs::create_dir(root.path().join(folder))?;
    }
    fs::write(root.path().join("served/hello"), "hello")?;
    let tar = Command::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(path)
        .arg("--directory")
        .arg(root.path())
        .arg(".")
        .status()?;
    ensure!(tar.success(), "tar: {tar}");
    Ok(())
}

/// The file server, in a container that `run` starts with these options, of this image, with this command.
pub(crate) fn files(
    image: &str,
    options: &[&str],
    run: impl FnOnce(&[&str], &str, &[&str]) -> Result<Child>,
) -> Result<Service> {
    let port = port::free()?;
    let mut all = vec!["--network=host"];
    let mounts = ["/usr", "/lib", "/lib64"].map(|path| format!("--volume={path}:{path}:ro"));
    all.extend(mounts.iter().map(String::as_str));
    all.extend(options);
    let port_text = port.to_string();
    let command = [
        &[workload::PYTHON],
        &python::FILE_SERVER[..],
        &["-d", "/served", &port_text],
    ]
    .concat();
    Service::listening(run(&all, image, &command)?, port)
}

/// podman, whose containers end with it.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
}

impl Podman {
    /// Without images.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn global(&self) -> Vec<String> {
        let words = [
            "--storage-driver",
            "vfs",
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
        ];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        let path = |name: &str| self.path(name).display().to_string();
        words.extend(["--root".into(), path("root"), "--runroot".into(), path("run")]);
        words.extend([
            "--tmpdir".into(),
            path("tmp"),
            "--events-backend".into(),
            "none".into(),
        ]);
        words
    }

    /// What a command of podman's writes.
    ///
    /// # Errors
    /// It fails.
    pub fn output(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("podman")
            .args(self.global())
            .args(arguments)
            .output()?;
        ensure!(
            output.status.success(),
            "podman {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// `podman run` of an image with what a container may be refused here otherwise, and more options.
    ///
    /// # Errors
    /// There is no podman.
    pub fn run(&self, options: &[&str], image: &str, command: &[&str]) -> Result<Child> {
        let mut podman = child::command("podman");
        podman.args(self.global()).args(["run", "--rm"]);
        podman.args(["--ulimit", "nofile=10000:10000", "--ulimit", "nproc=5000:5000"]);
        podman.args(options).arg(image).args(command);
        Child::spawn(podman)
    }

    /// Docker's API.
    ///
    /// # Errors
    /// It does not listen.
    pub fn serve(&self) -> Result<Child> {
        let socket = self.socket();
        // One that was killed leaves it.
        let _ = fs::remove_file(&socket);
        let mut podman = child::command("podman");
        podman.args(self.global()).args(["system", "service", "--time=0"]);
        podman.arg(format!("unix://{}", socket.display()));
        let mut service = Child::spawn(podman)?;
        wait::until("podman's service", || {
            service.ensure_running()?;
            Ok(UnixStream::connect(&socket).ok())
        })?;
        Ok(service)
    }
}

impl Engine for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn version(&self) -> Result<String> {
        self.output(&["version", "--format", "{{.Client.Version}}"])
    }

    fn socket(&self) -> PathBuf {
        self.path("podman.sock")
    }

    fn id(&self, name: &str) -> Result<String> {
        let id = self.output(&["container", "inspect", "--format", "{{.Id}}", name])?;
        Ok(id.trim().to_owned())
    }

    fn image(&self, name: &str, labels: &[&str]) -> Result<serde_json::Value> {
        let file = self.path("image.tar");
        archive(&file)?;
        let labels: Vec<String> = labels.iter().map(|label| format!("LABEL {label}")).collect();
        let mut arguments = vec!["import", "--quiet"];
        for label in &labels {
            arguments.extend(["--change", label]);
        }
        arguments.extend([file.to_str().context("path in UTF-8")?, name]);
        self.output(&arguments)?;
        Ok(serde_json::from_str(&self.output(&["image", "inspect", name])?)?)
    }

    fn files(&self, image: &str, options: &[&str]) -> Result<Service> {
        files(image, options, |options, image, command| {
            self.run(options, image, command)
        })
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.output(&["rm", "--force", "--all", "--time", "0"]);
    }
}
