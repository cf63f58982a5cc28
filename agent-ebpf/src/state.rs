//! Where in a message the next byte of a direction is: values of [`Half::state`](crate::connection::Half::state).

/// A message or a frame should begin here.
pub(crate) const START: u8 = 0;

/// HTTP/1: in the first line.
pub(crate) const FIRST_LINE: u8 = 1;
/// In a header line that says nothing about the body.
pub(crate) const SKIP_LINE: u8 = 2;
/// In a header line that is carried on.
pub(crate) const CARRIED: u8 = 3;
/// In the value of `traceparent`, of which a part has yet to come.
pub(crate) const CONTEXT: u8 = 4;
/// At the beginning of a header line. From here to [`TRAILER`], an end of line means something.
pub(crate) const LINE: u8 = 5;
/// In the value of Content-Length.
pub(crate) const LENGTH: u8 = 6;
/// In the value of Transfer-Encoding.
pub(crate) const CODING: u8 = 7;
/// In a chunk's size.
pub(crate) const CHUNK_SIZE: u8 = 8;
/// Behind a chunk's data.
pub(crate) const CHUNK_END: u8 = 9;
/// At the beginning of a trailer line.
pub(crate) const TRAILER: u8 = 10;
/// In a chunk's extensions.
pub(crate) const CHUNK_EXTENSION: u8 = 11;
/// In a trailer line.
pub(crate) const SKIP_TRAILER: u8 = 12;
/// In a body of known length. From here to [`SKIP`], bytes are stepped over without a look at them.
pub(crate) const BODY: u8 = 13;
/// In a chunk's data.
pub(crate) const CHUNK_DATA: u8 = 14;
/// In a body that ends with the dialogue.
pub(crate) const UNTIL_CLOSE: u8 = 15;
/// No HTTP any more.
pub(crate) const TUNNEL: u8 = 16;

/// Protocols of frames: in what is not handed on of a frame.
pub(crate) const SKIP: u8 = 17;
/// In what is handed on of a frame.
pub(crate) const COPY: u8 = 18;

/// Lost: the next operation that begins like a message, or with several frames in a row, is one.
pub(crate) const LOST: u8 = 19;
