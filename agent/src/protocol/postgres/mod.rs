//! PostgreSQL's frontend/backend protocol, version 3 (PostgreSQL documentation, chapter "Frontend/Backend Protocol"):
//! the two directions of a connection in, executed statements out.
//!
//! ```text
//!   pieces --> Reader (frames: one direction) --> Pairing (what was asked, in order) --> Outcome
//! ```
//!
//! An exchange is one Query message, or one Execute message. Nothing in the protocol numbers them: the server answers
//! in order, so the pairing keeps what each message asks for, and takes the answers off it one by one. Which text a
//! statement's name stands for is settled in that order too, when the server confirms it.
//!
//! The bias: an answer is never paired with a statement that it may not answer, and a name never shows the text of
//! another statement. What is in doubt is [`Outcome::Lost`], with a reason, or has no text.

mod connection;
mod frame;
mod message;
mod pairing;
mod recognise;
mod startup;
mod statements;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;

pub use super::http1::Flow;
pub use connection::Connection;
pub use recognise::{Frames, Opening, is_opening, opening, recognise};

use crate::connection::Close;
use smol_str::SmolStr;
use std::sync::Arc;

/// What one connection may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes kept of a statement's text. A longer one is cut.
    pub text: usize,
    /// Prepared statements, and portals, whose text is known. Over it, those that were used longest ago are forgotten.
    pub statements: usize,
    /// Bytes of their texts together.
    pub statement_bytes: usize,
    /// Bytes of what has been asked and not been answered, each message charged 128 bytes on top. Over it, all of it is
    /// [`Reason::TooManyInFlight`].
    pub in_flight: usize,
    /// Bytes held back in one direction until the other catches up, each piece charged 64 bytes on top.
    pub deferred: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text: 16 << 10,
            statements: 1024,
            statement_bytes: 1 << 20,
            in_flight: 2 << 20,
            deferred: 256 << 10,
        }
    }
}

/// What came of an exchange. `S` is the caller's stamp: time, thread, ids; it is handed through unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<S> {
    /// A statement that was executed, and what became of it.
    Exchange(Exchange<S>),
    /// Something that cannot be told, to be counted. Never said twice of the same exchange.
    Lost(Reason),
}

/// Why something cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Bytes of it were lost, or so many around it that its answer cannot be told from another's.
    Incomplete,
    /// An answer whose statement was not seen.
    ResponseWithoutRequest,
    /// Not what this protocol says at this place; what was in flight there is lost.
    Unparsed(Malformed),
    /// More in flight than [`Limits::in_flight`], or held back than [`Limits::deferred`].
    TooManyInFlight,
    /// The server passed it over, because a message before it had failed: it was never executed.
    Skipped,
    /// The connection is encrypted from here on. Said once of it.
    Encrypted,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// A first message that is none of StartupMessage, SSLRequest, GSSENCRequest and CancelRequest.
    Startup,
    /// A type that the protocol does not know in this direction, or a length that this type cannot have.
    Frame,
    /// An answer that does not answer what was asked.
    Order,
}

/// A statement that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange<S> {
    /// Number of this exchange on its connection, from 0: the kernel's where it marks messages, else counted here.
    pub ordinal: u64,
    /// What the StartupMessage said; `None` where that was not seen.
    pub session: Option<Arc<Session>>,
    /// The request.
    pub request: Request<S>,
    /// The answer; `None` where none of it was seen.
    pub response: Option<Response<S>>,
    /// How it ended.
    pub ending: Ending,
    /// When it ended: the answer's last byte, or the connection's close where that came first.
    pub ended: S,
}

/// What the client said of itself when it connected. Nothing of the authentication is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `user`.
    pub user: Option<SmolStr>,
    /// `database`; it defaults to the user's name.
    pub database: Option<SmolStr>,
    /// `application_name`.
    pub application: Option<SmolStr>,
}

/// A statement's text, as it was sent. It is shared by all executions of a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The bytes, in the client's encoding.
    pub bytes: Box<[u8]>,
    /// The end is missing: it was over [`Limits::text`], or lost.
    pub is_cut: bool,
}

/// How a statement was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A Query message. Its text may hold several statements.
    Simple,
    /// An Execute message.
    Extended,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<S> {
    /// Query or Execute.
    pub protocol: Protocol,
    /// The text; `None` where it was prepared before the connection was seen, or its beginning was lost.
    pub text: Option<Arc<Text>>,
    /// Name of the prepared statement that was executed; `None` where it has none, or where that is not known.
    pub statement: Option<SmolStr>,
    /// Stamp of the first byte of Query or Execute.
    pub first: S,
    /// Stamp of its last byte.
    pub last: S,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<S> {
    /// Stamp of the first byte.
    pub first: S,
    /// Stamp of the last byte seen.
    pub last: S,
    /// Command of the last CommandComplete, such as `SELECT` or `CREATE TABLE`.
    pub command: Option<SmolStr>,
    /// Rows returned, `None` where the statement returns none by its nature (or that is not known).
    pub returned: Option<u64>,
    /// Rows inserted, updated, deleted, merged or copied in, as CommandComplete says; all of them together.
    pub affected: Option<u64>,
    /// An ErrorResponse came.
    pub failure: Option<Failure>,
    /// The portal was executed in part (PortalSuspended).
    pub suspended: bool,
    /// State that the session is in behind it, as far as ReadyForQuery followed.
    pub transaction: Option<Transaction>,
    /// The answer came to its end.
    pub complete: bool,
}

/// An ErrorResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// SQLSTATE, `None` where it was lost.
    pub code: Option<[u8; 5]>,
}

impl Failure {
    /// SQLSTATE as text.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        std::str::from_utf8(self.code.as_ref()?).ok()
    }
}

/// What ReadyForQuery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// Not in a transaction block (`I`).
    Idle,
    /// In a transaction block (`T`).
    Open,
    /// In one that failed (`E`).
    Failed,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its answer.
    Complete,
    /// The connection ended first.
    Close(Close),
}
