//! Clients of RabbitMQ, each in its own library's way, and what they say they did.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

use crate::child;
use crate::expect::{Expected, Matcher};
use crate::service::rabbitmq::RabbitMq;
use crate::span::Kind;
use crate::workload;

/// A message as its client tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// `publish`, `deliver` or `get`.
    pub operation: String,
    /// Exchange; empty for the default one.
    pub exchange: String,
    /// Routing key.
    pub key: String,
    /// Queue that it came from.
    pub queue: Option<String>,
    /// Message id, which is the correlation id as well.
    pub id: String,
    /// Bytes of its body.
    pub size: i64,
    /// Delivery tag.
    pub tag: Option<i64>,
    /// It was delivered before.
    pub redelivered: bool,
    /// What the consumer did with it: `ack`, `nack` or `reject`.
    pub settled: Option<String>,
    /// What came of a publish, if it failed: `nack`, or a reply code.
    pub error: Option<String>,
}

impl Message {
    /// Its spans at the client's end of a connection to `broker`, and at the broker's.
    #[must_use]
    pub fn spans(&self, broker: SocketAddr) -> [Expected; 2] {
        let span = self.span(broker);
        [
            span.clone().is("network.peer.port", broker.port()),
            span.with("network.peer.port", Matcher::Port),
        ]
    }

    fn span(&self, broker: SocketAddr) -> Expected {
        let (kind, operation_type) = match &*self.operation {
            "publish" => (Kind::Producer, "send"),
            "deliver" => (Kind::Consumer, "process"),
            _ => (Kind::Consumer, "receive"),
        };
        let (all, lasting) = (
            self.destination(|_| true),
            self.destination(|part| !is_made_up(part)),
        );
        let name = format!("{} {lasting}", self.operation);
        let mut span = Expected::new(kind, name.trim_end(), &self.id)
            .is("messaging.system", "rabbitmq")
            .is("messaging.operation.name", &*self.operation)
            .is("messaging.operation.type", operation_type)
            .is("messaging.destination.name", &*all)
            .is("messaging.rabbitmq.destination.routing_key", &*self.key)
            .is("messaging.message.id", &*self.id)
            .is("messaging.message.conversation_id", &*self.id)
            .is("messaging.message.body.size", self.size)
            .is("server.address", broker.ip().to_string())
            .is("server.port", broker.port())
            .is("network.peer.address", broker.ip().to_string());
        if all != lasting {
            span = span.is("messaging.destination.anonymous", true);
        }
        if self.redelivered {
            span = span.is("spanwire.messaging.redelivered", true);
        }
        if let Some(tag) = self.tag {
            span = span.is("messaging.rabbitmq.message.delivery_tag", tag);
        }
        if let Some(settled) = &self.settled {
            span = span.is("spanwire.messaging.settlement", &**settled);
        }
        match &self.error {
            Some(error) => span.failed(error),
            None => span,
        }
    }

    /// Exchange, routing key, and the queue where that is another, as far as they `are` so.
    fn destination(&self, are: impl Fn(&str) -> bool) -> String {
        let queue = self.queue.as_deref().filter(|queue| *queue != self.key);
        let parts = [&*self.exchange, &self.key, queue.unwrap_or_default()];
        let parts = parts.into_iter().filter(|part| !part.is_empty() && are(part));
        parts.collect::<Vec<_>>().join(":")
    }
}

/// The broker gives such names to queues that have none.
fn is_made_up(name: &str) -> bool {
    name.starts_with("amq.gen-")
}

/// What a client says of many messages.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Totals {
    /// Handed to the broker.
    pub published: u64,
    /// Confirmed by it.
    pub confirmed: u64,
    /// Delivered by it, and acknowledged.
    pub delivered: u64,
}

/// `count` small messages over `connections`, each confirmed, and consumed there.
///
/// # Errors
/// It cannot be built.
pub fn freight(broker: &RabbitMq, count: u64, connections: usize) -> Result<Command> {
    let mut command = child::command(&workload::go_program("freight")?.to_string_lossy());
    command.args([
        broker.service.address.to_string(),
        count.to_string(),
        connections.to_string(),
    ]);
    Ok(command)
}

/// A library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Python's; each publish waits for its confirm.
    Pika,
    /// Node's; confirms and acknowledgements of several at once, on channels side by side.
    Amqplib,
    /// Go's; the same from several threads.
    Amqp091,
    /// Java's, over blocking sockets and Netty; each publish waits for its confirm, or all for several.
    AmqpClient,
    /// Python's on asyncio; as pika, from tasks side by side.
    AioPika,
    /// Rust's; all in flight at once.
    Lapin,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pika,
        Self::Amqplib,
        Self::Amqp091,
        Self::AmqpClient,
        Self::AioPika,
        Self::Lapin,
    ];

    /// `count` messages published over `concurrency` connections, and consumed there.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn work(self, broker: &RabbitMq, count: usize, concurrency: usize) -> Result<Command> {
        let mut command = match self {
            Self::Pika => python("parcels.py")?,
            Self::AioPika => python("parcels_asyncio.py")?,
            Self::Amqplib => {
                let mut command = child::command("node");
                command.env("NODE_PATH", workload::node_modules()?);
                command.arg(workload::file("node/parcels.js")?);
                command
            }
            Self::Amqp091 => child::command(&workload::go_program("parcels")?.to_string_lossy()),
            Self::AmqpClient => workload::java("Parcels")?,
            Self::Lapin => child::command(&workload::rust("parcels")?.to_string_lossy()),
        };
        command.args([
            broker.service.address.to_string(),
            count.to_string(),
            concurrency.to_string(),
        ]);
        Ok(command)
    }
}

fn python(source: &str) -> Result<Command> {
    let mut command = child::command(&workload::environment("python")?.to_string_lossy());
    command.arg(workload::file(source)?);
    Ok(command)
}
