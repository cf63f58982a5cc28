//! HTTP/2: any pieces of both directions, in any order.
#![no_main]

#[path = "../../../agent/tests/http2_input/mod.rs"]
mod http2_input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http2_input::read(data));
