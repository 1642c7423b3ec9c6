use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use stillpoint_ports::Clock;

use crate::turns::turns;

/// 2026-01-01T06:00:00Z.
const EPOCH_MS: i64 = 1_767_247_200_000;
/// Sleeping this long takes one turn of the thread, so that longer sleeps end later and none takes time.
const TURN: Duration = Duration::from_millis(50);
/// Turns of the longest sleep.
const TURNS_MAX: u128 = 400;

/// Virtual time: each look at it takes a millisecond, and sleeping moves it on.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that stands at the beginning.
    ///
    /// The beginning differs between processes by some milliseconds: locks of jobs are known to the whole machine by the jobs'
    /// ids, and the same seed may be at work in two test processes at once.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicI64::new(EPOCH_MS + i64::from(std::process::id())))
    }

    /// A clock that stands at this many milliseconds since 1970, the same in every process. For worlds without locks.
    #[must_use]
    pub const fn at(milliseconds: i64) -> Self {
        Self(AtomicI64::new(milliseconds))
    }

    /// A clock that stands where this one does and goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Relaxed)))
    }

    /// Moves time on, or back.
    pub fn jump(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Relaxed);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.fetch_add(1, Relaxed)).unwrap_or(Timestamp::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        let count = (duration.as_millis() / TURN.as_millis()).clamp(1, TURNS_MAX);
        turns(count as u32).await;
        self.jump(i64::try_from(duration.as_millis()).unwrap_or(0));
    }
}
