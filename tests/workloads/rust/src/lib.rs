//! What the workloads of this package share: their pace, the clock, and how they tell what they did.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The time to wait before each call: `PACE`, such as `20ms`; none where that is not set.
#[must_use]
pub fn pace() -> Duration {
    let milliseconds = std::env::var("PACE").ok();
    let milliseconds = milliseconds.and_then(|pace| pace.trim_end_matches("ms").parse().ok());
    Duration::from_millis(milliseconds.unwrap_or_default())
}

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as i64)
}

/// A line of JSON on standard output for each of `told`.
///
/// # Errors
/// One of them is no JSON.
pub fn tell(told: &[impl Serialize]) -> serde_json::Result<()> {
    for line in told {
        println!("{}", serde_json::to_string(line)?);
    }
    Ok(())
}
