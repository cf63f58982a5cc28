//! One capture: a receiver, a spanwire that exports to it, and at the end what was seen.

use std::time::SystemTime;

use anyhow::{Result, ensure};

use crate::agent::{Agent, Options, Turn};
use crate::receiver::Receiver;
use crate::seen::Seen;
use crate::wait;

/// OTLP's two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`
    Grpc,
    /// `http/protobuf`
    Http,
}

/// A running capture.
#[derive(Debug)]
pub struct Session {
    /// Where the spans arrive.
    pub receiver: Receiver,
    /// spanwire.
    pub agent: Agent,
    begun: SystemTime,
}

impl Session {
    /// Starts a receiver and spanwire, exporting over HTTP: its exports are then themselves HTTP/1.1 requests to a
    /// service on this host, of which no span may ever come.
    ///
    /// # Errors
    /// spanwire does not become ready.
    pub fn start(options: Options) -> Result<Self> {
        Self::exporting(Protocol::Http, options)
    }

    /// The same in a turn that was taken before, by a test whose clients are at work already and would not wait.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_in(turn: Turn, options: Options) -> Result<Self> {
        Self::of(turn, Protocol::Http, options)
    }

    /// The same over either protocol.
    ///
    /// # Errors
    /// spanwire does not become ready.
    pub fn exporting(protocol: Protocol, options: Options) -> Result<Self> {
        Self::of(Turn::take()?, protocol, options)
    }

    fn of(turn: Turn, protocol: Protocol, options: Options) -> Result<Self> {
        let receiver = Receiver::start()?;
        let begun = SystemTime::now();
        let agent = Agent::start_in(turn, &to(&receiver, protocol, options))?;
        Ok(Self {
            receiver,
            agent,
            begun,
        })
    }

    /// Starts another beside this one, as on another host: [`Agent::start_beside`].
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_beside(&self, options: Options) -> Result<Self> {
        let receiver = Receiver::start()?;
        let begun = SystemTime::now();
        let agent = self.agent.start_beside(&to(&receiver, Protocol::Http, options))?;
        Ok(Self {
            receiver,
            agent,
            begun,
        })
    }

    /// Waits until `count` spans have come. That fewer came is for the comparison of the lists to say.
    pub fn settle(&self, count: usize) {
        let _ = wait::within(wait::SETTLE, "spans", || {
            Ok((self.receiver.len() >= count).then_some(()))
        });
    }

    /// Waits for `count` spans, stops spanwire and takes stock.
    ///
    /// # Errors
    /// spanwire did not end well, or something invalid was exported.
    pub fn finish(self, count: usize) -> Result<Seen> {
        self.settle(count);
        let finished = self.agent.stop()?;
        ensure!(
            finished.status == 0,
            "status {}:\n{}",
            finished.status,
            finished.message()
        );
        Seen::of(finished, self.receiver.spans()?, self.begun)
    }

    /// Waits for the end of a spanwire that ends with its command, whatever its status, and takes stock.
    ///
    /// # Errors
    /// It does not end, or gives no summary, or something invalid was exported.
    pub fn end_of_command(self) -> Result<Seen> {
        let finished = self.agent.finish()?;
        Seen::of(finished, self.receiver.spans()?, self.begun)
    }
}

/// `options` with the environment that makes spanwire export to `receiver`, soon after a span ended, through a queue
/// that no test fills by accident.
#[must_use]
pub fn to(receiver: &Receiver, protocol: Protocol, options: Options) -> Options {
    let (name, address) = match protocol {
        Protocol::Grpc => ("grpc", receiver.grpc),
        Protocol::Http => ("http/protobuf", receiver.http),
    };
    options
        .environment("OTEL_EXPORTER_OTLP_PROTOCOL", name)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
        .environment("OTEL_BSP_SCHEDULE_DELAY", "100")
        .environment("OTEL_BSP_MAX_QUEUE_SIZE", "200000")
}
