//! The connections of a capture: segments in, exchanges out, everything else counted.

use std::net::SocketAddr;

use hashbrown::HashMap;

use super::ip;
use super::stats::Stats;
use super::talk::{Talk, Time};
use super::tcp::{Fit, Missing, Segment, Side, Streams};
use crate::connection::{Address, Close, Endpoints};
use crate::exchange::counter;
use crate::health::{Counter, Health};
use crate::protocol::{Exchange, Loss, Outcome};

/// Most bytes that all connections hold together until others come.
const MOST_HELD: usize = 64 << 20;

/// An exchange whose request and response were captured, and where.
#[derive(Debug)]
pub struct Finished {
    /// Request and response.
    pub exchange: Exchange<Time>,
    /// The client's end, which is the local one, and the server's.
    pub endpoints: Endpoints,
    /// Number of the connection in the capture.
    pub connection: u64,
}

/// Both ends, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    low: SocketAddr,
    high: SocketAddr,
}

impl Ends {
    fn of(self, side: Side) -> Address {
        Address::Ip(match side {
            Side::Low => self.low,
            Side::High => self.high,
        })
    }
}

#[derive(Debug)]
struct Connection {
    number: u64,
    streams: Streams,
    /// `None` once it is over: what comes of it still is to be known as its own.
    talk: Option<Talk>,
    client: Option<Side>,
    /// Number of the last packet, and its time.
    touched: u64,
    time: Time,
}

/// Connections by their ends.
pub struct Connections<'h> {
    open: HashMap<Ends, Box<Connection>>,
    limit: usize,
    /// Connections so far.
    count: u64,
    /// Segments so far.
    segments: u64,
    /// Bytes that all of them hold.
    held: usize,
    outcomes: Vec<Outcome<Time>>,
    health: &'h Health,
}

impl<'h> Connections<'h> {
    /// None yet, at most `limit` at a time.
    #[must_use]
    pub fn new(limit: usize, health: &'h Health) -> Self {
        Self {
            open: HashMap::new(),
            limit: limit.max(1),
            count: 0,
            segments: 0,
            held: 0,
            outcomes: Vec::new(),
            health,
        }
    }

    /// Takes a segment that was captured at `time`; exchanges that it ends are added to `finished`.
    pub fn take(
        &mut self,
        found: &ip::Segment<'_>,
        time: Time,
        stats: &mut Stats,
        finished: &mut Vec<Finished>,
    ) {
        let (low, high, side) = if found.source <= found.destination {
            (found.source, found.destination, Side::Low)
        } else {
            (found.destination, found.source, Side::High)
        };
        let ends = Ends { low, high };
        let tcp = &found.tcp;
        let segment = Segment {
            side,
            sequence: tcp.sequence_number(),
            acknowledges: tcp.ack().then(|| tcp.acknowledgment_number()),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            data: tcp.payload(),
            cut: u32::try_from(found.cut).unwrap_or(u32::MAX),
            time,
        };
        self.segments += 1;
        match self.open.get(&ends).map(|it| it.streams.fit(&segment)) {
            Some(Fit::Same) => {}
            Some(Fit::Stray) => {
                stats.strays += u64::from(!segment.data.is_empty());
                return;
            }
            // What says nothing need not be remembered.
            _ if !segment.syn && segment.data.is_empty() => return,
            Some(Fit::New) => {
                self.remove(ends, stats, finished);
                self.open(ends);
            }
            None => {
                if self.open.len() >= self.limit {
                    self.evict(stats, finished);
                }
                self.open(ends);
            }
        }
        let Some(connection) = self.open.get_mut(&ends) else {
            return;
        };
        connection.touched = self.segments;
        connection.time = time;
        let before = connection.streams.held();
        connection.take(&segment, stats, &mut self.outcomes);
        self.held = self.held + connection.streams.held() - before;
        if self.held > MOST_HELD {
            self.held -= connection.streams.held();
            connection.flush(Missing::OverLimit, stats, &mut self.outcomes);
        }
        if connection.streams.is_over() {
            connection.close(Close::Closed, stats, &mut self.outcomes);
        }
        if !self.outcomes.is_empty() {
            connection.settle(ends, &mut self.outcomes, self.health, stats, finished);
        }
    }

    /// The capture is over: all that was answered comes out.
    pub fn finish(mut self, stats: &mut Stats, finished: &mut Vec<Finished>) {
        let mut all: Vec<_> = self.open.iter().map(|(ends, it)| (it.number, *ends)).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        for (_, ends) in all {
            self.remove(ends, stats, finished);
        }
    }

    fn open(&mut self, ends: Ends) {
        let connection = Connection {
            number: self.count,
            streams: Streams::default(),
            talk: Some(Talk::default()),
            client: None,
            touched: self.segments,
            time: 0,
        };
        self.count += 1;
        self.open.insert(ends, Box::new(connection));
    }

    /// Ends the watch over a connection, which may well live on.
    fn remove(&mut self, ends: Ends, stats: &mut Stats, finished: &mut Vec<Finished>) {
        let Some(mut connection) = self.open.remove(&ends) else {
            return;
        };
        self.held -= connection.streams.held();
        connection.flush(Missing::Lost, stats, &mut self.outcomes);
        connection.close(Close::Stopped, stats, &mut self.outcomes);
        connection.settle(ends, &mut self.outcomes, self.health, stats, finished);
    }

    /// Makes room: some of those that were not heard of for longest.
    fn evict(&mut self, stats: &mut Stats, finished: &mut Vec<Finished>) {
        let mut all: Vec<_> = self.open.iter().map(|(ends, it)| (it.touched, *ends)).collect();
        all.sort_unstable_by_key(|(touched, _)| *touched);
        all.truncate((self.limit / 16).max(1));
        for (_, ends) in all {
            stats.evicted += u64::from(self.open.get(&ends).is_some_and(|it| it.talk.is_some()));
            self.remove(ends, stats, finished);
        }
    }
}

impl Connection {
    fn take(&mut self, segment: &Segment<&[u8]>, stats: &mut Stats, outcomes: &mut Vec<Outcome<Time>>) {
        let Self { streams, talk, .. } = self;
        streams.take(segment, &mut |side, time, next| {
            stats.note(&next);
            if let Some(talk) = talk {
                talk.hear(side, time, next, outcomes);
            }
        });
        self.client = self.talk.as_ref().and_then(Talk::client).or(self.client);
    }

    /// What still waits for something will not get it.
    fn flush(&mut self, why: Missing, stats: &mut Stats, outcomes: &mut Vec<Outcome<Time>>) {
        let Self { streams, talk, .. } = self;
        streams.flush(why, &mut |side, time, next| {
            stats.note(&next);
            if let Some(talk) = talk {
                talk.hear(side, time, next, outcomes);
            }
        });
        self.client = self.talk.as_ref().and_then(Talk::client).or(self.client);
    }

    fn close(&mut self, how: Close, stats: &mut Stats, outcomes: &mut Vec<Outcome<Time>>) {
        if let Some(mut talk) = self.talk.take() {
            talk.close(self.time, how, outcomes);
            stats.over(&talk);
        }
    }

    /// Sorts outcomes into exchanges and what is counted.
    fn settle(
        &self,
        ends: Ends,
        outcomes: &mut Vec<Outcome<Time>>,
        health: &Health,
        stats: &mut Stats,
        finished: &mut Vec<Finished>,
    ) {
        for outcome in outcomes.drain(..) {
            match (outcome, self.client) {
                (Outcome::Exchange(exchange), Some(client)) if exchange.is_answered() => {
                    stats.requests += 1;
                    stats.responses += 1;
                    stats.exchange(exchange.protocol());
                    health.add(Counter::HeadsCut, exchange.heads_cut());
                    finished.push(Finished {
                        exchange,
                        endpoints: Endpoints {
                            local: ends.of(client),
                            remote: ends.of(client.other()),
                        },
                        connection: self.number,
                    });
                }
                (Outcome::Exchange(_), _) => {
                    stats.requests += 1;
                    stats.unanswered += 1;
                }
                (Outcome::Lost(loss), _) => {
                    match loss {
                        Loss::Exchange | Loss::Skipped => stats.requests += 1,
                        Loss::ResponseWithoutRequest => stats.responses += 1,
                        Loss::Unparsed | Loss::Encrypted => {}
                    }
                    health.add(counter(loss), 1);
                }
            }
        }
    }
}
