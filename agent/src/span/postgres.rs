//! An exchange of the PostgreSQL parser becomes a span.

use super::database::{DatabaseExchange, database};
use super::exchange::Seen;
use super::http1::text;
use super::sql::{Memo, Summary};
use super::{Span, UnixNanoseconds};
use crate::protocol::postgres::{Ending, Exchange, Failure};

/// The span of `exchange`; `time` reads a stamp.
pub fn span<S: Copy>(
    exchange: &Exchange<S>,
    seen: Seen<'_>,
    time: impl Fn(S) -> UnixNanoseconds,
    summaries: &mut Memo<Summary>,
) -> Span {
    let request = &exchange.request;
    let response = exchange.response.as_ref();
    // A client that names no database gets the one of its own name.
    let session = exchange.session.as_deref();
    let namespace = session.and_then(|session| session.database.as_deref().or(session.user.as_deref()));
    let statement = request.text.as_deref();
    let shown = statement.map(|statement| text(&statement.bytes));
    let exchange = DatabaseExchange {
        kind: seen.kind,
        trace_id: seen.trace_id,
        span_id: seen.span_id,
        parent: seen.parent,
        state: seen.state,
        resource: seen.resource,
        endpoints: seen.endpoints,
        start: time(request.first),
        end: time(exchange.ended),
        namespace,
        text: shown.as_deref(),
        is_cut: statement.is_some_and(|statement| statement.is_cut),
        statement: request.statement.as_deref(),
        command: response.and_then(|response| response.command.as_deref()),
        returned_rows: response.and_then(|response| response.returned),
        failure: response
            .and_then(|response| response.failure.as_ref())
            .map(Failure::code),
        cut_off: match exchange.ending {
            Ending::Complete => None,
            Ending::Close(close) => Some((close, response.is_some())),
        },
    };
    database(exchange, summaries)
}
