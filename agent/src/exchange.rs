//! Exchanges: requests matched with their responses, on all connections that carry something.
//!
//! Records of one direction come in the order of their sequence numbers, which are given out even where a record finds
//! no room: a number that is missing is a loss, and the reader is told. The two directions may come in any order.

use crate::connection::piece::Piece;
use crate::connection::unix::Suspect;
use crate::connection::{Close, Direction, Endpoints};
use crate::health::{Counter, Health};
use crate::kernel::events::{ConnectionId, Event, Ids, MessageEnd, Origin};
use crate::protocol::http1::{self, Exchange, Flow, Outcome, Reason};
use hashbrown::HashMap;
use std::sync::Arc;

/// When and by whom; handed through the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub time: u64,
    /// Process on the host.
    pub pid: u32,
    /// Thread on the host.
    pub tid: u32,
    /// Ids of the request that starts here.
    pub ids: Option<Ids>,
}

/// An exchange that is over, and where it was.
#[derive(Debug)]
pub struct Finished {
    /// Request and response.
    pub exchange: Exchange<Stamp>,
    /// Both ends of the connection.
    pub endpoints: Arc<Endpoints>,
    /// Which way the request went.
    pub requests: Direction,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Half {
    /// Number of the next record.
    sequence: u32,
    /// Stream position behind what was handed to the reader.
    position: u64,
}

#[derive(Debug)]
struct Connection {
    endpoints: Option<Arc<Endpoints>>,
    /// Inode of a Unix socket, whose end no record tells.
    inode: Option<u64>,
    pid: u32,
    requests: Option<Direction>,
    received: Half,
    sent: Half,
    http: http1::Connection<Stamp>,
    /// When it was last heard of.
    touched: u64,
}

/// Connections by identity.
#[derive(Debug)]
pub struct Table {
    connections: HashMap<ConnectionId, Connection>,
    health: Arc<Health>,
    limit: usize,
    outcomes: Vec<Outcome<Stamp>>,
}

impl Table {
    /// An empty table for at most `limit` connections.
    #[must_use]
    pub fn new(limit: usize, health: Arc<Health>) -> Self {
        Self {
            connections: HashMap::new(),
            health,
            limit,
            outcomes: Vec::new(),
        }
    }

    /// Number of connections that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Takes in one event; what it finishes is added to `finished`.
    pub fn accept(&mut self, event: &Event<'_>, finished: &mut Vec<Finished>) {
        tracing::trace!("{event:?}");
        match event {
            Event::Opened {
                origin,
                endpoints,
                inode,
                ..
            } => {
                let connection = self.connection(origin);
                connection.endpoints = Some(Arc::new(endpoints.clone()));
                connection.inode = *inode;
            }
            Event::Bytes {
                origin,
                request,
                starts,
                data,
                ends,
                ..
            } => {
                let flow = flow_of(*request);
                self.hand_over(origin, flow, finished, |connection, outcomes| {
                    let ids = starts.and_then(|(_, ids)| ids);
                    let stamp = stamp(origin, ids);
                    let starts = starts.map(|(ordinal, _)| u64::from(ordinal));
                    if !data.is_empty() {
                        connection
                            .http
                            .read(flow, stamp, Piece::Bytes { data, starts }, outcomes);
                    }
                    let mut length = data.len() as u64;
                    if let Some(MessageEnd { wire, content }) = *ends {
                        let last = Piece::Elided {
                            wire,
                            content,
                            last: true,
                        };
                        connection
                            .http
                            .read(flow, Stamp { ids: None, ..stamp }, last, outcomes);
                        length += wire;
                    }
                    length
                });
            }
            Event::End { origin, request, end } => {
                let flow = flow_of(*request);
                self.hand_over(origin, flow, finished, |connection, outcomes| {
                    let last = Piece::Elided {
                        wire: end.wire,
                        content: end.content,
                        last: true,
                    };
                    connection.http.read(flow, stamp(origin, None), last, outcomes);
                    end.wire
                });
            }
            Event::Gap { origin, length } => {
                let Some(flow) = self.flow(origin) else { return };
                self.hand_over(origin, flow, finished, |connection, outcomes| {
                    connection.http.read(
                        flow,
                        stamp(origin, None),
                        Piece::Gap { length: *length },
                        outcomes,
                    );
                    *length
                });
            }
            Event::EndOfStream { origin, end } => {
                let Some(flow) = self.flow(origin) else { return };
                self.hand_over(origin, flow, finished, |connection, outcomes| {
                    connection.elide_rest(flow, origin, *end, outcomes);
                    connection.http.end(flow, outcomes);
                    end.wire
                });
            }
            Event::Closed {
                origin,
                close,
                end,
                responses,
                ..
            } => {
                self.closed(origin, *close, *end, *responses, finished);
            }
            Event::Fork { .. } | Event::Exec { .. } | Event::Exit { .. } => {}
        }
    }

    /// Ends what is in flight everywhere: spanwire stops. `responses` tells how many the kernel half has seen on a
    /// connection, `None` where that is over: what is answered there and not here has lost a record on the way.
    pub fn stop(
        &mut self,
        time: u64,
        responses: impl Fn(ConnectionId) -> Option<u32>,
        finished: &mut Vec<Finished>,
    ) {
        for (id, mut connection) in std::mem::take(&mut self.connections) {
            if connection.http.in_flight() == 0 {
                continue;
            }
            let stamp = Stamp {
                time,
                pid: connection.pid,
                tid: connection.pid,
                ids: None,
            };
            connection.http.close(stamp, Close::Stopped, &mut self.outcomes);
            let answered = responses(id).unwrap_or(u32::MAX);
            connection.settle(&mut self.outcomes, answered, &self.health, finished);
        }
    }

    /// Unix connections with something in flight that were not heard of since `before`: their end has to be looked for.
    pub fn suspects(&self, before: u64) -> impl Iterator<Item = Suspect> {
        self.connections.iter().filter_map(move |(id, connection)| {
            let inode = connection.inode?;
            let suspect = connection.touched < before;
            suspect.then_some(Suspect {
                connection: *id,
                pid: connection.pid,
                inode,
            })
        })
    }

    /// A Unix connection turned out to be gone.
    pub fn gone(&mut self, suspect: &Suspect, time: u64, finished: &mut Vec<Finished>) {
        let Some(mut connection) = self.connections.remove(&suspect.connection) else {
            return;
        };
        let stamp = Stamp {
            time,
            pid: connection.pid,
            tid: connection.pid,
            ids: None,
        };
        connection.http.close(stamp, Close::Closed, &mut self.outcomes);
        connection.settle(&mut self.outcomes, 0, &self.health, finished);
    }

    fn closed(
        &mut self,
        origin: &Origin,
        close: Close,
        end: MessageEnd,
        responses: u32,
        finished: &mut Vec<Finished>,
    ) {
        let Some(mut connection) = self.connections.remove(&origin.connection) else {
            return;
        };
        let stamp = stamp(origin, None);
        if origin.direction == Direction::Sent && close == Close::Closed {
            // A server that closes in order ends a response that has no other end (RFC 9112, section 6.3, rule 8).
            connection.elide_rest(Flow::Response, origin, end, &mut self.outcomes);
            connection.http.end(Flow::Response, &mut self.outcomes);
        }
        connection.http.close(stamp, close, &mut self.outcomes);
        connection.settle(&mut self.outcomes, responses, &self.health, finished);
    }

    fn flow(&mut self, origin: &Origin) -> Option<Flow> {
        let requests = self.connections.get(&origin.connection)?.requests?;
        Some(flow_of(requests == origin.direction))
    }

    fn connection(&mut self, origin: &Origin) -> &mut Connection {
        if self.connections.len() >= self.limit && !self.connections.contains_key(&origin.connection) {
            self.evict();
        }
        self.connections
            .entry(origin.connection)
            .or_insert_with(|| Connection {
                endpoints: None,
                inode: None,
                pid: origin.pid,
                requests: None,
                received: Half::default(),
                sent: Half::default(),
                http: http1::Connection::marked(http1::Limits::default()),
                touched: origin.time,
            })
    }

    /// Makes room: half of what has nothing in flight and was not heard of for longest, else the longest silent.
    fn evict(&mut self) {
        let mut idle: Vec<(u64, ConnectionId)> = self
            .connections
            .iter()
            .map(|(id, connection)| (connection.touched.saturating_add(connection.bias()), *id))
            .collect();
        idle.sort_unstable_by_key(|(touched, _)| *touched);
        idle.truncate((self.limit / 16).max(1));
        for (_, id) in idle {
            if let Some(connection) = self.connections.remove(&id) {
                self.health
                    .add(Counter::Exchanges, connection.http.in_flight() as u64);
            }
        }
    }

    /// Looks at an event's place in its direction, then lets `read` hand it to the reader. `read` answers how far the
    /// stream position moved.
    fn hand_over(
        &mut self,
        origin: &Origin,
        flow: Flow,
        finished: &mut Vec<Finished>,
        read: impl FnOnce(&mut Connection, &mut Vec<Outcome<Stamp>>) -> u64,
    ) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let connection = self.connection(origin);
        connection.pid = origin.pid;
        connection.touched = origin.time;
        connection.requests.get_or_insert(match flow {
            Flow::Request => origin.direction,
            Flow::Response => origin.direction.other(),
        });
        let half = connection.half(origin.direction);
        let missing = origin.sequence != half.sequence;
        let length = origin.position.saturating_sub(half.position);
        half.sequence = origin.sequence.wrapping_add(1);
        if missing {
            connection
                .http
                .read(flow, stamp(origin, None), Piece::Gap { length }, &mut outcomes);
        }
        let moved = read(connection, &mut outcomes);
        connection.half(origin.direction).position = origin.position + moved;
        if !outcomes.is_empty() {
            let health = Arc::clone(&self.health);
            self.connection(origin)
                .settle(&mut outcomes, 0, &health, finished);
        }
        self.outcomes = outcomes;
    }
}

impl Connection {
    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        }
    }

    /// For eviction: what has something in flight counts as heard of a minute later than it was.
    fn bias(&self) -> u64 {
        if self.http.in_flight() == 0 {
            0
        } else {
            60_000_000_000
        }
    }

    /// The body bytes that passed since the last record, of a message that ends with the connection.
    fn elide_rest(
        &mut self,
        flow: Flow,
        origin: &Origin,
        end: MessageEnd,
        outcomes: &mut Vec<Outcome<Stamp>>,
    ) {
        if end.wire > 0 {
            let rest = Piece::Elided {
                wire: end.wire,
                content: end.content,
                last: false,
            };
            self.http.read(flow, stamp(origin, None), rest, outcomes);
        }
    }

    /// Sorts outcomes into finished exchanges and counted losses. Requests below `answered` had their response, so one
    /// that has none here has lost it on the way to us.
    fn settle(
        &mut self,
        outcomes: &mut Vec<Outcome<Stamp>>,
        answered: u32,
        health: &Health,
        finished: &mut Vec<Finished>,
    ) {
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Exchange(exchange) => {
                    let complete = exchange
                        .response
                        .as_ref()
                        .is_some_and(|response| response.complete);
                    let lost = !complete && exchange.ordinal < u64::from(answered);
                    match (&self.endpoints, self.requests) {
                        (Some(endpoints), Some(requests)) if !lost => {
                            health.add(Counter::HeadsCut, exchange.heads_cut());
                            finished.push(Finished {
                                exchange,
                                endpoints: Arc::clone(endpoints),
                                requests,
                            });
                        }
                        _ => health.add(Counter::Exchanges, 1),
                    }
                }
                Outcome::Lost(reason) => health.add(counter(reason), 1),
            }
        }
    }
}

/// What a lost exchange is counted as.
#[must_use]
pub const fn counter(reason: Reason) -> Counter {
    match reason {
        Reason::Incomplete | Reason::TooManyInFlight => Counter::Exchanges,
        Reason::ResponseWithoutRequest => Counter::ResponsesUnmatched,
        Reason::Unparsed(_) | Reason::HeadUnfinished => Counter::Unparsed,
    }
}

const fn flow_of(request: bool) -> Flow {
    if request { Flow::Request } else { Flow::Response }
}

const fn stamp(origin: &Origin, ids: Option<Ids>) -> Stamp {
    Stamp {
        time: origin.time,
        pid: origin.pid,
        tid: origin.tid,
        ids,
    }
}

#[cfg(test)]
mod tests;
