//! Waiting for what must come, with a limit so generous that only a stall reaches it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before a test gives it up as stalled.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long a service may take to start: RabbitMQ takes 10 s of both processors alone.
pub const START: Duration = Duration::from_secs(120);

/// How long a test waits for spans before it looks at those that came.
pub const SETTLE: Duration = Duration::from_secs(6);

/// Polls `ready` until it gives a value.
///
/// # Errors
/// `what` did not happen within [`LIMIT`], or `ready` failed.
pub fn until<T>(what: &str, ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    within(LIMIT, what, ready)
}

/// The same with another limit.
///
/// # Errors
/// `what` did not happen within `limit`, or `ready` failed.
pub fn within<T>(limit: Duration, what: &str, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
