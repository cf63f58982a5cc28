//! HTTP/1.x: any pieces of both directions, in any order.
#![no_main]

#[path = "../../../agent/tests/http1_input/mod.rs"]
mod http1_input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http1_input::read(data));
