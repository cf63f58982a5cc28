//! systemd's watchdog (`WatchdogSec=`, sd_watchdog_enabled(3)): it is told that spanwire lives for as long as the ring buffer is
//! read, and by the thread that waits for signals. When either hangs, systemd ends spanwire, and starts it again.

use crate::kernel::clock::Clock;
use crate::metrics::vitals::Vitals;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Tells as long as it is not dropped.
#[derive(Debug, Default)]
pub struct Watchdog(Option<JoinHandle<()>>);

impl Watchdog {
    /// Begins to tell, in the runtime that this is called in, where the service manager has asked for it.
    #[must_use]
    pub fn start(vitals: Arc<Vitals>) -> Self {
        let Some(limit) = sd_notify::watchdog_enabled() else {
            return Self::default();
        };
        let tell = || {
            if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
                tracing::debug!("cannot tell systemd's watchdog that spanwire lives: {error}");
            }
        };
        let lives = move || vitals.live(Clock::now().monotonic()).is_ok();
        Self(Some(tokio::spawn(told(limit, lives, tell))))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// Tells three times in each `limit`, while it lives.
async fn told(limit: Duration, lives: impl Fn() -> bool, tell: impl Fn()) {
    // Zero would be no interval.
    let mut turns = tokio::time::interval((limit / 3).max(Duration::from_millis(1)));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if lives() {
            tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_three_times_in_a_limit_and_never_of_one_that_is_stuck() {
        let (told_so_far, lives) = (Cell::new(0), Cell::new(true));
        let telling = told(
            Duration::from_secs(30),
            || lives.get(),
            || told_so_far.set(told_so_far.get() + 1),
        );
        tokio::pin!(telling);
        let _ = tokio::time::timeout(Duration::from_secs(29), &mut telling).await;
        assert_eq!(told_so_far.get(), 3, "at once, and each 10 s");
        lives.set(false);
        let _ = tokio::time::timeout(Duration::from_secs(60), &mut telling).await;
        assert_eq!(told_so_far.get(), 3);
        lives.set(true);
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut telling).await;
        assert_eq!(told_so_far.get(), 4);
    }
}
