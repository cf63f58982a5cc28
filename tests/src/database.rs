//! Clients of PostgreSQL, each in its own driver's way, and what they say they did.

use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

use crate::child;
use crate::service::postgres::{self, Postgres};
use crate::workload;

/// A statement as its client tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement {
    /// Its text.
    #[serde(rename = "statement")]
    pub text: String,
    /// Rows returned, `None` where it returns none by its nature.
    pub rows: Option<i64>,
    /// SQLSTATE of its failure.
    pub code: Option<String>,
}

/// A driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// libpq's simple queries.
    Psycopg2,
    /// libpq's extended protocol and pipeline mode.
    Psycopg,
    /// A protocol of its own, all prepared; portals in pieces.
    Asyncpg,
    /// node-postgres.
    Pg,
    /// Go's, all prepared; batches.
    Pgx,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Psycopg2, Self::Psycopg, Self::Asyncpg, Self::Pg, Self::Pgx];

    /// `count` pieces of work by `concurrency` connections.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn work(self, server: &Postgres, count: usize, concurrency: usize) -> Result<Command> {
        let mut command = match self {
            Self::Psycopg2 | Self::Psycopg | Self::Asyncpg => {
                let mut command = child::command(&workload::environment("python")?.to_string_lossy());
                command.arg(workload::file("ledger.py")?).arg(match self {
                    Self::Psycopg2 => "psycopg2",
                    Self::Psycopg => "psycopg",
                    _ => "asyncpg",
                });
                command
            }
            Self::Pg => {
                let mut command = child::command("node");
                command.env("NODE_PATH", workload::node_modules()?);
                command.arg(workload::file("node/ledger.js")?);
                command
            }
            Self::Pgx => child::command(&workload::go_program("ledger")?.to_string_lossy()),
        };
        command.arg(postgres::url(server.service.address));
        command.args([count.to_string(), concurrency.to_string()]);
        Ok(command)
    }
}
