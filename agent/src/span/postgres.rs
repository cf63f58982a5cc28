//! An exchange of the PostgreSQL parser becomes a span.

use super::database::{DatabaseExchange, database};
use super::exchange::Seen;
use super::http1::text;
use super::sql::{Memo, Summary};
use super::{Kind, Span, UnixNanoseconds};
use crate::protocol::postgres::{Ending, Exchange, Failure};
use spanwire_ebpf::sql::{COMMENT, COMMENT_BEGINS, COMMENT_ENDS};

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
    let is_received = seen.kind == Kind::Server;
    let shown = statement.map(|statement| match is_received {
        true => text(without_comment(&statement.bytes)),
        false => text(&statement.bytes),
    });
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

/// A statement without a comment as the client's spanwire puts it behind its text: it is what the client's application wrote,
/// and else no two of them would be alike.
fn without_comment(text: &[u8]) -> &[u8] {
    let [first, second] = COMMENT_BEGINS.map(u64::to_le_bytes);
    let [end @ .., _] = COMMENT_ENDS.to_le_bytes();
    let at = text.len().checked_sub(COMMENT as usize);
    let parts = at.map(|at| text.split_at(at)).and_then(|(statement, comment)| {
        let comment = comment.strip_prefix(&first)?.strip_prefix(&second)?;
        comment.strip_suffix(&end).map(|_| statement)
    });
    parts.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_of_a_context_is_no_part_of_the_statement() {
        let comment = " /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/";
        for statement in ["SELECT 1", "SELECT 1;", "", "SELECT '"] {
            let text = format!("{statement}{comment}");
            assert_eq!(without_comment(text.as_bytes()), statement.as_bytes());
        }
        for other in [
            "SELECT 1",
            &comment[1..],
            "SELECT 1 /*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',a='b'*/",
            "SELECT 1 /* 0af7651916cd43dd8448eb211c80319c0af7651916cd43dd8448eb211c80319c-01'*/",
        ] {
            assert_eq!(without_comment(other.as_bytes()), other.as_bytes());
        }
    }
}
