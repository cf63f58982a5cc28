//! The fuzz target `amqp` over its seed corpus, with no fuzzer.

mod amqp_input;

use std::fs;
use std::path::Path;

#[test]
fn seeds_and_every_prefix_of_them() -> anyhow::Result<()> {
    let mut seeds = 0;
    for seed in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/amqp"))? {
        let seed = fs::read(seed?.path())?;
        for length in 0..=seed.len() {
            amqp_input::read(&seed[..length]);
        }
        seeds += 1;
    }
    assert!(seeds >= 10, "{seeds} seeds");
    Ok(())
}
