//! Many requests over many connections, every byte of every answer checked.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::http;

/// `length` bytes that no two `seed`s share.
#[must_use]
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64 (Marsaglia, 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// One GET and the content it must be answered with.
#[derive(Clone, Debug)]
pub struct Call {
    /// Target.
    pub target: String,
    /// Content of the 200 that answers.
    pub body: std::sync::Arc<Vec<u8>>,
}

/// `count` calls of the service of [`crate::service::node`], whose answers are short and long in turn.
#[must_use]
pub fn of_lengths(count: usize) -> Vec<Call> {
    let sizes = [1, 4_999, 5_000, 70_000, 1 << 20];
    let call = |index: usize| Call {
        target: format!("/{index}?length={}", sizes[index % sizes.len()]),
        body: std::sync::Arc::new(vec![b'n'; sizes[index % sizes.len()]]),
    };
    (0..count).map(call).collect()
}

/// Makes all `calls` over `connections` keep-alive connections at the same time, each its share one after the other.
///
/// # Errors
/// One call fails, stalls, or is answered with anything else than its content.
pub fn run(address: SocketAddr, connections: usize, calls: &[Call]) -> Result<()> {
    ensure!(connections > 0, "no connection");
    let host = address.to_string();
    std::thread::scope(|scope| {
        let share = |first: usize| {
            let mut connection = http::connect(address)?;
            for call in calls.iter().skip(first).step_by(connections) {
                let response = connection
                    .call("GET", &call.target, &host, &[])
                    .with_context(|| call.target.clone())?;
                ensure!(response.status() == 200, "{}: {response:?}", call.target);
                ensure!(
                    response.body == *call.body,
                    "{}: other bytes ({} of {})",
                    call.target,
                    response.body.len(),
                    call.body.len()
                );
            }
            Ok(())
        };
        let threads: Vec<_> = (0..connections.min(calls.len()))
            .map(|first| scope.spawn(move || share(first)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}
