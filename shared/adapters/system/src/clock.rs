use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use stillpoint_ports::Clock;

/// The machine's wall clock, and tokio's timer for sleeping.
///
/// A sleep follows the monotonic clock: setting the wall clock neither shortens nor lengthens it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_lasts_at_least_as_long_as_asked() {
        let begun = std::time::Instant::now();
        let before = SystemClock.now();
        SystemClock.sleep(Duration::from_millis(15)).await;
        assert!(begun.elapsed() >= Duration::from_millis(15));
        assert_ne!(SystemClock.now(), before, "the wall clock runs");
    }
}
