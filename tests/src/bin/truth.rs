//! One runtime for `cargo xtask bench causality`: `truth RUNTIME CONCURRENCY:COUNT...` starts its chain of services, loads it at
//! each level, and prints one JSON object of what the trees came to. `truth` alone prints the names of the runtimes.

use anyhow::{Context as _, Result};
use spanwire_tests::agent::Options;
use spanwire_tests::chain::{Chain, Level, Runtime};

fn level(text: &str) -> Result<Level> {
    let (concurrency, count) = text.split_once(':').with_context(|| text.to_owned())?;
    Ok(Level {
        concurrency: concurrency.parse()?,
        count: count.parse()?,
    })
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        for runtime in Runtime::ALL {
            println!("{}", runtime.name());
        }
        return Ok(());
    };
    let runtime = Runtime::ALL.into_iter().find(|runtime| runtime.name() == name);
    let runtime = runtime.with_context(|| format!("no runtime {name}"))?;
    let chain = Chain::start(runtime)?;
    let levels = words.map(|word| level(&word)).collect::<Result<Vec<_>>>()?;
    let mut options = Options::bare(["run", "--output", "none"]);
    // On one host, a message alone needs something on the wire to say who published it.
    if runtime == Runtime::Messages {
        options = options.flag("--propagate").flag("amqp");
    }
    let grown = chain.grow(options, &levels)?;
    let report = grown.report()?;
    let found = serde_json::json!({
        "levels": report.levels(),
        "strangers": report.strangers().len(),
        "stranger": report.strangers().first(),
        "losses": grown.seen.summary.losses(),
        "example": report.example(),
    });
    println!("{found}");
    Ok(())
}
