use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use stillpoint_ports::Clock;

/// When seeds begin: on 2026-01-01, ten days before clocks go forward in Europe, ten before they go back, and ten before a leap day; at 06:00
/// UTC.
pub(crate) const SEASONS: [i64; 4] = [1_767_247_200_000, 1_773_900_000_000, 1_792_044_000_000, 1_834_466_400_000];
pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// True time, in milliseconds since 1970. Each look at it takes one; apart from that it moves only when nothing else can go on.
#[derive(Debug)]
pub(crate) struct Time {
    /// When it began.
    pub(crate) epoch: i64,
    now: AtomicI64,
    sleepers: Mutex<BTreeMap<(i64, u64), Waker>>,
    serial: AtomicU64,
}

impl Time {
    pub(crate) const fn new(epoch: i64) -> Self {
        Self { epoch, now: AtomicI64::new(epoch), sleepers: Mutex::new(BTreeMap::new()), serial: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> i64 {
        self.now.load(Relaxed)
    }

    fn sleepers(&self) -> MutexGuard<'_, BTreeMap<(i64, u64), Waker>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the first sleeper wants to be woken.
    pub(crate) fn next_wake(&self) -> Option<i64> {
        self.sleepers().keys().next().map(|(at, _)| *at)
    }

    /// Moves on to `at`, never back, and wakes who slept until then.
    pub(crate) fn advance(&self, at: i64) {
        let now = self.now.fetch_max(at, Relaxed).max(at);
        let mut sleepers = self.sleepers();
        let later = sleepers.split_off(&(now + 1, 0));
        for waker in std::mem::replace(&mut *sleepers, later).into_values() {
            waker.wake();
        }
    }
}

/// The clock of one process: true time, and how wrong it is.
#[derive(Debug)]
pub(crate) struct ProcessClock {
    pub(crate) time: std::sync::Arc<Time>,
    pub(crate) skew: AtomicI64,
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let now = self.time.now.fetch_add(1, Relaxed) + self.skew.load(Relaxed);
        Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.time.now() + i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).max(1);
        let key = (until, self.time.serial.fetch_add(1, Relaxed));
        poll_fn(|context| {
            if self.time.now() >= until {
                return Poll::Ready(());
            }
            self.time.sleepers().insert(key, context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
