//! Slower requests to a store that says "slow down".

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector},
};
use tokio::time::{Instant, sleep_until};

/// Requests in a second after the first refusal.
const FIRST: f64 = 50.0;
/// ... and at least, after however many.
const LEAST: f64 = 1.0;
/// So many are as good as no limit.
const FREE: f64 = 500.0;
/// What a refusal divides them by.
const CUT: f64 = 1.5;
/// Refusals within so much time are one: they were on their way together.
const ROUND: Duration = Duration::from_secs(1);
/// How many more there are with each second, and which part of what there is.
const GROWTH: (f64, f64) = (5.0, 0.1);

/// Clients that make fewer requests the longer the store refuses some of them (429, 503), and more again as time goes by without.
/// Each try of a request counts, so its retries are fewer, too.
#[derive(Debug, Default)]
pub(crate) struct PacedConnector(ReqwestConnector);

impl HttpConnector for PacedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Paced { client: self.0.connect(options)?, pace: Pace::new() }))
    }
}

#[derive(Debug)]
struct Paced {
    client: HttpClient,
    pace: Pace,
}

#[async_trait]
impl HttpService for Paced {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.pace.turn().await;
        let response = self.client.execute(request).await?;
        self.pace.answered(matches!(response.status().as_u16(), 429 | 503));
        Ok(response)
    }
}

/// Requests in a second: a third fewer after each second in which any was refused, and some more with each second in any case. Where a
/// share of requests fails whatever their rate, it settles at some twelve a second, and does not sink on.
#[derive(Debug)]
struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    /// None: as many as come.
    per_second: Option<f64>,
    /// When the next request may begin.
    next: Instant,
    cut: Instant,
    grown: Instant,
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State { per_second: None, next: now, cut: now, grown: now }))
    }

    /// Returns when a request may begin.
    async fn turn(&self) {
        let begin = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let Some(per_second) = state.grow(now) else { return };
            let begin = state.next.max(now);
            state.next = begin + Duration::from_secs_f64((0.5 + fraction()) / per_second);
            begin
        };
        sleep_until(begin).await;
    }

    fn answered(&self, refused: bool) {
        if !refused {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let per_second = match state.grow(now) {
            None => FIRST,
            Some(per_second) if now - state.cut >= ROUND => (per_second / CUT).max(LEAST),
            Some(_) => return,
        };
        (state.per_second, state.cut, state.grown) = (Some(per_second), now, now);
        tracing::debug!(per_second, "the store says to slow down");
    }
}

impl State {
    fn grow(&mut self, now: Instant) -> Option<f64> {
        let seconds = (now - self.grown).as_secs_f64();
        self.grown = now;
        let more = |per_second: f64| per_second + seconds * (GROWTH.0 + GROWTH.1 * per_second);
        self.per_second = self.per_second.map(more).filter(|per_second| *per_second < FREE);
        self.per_second
    }
}

/// From 0 to 1, so that many processes do not come back at one moment.
fn fraction() -> f64 {
    f64::from(RandomState::new().build_hasher().finish() as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests, one after the other, of a second, of which a store refuses those beyond `most`.
    async fn second(pace: &Pace, most: u32) -> u32 {
        let (begun, mut made) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(1) {
            pace.turn().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            made += 1;
            pace.answered(made > most);
        }
        made
    }

    #[tokio::test(start_paused = true)]
    async fn requests_become_fewer_until_the_store_takes_them_and_more_again_later() {
        let pace = Pace::new();
        assert!(second(&pace, u32::MAX).await > 900, "nobody waits before a refusal");
        let mut last = 0;
        for _ in 0..20 {
            last = second(&pace, 10).await;
        }
        assert!((2..25).contains(&last), "{last} in a second, of a store that takes ten");
        for _ in 0..40 {
            last = second(&pace, u32::MAX).await;
        }
        assert!(last > 900, "{last}: it recovers");
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_third_fails_whatever_the_rate_it_goes_on() {
        let pace = Pace::new();
        for _ in 0..20 {
            let begun = Instant::now();
            for number in 0..100 {
                pace.turn().await;
                pace.answered(number % 3 == 0);
            }
            let rate = 100.0 / begun.elapsed().as_secs_f64();
            assert!((8.0..60.0).contains(&rate), "{rate} in a second");
        }
    }
}
