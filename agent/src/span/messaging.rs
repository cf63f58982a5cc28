//! A message on its way becomes a span, after the messaging conventions and those for RabbitMQ
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>, version in [`name::SCHEMA_URL`]).
//!
//! - A publish is PRODUCER, a delivery and a get with a message are CONSUMER, whichever side saw them.
//! - Operations have AMQP's own names.
//! - A name that the server made up is part of the destination, and not of the span's name.
//! - A consumer that rejects a message says so in an attribute of ours. That is not an error of the operation.
//! - `error.type` is `nack`, a reply code of AMQP, or how the connection ended.

use smol_str::{SmolStr, SmolStrBuilder, ToSmolStr as _, format_smolstr};

use super::build::{self, Attributes};
use super::exchange::Seen;
use super::http1::text;
use super::semconv as name;
use super::{Kind, Span, Status, UnixNanoseconds};
use crate::protocol::amqp::{Ending, Exchange, Operation, Value};

#[cfg(test)]
mod tests;

/// `messaging.system` of RabbitMQ, and of what speaks its protocol.
const RABBITMQ: &str = "rabbitmq";

/// Destination where neither exchange nor routing key has a name.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// What names of queues begin with that the server made up.
const MADE_UP: [&str; 2] = ["amq.gen-", "amq.rabbitmq.reply-to"];

/// The span of `exchange`; `time` reads a stamp. `seen.kind` says which end of the connection saw it: `Client` the
/// application, `Server` the broker.
pub fn span<S: Copy>(
    exchange: &Exchange<S>,
    seen: Seen<'_>,
    time: impl Fn(S) -> UnixNanoseconds,
    captured: &[String],
) -> Span {
    let (operation, operation_type, kind) = match exchange.operation {
        Operation::Publish => ("publish", "send", Kind::Producer),
        Operation::Deliver => ("deliver", "process", Kind::Consumer),
        Operation::Get => ("get", "receive", Kind::Consumer),
    };
    let destination = Destination::of(exchange);
    let mut attributes = Attributes(Vec::with_capacity(16));
    attributes.text(name::MESSAGING_SYSTEM, RABBITMQ);
    attributes.text(name::MESSAGING_OPERATION_NAME, operation);
    attributes.text(name::MESSAGING_OPERATION_TYPE, operation_type);
    attributes.text(name::MESSAGING_DESTINATION_NAME, destination.name());
    attributes.mark(name::MESSAGING_DESTINATION_ANONYMOUS, destination.is_anonymous());
    attributes.message(exchange);
    let (server, peer) = match seen.kind {
        Kind::Server => (&seen.endpoints.local, &seen.endpoints.remote),
        Kind::Client | Kind::Producer | Kind::Consumer => (&seen.endpoints.remote, &seen.endpoints.remote),
    };
    attributes.address(name::SERVER_ADDRESS, name::SERVER_PORT, server);
    attributes.address(name::NETWORK_PEER_ADDRESS, name::NETWORK_PEER_PORT, peer);
    let (error, status) = outcome(exchange);
    if let Some(error) = error {
        attributes.text(name::ERROR_TYPE, error);
    }
    // Last, since only they can be so many that a limit takes some away.
    attributes.message_headers(captured, exchange);
    let start = time(exchange.first);
    Span {
        trace_id: seen.trace_id,
        span_id: seen.span_id,
        parent: seen.parent,
        state: seen.state,
        kind,
        name: match destination.lasting() {
            lasting if lasting.is_empty() => operation.into(),
            lasting => format_smolstr!("{operation} {lasting}"),
        },
        start,
        end: time(exchange.ended).max(start),
        attributes: attributes.0,
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        link: None,
        status,
        resource: seen.resource,
    }
}

/// Exchange, routing key, and of a delivery the queue, where it is not the same as the key.
struct Destination<'a>([&'a str; 3]);

impl<'a> Destination<'a> {
    fn of<S>(exchange: &'a Exchange<S>) -> Self {
        let key = &*exchange.routing_key;
        let queue = exchange.queue.as_deref().filter(|queue| *queue != key);
        Self([&exchange.exchange, key, queue.unwrap_or_default()])
    }

    /// Those of its parts that `are` so.
    fn parts(&self, are: impl Fn(&str) -> bool) -> SmolStr {
        let mut text = SmolStrBuilder::new();
        for (number, part) in self
            .0
            .iter()
            .filter(|part| !part.is_empty() && are(part))
            .enumerate()
        {
            if number > 0 {
                text.push(':');
            }
            text.push_str(part);
        }
        text.finish()
    }

    fn name(&self) -> SmolStr {
        match self.parts(|_| true) {
            name if name.is_empty() => DEFAULT_EXCHANGE.into(),
            name => name,
        }
    }

    fn is_anonymous(&self) -> bool {
        self.0.into_iter().any(is_made_up)
    }

    /// What of it is there the next time as well.
    fn lasting(&self) -> SmolStr {
        match self.is_anonymous() {
            true => self.parts(|part| !is_made_up(part)),
            false => self.name(),
        }
    }
}

fn is_made_up(name: &str) -> bool {
    MADE_UP.iter().any(|prefix| name.starts_with(prefix))
}

impl Attributes {
    /// Those headers of the message that are asked for, each with its values as texts.
    fn message_headers<S>(&mut self, captured: &[String], exchange: &Exchange<S>) {
        if captured.is_empty() {
            return;
        }
        let headers = exchange.content.properties().headers;
        for captured in captured {
            let same = headers.into_iter().flatten();
            let same = same.filter(|(key, _)| key.eq_ignore_ascii_case(captured.as_bytes()));
            let values: Vec<String> = same.filter_map(|(_, value)| header_text(value)).collect();
            if !values.is_empty() {
                self.push(
                    format!("{}{captured}", name::MESSAGING_HEADER),
                    super::Value::Texts(values.into()),
                );
            }
        }
    }

    /// What is said of the message itself.
    fn message<S>(&mut self, exchange: &Exchange<S>) {
        if !exchange.routing_key.is_empty() {
            self.copy(name::MESSAGING_RABBITMQ_ROUTING_KEY, &exchange.routing_key);
        }
        if let Some(delivery) = &exchange.delivery {
            self.size(name::MESSAGING_RABBITMQ_DELIVERY_TAG, Some(delivery.tag));
            self.mark(name::MESSAGE_REDELIVERED, delivery.redelivered);
        }
        let properties = exchange.content.properties();
        for (key, value) in [
            (name::MESSAGING_MESSAGE_ID, properties.message_id),
            (name::MESSAGING_MESSAGE_CONVERSATION_ID, properties.correlation_id),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.copy(key, &text(value));
            }
        }
        self.size(
            name::MESSAGING_MESSAGE_BODY_SIZE,
            Some(exchange.content.body_size),
        );
        let settlement = match exchange.ending {
            Ending::Ack => "ack",
            Ending::Nack { .. } => "nack",
            Ending::Reject { .. } => "reject",
            Ending::Recover => "recover",
            Ending::Content | Ending::Closed(_) | Ending::Close(_) | Ending::Unseen => return,
        };
        if exchange.operation != Operation::Publish {
            self.text(name::MESSAGE_SETTLEMENT, settlement);
        }
    }
}

/// A header's value, where it is a text, a number or a truth value.
fn header_text(value: Value<'_>) -> Option<String> {
    Some(match value {
        Value::Text(bytes) => text(bytes).into_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Timestamp(seconds) => seconds.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Decimal { .. } | Value::Bytes(_) | Value::Table(_) | Value::Array(_) | Value::Void => {
            return None;
        }
    })
}

/// `error.type` and status.
fn outcome<S>(exchange: &Exchange<S>) -> (Option<SmolStr>, Status) {
    let by_code = |code: u16| {
        let error = Some(code.to_smolstr());
        (error, Status::Error(SmolStr::new_static(reply(code))))
    };
    match (exchange.ending, exchange.returned) {
        (Ending::Nack { .. }, _) if exchange.operation == Operation::Publish => {
            (Some("nack".into()), Status::Error(SmolStr::new_static("")))
        }
        (Ending::Closed(code), _) | (_, Some(code)) => by_code(code),
        (Ending::Close(close), None) => build::ended(build::Ending::Close(close), None),
        _ => (None, Status::Unset),
    }
}

/// Name of a reply code (AMQP 0-9-1, section 1.2).
const fn reply(code: u16) -> &'static str {
    match code {
        311 => "CONTENT_TOO_LARGE",
        312 => "NO_ROUTE",
        313 => "NO_CONSUMERS",
        320 => "CONNECTION_FORCED",
        402 => "INVALID_PATH",
        403 => "ACCESS_REFUSED",
        404 => "NOT_FOUND",
        405 => "RESOURCE_LOCKED",
        406 => "PRECONDITION_FAILED",
        501 => "FRAME_ERROR",
        502 => "SYNTAX_ERROR",
        503 => "COMMAND_INVALID",
        504 => "CHANNEL_ERROR",
        505 => "UNEXPECTED_FRAME",
        506 => "RESOURCE_ERROR",
        530 => "NOT_ALLOWED",
        540 => "NOT_IMPLEMENTED",
        541 => "INTERNAL_ERROR",
        _ => "",
    }
}
