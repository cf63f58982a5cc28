//! Times between attempts at what does not answer: longer each time, and by chance, so that of thousands of agents not all come at
//! once when it is back.

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// Times between attempts, without an end.
#[derive(Debug)]
pub(crate) struct Delays {
    times: ExponentialBackoff,
    longest: Duration,
}

impl Delays {
    /// From `first` to `longest`, each up to twice as long by chance.
    pub(crate) fn between(first: Duration, longest: Duration) -> Self {
        let times = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        Self {
            times: times.build(),
            longest,
        }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Duration {
        self.times.next().unwrap_or(self.longest)
    }

    /// Lets it pass.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}
