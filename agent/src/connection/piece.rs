//! What a stream hands to a protocol's reader.

/// Consecutive pieces of one direction of a connection, in order of stream position and without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes as they were on the wire.
    Bytes {
        /// The bytes; never empty.
        data: &'a [u8],
        /// Set where the capture already knows that a message begins with the first of these bytes (the kernel's
        /// walker does; a capture file does not): the ordinal, from 0, of the exchange it belongs to. In HTTP/2 it is a
        /// frame that begins, and the number is not looked at.
        starts: Option<u64>,
    },
    /// Bytes that the kernel's walker recognised as message body and did not copy.
    Elided {
        /// Length on the wire, with the transfer coding.
        wire: u64,
        /// Length of the content alone (RFC 9110, section 6.4).
        content: u64,
        /// The message ends with the last of these bytes.
        last: bool,
    },
    /// Bytes that were lost. Nothing is known of them but their number (0: not even that).
    Gap {
        /// Length on the wire.
        length: u64,
    },
}
