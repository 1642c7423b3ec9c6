use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock as Stopwatch,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use jiff::tz::TimeZone;
use stillpoint_model::policy::DaySpan;
use stillpoint_ports::Clock;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, timeout},
};

use crate::limits::{DailyLimits, Limits};

/// Parts of a second's bytes that are waited for at once: small enough to let others in between.
const SLICES_PER_SECOND: u32 = 10;
/// How long one waits for a stream before the time of day is looked at again. Who waits for a rate does so for a second at most.
const LOOK: Duration = Duration::from_secs(1);

/// Tokio's own time, which a test can stop. Unlike the wall clock it never jumps, and a rate is none without that.
#[derive(Debug, Clone)]
struct Uptime(Instant);

impl Stopwatch for Uptime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Rate = RateLimiter<NotKeyed, InMemoryState, Uptime, NoOpMiddleware<Duration>>;

/// Limits, and how far they are used up.
#[derive(Default)]
struct Gate {
    requests: Option<Rate>,
    bytes: Option<(Rate, NonZeroU32)>,
    streams: Option<NonZeroU32>,
}

impl Gate {
    fn new(limits: Limits, uptime: &Uptime) -> Self {
        let rate = |per_second| RateLimiter::direct_with_clock(Quota::per_second(per_second), uptime.clone());
        let slice = |per_second: NonZeroU32| NonZeroU32::new(per_second.get() / SLICES_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        Self {
            requests: limits.requests_per_second.map(rate),
            bytes: limits.bytes_per_second.map(|per_second| (rate(per_second), slice(per_second))),
            streams: limits.streams,
        }
    }
}

/// The gates of parts of the day.
struct Daily {
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    gates: Vec<(DaySpan, Gate)>,
}

impl Daily {
    fn gate(&self) -> Option<&Gate> {
        let now = self.clock.now();
        self.gates.iter().find(|(span, _)| span.covers_instant(&self.zone, now)).map(|(_, gate)| gate)
    }
}

/// Makes callers wait where they would go beyond the limits. Those that wait when the time of day brings other limits wait for
/// these, after a second at most.
pub struct Throttle {
    uptime: Uptime,
    otherwise: Gate,
    daily: Option<Daily>,
    /// Who comes first waits here for a stream, and those behind for him.
    turn: Mutex<()>,
    /// Counted at all times of the day: a limit counts what began before it, too.
    under_way: watch::Sender<u32>,
}

/// A request that is under way while this lives.
pub struct Stream<'a>(&'a watch::Sender<u32>);

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| *under_way -= 1);
    }
}

impl Throttle {
    /// Nobody waits.
    pub(crate) fn unlimited() -> Self {
        Self::of(Limits::default())
    }

    /// The same limits at all times.
    #[must_use]
    pub fn of(limits: Limits) -> Self {
        let uptime = Uptime(Instant::now());
        let otherwise = Gate::new(limits, &uptime);
        Self { uptime, otherwise, daily: None, turn: Mutex::default(), under_way: watch::Sender::default() }
    }

    /// `clock` shows the time of day.
    pub(crate) fn new(limits: DailyLimits, clock: Arc<dyn Clock>) -> Self {
        let free = Self::unlimited();
        let gates: Vec<_> = limits.at.into_iter().map(|(span, limits)| (span, Gate::new(limits, &free.uptime))).collect();
        let daily = (!gates.is_empty()).then(|| Daily { clock, zone: limits.zone, gates });
        Self { otherwise: Gate::new(limits.otherwise, &free.uptime), daily, ..free }
    }

    /// The limits at this time of the day.
    fn gate(&self) -> &Gate {
        self.daily.as_ref().and_then(Daily::gate).unwrap_or(&self.otherwise)
    }

    /// Returns when one more request with `bytes` bytes of body may begin.
    pub async fn begin(&self, bytes: u64) -> Stream<'_> {
        let stream = self.stream().await;
        self.request().await;
        self.bytes(bytes).await;
        stream
    }

    async fn stream(&self) -> Stream<'_> {
        let _turn = self.turn.lock().await;
        let mut ends = self.under_way.subscribe();
        loop {
            let most = self.gate().streams.map_or(u32::MAX, NonZeroU32::get);
            let begins = self.under_way.send_if_modified(|under_way| {
                let is_free = *under_way < most;
                *under_way += u32::from(is_free);
                is_free
            });
            if begins {
                return Stream(&self.under_way);
            }
            // Whether one ended or time went by, the next look tells.
            drop(timeout(LOOK, ends.changed()).await);
        }
    }

    /// Returns when one more request may begin within a stream.
    pub(crate) async fn request(&self) {
        while let Some(rate) = &self.gate().requests {
            if self.passes(rate, NonZeroU32::MIN).await {
                return;
            }
        }
    }

    /// Returns when `bytes` more may be moved.
    pub(crate) async fn bytes(&self, bytes: u64) {
        let mut left = bytes;
        while let Some((rate, slice)) = &self.gate().bytes {
            let Some(some) = NonZeroU32::new(left.min(u64::from(slice.get())) as u32) else { return };
            if self.passes(rate, some).await {
                left -= u64::from(some.get());
            }
        }
    }

    /// Whether so many are within the rate; if not, waits until that is worth another try.
    async fn passes(&self, rate: &Rate, cells: NonZeroU32) -> bool {
        // A slice is never larger than a second's worth, which is the most that is ever let through at once.
        let Ok(Err(not_yet)) = rate.check_n(cells) else { return true };
        sleep(not_yet.wait_time_from(self.uptime.now())).await;
        false
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
