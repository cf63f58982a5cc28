//! parcels ADDRESS COUNT CONCURRENCY: messages of every outcome through lapin.
//!
//! Each of CONCURRENCY connections publishes its part of COUNT messages on two channels side by side, each message after
//! PACE, and consumes them on a third. At the end a line of JSON for each message published, delivered and got, and when
//! that began: of a delivery, when it was published.

use std::error::Error;

use futures_util::{StreamExt, future};
use lapin::message::{BasicReturnMessage, Delivery};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicRejectOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind,
    ExchangeKind,
};
use serde::Serialize;
use spanwire_workloads::{now, pace, tell};

const EXCHANGE: &str = "parcels";
const KINDS: usize = 6;

#[derive(Clone, Serialize)]
struct Line {
    at: i64,
    operation: &'static str,
    exchange: String,
    key: String,
    queue: Option<String>,
    id: String,
    size: usize,
    tag: Option<u64>,
    redelivered: bool,
    settled: Option<&'static str>,
    error: Option<String>,
}

impl Line {
    fn of(
        at: i64,
        operation: &'static str,
        message: &Delivery,
        queue: &str,
        settled: Option<&'static str>,
    ) -> Self {
        Self {
            at,
            operation,
            exchange: message.exchange.to_string(),
            key: message.routing_key.to_string(),
            queue: Some(queue.to_owned()),
            id: id(message).to_owned(),
            size: message.data.len(),
            tag: Some(message.delivery_tag),
            redelivered: message.redelivered,
            settled,
            error: None,
        }
    }

    fn delivered(message: &Delivery, queue: &str, settled: &'static str) -> Self {
        let headers = message.properties.headers().as_ref();
        let at = headers.and_then(|headers| headers.inner().get("at"));
        let at = at.and_then(AMQPValue::as_long_long_int);
        Self::of(at.unwrap_or_default(), "deliver", message, queue, Some(settled))
    }
}

fn id(message: &Delivery) -> &str {
    let id = message.properties.message_id().as_ref();
    id.map(lapin::types::ShortString::as_str).unwrap_or_default()
}

fn kind(message: &Delivery) -> usize {
    let call = id(message).rsplit('-').next();
    call.and_then(|call| call.parse::<usize>().ok())
        .unwrap_or_default()
        % KINDS
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

/// Where a message goes, and how large it is.
struct Parcel {
    exchange: &'static str,
    key: String,
    id: String,
    size: usize,
    mandatory: bool,
}

impl Parcel {
    /// Publishes it, and waits for the confirm, with which lapin hands out what was returned until then: of this message
    /// or of another.
    async fn send(self, channel: &Channel) -> lapin::Result<(Line, Option<BasicReturnMessage>)> {
        let at = now();
        let headers = table([
            ("at", AMQPValue::LongLongInt(at)),
            ("t", table([("u", AMQPValue::ShortShortUInt(3))]).into()),
            (
                "a",
                FieldArray::from(vec![AMQPValue::Void, LongString::from("x").into()]).into(),
            ),
        ]);
        let properties = BasicProperties::default()
            .with_message_id(self.id.as_str().into())
            .with_correlation_id(self.id.as_str().into())
            .with_headers(headers);
        let options = BasicPublishOptions {
            mandatory: self.mandatory,
            ..BasicPublishOptions::default()
        };
        let body = vec![0; self.size];
        let (exchange, key) = (self.exchange.into(), self.key.as_str().into());
        let confirm = channel
            .basic_publish(exchange, key, options, &body, properties)
            .await?;
        let (returned, error) = match confirm.await {
            Ok(Confirmation::Nack(returned)) => (returned, Some("nack".to_owned())),
            Ok(confirmed) => (confirmed.take_message(), None),
            Err(error) => match error.kind() {
                ErrorKind::ProtocolError(error) => (None, Some(error.get_id().to_string())),
                _ => return Err(error),
            },
        };
        let line = Line {
            at,
            operation: "publish",
            exchange: self.exchange.to_owned(),
            key: self.key,
            queue: None,
            id: self.id,
            size: self.size,
            tag: None,
            redelivered: false,
            settled: None,
            error,
        };
        Ok((line, returned))
    }
}

/// What one connection does.
struct Work {
    part: usize,
    queue: String,
    key: String,
    full: String,
    letters: String,
}

impl Work {
    fn parcel(&self, call: usize) -> Parcel {
        let (exchange, key, size) = match call % KINDS {
            0 => (EXCHANGE, &*self.key, 10),
            1 => (EXCHANGE, &*self.key, 10_000),
            2 => (EXCHANGE, "nobody", 0),
            3 => ("", &*self.letters, 3),
            4 => ("", &*self.full, 100),
            _ => (EXCHANGE, &*self.key, 20),
        };
        Parcel {
            exchange,
            key: key.to_owned(),
            id: format!("lapin-{}-{call}", self.part),
            size,
            mandatory: call % KINDS == 2,
        }
    }

    /// Publishes all of it without waiting, but for the pace, and then for the confirms.
    async fn send(&self, channel: &Channel, calls: &[usize]) -> lapin::Result<Vec<Line>> {
        let pace = pace();
        let parcels = calls.iter().zip(1..).map(|(call, turn)| async move {
            tokio::time::sleep(pace * turn * 2).await;
            self.parcel(*call).send(channel).await
        });
        let (mut told, returned): (Vec<_>, Vec<_>) = future::try_join_all(parcels).await?.into_iter().unzip();
        for message in returned.into_iter().flatten() {
            for line in told.iter_mut().filter(|line| line.id == id(&message)) {
                line.error = Some(message.reply_code.to_string());
            }
        }
        Ok(told)
    }

    /// Takes deliveries until `due` of them are settled.
    async fn receive(&self, mut deliveries: Consumer, mut due: usize) -> lapin::Result<Vec<Line>> {
        let (mut told, mut held) = (Vec::new(), Vec::new());
        while due > 0 {
            let Some(message) = deliveries.next().await.transpose()? else {
                break;
            };
            let tell = |settled| Line::delivered(&message, &self.queue, settled);
            match (kind(&message), message.redelivered) {
                (5, false) => {
                    let requeue = true;
                    message
                        .nack(BasicNackOptions {
                            requeue,
                            ..Default::default()
                        })
                        .await?;
                    told.push(tell("nack"));
                    continue;
                }
                (5, true) if due > 1 => {
                    message.reject(BasicRejectOptions::default()).await?;
                    told.push(tell("reject"));
                }
                (1, _) if due > 1 => held.push(tell("ack")),
                (0, _) if due > 1 => {
                    message.ack(BasicAckOptions::default()).await?;
                    told.push(tell("ack"));
                }
                _ => {
                    message.ack(BasicAckOptions { multiple: true }).await?;
                    told.append(&mut held);
                    told.push(tell("ack"));
                }
            }
            due -= 1;
        }
        Ok(told)
    }

    /// Empties the box.
    async fn get(&self, channel: &Channel) -> lapin::Result<Vec<Line>> {
        let mut told = Vec::new();
        loop {
            let (at, no_ack) = (now(), told.len() % 2 == 0);
            let got = channel
                .basic_get(self.letters.as_str().into(), BasicGetOptions { no_ack })
                .await?;
            let Some(message) = got else {
                return Ok(told);
            };
            if !no_ack {
                message.ack(BasicAckOptions::default()).await?;
            }
            told.push(Line::of(
                at,
                "get",
                &message,
                &self.letters,
                (!no_ack).then_some("ack"),
            ));
        }
    }
}

async fn confirming(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

async fn calls(address: &str, part: usize, count: usize, concurrency: usize) -> lapin::Result<Vec<Line>> {
    let url = format!("amqp://guest:guest@{address}/%2f?frame_max=8192");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let [queue, key, full] = ["", "key-", "full-"].map(|what| format!("lapin-{what}{part}"));
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    let declare = |name: &str, arguments| channel.queue_declare(name.into(), exclusive, arguments);
    let nothing = FieldTable::default;
    let options = ExchangeDeclareOptions::default();
    channel
        .exchange_declare(EXCHANGE.into(), ExchangeKind::Direct, options, nothing())
        .await?;
    declare(&queue, nothing()).await?;
    let options = QueueBindOptions::default();
    channel
        .queue_bind(
            queue.as_str().into(),
            EXCHANGE.into(),
            key.as_str().into(),
            options,
            nothing(),
        )
        .await?;
    let reject = LongString::from("reject-publish").into();
    declare(
        &full,
        table([("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", reject)]),
    )
    .await?;
    let letters = declare("", nothing()).await?.name().to_string();
    let options = BasicConsumeOptions::default();
    let deliveries = channel
        .basic_consume(queue.as_str().into(), "".into(), options, nothing())
        .await?;

    let mine: Vec<usize> = (part..count).step_by(concurrency).collect();
    let due = mine
        .iter()
        .filter(|call| [0, 1, 5].contains(&(*call % KINDS)))
        .count();
    let (even, odd): (Vec<_>, Vec<_>) = mine
        .into_iter()
        .partition(|call| (call / concurrency).is_multiple_of(2));
    let work = Work {
        part,
        queue,
        key,
        full,
        letters,
    };
    let senders = [confirming(&connection).await?, confirming(&connection).await?];
    let (one, other, received) = future::try_join3(
        work.send(&senders[0], &even),
        work.send(&senders[1], &odd),
        work.receive(deliveries, due),
    )
    .await?;
    let got = work.get(&channel).await?;
    // Where there is no exchange of that name, the channel is closed.
    let nowhere = Parcel {
        exchange: "nowhere",
        key: work.key.clone(),
        id: format!("lapin-{part}-nowhere"),
        size: 5,
        mandatory: false,
    };
    let (nowhere, _) = nowhere.send(&confirming(&connection).await?).await?;
    connection.close(200, "done".into()).await?;
    Ok([one, other, received, got, vec![nowhere]].concat())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, count, concurrency] = &*arguments else {
        return Err("parcels ADDRESS COUNT CONCURRENCY".into());
    };
    let (count, concurrency) = (count.parse()?, concurrency.parse()?);
    let parts = (0..concurrency).map(|part| calls(address, part, count, concurrency));
    for told in future::try_join_all(parts).await? {
        tell(&told)?;
    }
    Ok(())
}
