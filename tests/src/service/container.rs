//! Python's file server in a container that runc made.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::service::{Service, python};
use crate::{port, workload};

/// A running container: process and mount namespace and control group of its own, the host's network and programs.
#[derive(Debug)]
pub struct Container {
    name: String,
    service: Service,
    _bundle: TempDir,
}

impl Container {
    /// Starts one called `name`, which serves the file `/hello` of 5 bytes.
    ///
    /// # Errors
    /// runc does not start it.
    pub fn start(name: &str) -> Result<Self> {
        let bundle = tempfile::tempdir()?;
        std::fs::create_dir(bundle.path().join("root"))?;
        std::fs::write(bundle.path().join("root/hello"), "hello")?;
        let port = port::free()?;
        let specification = serde_json::to_vec(&specification(name, port))?;
        std::fs::write(bundle.path().join("config.json"), specification)?;
        let mut command = child::command("runc");
        command.arg("run").arg("--bundle").arg(bundle.path()).arg(name);
        Ok(Self {
            name: name.to_owned(),
            service: Service::listening(Child::spawn(command)?, port)?,
            _bundle: bundle,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What cannot be taken away has ended already.
        let _ = Command::new("runc")
            .args(["delete", "--force", &self.name])
            .output();
    }
}

/// <https://github.com/opencontainers/runtime-spec>
fn specification(name: &str, port: u16) -> Value {
    let port = port.to_string();
    let arguments = [&[workload::PYTHON], &python::FILE_SERVER[..], &[&port]].concat();
    let mut mounts = vec![json!({"destination": "/proc", "type": "proc", "source": "proc"})];
    mounts.extend(["/usr", "/lib", "/lib64"].map(
        |path| json!({"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}),
    ));
    json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": arguments, "cwd": "/"},
        "root": {"path": "root"},
        "mounts": mounts,
        "linux": {"cgroupsPath": format!("/{name}"), "namespaces": [{"type": "mount"}, {"type": "pid"}]},
    })
}
