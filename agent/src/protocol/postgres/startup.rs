//! The client's first packets, which have no type ("Start-up", "SSL Session Encryption", "Cancel Request").

use super::Session;
use super::message::string;

/// Protocol version 3 of a StartupMessage, whatever its minor number.
const VERSION_3: [u8; 2] = [0, 3];
/// Codes in the place of a version.
pub(super) const CANCEL: [u8; 4] = 80_877_102_u32.to_be_bytes();
pub(super) const SSL: [u8; 4] = 80_877_103_u32.to_be_bytes();
pub(super) const GSS: [u8; 4] = 80_877_104_u32.to_be_bytes();

/// Shortest and longest packet (`MAX_STARTUP_PACKET_LENGTH` of PostgreSQL).
pub(super) const LENGTHS: std::ops::RangeInclusive<usize> = 8..=10_000;

/// What the client begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Startup(Session),
    /// SSLRequest or GSSENCRequest.
    Encryption,
    /// CancelRequest: it is not answered.
    Cancel,
}

/// Reads a packet that is whole. `None` where it is none.
pub(super) fn packet(packet: &[u8]) -> Option<Packet> {
    let (code, rest) = packet.get(4..)?.split_first_chunk::<4>()?;
    match *code {
        SSL | GSS => Some(Packet::Encryption),
        CANCEL => Some(Packet::Cancel),
        [a, b, ..] if [a, b] == VERSION_3 => Some(Packet::Startup(session(rest))),
        _ => None,
    }
}

/// Names and values in turn, up to an empty name.
fn session(mut rest: &[u8]) -> Session {
    let mut session = Session {
        user: None,
        database: None,
        application: None,
    };
    while let Some((name, behind)) = string(rest)
        && !name.is_empty()
        && let Some((value, behind)) = string(behind)
    {
        let value = || (!value.is_empty()).then(|| String::from_utf8_lossy(value).into());
        match name {
            b"user" => session.user = value(),
            b"database" => session.database = value(),
            b"application_name" => session.application = value(),
            _ => {}
        }
        rest = behind;
    }
    if session.database.is_none() {
        session.database.clone_from(&session.user);
    }
    session
}
