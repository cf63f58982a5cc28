//! A gRPC call becomes a span, after the conventions for RPC and for gRPC
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>, version in [`name::SCHEMA_URL`]).
//!
//! `rpc.method` holds service and method there; there is no `rpc.service` any more, and no event for each message.
//! How many messages there were is therefore told by attributes of ours.

use super::build::{self, Attributes, HttpRules};
use super::exchange::Seen;
use super::http1::borrowed;
use super::target::Authority;
use super::{Event, Kind, Span, Status, UnixNanoseconds, http2, semconv as name};
use crate::connection::{Address, Endpoints};
use crate::protocol::http2::{Call, Ending, ErrorCode, Exchange, Flow, Head, StatusCode};
use smol_str::{SmolStr, ToSmolStr as _};

/// Value of `rpc.system.name`.
const SYSTEM: &str = "grpc";

/// The span of the call that `exchange` is; `time` reads a stamp.
pub(super) fn span<S: Copy>(
    exchange: &Exchange<S>,
    call: &Call,
    seen: Seen<'_>,
    time: impl Fn(S) -> UnixNanoseconds,
    rules: &HttpRules,
) -> Span {
    let start = time(exchange.request.first);
    let end = time(exchange.ended).max(start);
    let code = code(exchange, call, end.0 - start.0);
    let mut attributes = Attributes(Vec::with_capacity(20));
    attributes.text(name::RPC_SYSTEM_NAME, SYSTEM);
    let span_name = attributes.rpc_method(call.method.as_deref(), seen.kind, code);
    if let Some(code) = code {
        attributes.text(name::RPC_RESPONSE_STATUS_CODE, code_name(code));
    }
    let authority = exchange
        .request
        .head
        .field(":authority")
        .map(String::from_utf8_lossy);
    attributes.ends(
        seen.kind,
        authority.as_deref().and_then(Authority::parse),
        seen.endpoints,
    );
    attributes.text(name::NETWORK_PROTOCOL_NAME, "http");
    attributes.network(&seen.endpoints.remote, "2");
    if let Some(timeout) = call.timeout {
        attributes.size(name::RPC_TIMEOUT, u64::try_from(timeout.as_micros()).ok());
    }
    for (messages, all, compressed) in [
        (
            call.requests,
            name::RPC_REQUEST_MESSAGES,
            name::RPC_REQUEST_MESSAGES_COMPRESSED,
        ),
        (
            call.responses,
            name::RPC_RESPONSE_MESSAGES,
            name::RPC_RESPONSE_MESSAGES_COMPRESSED,
        ),
    ] {
        attributes.size(all, messages.map(|messages| messages.count));
        let some = messages.map(|messages| messages.compressed);
        attributes.size(compressed, some.filter(|compressed| *compressed > 0));
    }
    let response = exchange.response.as_ref();
    attributes.count(name::REQUEST_HEAD_UNKNOWN_FIELDS, exchange.request.head.unknown());
    attributes.count(
        name::RESPONSE_HEAD_UNKNOWN_FIELDS,
        response.map_or(0, |response| response.head.unknown()),
    );
    let (error, status) = match code {
        Some(code) if is_error(code, seen.kind) => {
            let message = call.message.clone().unwrap_or_default();
            (Some(code_name(code)), Status::Error(message.into()))
        }
        Some(_) => (None, Status::Unset),
        None => build::ended(
            http2::ending(exchange.ending),
            response.map(|response| response.complete),
        ),
    };
    if let Some(error) = error {
        attributes.text(name::ERROR_TYPE, error);
    }
    // Last, since only they can be so many that a limit takes some away.
    attributes.metadata(
        name::RPC_REQUEST_METADATA,
        &rules.request_headers,
        &exchange.request.head,
    );
    if let Some(response) = response {
        attributes.metadata(
            name::RPC_RESPONSE_METADATA,
            &rules.response_headers,
            &response.head,
        );
    }
    let first_byte = response.map(|response| Event {
        name: SmolStr::new_static(name::EVENT_FIRST_BYTE),
        time: time(response.first).clamp(start, end),
        attributes: Vec::new(),
        dropped_attributes: 0,
    });
    Span {
        trace_id: seen.trace_id,
        span_id: seen.span_id,
        parent: seen.parent,
        state: seen.state,
        kind: seen.kind,
        name: span_name,
        start,
        end,
        attributes: attributes.0,
        dropped_attributes: 0,
        events: first_byte.into_iter().collect(),
        dropped_events: 0,
        link: None,
        status,
        resource: seen.resource,
    }
}

/// The status. A client that gives up when its time is over calls that so, and says CANCEL on the wire.
fn code<S>(exchange: &Exchange<S>, call: &Call, nanoseconds: u64) -> Option<StatusCode> {
    let gave_up = Ending::Reset {
        by: Flow::Request,
        code: ErrorCode::CANCEL,
    };
    let late = call
        .timeout
        .is_some_and(|timeout| u128::from(nanoseconds) >= timeout.as_nanos());
    if exchange.ending == gave_up && late {
        return Some(StatusCode::DEADLINE_EXCEEDED);
    }
    call.status
}

fn code_name(code: StatusCode) -> SmolStr {
    code.name()
        .map_or_else(|| code.0.to_smolstr(), SmolStr::new_static)
}

/// Whether a call that ended so failed: to a client it did unless it succeeded, to a server if it is to blame.
fn is_error(code: StatusCode, kind: Kind) -> bool {
    match kind {
        Kind::Client | Kind::Producer | Kind::Consumer => code != StatusCode::OK,
        Kind::Server => matches!(
            code,
            StatusCode::UNKNOWN
                | StatusCode::DEADLINE_EXCEEDED
                | StatusCode::UNIMPLEMENTED
                | StatusCode::INTERNAL
                | StatusCode::UNAVAILABLE
                | StatusCode::DATA_LOSS
        ),
    }
}

impl Attributes {
    /// The method, and the span's name made of it. What a server does not implement, anybody may ask for by any name.
    fn rpc_method(&mut self, method: Option<&str>, kind: Kind, code: Option<StatusCode>) -> SmolStr {
        match method {
            None => SmolStr::new_static(SYSTEM),
            Some(method) if kind == Kind::Server && code == Some(StatusCode::UNIMPLEMENTED) => {
                self.text(name::RPC_METHOD, name::OTHER);
                self.copy(name::RPC_METHOD_ORIGINAL, method);
                SmolStr::new_static(SYSTEM)
            }
            Some(method) => {
                self.copy(name::RPC_METHOD, method);
                method.into()
            }
        }
    }

    /// Fields that are asked for.
    fn metadata(&mut self, prefix: &str, allowed: &[String], head: &Head) {
        if !allowed.is_empty() {
            let fields = http2::headers(head, |name| {
                allowed.iter().any(|allowed| allowed.as_bytes() == name)
            });
            self.headers(prefix, allowed, &borrowed(&fields));
        }
    }

    /// Server and client.
    fn ends(&mut self, kind: Kind, authority: Option<Authority<'_>>, endpoints: &Endpoints) {
        let server = match kind {
            Kind::Server => &endpoints.local,
            Kind::Client | Kind::Producer | Kind::Consumer => &endpoints.remote,
        };
        match authority {
            Some(authority) => self.server_address(authority, server.port()),
            None => self.address(name::SERVER_ADDRESS, name::SERVER_PORT, server),
        }
        if kind == Kind::Server
            && let Address::Ip(_) = &endpoints.remote
        {
            self.address(name::CLIENT_ADDRESS, name::CLIENT_PORT, &endpoints.remote);
        }
    }
}
