//! Clients of RabbitMQ, each in its own library's way, and what they say they did.

use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

use crate::child;
use crate::service::rabbitmq::RabbitMq;
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

/// A library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Python's; each publish waits for its confirm.
    Pika,
    /// Node's; confirms and acknowledgements of several at once, on channels side by side.
    Amqplib,
    /// Go's; the same from several threads.
    Amqp091,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pika, Self::Amqplib, Self::Amqp091];

    /// `count` messages published over `concurrency` connections, and consumed there.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn work(self, broker: &RabbitMq, count: usize, concurrency: usize) -> Result<Command> {
        let mut command = match self {
            Self::Pika => {
                let mut command = child::command(&workload::environment("python")?.to_string_lossy());
                command.arg(workload::file("parcels.py")?);
                command
            }
            Self::Amqplib => {
                let mut command = child::command("node");
                command.env("NODE_PATH", workload::node_modules()?);
                command.arg(workload::file("node/parcels.js")?);
                command
            }
            Self::Amqp091 => child::command(&workload::go_program("parcels")?.to_string_lossy()),
        };
        command.args([
            broker.service.address.to_string(),
            count.to_string(),
            concurrency.to_string(),
        ]);
        Ok(command)
    }
}
