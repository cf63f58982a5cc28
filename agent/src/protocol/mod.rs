//! Protocol parsers: bytes in, values out. Nothing here knows a process, a clock, aya or tokio.
//!
//! **The table of protocols.** Each protocol has a folder, whose `Connection` reads both directions and pairs what was
//! asked with what was answered. This file has one row of each `match` for it, and is all that the rest of the agent
//! calls.

pub mod amqp;
mod deferred;
pub mod detect;
pub mod http1;
pub mod http2;
pub(crate) mod percent;
pub mod postgres;

pub use http1::Flow;

use crate::connection::Close;
use crate::connection::piece::Piece;

/// A protocol that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.x.
    Http1,
    /// HTTP/2, and gRPC in it.
    Http2,
    /// PostgreSQL's frontend/backend protocol.
    Postgres,
    /// AMQP 0-9-1.
    Amqp,
}

impl Protocol {
    /// All of them. The kernel half counts them from 1 in this order.
    pub const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::Postgres, Self::Amqp];

    /// The one that the kernel half calls by this number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Its name in counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Postgres => "postgres",
            Self::Amqp => "amqp",
        }
    }
}

/// What was asked, and what became of it. `S` is the caller's stamp: time, thread, ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange<S> {
    /// A request and its response.
    Http1(Box<http1::Exchange<S>>),
    /// A request and its response.
    Http2(Box<http2::Exchange<S>>),
    /// A statement and its answer.
    Postgres(Box<postgres::Exchange<S>>),
    /// A message on its way, and what became of it.
    Amqp(Box<amqp::Exchange<S>>),
}

impl<S: Copy> Exchange<S> {
    /// Which protocol it is of.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Http1(_) => Protocol::Http1,
            Self::Http2(_) => Protocol::Http2,
            Self::Postgres(_) => Protocol::Postgres,
            Self::Amqp(_) => Protocol::Amqp,
        }
    }

    /// Its number on its connection; of HTTP/2, the stream's.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Self::Http1(exchange) => exchange.ordinal,
            Self::Http2(exchange) => exchange.stream.into(),
            Self::Postgres(exchange) => exchange.ordinal,
            Self::Amqp(exchange) => exchange.number(),
        }
    }

    /// Stamp of its first byte.
    #[must_use]
    pub fn first(&self) -> S {
        match self {
            Self::Http1(exchange) => exchange.request.first,
            Self::Http2(exchange) => exchange.request.first,
            Self::Postgres(exchange) => exchange.request.first,
            Self::Amqp(exchange) => exchange.first,
        }
    }

    /// Stamp of its end.
    #[must_use]
    pub fn ended(&self) -> S {
        match self {
            Self::Http1(exchange) => exchange.ended,
            Self::Http2(exchange) => exchange.ended,
            Self::Postgres(exchange) => exchange.ended,
            Self::Amqp(exchange) => exchange.ended,
        }
    }

    /// Whether a final response was seen, or its beginning. Messages are not answered: they come out once they are whole.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.response.is_some(),
            Self::Http2(exchange) => exchange.response.is_some(),
            Self::Postgres(exchange) => exchange.response.is_some(),
            Self::Amqp(_) => true,
        }
    }

    /// Whether the response was seen to its end, or the message.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.response.as_ref().is_some_and(|it| it.complete),
            Self::Http2(exchange) => exchange.response.as_ref().is_some_and(|it| it.complete),
            Self::Postgres(exchange) => exchange.response.as_ref().is_some_and(|it| it.complete),
            Self::Amqp(_) => true,
        }
    }

    /// How many of its heads were over their limit.
    #[must_use]
    pub fn heads_cut(&self) -> u64 {
        match self {
            Self::Http1(exchange) => exchange.heads_cut(),
            Self::Http2(exchange) => exchange.heads_cut(),
            Self::Postgres(_) => 0,
            Self::Amqp(exchange) => exchange.content.is_cut.into(),
        }
    }

    /// What the request says.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        match self {
            Self::Http1(exchange) => Request::Http1(&exchange.request.head),
            Self::Http2(exchange) => Request::Http2(&exchange.request.head),
            Self::Postgres(exchange) => {
                let text = exchange.request.text.as_deref();
                Request::Postgres(text.filter(|_| exchange.request.protocol == postgres::Protocol::Simple))
            }
            Self::Amqp(exchange) => Request::Amqp(&exchange.content),
        }
    }
}

/// What a request says beside its stamps; of an exchange that is over, or still open.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Request line and fields.
    Http1(&'a http1::RequestHead),
    /// Fields.
    Http2(&'a http2::Head),
    /// Text of a simple query; `None` of any other, and where it was lost.
    Postgres(Option<&'a postgres::Text>),
    /// Properties of the message.
    Amqp(&'a amqp::Content),
}

impl<'a> Request<'a> {
    /// `User-Agent` of a request of HTTP.
    #[must_use]
    pub fn user_agent(self) -> Option<&'a [u8]> {
        self.field("user-agent")
    }

    /// Bytes of content that a request of HTTP announces.
    #[must_use]
    pub fn content_length(self) -> Option<u64> {
        str::from_utf8(self.field("content-length")?).ok()?.parse().ok()
    }

    /// Value of the first field of this name, in lower case, of a request of HTTP.
    fn field(self, name: &str) -> Option<&'a [u8]> {
        match self {
            Self::Http1(head) => head.header(name),
            Self::Http2(head) => head.field(name),
            Self::Postgres(_) | Self::Amqp(_) => None,
        }
    }
}

/// What came of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<S> {
    /// An exchange that is over.
    Exchange(Exchange<S>),
    /// Something that cannot be told, to be counted.
    Lost(Loss),
}

/// Why something cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Bytes of an exchange were lost, or there were more in flight than are kept.
    Exchange,
    /// A response that no request was seen for.
    ResponseWithoutRequest,
    /// A message that is not of this protocol, or not whole.
    Unparsed,
    /// A statement that the server passed over after an error: it was never executed.
    Skipped,
    /// The connection is encrypted from here on.
    Encrypted,
}

impl From<http1::Reason> for Loss {
    fn from(reason: http1::Reason) -> Self {
        use http1::Reason;
        match reason {
            Reason::Incomplete | Reason::TooManyInFlight => Self::Exchange,
            Reason::ResponseWithoutRequest => Self::ResponseWithoutRequest,
            Reason::Unparsed(_) | Reason::HeadUnfinished => Self::Unparsed,
        }
    }
}

impl From<http2::Reason> for Loss {
    fn from(reason: http2::Reason) -> Self {
        use http2::Reason;
        match reason {
            Reason::Incomplete | Reason::TooManyInFlight => Self::Exchange,
            Reason::ResponseWithoutRequest => Self::ResponseWithoutRequest,
            Reason::Unparsed(_) | Reason::HeadUnfinished => Self::Unparsed,
        }
    }
}

impl From<postgres::Reason> for Loss {
    fn from(reason: postgres::Reason) -> Self {
        use postgres::Reason;
        match reason {
            Reason::Incomplete | Reason::TooManyInFlight => Self::Exchange,
            Reason::ResponseWithoutRequest => Self::ResponseWithoutRequest,
            Reason::Unparsed(_) => Self::Unparsed,
            Reason::Skipped => Self::Skipped,
            Reason::Encrypted => Self::Encrypted,
        }
    }
}

impl From<amqp::Reason> for Loss {
    fn from(reason: amqp::Reason) -> Self {
        use amqp::Reason;
        match reason {
            Reason::Incomplete | Reason::TooManyInFlight => Self::Exchange,
            Reason::Unparsed(_) => Self::Unparsed,
        }
    }
}

impl<S> From<http1::Outcome<S>> for Outcome<S> {
    fn from(outcome: http1::Outcome<S>) -> Self {
        match outcome {
            http1::Outcome::Exchange(exchange) => Self::Exchange(Exchange::Http1(exchange)),
            http1::Outcome::Lost(reason) => Self::Lost(reason.into()),
        }
    }
}

impl<S> From<http2::Outcome<S>> for Outcome<S> {
    fn from(outcome: http2::Outcome<S>) -> Self {
        match outcome {
            http2::Outcome::Exchange(exchange) => Self::Exchange(Exchange::Http2(exchange)),
            http2::Outcome::Lost(reason) => Self::Lost(reason.into()),
        }
    }
}

impl<S> From<postgres::Outcome<S>> for Outcome<S> {
    fn from(outcome: postgres::Outcome<S>) -> Self {
        match outcome {
            postgres::Outcome::Exchange(exchange) => Self::Exchange(Exchange::Postgres(Box::new(exchange))),
            postgres::Outcome::Lost(reason) => Self::Lost(reason.into()),
        }
    }
}

impl<S> From<amqp::Outcome<S>> for Outcome<S> {
    fn from(outcome: amqp::Outcome<S>) -> Self {
        match outcome {
            amqp::Outcome::Exchange(exchange) => Self::Exchange(Exchange::Amqp(Box::new(exchange))),
            amqp::Outcome::Lost(reason) => Self::Lost(reason.into()),
        }
    }
}

/// A connection of any protocol: pieces of both directions in, outcomes out.
#[derive(Debug)]
pub struct Connection<S> {
    parser: Parser<S>,
    /// Nobody has answered in this protocol yet, and it was told from its middle: what looked like it may have been content
    /// of another's.
    is_doubtful: bool,
}

#[derive(Debug)]
enum Parser<S> {
    Http1(Box<http1::Connection<S>>),
    Http2(Box<http2::Connection<S>>),
    Postgres(Box<postgres::Connection<S>>),
    Amqp(Box<amqp::Connection<S>>),
}

/// Hands on what `read` is told by a parser.
fn tell<T, S>(out: &mut Vec<Outcome<S>>, read: impl FnOnce(&mut Vec<T>))
where
    Outcome<S>: From<T>,
{
    let mut told = Vec::new();
    read(&mut told);
    out.extend(told.into_iter().map(Outcome::from));
}

impl<S: Copy> Connection<S> {
    /// A connection from its first byte, of which all bytes come and nothing is marked. Where it is joined later, begin
    /// both directions with a [`Piece::Gap`] of length 0.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self::of(match protocol {
            Protocol::Http1 => {
                let limits = http1::Limits {
                    // No kernel has said how many may be in flight.
                    in_flight: 4096,
                    ..http1::Limits::default()
                };
                Parser::Http1(Box::new(http1::Connection::new(limits)))
            }
            Protocol::Http2 => Parser::Http2(Box::new(http2::Connection::new(http2::Limits::default()))),
            Protocol::Postgres => {
                Parser::Postgres(Box::new(postgres::Connection::new(postgres::Limits::default())))
            }
            Protocol::Amqp => Parser::Amqp(Box::new(amqp::Connection::new(amqp::Limits::default()))),
        })
    }

    /// The same, where the kernel marks where messages begin.
    #[must_use]
    pub fn marked(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http1 => Self::of(Parser::Http1(Box::new(http1::Connection::marked(
                http1::Limits::default(),
            )))),
            Protocol::Http2 | Protocol::Postgres | Protocol::Amqp => Self::new(protocol),
        }
    }

    const fn of(parser: Parser<S>) -> Self {
        Self {
            parser,
            is_doubtful: false,
        }
    }

    /// The same, joined late: what is asked there is told once something was answered.
    #[must_use]
    pub fn joined_late(self) -> Self {
        Self {
            is_doubtful: true,
            ..self
        }
    }

    /// Which one.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match &self.parser {
            Parser::Http1(_) => Protocol::Http1,
            Parser::Http2(_) => Protocol::Http2,
            Parser::Postgres(_) => Protocol::Postgres,
            Parser::Amqp(_) => Protocol::Amqp,
        }
    }

    /// Exchanges that have not come out yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match &self.parser {
            Parser::Http1(connection) => connection.in_flight(),
            Parser::Http2(connection) => connection.in_flight(),
            Parser::Postgres(connection) => connection.in_flight(),
            Parser::Amqp(connection) => connection.in_flight(),
        }
    }

    /// Exchanges on streams of HTTP/2 that have not come out and began at a stamp of which `is_due` holds, as far as they
    /// have come `now`.
    pub fn so_far(&self, now: S, is_due: impl Fn(S) -> bool) -> Vec<Exchange<S>> {
        match &self.parser {
            Parser::Http2(connection) => {
                let open = connection.so_far(now, is_due);
                let open = open.map(|exchange| Exchange::Http2(Box::new(exchange)));
                open.filter(|open| open.is_answered() || !self.is_doubtful)
                    .collect()
            }
            Parser::Http1(_) | Parser::Postgres(_) | Parser::Amqp(_) => Vec::new(),
        }
    }

    /// What the request says that begins at a stamp of which `is_it` holds, and has not come out.
    pub fn request(&self, is_it: impl Fn(S) -> bool) -> Option<Request<'_>> {
        match &self.parser {
            Parser::Http1(connection) => connection.request(is_it).map(Request::Http1),
            Parser::Http2(connection) => connection.request(is_it).map(Request::Http2),
            Parser::Postgres(connection) => connection.request(is_it).map(Request::Postgres),
            Parser::Amqp(connection) => connection.request(is_it).map(Request::Amqp),
        }
    }

    /// Reads one piece of one direction. `stamp` goes to every message that begins or ends in it.
    pub fn read(&mut self, flow: Flow, stamp: S, piece: Piece<'_>, out: &mut Vec<Outcome<S>>) {
        let from = out.len();
        match &mut self.parser {
            Parser::Http1(connection) => tell(out, |told| connection.read(flow, stamp, piece, told)),
            Parser::Http2(connection) => tell(out, |told| connection.read(flow, stamp, piece, told)),
            Parser::Postgres(connection) => tell(out, |told| connection.read(flow, stamp, piece, told)),
            Parser::Amqp(connection) => tell(out, |told| connection.read(flow, stamp, piece, told)),
        }
        self.follow_upgrade(from, out);
        self.doubt(&mut out[from..]);
    }

    /// One direction has come to its end.
    pub fn end(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        // Of these protocols, only HTTP/1.x has messages that end so (RFC 9112, section 6.3).
        if let Parser::Http1(connection) = &mut self.parser {
            tell(out, |told| connection.end(flow, told));
        }
    }

    /// The connection is over: whatever is in flight comes out.
    pub fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        let from = out.len();
        match &mut self.parser {
            Parser::Http1(connection) => tell(out, |told| connection.close(stamp, how, told)),
            Parser::Http2(connection) => tell(out, |told| connection.close(stamp, how, told)),
            Parser::Postgres(connection) => tell(out, |told| connection.close(stamp, how, told)),
            Parser::Amqp(connection) => tell(out, |told| connection.close(stamp, how, told)),
        }
        self.doubt(&mut out[from..]);
    }

    /// What was never answered, where nothing was, is not told.
    fn doubt(&mut self, out: &mut [Outcome<S>]) {
        for outcome in out {
            match outcome {
                Outcome::Exchange(exchange) if exchange.is_answered() => self.is_doubtful = false,
                Outcome::Exchange(_) if self.is_doubtful => *outcome = Outcome::Lost(Loss::Exchange),
                Outcome::Exchange(_) | Outcome::Lost(_) => {}
            }
        }
    }

    /// Where HTTP/1.1 was left for HTTP/2 (RFC 7540, section 3.2), the request that asked for it is answered there.
    fn follow_upgrade(&mut self, from: usize, out: &mut Vec<Outcome<S>>) {
        let Parser::Http1(connection) = &mut self.parser else {
            return;
        };
        if !connection.is_done() || !matches!(out[from..].last(), Some(Outcome::Exchange(_))) {
            return;
        }
        let Some(Outcome::Exchange(Exchange::Http1(exchange))) = out.pop() else {
            return;
        };
        let mut told = Vec::new();
        match http2::Connection::upgraded(http2::Limits::default(), connection, exchange, &mut told) {
            Ok(upgraded) => {
                self.parser = Parser::Http2(Box::new(upgraded));
                out.extend(told.into_iter().map(Outcome::from));
            }
            Err(exchange) => out.push(Outcome::Exchange(Exchange::Http1(exchange))),
        }
    }
}
