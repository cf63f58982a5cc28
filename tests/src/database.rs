//! Clients of PostgreSQL, each in its own driver's way, and what they say they did.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::child;
use crate::expect::{Expected, Matcher};
use crate::service::postgres::{self, Logged};
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
    let statements: Vec<_> = text
        .split(';')
        .filter(|text| !text.trim().is_empty())
        .map(operation_and_table)
        .collect();
    let summaries = statements.iter().map(|(operation, table)| match table {
        Some(table) => format!("{operation} {table}"),
        None => (*operation).to_owned(),
    });
    let summary = summaries.collect::<Vec<_>>().join(" ");
    let mut span = Expected::new(kind, &summary, &text)
        .is("db.system.name", "postgresql")
        .is("db.namespace", "shop")
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
    if let &[(operation, _)] = &*statements {
        span = span.is("db.operation.name", operation);
    }
    if let Some(table) = statements.iter().find_map(|(_, table)| *table) {
        span = span.is("db.collection.name", table);
    }
    match code {
        Some(code) => span.is("db.response.status_code", code).failed(code),
        None => span,
    }
}

/// What a workload's statement does, and to which table, if any.
fn operation_and_table(statement: &str) -> (&str, Option<&str>) {
    let names_next = |word: &str| ["FROM", "INTO", "UPDATE", "COPY"].contains(&word);
    let table = statement
        .split_whitespace()
        .skip_while(|word| !names_next(word))
        .nth(1);
    // The only one of two words.
    let operation = match statement.strip_prefix("START TRANSACTION") {
        Some(rest) => &statement[..statement.len() - rest.len()],
        None => statement.split_whitespace().next().unwrap_or_default(),
    };
    (operation, table)
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
    /// Rust's; pipelines with a Sync each, several statements in one message, COPY.
    TokioPostgres,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Psycopg2,
        Self::Psycopg,
        Self::Asyncpg,
        Self::Pg,
        Self::Pgx,
        Self::Jdbc,
        Self::TokioPostgres,
    ];

    /// `count` pieces of work by `concurrency` connections to the database at `address`.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn work(self, address: SocketAddr, count: usize, concurrency: usize) -> Result<Command> {
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
            Self::TokioPostgres => child::command(&workload::rust("ledger")?.to_string_lossy()),
        };
        command.arg(postgres::url(address));
        command.args([count.to_string(), concurrency.to_string()]);
        Ok(command)
    }
}
