//! Servers and clients that speak what spanwire does not read: real ones, where they can be had.

mod parts;

pub(crate) use parts::java;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::port;
use crate::service::Service;
use crate::service::postgres::Postgres;
use crate::workload;

/// A protocol, and who speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// redis-server.
    Redis,
    /// memcached, in lines.
    Memcached,
    /// memcached, in its binary protocol.
    MemcachedBinary,
    /// nats-server.
    Nats,
    /// MariaDB.
    Mysql,
    /// FerretDB, since MongoDB itself is not packaged; it keeps its documents in PostgreSQL.
    MongoDb,
    /// Kafka.
    Kafka,
    /// Dubbo's own protocol, with Hessian in it.
    Dubbo,
    /// Apache Thrift: this transport and this encoding.
    Thrift(&'static str, &'static str),
    /// openssl's server.
    Tls,
    /// OpenSSH.
    Ssh,
    /// Random bytes.
    Noise,
}

/// A running server, and what it needs.
#[derive(Debug)]
pub struct Server {
    /// Main process, and where it listens.
    pub service: Service,
    foreign: Foreign,
    folder: TempDir,
    _beneath: Option<Postgres>,
}

impl Foreign {
    /// The four ways in which Thrift is spoken.
    pub const THRIFT: [Self; 4] = [
        Self::Thrift("framed", "binary"),
        Self::Thrift("framed", "compact"),
        Self::Thrift("buffered", "binary"),
        Self::Thrift("buffered", "compact"),
    ];

    /// What the workloads call it.
    fn name(self) -> String {
        match self {
            Self::Redis => "redis".into(),
            Self::Memcached => "memcached".into(),
            Self::MemcachedBinary => "memcached-binary".into(),
            Self::Nats => "nats".into(),
            Self::Mysql => "mysql".into(),
            Self::MongoDb => "mongodb".into(),
            Self::Kafka => "kafka".into(),
            Self::Dubbo => "dubbo".into(),
            Self::Thrift(transport, encoding) => format!("thrift-{transport}-{encoding}"),
            Self::Tls => "tls".into(),
            Self::Ssh => "ssh".into(),
            Self::Noise => "noise".into(),
        }
    }

    /// Connections of a client at the same time. openssl's server serves one after the other.
    #[must_use]
    pub const fn connections(self) -> usize {
        match self {
            Self::Tls => 1,
            _ => 2,
        }
    }

    /// Starts a server of its own.
    ///
    /// # Errors
    /// It is not installed, or cannot be built, or does not start.
    pub fn serve(self) -> Result<Server> {
        let folder = tempfile::tempdir()?;
        let beneath = (self == Self::MongoDb).then(Postgres::start).transpose()?;
        let port = port::free()?;
        let command = self.server(port, folder.path(), beneath.as_ref())?;
        Ok(Server {
            service: Service::listening(Child::spawn(command)?, port)?,
            foreign: self,
            folder,
            _beneath: beneath,
        })
    }

    fn server(self, port: u16, folder: &Path, beneath: Option<&Postgres>) -> Result<Command> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let [host, port] = [address.ip().to_string(), port.to_string()];
        let mut command;
        match self {
            Self::Redis => {
                command = child::command("redis-server");
                command.args(["--bind", &host, "--port", &port, "--save", "", "--dir"]);
                command.arg(folder);
            }
            Self::Memcached | Self::MemcachedBinary => {
                command = child::command("memcached");
                command.args(["-u", "root", "-l", &host, "-p", &port, "-U", "0"]);
            }
            Self::Nats => {
                command = child::command(parts::nats()?.to_str().unwrap_or_default());
                command.args(["-a", &host, "-p", &port]);
            }
            Self::Mysql => {
                // Nobody logs in, and nothing is stored: that needs no tables of its own.
                command = child::command("mariadbd");
                command.args([
                    "--no-defaults",
                    "--skip-grant-tables",
                    "--skip-innodb",
                    "--default-storage-engine=MyISAM",
                    "--user=root",
                ]);
                command.args([format!("--bind-address={host}"), format!("--port={port}")]);
                for (option, name) in [("datadir", ""), ("socket", "socket"), ("pid-file", "pid")] {
                    command.arg(format!("--{option}={}", folder.join(name).display()));
                }
            }
            Self::MongoDb => {
                command = child::command(parts::ferret()?.to_str().unwrap_or_default());
                command.arg(address.to_string());
                command.args(beneath.map(|postgres| crate::service::postgres::url(postgres.service.address)));
            }
            Self::Kafka => command = parts::kafka(address, folder)?,
            Self::Dubbo => {
                command = parts::dubbo()?;
                command.args(["serve", &port]);
            }
            Self::Tls => {
                parts::certificate(folder)?;
                command = child::command("openssl");
                command.current_dir(folder).args(["s_server", "-quiet", "-rev"]);
                command.args(["-key", "key.pem", "-cert", "certificate.pem"]);
                command.args(["-accept", &address.to_string()]);
            }
            Self::Ssh => command = parts::sshd(address, folder)?,
            Self::Thrift(..) | Self::Noise => {
                command = child::command(&workload::environment("python")?.to_string_lossy());
                command.arg(workload::file("foreign/server.py")?);
                command.args([&self.name(), &port]);
            }
        }
        Ok(command)
    }
}

impl Server {
    /// A client that makes `count` requests on each of its connections, and checks the answers. Where it is to `go_on` it
    /// begins with some, says `warm`, and makes more until that file is there; the `count` follow.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn client(&self, count: usize, go_on: Option<&Path>) -> Result<Command> {
        let address = self.service.address.to_string();
        let mut command = if self.foreign == Foreign::Dubbo {
            let mut command = parts::dubbo()?;
            command.arg("call");
            command
        } else {
            let mut command = child::command(&workload::environment("python")?.to_string_lossy());
            command.arg(workload::file("foreign/client.py")?);
            command.arg(self.foreign.name());
            command.env("SSH_FOLDER", self.folder.path());
            command
        };
        command.args([address, count.to_string(), self.foreign.connections().to_string()]);
        command.args(go_on);
        Ok(command)
    }
}
