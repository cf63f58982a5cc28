//! A statement that was executed becomes a span, after the stable database conventions
//! (<https://opentelemetry.io/docs/specs/semconv/db/postgresql/>, version in [`name::SCHEMA_URL`]).
//!
//! - Operation and collection are given where the text has one of them alone. The conventions advise against reading
//!   them from the text; people search by them, and the summary says the same.
//! - `db.namespace` is the database that the connection was opened for, without the schema, which may change unseen.
//! - `error.type` is the SQLSTATE, or how the connection ended.
//! - A statement that was prepared unseen has no text. The server says its command when it is done.
//! - Several statements in one message are one span, whose summary names them all.

use smol_str::SmolStr;
use std::sync::Arc;

use super::build::{Attributes, Ending, ended};
use super::semconv as name;
use super::sql::{self, Memo, Summary};
use super::{Kind, Resource, Span, SpanId, Status, TraceId, UnixNanoseconds};
use crate::connection::{Address, Close, Endpoints};

/// `db.system.name` of PostgreSQL, and of what speaks its protocol.
const POSTGRESQL: &str = "postgresql";

/// PostgreSQL's port: `server.port` is left out where it is this.
const DEFAULT_PORT: u16 = 5432;

/// A statement, its answer if there was one, and where and when that was.
#[derive(Clone, Debug)]
pub struct DatabaseExchange<'a> {
    /// `Server` where the statement was received, `Client` where it was sent.
    pub kind: Kind,
    /// Trace.
    pub trace_id: TraceId,
    /// Id of the span to be built.
    pub span_id: SpanId,
    /// Parent, `None` at the root.
    pub parent: Option<SpanId>,
    /// W3C `tracestate`, empty where there is none.
    pub state: SmolStr,
    /// The process.
    pub resource: Arc<Resource>,
    /// Both ends of the connection.
    pub endpoints: &'a Endpoints,
    /// First byte of the request.
    pub start: UnixNanoseconds,
    /// Last byte of the answer, or the moment at which it was clear that there is none to come.
    pub end: UnixNanoseconds,
    /// Database that the connection is for, `None` where that is not known.
    pub namespace: Option<&'a str>,
    /// Text as it was sent; `None` where it is not known.
    pub text: Option<&'a str>,
    /// The end of the text is missing.
    pub is_cut: bool,
    /// Name of the prepared statement, if it has one.
    pub statement: Option<&'a str>,
    /// Command of the answer, such as `SELECT`.
    pub command: Option<&'a str>,
    /// Rows returned; `None` where the statement returns none by its nature.
    pub returned_rows: Option<u64>,
    /// The server said that it failed; the code where that is known.
    pub failure: Option<Option<&'a str>>,
    /// How the connection ended, where that came before the end of the answer, and whether an answer had begun.
    pub cut_off: Option<(Close, bool)>,
}

/// The span of `exchange`.
#[must_use]
pub fn database(exchange: DatabaseExchange<'_>, summaries: &mut Memo<Summary>) -> Span {
    let mut attributes = Attributes(Vec::with_capacity(16));
    attributes.text(name::DB_SYSTEM_NAME, POSTGRESQL);
    if let Some(namespace) = exchange.namespace {
        attributes.copy(name::DB_NAMESPACE, namespace);
    }
    let summary = exchange
        .text
        .map(|text| match exchange.is_cut {
            true => sql::summary(text, true),
            false => summaries.of(text, |text| sql::summary(text, false)),
        })
        .unwrap_or_default();
    let operation = match exchange.text {
        Some(_) => summary.operation,
        None => exchange.command.map(SmolStr::new),
    };
    let span_name = match (&operation, summary.text.is_empty()) {
        (_, false) => summary.text.clone(),
        (Some(operation), true) => operation.clone(),
        (None, true) => SmolStr::new_static(POSTGRESQL),
    };
    if let Some(operation) = operation {
        attributes.text(name::DB_OPERATION_NAME, operation);
    }
    if let Some(collection) = summary.collection {
        attributes.text(name::DB_COLLECTION_NAME, collection);
    }
    if !summary.text.is_empty() {
        attributes.text(name::DB_QUERY_SUMMARY, summary.text);
    }
    if let Some(text) = exchange.text {
        attributes.copy(name::DB_QUERY_TEXT, text);
    }
    attributes.mark(name::QUERY_TEXT_TRUNCATED, exchange.is_cut);
    if let Some(statement) = exchange.statement {
        attributes.copy(name::STATEMENT_NAME, statement);
    }
    attributes.size(name::DB_RESPONSE_RETURNED_ROWS, exchange.returned_rows);
    attributes.server_of(exchange.kind, exchange.endpoints);
    let status = attributes.outcome(&exchange);
    Span {
        trace_id: exchange.trace_id,
        span_id: exchange.span_id,
        parent: exchange.parent,
        state: exchange.state,
        kind: exchange.kind,
        name: span_name,
        start: exchange.start,
        end: exchange.end.max(exchange.start),
        attributes: attributes.0,
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        link: None,
        status,
        resource: exchange.resource,
    }
}

impl Attributes {
    fn server_of(&mut self, kind: Kind, endpoints: &Endpoints) {
        let server = match kind {
            Kind::Client | Kind::Producer | Kind::Consumer => &endpoints.remote,
            Kind::Server => &endpoints.local,
        };
        match server {
            Address::Ip(address) => {
                self.text(name::SERVER_ADDRESS, super::address::text(address.ip()));
                if address.port() != DEFAULT_PORT {
                    self.integer(name::SERVER_PORT, address.port().into());
                }
            }
            Address::Unix(Some(path)) => self.copy(name::SERVER_ADDRESS, path),
            Address::Unix(None) => {}
        }
        self.address(
            name::NETWORK_PEER_ADDRESS,
            name::NETWORK_PEER_PORT,
            &endpoints.remote,
        );
    }

    /// `error.type` and what belongs to it. A SQLSTATE needs no description.
    fn outcome(&mut self, exchange: &DatabaseExchange<'_>) -> Status {
        match (exchange.failure, exchange.cut_off) {
            (Some(code), _) => {
                if let Some(code) = code {
                    self.copy(name::DB_RESPONSE_STATUS_CODE, code);
                }
                self.copy(name::ERROR_TYPE, code.unwrap_or(name::OTHER));
                Status::Error(SmolStr::new_static(""))
            }
            (None, Some((close, is_answered))) => {
                let (error, status) = ended(Ending::Close(close), is_answered.then_some(false));
                if let Some(error) = error {
                    self.text(name::ERROR_TYPE, error);
                }
                status
            }
            (None, None) => Status::Unset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Value;

    fn endpoints(local: &str, remote: &str) -> Endpoints {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        Endpoints {
            local: ip(local),
            remote: ip(remote),
        }
    }

    fn select(endpoints: &Endpoints) -> DatabaseExchange<'_> {
        DatabaseExchange {
            kind: Kind::Client,
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent: None,
            state: SmolStr::default(),
            resource: Arc::new(Resource {
                own: crate::span::OwnRules::default(),
                pid: 1,
                attributes: Vec::new(),
            }),
            endpoints,
            start: UnixNanoseconds(1),
            end: UnixNanoseconds(2),
            namespace: Some("shop"),
            text: Some("SELECT a FROM t WHERE b = $1"),
            is_cut: false,
            statement: None,
            command: Some("SELECT"),
            returned_rows: Some(3),
            failure: None,
            cut_off: None,
        }
    }

    /// Name, status, and the attributes, each as text.
    fn check(exchange: DatabaseExchange<'_>, span_name: &str, status: &Status, expect: &[(&str, &str)]) {
        let span = database(exchange, &mut Memo::default());
        let attributes: Vec<_> = span
            .attributes
            .iter()
            .map(|attribute| {
                let value = match &attribute.value {
                    Value::Text(text) => text.to_string(),
                    Value::Integer(number) => number.to_string(),
                    other => format!("{other:?}"),
                };
                (&*attribute.key, value)
            })
            .collect();
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        assert_eq!(attributes, expect);
        assert_eq!((&*span.name, &span.status), (span_name, status));
    }

    #[test]
    fn a_query_on_both_sides() {
        let what = [
            ("db.system.name", "postgresql"),
            ("db.namespace", "shop"),
            ("db.operation.name", "SELECT"),
            ("db.collection.name", "t"),
            ("db.query.summary", "SELECT t"),
            ("db.query.text", "SELECT a FROM t WHERE b = $1"),
            ("db.response.returned_rows", "3"),
        ];
        let client = endpoints("10.0.0.2:50000", "10.0.0.1:5432");
        let peer = [
            ("server.address", "10.0.0.1"),
            ("network.peer.address", "10.0.0.1"),
            ("network.peer.port", "5432"),
        ];
        check(
            select(&client),
            "SELECT t",
            &Status::Unset,
            &[&what[..], &peer].concat(),
        );
        let server = endpoints("10.0.0.1:6432", "10.0.0.2:50000");
        let peer = [
            ("server.address", "10.0.0.1"),
            ("server.port", "6432"),
            ("network.peer.address", "10.0.0.2"),
            ("network.peer.port", "50000"),
        ];
        let exchange = DatabaseExchange {
            kind: Kind::Server,
            ..select(&server)
        };
        check(exchange, "SELECT t", &Status::Unset, &[&what[..], &peer].concat());
    }

    #[test]
    fn a_statement_prepared_unseen_has_its_name_and_no_text() {
        let unix = Endpoints {
            local: Address::Unix(None),
            remote: Address::Unix(Some("/run/.s.PGSQL.5432".into())),
        };
        let exchange = DatabaseExchange {
            namespace: None,
            text: None,
            statement: Some("S_1"),
            command: Some("INSERT"),
            returned_rows: None,
            ..select(&unix)
        };
        let path = "/run/.s.PGSQL.5432";
        check(
            exchange,
            "INSERT",
            &Status::Unset,
            &[
                ("db.system.name", "postgresql"),
                ("db.operation.name", "INSERT"),
                ("spanwire.db.statement.name", "S_1"),
                ("server.address", path),
                ("network.peer.address", path),
            ],
        );
    }

    #[test]
    fn errors_have_their_sqlstate_or_the_end_of_the_connection() {
        let ends = endpoints("10.0.0.2:50000", "10.0.0.1:5432");
        for (failure, cut_off, error, code, description) in [
            (Some(Some("23505")), None, "23505", Some("23505"), ""),
            (
                Some(Some("57P01")),
                Some((Close::Closed, true)),
                "57P01",
                Some("57P01"),
                "",
            ),
            (Some(None), None, "_OTHER", None, ""),
            (
                None,
                Some((Close::Reset, false)),
                "connection_reset",
                None,
                "connection reset before the response",
            ),
        ] {
            let exchange = DatabaseExchange {
                text: None,
                command: None,
                namespace: None,
                returned_rows: None,
                failure,
                cut_off,
                ..select(&ends)
            };
            let mut expect = vec![
                ("db.system.name", "postgresql"),
                ("server.address", "10.0.0.1"),
                ("network.peer.address", "10.0.0.1"),
                ("network.peer.port", "5432"),
            ];
            expect.extend(code.map(|code| ("db.response.status_code", code)));
            expect.push(("error.type", error));
            check(
                exchange,
                "postgresql",
                &Status::Error(SmolStr::new_static(description)),
                &expect,
            );
        }
    }
}
