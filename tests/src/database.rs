//! Clients of PostgreSQL, each in its own driver's way, and what they say they did.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::child;
use crate::expect::{Expected, Matcher};
use crate::service::postgres::{self, Logged, Postgres};
use crate::span::{Kind, Span};
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

impl Statement {
    /// The statement that a span tells of.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        Self {
            text: span.text("db.query.text").unwrap_or_default().to_owned(),
            rows: span
                .attributes
                .get("db.response.returned_rows")
                .and_then(Value::as_i64),
            code: span.text("db.response.status_code").map(str::to_owned),
        }
    }

    /// Its spans at both ends of a connection to the database `shop` at `address`, without its literals.
    #[must_use]
    pub fn spans(&self, address: SocketAddr) -> [Expected; 2] {
        [Kind::Server, Kind::Client].map(|kind| {
            let span = span(kind, &self.text, self.code.as_deref(), address);
            match self.rows {
                Some(rows) => span.is("db.response.returned_rows", rows),
                None => span,
            }
        })
    }
}

/// The spans of all that was `logged` by the server at `address`: of what clients have `told` of too, with the rows.
#[must_use]
pub fn spans(logged: &[Logged], told: &[Statement], address: SocketAddr) -> Vec<Expected> {
    let mut rest = logged.to_vec();
    let mut expected = Vec::new();
    for statement in told {
        let is_it = |logged: &Logged| logged.text == statement.text && logged.code == statement.code;
        // One that is not in the log is expected as well, and will be missing.
        if let Some(at) = rest.iter().position(is_it) {
            rest.swap_remove(at);
        }
        expected.extend(statement.spans(address));
    }
    for Logged { text, code } in rest {
        for kind in [Kind::Server, Kind::Client] {
            let span = span(kind, &text, code.as_deref(), address);
            expected.push(span.with("db.response.returned_rows", Matcher::Anything));
        }
    }
    expected
}

fn span(kind: Kind, text: &str, code: Option<&str>, address: SocketAddr) -> Expected {
    let text = without_literals(text);
    let words: Vec<&str> = text.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    let operation = words.first().copied().unwrap_or_default();
    let names_next = |word: &&str| ["FROM", "INTO", "UPDATE", "COPY"].contains(word);
    let table = words.iter().position(names_next).and_then(|at| words.get(at + 1));
    let summary = table.map_or_else(|| operation.to_owned(), |table| format!("{operation} {table}"));
    let mut span = Expected::new(kind, &summary, &text)
        .is("db.system.name", "postgresql")
        .is("db.namespace", "shop")
        .is("db.operation.name", operation)
        .is("db.query.summary", &*summary)
        .is("db.query.text", &*text)
        .with("spanwire.db.statement.name", Matcher::Anything)
        .is("server.address", address.ip().to_string())
        .is("server.port", address.port())
        .is("network.peer.address", address.ip().to_string());
    span = match kind {
        Kind::Server => span.with("network.peer.port", Matcher::Port),
        _ => span.is("network.peer.port", address.port()),
    };
    if let Some(table) = table {
        span = span.is("db.collection.name", *table);
    }
    match code {
        Some(code) => span.is("db.response.status_code", code).failed(code),
        None => span,
    }
}

/// The text of a workload's statement with `?` for each string and number, and without the comment at its end.
fn without_literals(text: &str) -> String {
    let text = text.split_once("--").map_or(text, |(text, _)| text);
    let mut shown = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_inside_word =
            shown.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == '$');
        let literal = if let Some(quoted) = rest.strip_prefix("$$") {
            quoted.find("$$").map(|end| end + 4)
        } else if next == '\'' {
            let quoted = rest[1..].replace("''", "..");
            quoted.find('\'').map(|end| end + 2)
        } else if next.is_ascii_digit() && !is_inside_word {
            let is_part = |it: char| it.is_ascii_alphanumeric() || it == '.';
            Some(rest.find(|it| !is_part(it)).unwrap_or(rest.len()))
        } else {
            None
        };
        let length = literal.unwrap_or(next.len_utf8());
        shown.push_str(if literal.is_some() { "?" } else { &rest[..length] });
        rest = &rest[length..];
    }
    shown
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
    /// PostgreSQL's own of Java: batches, portals in pieces, COPY; simple queries as well.
    Jdbc,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Psycopg2,
        Self::Psycopg,
        Self::Asyncpg,
        Self::Pg,
        Self::Pgx,
        Self::Jdbc,
    ];

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
            Self::Jdbc => workload::java("Ledger")?,
        };
        command.arg(postgres::url(server.service.address));
        command.args([count.to_string(), concurrency.to_string()]);
        Ok(command)
    }
}
