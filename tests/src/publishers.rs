//! Clients of RabbitMQ that publish messages of every shape, and what a consumer gets of them, byte by byte.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::calls;
use crate::child::{self, Child};
use crate::injection::patience;
use crate::service::rabbitmq::RabbitMq;
use crate::{wait, workload};

/// A library that publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// Python's, which waits for each confirm.
    Pika,
    /// Frames of the same, cut by sends in each way.
    Cut,
    /// Python's on asyncio, from tasks side by side.
    AioPika,
    /// Node's, which waits for none.
    Amqplib,
    /// Go's, from goroutines side by side.
    Amqp091,
    /// Java's, from threads side by side, in a Java that is called otherwise; by Netty.
    AmqpClient,
    /// The same, by sockets that block.
    AmqpClientBlocking,
}

impl Publisher {
    /// All that are injected into on every kernel.
    pub const ALL: [Self; 4] = [Self::Pika, Self::AioPika, Self::Amqplib, Self::Amqp091];

    /// The command that publishes with routing keys of its own, and ends well where all was confirmed.
    fn publish(self, broker: &RabbitMq, count: usize, large: usize) -> Result<Command> {
        let mut command = match self {
            Self::Pika => python("propagation/publish.py")?,
            Self::Cut => python("propagation/publish_cut.py")?,
            Self::AioPika => python("propagation/publish_asyncio.py")?,
            Self::Amqplib => {
                let mut command = child::command("node");
                command.env("NODE_PATH", workload::node_modules()?);
                command.arg(workload::file("propagation/publish.js")?);
                command
            }
            Self::Amqp091 => child::command(&workload::go_program("publish")?.to_string_lossy()),
            Self::AmqpClient | Self::AmqpClientBlocking => workload::java_as_curl("Publish")?,
        };
        command.args([
            broker.service.address.to_string(),
            count.to_string(),
            large.to_string(),
            format!("{self:?}"),
        ]);
        if self == Self::AmqpClient {
            command.arg("netty");
        }
        Ok(command)
    }
}

fn python(source: &str) -> Result<Command> {
    let mut command = child::command(&workload::environment("python")?.to_string_lossy());
    command.arg(workload::file(source)?);
    Ok(command)
}

/// A message as a consumer got it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Got {
    key: String,
    /// The list of properties, as it is on the wire, in hex.
    properties: String,
    /// Bytes of its body.
    pub size: usize,
    /// They are those that were published.
    pub same: bool,
}

/// What a consumer gets of `count` messages that a library publishes, of which `large` have 10 MiB, by routing key.
///
/// # Errors
/// A publish failed, not all came, one came twice, or a body is another.
pub fn publish(
    publisher: Publisher,
    broker: &RabbitMq,
    count: usize,
    large: usize,
) -> Result<BTreeMap<String, Got>> {
    let mut consumer = python("propagation/collect.py")?;
    consumer.args([
        broker.service.address.to_string(),
        count.to_string(),
        format!("{publisher:?}"),
    ]);
    let mut consumer = Child::spawn(consumer)?;
    consumer.line("ready")?;
    let said = consumer.stderr.clone();
    let publish = Child::spawn(publisher.publish(broker, count, large)?)?;
    let limit = wait::START.max(patience(count));
    publish.succeed_within(limit)?;
    let all: Vec<Got> = calls::told(&consumer.succeed_within(limit)?[1..])?;
    eprintln!("{publisher:?}: {}", said.all().join("\n"));
    let all: BTreeMap<String, Got> = all.into_iter().map(|got| (got.key.clone(), got)).collect();
    ensure!(all.len() == count, "{} of {count}", all.len());
    let changed = all.values().find(|got| !got.same);
    ensure!(changed.is_none(), "a body has changed: {changed:?}");
    Ok(all)
}

/// Length of a value of `traceparent`.
const VALUE: u8 = 55;
/// Bit of the property flags for the headers table (AMQP 0-9-1, class basic).
const HEADERS: u16 = 0x2000;
/// Those of what comes before it.
const BEFORE: [u16; 2] = [0x8000, 0x4000];

impl Got {
    /// The same message, had its headers table one more entry in front of its others.
    ///
    /// # Errors
    /// Its properties are cut off.
    pub fn with(&self, name: &str, value: &str) -> Result<Self> {
        let bytes = unhex(&self.properties)?;
        let number = |at: usize, size: usize| {
            let bytes = bytes.get(at..at + size).context("cut off")?;
            anyhow::Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        };
        let flags = u16::try_from(number(0, 2)?)?;
        let mut at = 2;
        for flag in BEFORE {
            if flags & flag != 0 {
                at += 1 + number(at, 1)?;
            }
        }
        let (length, behind) = if flags & HEADERS != 0 {
            (number(at, 4)?, at + 4)
        } else {
            (0, at)
        };
        let entry = [
            &[u8::try_from(name.len())?],
            name.as_bytes(),
            b"S",
            &u32::try_from(value.len())?.to_be_bytes(),
            value.as_bytes(),
        ]
        .concat();
        let length = u32::try_from(length + entry.len())?.to_be_bytes();
        let flags = (flags | HEADERS).to_be_bytes();
        let all = [&flags, &bytes[2..at], &length, &entry, &bytes[behind..]].concat();
        Ok(Self {
            properties: hex(&all),
            ..self.clone()
        })
    }

    /// The `traceparent` that it has and another does not, but for which they are the same; `None` where they are the same.
    ///
    /// # Errors
    /// There is another difference.
    pub fn context_beside(&self, plain: &Self) -> Result<Option<String>> {
        if self == plain {
            return Ok(None);
        }
        let own = unhex(&self.properties)?;
        let start = [b"\x0btraceparentS\0\0\0".as_slice(), &[VALUE]].concat();
        let at = own.windows(start.len()).position(|window| window == start);
        let at = at.with_context(|| format!("{self:?}, not {plain:?}"))? + start.len();
        let value = own.get(at..at + usize::from(VALUE)).context("cut off")?;
        let value = String::from_utf8(value.to_vec())?;
        ensure!(
            plain.with("traceparent", &value)? == *self,
            "{self:?}, not {plain:?}"
        );
        Ok(Some(value))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits = |at: usize| Ok(u8::from_str_radix(&text[at..at + 2], 16)?);
    (0..text.len()).step_by(2).map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(properties: &[u8]) -> Got {
        Got {
            key: String::new(),
            properties: hex(properties),
            size: 0,
            same: true,
        }
    }

    #[test]
    fn a_table_is_made_or_lengthened() {
        let entry = b"\x01nS\0\0\0\x02ab".as_slice();
        for (before, after) in [
            (b"\0\0".to_vec(), [b"\x20\0\0\0\0\x09".as_slice(), entry].concat()),
            (
                b"\x90\0\x01t\x02".to_vec(),
                [b"\xb0\0\x01t\0\0\0\x09".as_slice(), entry, b"\x02"].concat(),
            ),
            (
                b"\x70\0\x01e\0\0\0\x03\x01av\x02".to_vec(),
                [b"\x70\0\x01e\0\0\0\x0c".as_slice(), entry, b"\x01av\x02"].concat(),
            ),
        ] {
            assert_eq!(got(&before).with("n", "ab").unwrap(), got(&after));
        }
        assert!(got(b"\x80").with("n", "ab").is_err());
    }
}
