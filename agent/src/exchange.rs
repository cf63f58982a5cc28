//! Exchanges: requests matched with their responses, on all connections that carry something.
//!
//! Records of one direction come in the order of their sequence numbers, which are given out even where a record finds
//! no room: a number that is missing is a loss, and the reader is told. The two directions may come in any order.

use crate::connection::piece::Piece;
use crate::connection::unix::Suspect;
use crate::connection::{Address, Client, Close, Direction, Endpoints};
use crate::health::{Counter, Health};
use crate::kernel::events::{ConnectionId, Event, Ids, MessageEnd, Origin};
use crate::protocol::{self, Exchange, Flow, Loss, Outcome, Protocol, Request};
use crate::span::SpanId;
use hashbrown::HashMap;
use std::collections::HashSet;
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

/// An exchange that is over, or as far as it has come, and where it was.
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
    /// Nothing of it was seen from the beginning.
    late: bool,
    /// Inode of a TCP socket by which requests are sent, and the protocol's number in records.
    client: Option<(u64, u8)>,
    /// Address of the peer's sock, of a Unix socket.
    peer: Option<u64>,
    /// Both ends number their bytes alike.
    aligned: bool,
    /// Once the kernel half has said which protocol it is.
    parser: Option<protocol::Connection<Stamp>>,
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

    /// Number of connections that can be.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether a connection is kept.
    #[must_use]
    pub fn has(&self, id: ConnectionId) -> bool {
        self.connections.contains_key(&id)
    }

    /// Connections that are kept: their socks, and whose they are.
    pub fn owners(&self) -> impl Iterator<Item = (u64, u32)> {
        self.connections
            .iter()
            .map(|(id, connection)| (id.sock, connection.pid))
    }

    /// Connections of TCP by which one of these processes sends requests: the process, the inode of its socket, and the protocol's
    /// number in records.
    pub fn clients(&self, pids: &HashSet<u32>) -> impl Iterator<Item = (ConnectionId, u32, u64, u8)> {
        let theirs = self.connections.iter().filter(|(_, it)| pids.contains(&it.pid));
        theirs.filter_map(|(id, it)| it.client.map(|(inode, protocol)| (*id, it.pid, inode, protocol)))
    }

    /// The end that asks, of a connection on which requests go this way here; `None` where the two ends cannot be told to
    /// belong together.
    #[must_use]
    pub fn client(&self, id: ConnectionId, requests: Direction) -> Option<Client> {
        let connection = self.connections.get(&id)?;
        let endpoints = connection.endpoints.as_ref()?;
        let (address, sock) = match requests {
            Direction::Sent if !connection.aligned => return None,
            Direction::Sent => (&endpoints.local, Some(id.sock)),
            Direction::Received => (&endpoints.remote, connection.peer),
        };
        match address {
            Address::Ip(address) => Some(Client::Ip(*address)),
            Address::Unix(_) => sock.map(Client::Unix),
        }
    }

    /// What the request says that got this span id, of an exchange that is still open.
    #[must_use]
    pub fn request(&self, id: ConnectionId, span: SpanId) -> Option<Request<'_>> {
        let parser = self.connections.get(&id)?.parser.as_ref()?;
        parser.request(|first| first.ids.is_some_and(|ids| ids.span_id == span))
    }

    /// Takes in one event; what it finishes is added to `finished`.
    pub fn accept(&mut self, event: &Event<'_>, finished: &mut Vec<Finished>) {
        match event {
            // What they say may be a secret.
            Event::Bytes { origin, data, .. } => tracing::trace!("{} bytes: {origin:?}", data.len()),
            _ => tracing::trace!("{event:?}"),
        }
        match event {
            Event::Opened {
                origin,
                endpoints,
                inode,
                late,
                peer,
                aligned,
                client,
                ..
            } => {
                let connection = self.connection(origin);
                connection.client = client.map(|inode| (inode, origin.protocol));
                connection.late = *late;
                connection.peer = *peer;
                connection.aligned = *aligned;
                connection.endpoints = Some(Arc::new(endpoints.clone()));
                connection.inode = *inode;
            }
            Event::Bytes {
                origin,
                request,
                starts,
                before,
                data,
                ends,
                ..
            } => {
                let flow = flow_of(*request);
                self.hand_over(origin, flow, *before, finished, |connection, outcomes| {
                    let (starts, began) = starts.unzip();
                    let stamp = stamp(origin, began.flatten().map(|began| began.ids));
                    let starts = starts.map(u64::from);
                    if !data.is_empty() {
                        connection.read(flow, stamp, Piece::Bytes { data, starts }, outcomes);
                    }
                    let mut length = data.len() as u64;
                    if let Some(end) = *ends {
                        connection.read(flow, Stamp { ids: None, ..stamp }, end.last(), outcomes);
                        length += end.wire;
                    }
                    length
                });
            }
            Event::End { origin, request, end } => {
                let flow = flow_of(*request);
                self.hand_over(origin, flow, None, finished, |connection, outcomes| {
                    connection.read(flow, stamp(origin, None), end.last(), outcomes);
                    end.wire
                });
            }
            Event::Gap { origin, length } => {
                let Some(flow) = self.flow(origin) else { return };
                self.hand_over(origin, flow, None, finished, |connection, outcomes| {
                    let gap = Piece::Gap { length: *length };
                    connection.read(flow, stamp(origin, None), gap, outcomes);
                    *length
                });
            }
            Event::EndOfStream { origin, end } => {
                let Some(flow) = self.flow(origin) else { return };
                self.hand_over(origin, flow, None, finished, |connection, outcomes| {
                    connection.elide_rest(flow, origin, *end, outcomes);
                    connection.end(flow, outcomes);
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
            Event::Fork { .. } | Event::Exec { .. } | Event::Listens { .. } | Event::Exit { .. } => {}
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
            if connection.in_flight() == 0 {
                continue;
            }
            let stamp = connection.silent(time);
            connection.close(stamp, Close::Stopped, &mut self.outcomes);
            let answered = responses(id).unwrap_or(u32::MAX);
            connection.settle(&mut self.outcomes, answered, &self.health, finished);
        }
    }

    /// Streams that began before `before` and are open `now`, as far as they have come.
    pub fn open(&self, before: u64, now: u64) -> impl Iterator<Item = Finished> {
        self.connections.values().flat_map(move |connection| {
            let now = connection.silent(now);
            let exchanges = connection.parser.as_ref().map(|parser| {
                let is_due = |first: Stamp| first.time < before;
                parser.so_far(now, is_due)
            });
            exchanges.into_iter().flatten().filter_map(|exchange| {
                Some(Finished {
                    exchange,
                    endpoints: Arc::clone(connection.endpoints.as_ref()?),
                    requests: connection.requests?,
                })
            })
        })
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
        let stamp = connection.silent(time);
        connection.close(stamp, Close::Closed, &mut self.outcomes);
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
        // No record follows that would tell by its number.
        let position = connection.half(origin.direction).position;
        if let Some(length) = origin.position.checked_sub(position).filter(|length| *length > 0) {
            connection.read(Flow::Response, stamp, Piece::Gap { length }, &mut self.outcomes);
        }
        if origin.direction == Direction::Sent && close == Close::Closed {
            // A server that closes in order ends a response that has no other end (RFC 9112, section 6.3, rule 8).
            connection.elide_rest(Flow::Response, origin, end, &mut self.outcomes);
            connection.end(Flow::Response, &mut self.outcomes);
        }
        connection.close(stamp, close, &mut self.outcomes);
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
                late: false,
                client: None,
                peer: None,
                aligned: false,
                parser: None,
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
                self.health.add(Counter::Exchanges, connection.in_flight() as u64);
            }
        }
    }

    /// Looks at an event's place in its direction, hands what was stepped over `before` it to the reader, and lets `read`
    /// do the same with what it says. `read` answers how far the stream position moved.
    fn hand_over(
        &mut self,
        origin: &Origin,
        flow: Flow,
        before: Option<MessageEnd>,
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
        connection.settle_on(origin, &mut outcomes);
        let half = connection.half(origin.direction);
        let missing = origin.sequence != half.sequence;
        let length = origin.position.saturating_sub(half.position);
        half.sequence = origin.sequence.wrapping_add(1);
        if missing {
            connection.read(flow, stamp(origin, None), Piece::Gap { length }, &mut outcomes);
        } else if let Some(before) = before {
            connection.read(flow, stamp(origin, None), before.last(), &mut outcomes);
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

impl MessageEnd {
    fn last(self) -> Piece<'static> {
        Piece::Elided {
            wire: self.wire,
            content: self.content,
            last: true,
        }
    }
}

impl Connection {
    /// Begins to read the protocol that the kernel half has claimed the connection for.
    fn settle_on(&mut self, origin: &Origin, outcomes: &mut Vec<Outcome<Stamp>>) {
        if self.parser.is_some() {
            return;
        }
        let Some(protocol) = Protocol::numbered(origin.protocol) else {
            return;
        };
        let parser = protocol::Connection::marked(protocol);
        self.parser = Some(if self.late { parser.joined_late() } else { parser });
        if self.late && protocol != Protocol::Http1 {
            for flow in [Flow::Request, Flow::Response] {
                self.read(flow, stamp(origin, None), Piece::Gap { length: 0 }, outcomes);
            }
        }
    }

    fn read(&mut self, flow: Flow, stamp: Stamp, piece: Piece<'_>, outcomes: &mut Vec<Outcome<Stamp>>) {
        if let Some(parser) = &mut self.parser {
            parser.read(flow, stamp, piece, outcomes);
        }
    }

    fn end(&mut self, flow: Flow, outcomes: &mut Vec<Outcome<Stamp>>) {
        if let Some(parser) = &mut self.parser {
            parser.end(flow, outcomes);
        }
    }

    fn close(&mut self, stamp: Stamp, how: Close, outcomes: &mut Vec<Outcome<Stamp>>) {
        if let Some(parser) = &mut self.parser {
            parser.close(stamp, how, outcomes);
        }
    }

    fn in_flight(&self) -> usize {
        self.parser.as_ref().map_or(0, protocol::Connection::in_flight)
    }

    /// The stamp of what no event tells.
    fn silent(&self, time: u64) -> Stamp {
        Stamp {
            time,
            pid: self.pid,
            tid: self.pid,
            ids: None,
        }
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        }
    }

    /// For eviction: what has something in flight counts as heard of a minute later than it was.
    fn bias(&self) -> u64 {
        if self.in_flight() == 0 { 0 } else { 60_000_000_000 }
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
            self.read(flow, stamp(origin, None), rest, outcomes);
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
                    let lost = !exchange.is_complete() && exchange.number() < u64::from(answered);
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
                Outcome::Lost(loss) => health.add(counter(loss), 1),
            }
        }
    }
}

/// What a loss is counted as.
#[must_use]
pub const fn counter(loss: Loss) -> Counter {
    match loss {
        Loss::Exchange => Counter::Exchanges,
        Loss::ResponseWithoutRequest => Counter::ResponsesUnmatched,
        Loss::Unparsed => Counter::Unparsed,
        Loss::Skipped => Counter::StatementsSkipped,
        Loss::Encrypted => Counter::ConnectionsEncrypted,
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
