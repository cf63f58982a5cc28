//! A private RabbitMQ, from the programs of the distribution's package.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::port;
use crate::service::Service;

/// Where Debian puts each version. The programs in /usr/sbin would change to the system's own user and folders.
const VERSIONS: &str = "/usr/lib/rabbitmq/lib";

/// A running broker, whose user is `guest`.
#[derive(Debug)]
pub struct RabbitMq {
    /// Main process, and where it listens.
    pub service: Service,
    /// The name server of Erlang. A node that finds none would start one that outlives it.
    _names: Service,
    _folder: TempDir,
}

impl RabbitMq {
    /// Starts a broker with nothing in it.
    ///
    /// # Errors
    /// RabbitMQ is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("enabled_plugins"), "[].")?;
        std::fs::write(at("rabbitmq.conf"), "log.file.level = error\n")?;
        let [port, names, nodes] = [port::free()?, port::free()?, port::free()?];
        let mut command = child::command("env");
        command.args(["-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8"]);
        command.args(["ERL_EPMD_ADDRESS=127.0.0.1", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1"]);
        command.arg(format!("ERL_EPMD_PORT={names}"));
        command.arg(format!("RABBITMQ_NODENAME=test{port}@localhost"));
        command.arg(format!("RABBITMQ_NODE_PORT={port}"));
        command.arg(format!("RABBITMQ_DIST_PORT={nodes}"));
        command.arg("RABBITMQ_CONF_ENV_FILE=/dev/null");
        for (variable, name) in [
            ("HOME", ""),
            ("RABBITMQ_BASE", ""),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
            ("RABBITMQ_SCHEMA_DIR", "schema"),
        ] {
            command.arg(format!("{variable}={}", at(name).display()));
        }
        command.arg(programs()?.join("rabbitmq-server"));
        let mut server = child::command("epmd");
        server.args(["-address", "127.0.0.1", "-port", &names.to_string()]);
        let names = Service::listening(Child::spawn(server)?, names)?;
        Ok(Self {
            service: Service::listening(Child::spawn(command)?, port)?,
            _names: names,
            _folder: folder,
        })
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if self.service.child.signal(Signal::TERM).is_ok() {
            let _ = self.service.child.wait();
        }
    }
}

/// The folder of the programs.
fn programs() -> Result<PathBuf> {
    let mut versions = std::fs::read_dir(VERSIONS).context("no RabbitMQ (package rabbitmq-server)")?;
    let version = versions.next().context("no version of RabbitMQ")??;
    Ok(version.path().join("sbin"))
}
