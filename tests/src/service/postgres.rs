//! PostgreSQL: a private cluster, and its own log of what was executed in it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::child::{self, Child};
use crate::service::Service;
use crate::{port, wait, workload};

/// Where Debian puts the programs of version 15.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// Whom the workloads are, with the password `secret` that is asked for (SCRAM); the superuser `postgres` is asked nothing.
pub(super) const CLERK: &str = "clerk";

/// Table and roles of the workloads.
const SET_UP: &str = "CREATE TABLE accounts (id int PRIMARY KEY, name text, balance numeric);
    INSERT INTO accounts SELECT id, 'account ' || id, 10 * id FROM generate_series(1, 100) id;
    CREATE TABLE slips (id int, note text);
    CREATE ROLE clerk LOGIN SUPERUSER PASSWORD 'secret';";

/// A running cluster whose database is `shop`.
#[derive(Debug)]
pub struct Postgres {
    /// Main process, and where it listens.
    pub service: Service,
    /// The folder of its Unix socket, which clients take for a host.
    pub socket: PathBuf,
    folder: TempDir,
}

/// A statement as the server's log has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Logged {
    /// The text of a simple query, or of what was executed.
    pub text: String,
    /// SQLSTATE of its failure.
    pub code: Option<String>,
}

impl Postgres {
    /// Makes a cluster and starts it, with every statement logged.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // The server refuses to be root, and has to find its way.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let [uid, gid] = ids()?;
        let [data, socket] = ["data", "socket"].map(|name| folder.path().join(name));
        for path in [&data, &socket] {
            std::fs::create_dir(path)?;
            chown(path, Some(uid), Some(gid))?;
        }
        let mut initdb = program("initdb");
        initdb.arg("-D").arg(&data);
        initdb.args([
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        Child::spawn(initdb)?.succeed()?;
        let access = format!(
            "local all all trust\nhost all {CLERK} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        );
        std::fs::write(data.join("pg_hba.conf"), access)?;
        let port = port::free()?;
        let mut server = program("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(&socket);
        server.args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "max_connections=100",
            "logging_collector=on",
            "log_destination=jsonlog",
            "log_directory=log",
            "log_filename=all",
            "log_rotation_age=0",
            "log_rotation_size=0",
            "log_statement=all",
        ] {
            server.args(["-c", setting]);
        }
        let postgres = Self {
            service: Service::listening(Child::spawn(server)?, port)?,
            socket,
            folder,
        };
        wait::until("PostgreSQL", || {
            Ok(postgres.locally("postgres", "CREATE DATABASE shop").ok())
        })?;
        postgres.locally("shop", SET_UP)?;
        Ok(postgres)
    }

    /// A client program of PostgreSQL's own, such as `psql`, over TCP and as the superuser.
    #[must_use]
    pub fn client(&self, name: &str) -> Command {
        let mut command = child::command(name);
        let port = self.service.address.port().to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"]);
        command
    }

    /// The same over the Unix socket.
    #[must_use]
    pub fn local_client(&self, name: &str) -> Command {
        let mut command = child::command(name);
        command.arg("-h").arg(&self.socket);
        command.args(["-p", &self.service.address.port().to_string(), "-U", "postgres"]);
        command
    }

    /// What a workload is told of where to go over the Unix socket, as the superuser.
    #[must_use]
    pub fn local_url(&self) -> String {
        let (socket, port) = (self.socket.display(), self.service.address.port());
        format!("postgresql:///shop?host={socket}&port={port}&user=postgres")
    }

    /// psql with statements of every kind, several of which fail.
    ///
    /// # Errors
    /// The script is not there.
    pub fn script(&self) -> Result<Command> {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-d", "shop", "-f"]);
        command.arg(workload::file("statements.sql")?);
        Ok(command)
    }

    /// All that was executed over TCP so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn logged(&self) -> Result<Vec<Logged>> {
        let file = self.folder.path().join("data/log/all.json");
        let now = std::fs::read_to_string(&file)?.len();
        // What was logged before this is there once this is.
        self.locally("shop", &format!("SELECT 'the log has {now} bytes'"))?;
        let text = wait::until("PostgreSQL's log", || {
            let text = std::fs::read_to_string(&file)?;
            let is_there = text[now..].contains(&format!("the log has {now} bytes"));
            Ok(is_there.then_some(text))
        })?;
        read(&text)
    }

    /// Executes `statements` in the database `shop`, over the Unix socket.
    ///
    /// # Errors
    /// One of them fails.
    pub fn execute(&self, statements: &str) -> Result<()> {
        self.locally("shop", statements)
    }

    /// Executes `statement` over the Unix socket.
    fn locally(&self, database: &str, statement: &str) -> Result<()> {
        let mut command = self.local_client("psql");
        command.args(["-X", "-q", "-d", database, "-c", statement]);
        Child::spawn(command)?.succeed()?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes are in groups of their own: it has to end them itself, at once.
        if self.service.child.signal(Signal::QUIT).is_ok() {
            let _ = self.service.child.wait();
        }
    }
}

/// What a workload is told of where to go: address, database, user and password.
#[must_use]
pub fn url(address: SocketAddr) -> String {
    format!("postgresql://{CLERK}:secret@{address}/shop?sslmode=disable")
}

/// User and group `postgres`, in numbers.
pub(crate) fn ids() -> Result<[u32; 2]> {
    Ok([id("-u")?, id("-g")?])
}

/// A number of the user `postgres`.
fn id(which: &str) -> Result<u32> {
    let output = Command::new("id").args([which, "postgres"]).output()?;
    ensure!(output.status.success(), "no user postgres (package postgresql)");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// A program of the server's, as its user.
pub(crate) fn program(name: &str) -> Command {
    as_postgres(&Path::new(PROGRAMS).join(name))
}

/// A program that refuses to be root.
pub(super) fn as_postgres(program: &Path) -> Command {
    let mut command = child::command("setpriv");
    // Once more, since who becomes another user is not told of its parent's end any more.
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    child::ends_with_us(&mut command, "INT");
    command.arg(program);
    command
}

/// Statements of a log, one JSON object a line.
fn read(log: &str) -> Result<Vec<Logged>> {
    let mut all: Vec<Logged> = Vec::new();
    let mut last: HashMap<i64, usize> = HashMap::new();
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if entry["remote_host"] != "127.0.0.1" {
            continue;
        }
        let process = entry["pid"].as_i64().context("an entry of a process")?;
        let message = entry["message"].as_str().unwrap_or_default();
        if entry["error_severity"] == "LOG" {
            if let Some(text) = executed(message) {
                last.insert(process, all.len());
                all.push(Logged {
                    text: text.to_owned(),
                    code: None,
                });
            }
        } else if matches!(entry["error_severity"].as_str(), Some("ERROR" | "FATAL"))
            && let Some(text) = entry["statement"].as_str()
        {
            let code = entry["state_code"].as_str().map(str::to_owned);
            // What the process was at: what failed there is not what was executed before, whose text may be the same.
            let is_executed = !matches!(entry["ps"].as_str(), Some("PARSE" | "BIND"));
            match last.remove(&process).map(|at| &mut all[at]) {
                Some(executed) if is_executed && executed.text == text => executed.code = code,
                _ => all.push(Logged {
                    text: text.to_owned(),
                    code,
                }),
            }
        }
    }
    Ok(all)
}

/// `SELECT 1` of `statement: SELECT 1`, `execute name: SELECT 1` and `execute fetch from name/portal: SELECT 1`.
fn executed(message: &str) -> Option<&str> {
    if let Some(text) = message.strip_prefix("statement: ") {
        return Some(text);
    }
    let (_, text) = message.strip_prefix("execute ")?.split_once(": ")?;
    Some(text)
}
