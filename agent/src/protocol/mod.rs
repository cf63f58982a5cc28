//! Protocol parsers: bytes in, values out. Nothing here knows a process, a clock, aya or tokio.

pub mod detect;
pub mod http1;
pub mod http2;
