//! AMQP 0-9-1: any pieces of both directions, in any order.
#![no_main]

#[path = "../../../agent/tests/amqp_input/mod.rs"]
mod amqp_input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| amqp_input::read(data));
