//! PostgreSQL: any pieces of both directions, in any order.
#![no_main]

#[path = "../../../agent/tests/postgres_input/mod.rs"]
mod postgres_input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| postgres_input::read(data));
