//! The service graph: who asks whom, with the names of Tempo and of the collector's servicegraph connector.
//!
//! A request's two spans find each other by id: that of who asks is the parent of that of who answers. Where the other one
//! does not come, the end that was not seen is called after what is known of it.

use super::family::{Family, Kind, Service, Value};
use super::instrument::{Attributes, Connection};
use super::requests::{Buckets, Limits, point};
use super::table::{Seen, Table};
use crate::span::{Kind as SpanKind, Span, SpanId, Status};
use hashbrown::HashMap;
use smol_str::SmolStr;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long one end waits for the other, in nanoseconds.
const PATIENCE: u64 = 2_000_000_000;

/// Ends that wait.
const WAITING: usize = 16 * 1024;

/// Who asks where nobody was seen to, and the request is the first of its trace.
const USER: &str = "user";

/// Bounds of both histograms, in seconds: the connector's.
const BOUNDS: &[f64] = &[
    0.002, 0.004, 0.006, 0.008, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.4, 2.0, 5.0, 10.0, 15.0,
];

/// One end of a request that waits for the other.
#[derive(Debug)]
struct End {
    is_client: bool,
    service: Arc<Service>,
    seconds: f64,
    failed: bool,
    /// When its span began, in nanoseconds since the Unix epoch.
    start: u64,
    /// What its other end is called where it does not come.
    peer: Option<(SmolStr, Connection)>,
    connection: Connection,
    /// Further ends may come: a message goes to several.
    stays: bool,
    paired: bool,
}

/// What is known of one edge.
#[derive(Clone, Debug)]
struct Edge {
    total: u64,
    failed: u64,
    server: Buckets,
    client: Buckets,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Graph {
    limits: Limits,
    edges: Table<Edge>,
    waiting: HashMap<SpanId, End>,
    /// In the order in which they came, with when that was.
    order: VecDeque<(u64, SpanId)>,
    unpaired: u64,
    dropped: u64,
}

/// What one span adds to an edge.
struct Seconds {
    client: Option<f64>,
    server: Option<f64>,
}

impl Graph {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            edges: Table::new(limits.cardinality),
            waiting: HashMap::new(),
            order: VecDeque::new(),
            unpaired: 0,
            dropped: 0,
        }
    }

    pub(super) const fn overflowed(&self) -> u64 {
        self.edges.overflowed
    }

    /// Of a span, and the same where it is kept. `now` is in nanoseconds of the kernel's clock, as everywhere here.
    pub(super) fn record(
        &mut self,
        (span, kept): (&Span, Option<&Span>),
        service: &Arc<Service>,
        attributes: &Attributes<'_>,
        seconds: f64,
        now: u64,
    ) {
        // A broker passes on what is said of the two that it connects.
        if attributes.is_passing() {
            return;
        }
        let failed = matches!(span.status, Status::Error(_));
        let (is_client, key) = match (span.kind, span.parent) {
            (SpanKind::Client | SpanKind::Producer, _) => (true, span.span_id),
            (SpanKind::Server | SpanKind::Consumer, Some(parent)) => (false, parent),
            // That a message has no parent says nothing of who sent it.
            (SpanKind::Consumer, None) => {
                self.unpaired += 1;
                return;
            }
            (SpanKind::Server, None) => {
                let seconds = Seconds {
                    client: None,
                    server: Some(seconds),
                };
                return self.edge(
                    [USER, &service.name],
                    Connection::Virtual,
                    failed,
                    &seconds,
                    (span, kept),
                    now,
                );
            }
        };
        let is_full = self.waiting.len() >= WAITING || self.order.len() >= 4 * WAITING;
        match self.waiting.get_mut(&key) {
            Some(other) if other.is_client != is_client => {
                other.paired = true;
                let (name, connection) = (other.service.name.clone(), other.connection);
                let (other_seconds, other_failed, stays) = (other.seconds, other.failed, other.stays);
                let (names, seconds) = match is_client {
                    true => ([&*service.name, &*name], [seconds, other_seconds]),
                    false => ([&*name, &*service.name], [other_seconds, seconds]),
                };
                let seconds = Seconds {
                    client: Some(seconds[0]),
                    server: Some(seconds[1]),
                };
                if !stays {
                    self.waiting.remove(&key);
                }
                self.edge(
                    names,
                    connection,
                    failed || other_failed,
                    &seconds,
                    (span, kept),
                    now,
                );
            }
            // Two of one kind with one id: the first has waited long enough.
            Some(_) => self.unpaired += 1,
            None if is_full => {
                self.dropped += 1;
                self.expire(now);
            }
            None => {
                let end = End {
                    is_client,
                    service: Arc::clone(service),
                    seconds,
                    failed,
                    start: span.start.0,
                    peer: attributes
                        .peer()
                        .filter(|_| is_client)
                        .map(|(name, connection)| (name.into(), connection)),
                    connection: attributes.connection(),
                    stays: span.kind == SpanKind::Producer,
                    paired: false,
                };
                self.waiting.insert(key, end);
                self.order.push_back((now, key));
            }
        }
    }

    /// Gives up those that wait since `PATIENCE` before `now`.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some((since, key)) = self.order.front().copied()
            && now.saturating_sub(since) > PATIENCE
        {
            self.order.pop_front();
            let Some(end) = self.waiting.remove(&key).filter(|end| !end.paired) else {
                continue;
            };
            let Some((peer, connection)) = &end.peer else {
                self.unpaired += 1;
                continue;
            };
            let edge = self.at([&end.service.name, peer], *connection, now, end.start);
            edge.total += 1;
            edge.failed += u64::from(end.failed);
            edge.client.add(BOUNDS, end.seconds, None);
        }
    }

    fn at(&mut self, [client, server]: [&str; 2], connection: Connection, now: u64, start: u64) -> &mut Edge {
        let labels = [
            ("client", Seen::text(client)),
            ("server", Seen::text(server)),
            ("connection_type", Seen::Text(connection.name())),
        ];
        let limits = self.limits;
        self.edges.at(None, &labels, (now, start), || Edge {
            total: 0,
            failed: 0,
            server: Buckets::new(BOUNDS, limits),
            client: Buckets::new(BOUNDS, limits),
        })
    }

    fn edge(
        &mut self,
        names: [&str; 2],
        connection: Connection,
        failed: bool,
        seconds: &Seconds,
        (span, kept): (&Span, Option<&Span>),
        now: u64,
    ) {
        let edge = self.at(names, connection, now, span.start.0);
        edge.total += 1;
        edge.failed += u64::from(failed);
        if let Some(seconds) = seconds.client {
            edge.client.add(BOUNDS, seconds, kept);
        }
        if let Some(seconds) = seconds.server {
            edge.server.add(BOUNDS, seconds, kept);
        }
    }

    pub(super) fn families(&self) -> Vec<Family> {
        type Of = fn(&Edge) -> Value;
        let families: [(&'static str, Kind, &'static str, &'static str, Of); 4] = [
            (
                "traces_service_graph_request_total",
                Kind::Counter,
                "",
                "Requests between two services.",
                |edge| Value::Count(edge.total),
            ),
            (
                "traces_service_graph_request_failed_total",
                Kind::Counter,
                "",
                "Failed requests between two services.",
                |edge| Value::Count(edge.failed),
            ),
            (
                "traces_service_graph_request_server",
                Kind::Histogram,
                "s",
                "Time of a request between two services, as the server saw it.",
                |edge| edge.server.value(BOUNDS),
            ),
            (
                "traces_service_graph_request_client",
                Kind::Histogram,
                "s",
                "Time of a request between two services, as the client saw it.",
                |edge| edge.client.value(BOUNDS),
            ),
        ];
        let family = |(name, kind, unit, help, of): (_, _, _, _, Of)| Family {
            points: self
                .edges
                .iter()
                .map(|entry| point(entry, of(&entry.state)))
                .collect(),
            ..Family::new(name, kind, unit, help)
        };
        let count =
            |name, help, count| Family::new(name, Kind::Counter, "", help).with([], Value::Count(count));
        families
            .into_iter()
            .map(family)
            .chain([
                count(
                    "traces_service_graph_unpaired_spans_total",
                    "Spans whose other end was not seen, and is not known by name either.",
                    self.unpaired,
                ),
                count(
                    "traces_service_graph_dropped_spans_total",
                    "Spans that are in no edge, too many having waited for their other end.",
                    self.dropped,
                ),
            ])
            .collect()
    }
}
