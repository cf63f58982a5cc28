//! An exchange of any protocol becomes a span: the same for what was captured live and what a file held.

use super::build::HttpRules;
use super::rename::{Rename, rename};
use super::route::Routes;
use super::sql::{Memo, Summary};
use super::{
    Kind, Resource, Span, SpanId, TraceId, UnixNanoseconds, baggage, correlation, http1, http2, messaging,
    postgres,
};
use crate::connection::Endpoints;
use crate::protocol::Exchange;
use smol_str::SmolStr;
use std::sync::Arc;

/// What a span says beside the messages: who saw them, and where.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// `Server` where the request was received, `Client` where it was sent.
    pub kind: Kind,
    /// Trace.
    pub trace_id: TraceId,
    /// Id of the span to be built.
    pub span_id: SpanId,
    /// The span that the request was sent from, where that is known.
    pub parent: Option<SpanId>,
    /// `tracestate` that the request carried.
    pub state: SmolStr,
    /// Whose span it is.
    pub resource: Arc<Resource>,
    /// Both ends of the connection.
    pub endpoints: &'a Endpoints,
}

/// Makes spans of exchanges.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    rules: HttpRules,
    message_headers: Vec<String>,
    baggage: Vec<String>,
    made_id: Option<&'static str>,
    routes: Routes,
    renames: Vec<Rename>,
    summaries: Memo<Summary>,
}

impl Builder {
    /// With these rules.
    #[must_use]
    pub fn new(rules: HttpRules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// Records these headers of messages. None by default: headers hold secrets.
    #[must_use]
    pub fn capturing(self, message_headers: Vec<String>) -> Self {
        Self {
            message_headers,
            ..self
        }
    }

    /// Records these entries of baggage. None by default, as of headers.
    #[must_use]
    pub fn with_baggage(self, baggage: Vec<String>) -> Self {
        Self { baggage, ..self }
    }

    /// Requests of HTTP/1 that come without an id have one made, as this header. By default none.
    #[must_use]
    pub fn making_ids(self, made_id: Option<&'static str>) -> Self {
        Self { made_id, ..self }
    }

    /// As which header ids are made.
    #[must_use]
    pub const fn made_id(&self) -> Option<&'static str> {
        self.made_id
    }

    /// Names spans after routes, and then by rules. By default neither.
    #[must_use]
    pub fn naming(self, routes: Routes, renames: Vec<Rename>) -> Self {
        Self {
            routes,
            renames,
            ..self
        }
    }

    /// Knows the routes that `former` has learnt.
    pub fn learn_on(&mut self, former: &mut Self) {
        self.routes.learn_on(&mut former.routes);
    }

    /// Requests without a route since this was last asked, because there are as many as are kept.
    pub fn take_missed_routes(&mut self) -> u64 {
        self.routes.take_missed()
    }

    /// The span of `exchange`; `time` reads a stamp.
    pub fn span<S: Copy>(
        &mut self,
        exchange: &Exchange<S>,
        seen: Seen<'_>,
        time: impl Fn(S) -> UnixNanoseconds,
    ) -> Span {
        let mut span = match exchange {
            Exchange::Http1(exchange) => http1::span(exchange, seen, time, &self.rules),
            Exchange::Http2(exchange) => http2::span(exchange, seen, time, &self.rules),
            Exchange::Postgres(exchange) => postgres::span(exchange, seen, time, &mut self.summaries),
            Exchange::Amqp(exchange) => messaging::span(exchange, seen, time, &self.message_headers),
        };
        if !matches!(exchange, Exchange::Postgres(_)) {
            baggage::add(&mut span, exchange.request(), &self.baggage);
        }
        if let Some(header) = self.made_id {
            correlation::add(&mut span, exchange.request(), header, &self.rules.request_headers);
        }
        self.routes.tell(&mut span);
        rename(&self.renames, &mut span);
        span
    }
}
