use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use stillpoint_model::Result;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use crate::settings::{Environment, Settings, refused};

/// Parts of a second's bytes that are waited for at once: small enough to let others in between.
const SLICES_PER_SECOND: u32 = 10;

/// What a store may be asked for; each is without limit by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests begun in one second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Bytes of bodies, read and written, in one second.
    pub bytes_per_second: Option<NonZeroU32>,
    /// Requests under way at once.
    pub streams: Option<NonZeroU32>,
}

impl Limits {
    pub(crate) const NAMES: [&str; 3] = ["requests_per_second", "bytes_per_second", "streams"];

    /// From the URL's parameters; one that is absent from its environment variable (`STILLPOINT_STREAMS` and so on).
    pub(crate) fn take(settings: &mut Settings, environment: &Environment) -> Result<Self> {
        let mut limit = |name: &str| {
            let variable = format!("STILLPOINT_{}", name.to_ascii_uppercase());
            let given = settings.text(name).or_else(|| environment.get(&variable).map(str::to_owned));
            let why = || refused(name, format!("(or {variable}) is a whole number from 1 to {}", u32::MAX));
            given.map(|text| text.parse().map_err(|_| why())).transpose()
        };
        let [requests_per_second, bytes_per_second, streams] = Self::NAMES.map(&mut limit);
        Ok(Self { requests_per_second: requests_per_second?, bytes_per_second: bytes_per_second?, streams: streams? })
    }
}

/// Tokio's own time, which a test can stop.
#[derive(Debug, Clone)]
struct Uptime(Instant);

impl Clock for Uptime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Rate = RateLimiter<NotKeyed, InMemoryState, Uptime, NoOpMiddleware<Duration>>;

/// Makes callers wait where they would go beyond the limits.
#[derive(Debug)]
pub(crate) struct Throttle {
    clock: Uptime,
    requests: Option<Rate>,
    bytes: Option<(Rate, NonZeroU32)>,
    streams: Option<Semaphore>,
}

impl Throttle {
    pub(crate) fn new(limits: Limits) -> Self {
        let clock = Uptime(Instant::now());
        let rate = |per_second| RateLimiter::direct_with_clock(Quota::per_second(per_second), clock.clone());
        let slice = |per_second: NonZeroU32| NonZeroU32::new(per_second.get() / SLICES_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        Self {
            requests: limits.requests_per_second.map(rate),
            bytes: limits.bytes_per_second.map(|per_second| (rate(per_second), slice(per_second))),
            streams: limits.streams.map(|streams| Semaphore::new(streams.get() as usize)),
            clock,
        }
    }

    /// Returns when one more request with `bytes` bytes of body may begin. It is under way while the value lives.
    pub(crate) async fn begin(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let stream = match &self.streams {
            // Nobody closes it.
            Some(streams) => streams.acquire().await.ok(),
            None => None,
        };
        self.request().await;
        self.bytes(bytes).await;
        stream
    }

    /// Returns when one more request may begin within a stream.
    pub(crate) async fn request(&self) {
        if let Some(rate) = &self.requests {
            self.wait(rate, NonZeroU32::MIN).await;
        }
    }

    /// Returns when `bytes` more may be moved.
    pub(crate) async fn bytes(&self, bytes: u64) {
        let Some((rate, slice)) = &self.bytes else { return };
        let mut left = bytes;
        while let Some(some) = NonZeroU32::new(left.min(u64::from(slice.get())) as u32) {
            self.wait(rate, some).await;
            left -= u64::from(some.get());
        }
    }

    async fn wait(&self, rate: &Rate, cells: NonZeroU32) {
        // A slice is never larger than a second's worth, which is the most that is ever let through at once.
        while let Ok(Err(not_yet)) = rate.check_n(cells) {
            sleep(not_yet.wait_time_from(self.clock.now())).await;
        }
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
