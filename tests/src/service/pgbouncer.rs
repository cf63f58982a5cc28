//! PgBouncer in front of a PostgreSQL, for the workloads' own user.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use crate::child::Child;
use crate::port;
use crate::service::Service;
use crate::service::postgres::{CLERK, Postgres, as_postgres};

/// How long a client keeps a connection to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// For one transaction: what a client prepares by a name is not there afterwards.
    Transaction,
    /// As long as it is connected.
    Session,
}

/// A running PgBouncer, whose database is `shop` too.
#[derive(Debug)]
pub struct PgBouncer {
    /// Process, and where it listens.
    pub service: Service,
    _folder: TempDir,
}

impl PgBouncer {
    /// What it asks the server by itself.
    #[must_use]
    pub fn is_its_own(text: &str) -> bool {
        text.starts_with("SET ") || text == "DISCARD ALL"
    }

    /// Starts it with no more than ten connections to `server`.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(server: &Postgres, pooling: Pooling) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let [users, file] = ["users", "pgbouncer.ini"].map(|name| folder.path().join(name));
        std::fs::write(&users, format!("\"{CLERK}\" \"secret\"\n"))?;
        let port = port::free()?;
        let mode = match pooling {
            Pooling::Transaction => "transaction",
            Pooling::Session => "session",
        };
        let configuration = format!(
            "[databases]
            shop = host=127.0.0.1 port={} dbname=shop
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = scram-sha-256
            auth_file = {}
            admin_users = {CLERK}
            pool_mode = {mode}
            default_pool_size = 10
            ignore_startup_parameters = extra_float_digits",
            server.service.address.port(),
            users.display(),
        );
        let lines = configuration.lines().map(str::trim).collect::<Vec<_>>();
        std::fs::write(&file, lines.join("\n"))?;
        let mut command = as_postgres(Path::new("/usr/sbin/pgbouncer"));
        command.arg(&file);
        Ok(Self {
            service: Service::listening(Child::spawn(command)?, port)?,
            _folder: folder,
        })
    }
}
