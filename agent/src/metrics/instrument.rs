//! The metrics of the semantic conventions (version in [`name::SCHEMA_URL`]): which spans they are made of, and which of
//! their attributes.
//!
//! - <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>
//! - <https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/>
//! - <https://opentelemetry.io/docs/specs/semconv/db/database-metrics/>
//! - <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/>

use crate::span::semconv as name;
use crate::span::{Kind, Span, Value};

/// Bounds of requests, calls and messages, in seconds.
const DURATIONS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Bounds of database operations, in seconds.
const DATABASE_DURATIONS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// `http.route`, which is known where the configuration or another stage says it.
const HTTP_ROUTE: &str = "http.route";

/// What counts in an attribute, and the place that it has in [`Attributes`].
macro_rules! slots {
    ($($slot:ident = $key:expr,)+) => {
        #[derive(Clone, Copy, Debug)]
        enum Slot { $($slot,)+ }

        const SLOTS: usize = [$(Slot::$slot,)+].len();
        const KEYS: [&str; SLOTS] = [$($key,)+];

        fn slot(key: &str) -> Option<Slot> {
            match key {
                $(key if key == $key => Some(Slot::$slot),)+
                _ => None,
            }
        }
    };
}

slots! {
    ErrorType = name::ERROR_TYPE,
    ServerAddress = name::SERVER_ADDRESS,
    ServerPort = name::SERVER_PORT,
    PeerAddress = name::NETWORK_PEER_ADDRESS,
    PeerPort = name::NETWORK_PEER_PORT,
    ProtocolName = name::NETWORK_PROTOCOL_NAME,
    ProtocolVersion = name::NETWORK_PROTOCOL_VERSION,
    Scheme = name::URL_SCHEME,
    Method = name::HTTP_REQUEST_METHOD,
    Status = name::HTTP_RESPONSE_STATUS_CODE,
    Route = HTTP_ROUTE,
    RpcSystem = name::RPC_SYSTEM_NAME,
    RpcMethod = name::RPC_METHOD,
    RpcStatus = name::RPC_RESPONSE_STATUS_CODE,
    DbSystem = name::DB_SYSTEM_NAME,
    DbNamespace = name::DB_NAMESPACE,
    DbOperation = name::DB_OPERATION_NAME,
    DbCollection = name::DB_COLLECTION_NAME,
    DbSummary = name::DB_QUERY_SUMMARY,
    DbStatus = name::DB_RESPONSE_STATUS_CODE,
    MessagingSystem = name::MESSAGING_SYSTEM,
    MessagingOperation = name::MESSAGING_OPERATION_NAME,
    MessagingType = name::MESSAGING_OPERATION_TYPE,
    Destination = name::MESSAGING_DESTINATION_NAME,
    DestinationAnonymous = name::MESSAGING_DESTINATION_ANONYMOUS,
}

/// Whether an attribute counts here.
#[must_use]
pub fn counts(key: &str) -> bool {
    slot(key).is_some()
}

/// A metric of the conventions.
#[derive(Debug)]
pub struct Instrument {
    /// Name.
    pub name: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Bounds of a histogram; empty of a counter.
    pub bounds: &'static [f64],
    slots: &'static [Slot],
}

const SENT: &[Slot] = &[
    Slot::MessagingSystem,
    Slot::MessagingOperation,
    Slot::Destination,
    Slot::ErrorType,
    Slot::ServerAddress,
    Slot::ServerPort,
];

macro_rules! instruments {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $unit:literal, $bounds:expr, $slots:expr, $help:literal;)+) => {
        /// Which metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Which { $($(#[doc = $doc])+ $variant,)+ }

        /// All of them, in the order of [`Which`].
        pub const INSTRUMENTS: &[Instrument] = &[$(Instrument {
            name: $name, unit: $unit, help: $help, bounds: $bounds, slots: $slots,
        },)+];
    };
}

instruments! {
    /// Requests served.
    HttpServer = "http.server.request.duration", "s", DURATIONS,
        &[Slot::Method, Slot::Scheme, Slot::Route, Slot::Status, Slot::ErrorType, Slot::ProtocolVersion],
        "Duration of HTTP server requests.";
    /// Requests made.
    HttpClient = "http.client.request.duration", "s", DURATIONS,
        &[Slot::Method, Slot::ServerAddress, Slot::ServerPort, Slot::Status, Slot::ErrorType, Slot::ProtocolVersion],
        "Duration of HTTP client requests.";
    /// Calls served.
    RpcServer = "rpc.server.call.duration", "s", DURATIONS,
        &[Slot::RpcSystem, Slot::RpcMethod, Slot::RpcStatus, Slot::ErrorType],
        "Duration of incoming remote procedure calls.";
    /// Calls made.
    RpcClient = "rpc.client.call.duration", "s", DURATIONS,
        &[Slot::RpcSystem, Slot::RpcMethod, Slot::RpcStatus, Slot::ErrorType, Slot::ServerAddress, Slot::ServerPort],
        "Duration of outgoing remote procedure calls.";
    /// Statements.
    Database = "db.client.operation.duration", "s", DATABASE_DURATIONS,
        &[
            Slot::DbSystem, Slot::DbNamespace, Slot::DbOperation, Slot::DbCollection, Slot::DbSummary, Slot::DbStatus,
            Slot::ErrorType, Slot::ServerAddress, Slot::ServerPort,
        ],
        "Duration of database client operations.";
    /// Publishing, and asking for a message.
    Messaging = "messaging.client.operation.duration", "s", DURATIONS,
        &[
            Slot::MessagingSystem, Slot::MessagingOperation, Slot::MessagingType, Slot::Destination, Slot::ErrorType,
            Slot::ServerAddress, Slot::ServerPort,
        ],
        "Duration of messaging operations that a producer or consumer began.";
    /// Dealing with a message.
    Process = "messaging.process.duration", "s", DURATIONS, SENT,
        "Duration of processing messages.";
    /// Messages published.
    Sent = "messaging.client.sent.messages", "{message}", &[], SENT,
        "Messages that producers attempted to send to the broker.";
    /// Messages delivered, and asked for.
    Consumed = "messaging.client.consumed.messages", "{message}", &[], SENT,
        "Messages that were delivered to the application.";
}

/// What of a span's attributes counts here.
#[derive(Debug)]
pub struct Attributes<'a>([Option<&'a Value>; SLOTS]);

impl<'a> Attributes<'a> {
    /// Of a span.
    #[must_use]
    pub fn of(span: &'a Span) -> Self {
        let mut found = [None; SLOTS];
        for attribute in &span.attributes {
            if let Some(slot) = slot(&attribute.key) {
                found[slot as usize] = Some(&attribute.value);
            }
        }
        Self(found)
    }

    fn is(&self, slot: Slot) -> bool {
        self.0[slot as usize].is_some()
    }

    fn text(&self, slot: Slot) -> Option<&'a str> {
        match self.0[slot as usize] {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Metrics that the span counts in: a histogram's, then a counter's.
    #[must_use]
    pub fn instruments(&self, kind: Kind) -> [Option<Which>; 2] {
        let is_server = kind == Kind::Server;
        if self.is(Slot::RpcSystem) {
            return [
                Some(if is_server {
                    Which::RpcServer
                } else {
                    Which::RpcClient
                }),
                None,
            ];
        }
        if self.is(Slot::Method) {
            return [
                Some(if is_server {
                    Which::HttpServer
                } else {
                    Which::HttpClient
                }),
                None,
            ];
        }
        if self.is(Slot::DbSystem) {
            // What the database does itself has no metric in the conventions.
            return [(!is_server).then_some(Which::Database), None];
        }
        if self.is(Slot::MessagingSystem) && !self.is_broker() {
            let is_process = self.text(Slot::MessagingType) == Some("process");
            let histogram = if is_process {
                Which::Process
            } else {
                Which::Messaging
            };
            let counter = if kind == Kind::Producer {
                Which::Sent
            } else {
                Which::Consumed
            };
            return [Some(histogram), Some(counter)];
        }
        [None, None]
    }

    /// The broker's end of a connection, at which the server is not the peer.
    fn is_broker(&self) -> bool {
        let at = |address: Slot, port: Slot| (self.0[address as usize], self.0[port as usize]);
        at(Slot::ServerAddress, Slot::ServerPort) != at(Slot::PeerAddress, Slot::PeerPort)
    }

    /// Those of `which`, with their names.
    pub fn labels(&self, which: Which) -> impl Iterator<Item = (&'static str, &'a Value)> {
        let is_anonymous = self.is(Slot::DestinationAnonymous);
        INSTRUMENTS[which as usize].slots.iter().filter_map(move |slot| {
            // A name that was made up for the occasion is another each time.
            if matches!(slot, Slot::Destination) && is_anonymous {
                return None;
            }
            let value = self.0[*slot as usize]?;
            Some((KEYS[*slot as usize], value))
        })
    }

    /// What is at the other end of a request that nobody here was seen to serve, and how it is connected.
    #[must_use]
    pub fn peer(&self) -> Option<(&'a str, Connection)> {
        if self.is(Slot::DbSystem) {
            let name = self.text(Slot::DbNamespace).or_else(|| self.text(Slot::DbSystem));
            return Some((name?, Connection::Database));
        }
        if self.is(Slot::MessagingSystem) {
            return Some((self.text(Slot::MessagingSystem)?, Connection::Messaging));
        }
        Some((self.text(Slot::ServerAddress)?, Connection::Virtual))
    }

    /// How its two ends are connected where both are known.
    #[must_use]
    pub fn connection(&self) -> Connection {
        if self.is(Slot::DbSystem) {
            Connection::Database
        } else if self.is(Slot::MessagingSystem) {
            Connection::Messaging
        } else {
            Connection::Direct
        }
    }

    /// Whether it is the broker's part in passing a message on.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.is(Slot::MessagingSystem) && self.is_broker()
    }
}

/// `connection_type` of the service graph, with the words of the collector's connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// A service asks another.
    Direct,
    /// A service asks a database.
    Database,
    /// A message goes from one to the other.
    Messaging,
    /// One end was not seen.
    Virtual,
}

impl Connection {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "",
            Self::Database => "database",
            Self::Messaging => "messaging_system",
            Self::Virtual => "virtual_node",
        }
    }
}
