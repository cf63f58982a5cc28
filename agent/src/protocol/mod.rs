//! Protocol parsers: bytes in, values out. Nothing here knows a process, a clock, aya or tokio.

mod deferred;
pub mod detect;
pub mod http1;
pub mod http2;
pub mod postgres;
