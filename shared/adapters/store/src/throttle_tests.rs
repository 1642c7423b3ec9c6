use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::*;
use crate::{Access, Environment, Store};

/// A wall clock that showed `start` when tokio's stood at `begun`, and goes as tokio's does.
struct Virtual {
    start: Timestamp,
    begun: Instant,
}

impl Virtual {
    fn at(instant: &str) -> Arc<dyn Clock> {
        Arc::new(Self { start: instant.parse().unwrap(), begun: Instant::now() })
    }
}

#[async_trait]
impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        self.start + self.begun.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }
}

/// The store of a URL, opened at an instant.
fn store(query: &str, clock: &Arc<dyn Clock>) -> Store {
    let environment = Environment::default();
    Store::open_in(&format!("memory:///?{query}"), Access::Create, &environment, Arc::clone(clock)).unwrap()
}

fn throttle(query: &str) -> Arc<Throttle> {
    store(query, &Virtual::at("2026-07-01T12:00:00Z")).throttle
}

async fn seconds(work: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    work.await;
    begun.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits() {
    let throttle = throttle("");
    let work = async {
        for _ in 0..1000 {
            drop(throttle.begin(u64::MAX).await);
        }
    };
    assert_eq!(seconds(work).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_after_the_first_second_s_worth() {
    let throttle = throttle("requests_per_second=20");
    assert!(seconds(async { drop(join_all((0..20).map(|_| throttle.begin(0))).await) }).await < 0.01);
    let more = seconds(async { drop(join_all((0..100).map(|_| throttle.begin(0))).await) }).await;
    assert!((4.9..5.2).contains(&more), "100 requests at 20 in a second took {more} s");
}

#[tokio::test(start_paused = true)]
async fn a_body_larger_than_a_second_s_worth_goes_through_at_the_rate() {
    let fast = throttle("bytes_per_second=1MiB");
    let took = seconds(async { drop(fast.begin(64 << 20).await) }).await;
    assert!((62.9..63.2).contains(&took), "64 MiB at 1 MiB in a second, of which the first may pass at once: {took} s");
    let small = seconds(async { drop(fast.begin(1024).await) }).await;
    assert!(small < 0.2, "a small body waits for its own bytes only: {small} s");
    let slow = throttle("bytes_per_second=1");
    let took = seconds(slow.bytes(5)).await;
    assert!((3.9..4.2).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn so_many_streams_and_no_more() {
    let throttle = throttle("streams=3");
    let one_second = || async {
        let _stream = throttle.begin(0).await;
        sleep(Duration::from_secs(1)).await;
    };
    let took = seconds(async { drop(join_all((0..9).map(|_| one_second())).await) }).await;
    assert!((2.9..3.2).contains(&took), "9 seconds' work in 3 streams took {took} s");
}

/// Ten seconds before an hour, and whether in Berlin it is between midnight and three before that hour and after it.
const HOURS: [(&str, [bool; 2]); 8] = [
    ("2026-07-01T21:59:50Z", [false, true]),
    ("2026-07-02T00:59:50Z", [true, false]),
    ("2026-01-10T22:59:50Z", [false, true]),
    ("2026-01-11T01:59:50Z", [true, false]),
    // Clocks go from two to three: the night is an hour shorter.
    ("2026-03-29T00:59:50Z", [true, false]),
    // Clocks go from three back to two, once.
    ("2026-10-25T00:59:50Z", [true, true]),
    ("2026-10-25T01:59:50Z", [true, false]),
    ("2026-10-25T11:59:50Z", [false, false]),
];
const CALLERS: u64 = 8;

/// Callers who always want more, before and after each of the hours: what `one` call took is summed up and must be what the limits allow.
async fn at_the_hour(limit: &str, night: u64, otherwise: u64, one: impl AsyncFn(&Store) -> u64) {
    for (start, is_night) in HOURS {
        let clock = Virtual::at(start);
        let query = format!("{limit}={otherwise}&at=00:00-03:00,{limit}={night}&time_zone=Europe/Berlin");
        let store = store(&query, &clock);
        let (passed, most) = ([const { AtomicU64::new(0) }; 2], AtomicU64::new(0));
        let begun = Instant::now();
        let caller = async || loop {
            let amount = one(&store).await;
            most.fetch_max(amount, Relaxed);
            match passed.get((begun.elapsed().as_secs() / 10) as usize) {
                Some(passed) => passed.fetch_add(amount, Relaxed),
                None => return,
            };
        };
        join_all((0..CALLERS).map(|_| caller())).await;
        for (passed, is_night) in passed.into_iter().zip(is_night) {
            let (passed, allowed) = (passed.into_inner(), if is_night { night } else { otherwise });
            // A second's worth goes through at once, and calls that had begun end.
            let expected = 9 * allowed..=11 * allowed + CALLERS * most.load(Relaxed);
            assert!(expected.contains(&passed), "{start} {is_night}: {passed} in 10 s at {allowed} in each");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_in_a_second_change_at_the_hour() {
    let number = AtomicU64::new(0);
    at_the_hour("bytes_per_second", 20 << 10, 80 << 10, async |store| {
        let name = format!("objects/{}", number.fetch_add(1, Relaxed));
        store.create(&name, vec![vec![1; 300].into()]).await.unwrap();
        store.get(&name, 300).await.unwrap();
        store.get_range(&name, 0..100).await.unwrap();
        700
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_in_a_second_change_at_the_hour() {
    at_the_hour("requests_per_second", 50, 10, async |store| {
        store.list("objects").await.unwrap();
        1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn streams_change_at_the_hour() {
    at_the_hour("streams", 2, 5, async |store| {
        let _stream = store.throttle.begin(0).await;
        sleep(Duration::from_secs(1)).await;
        1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_the_hour_lifts_a_limit_goes_on() {
    let lifted = |limit: &str| store(&format!("at=08:00-18:00,{limit}"), &Virtual::at("2026-07-01T17:59:50Z")).throttle;
    let bytes = lifted("bytes_per_second=1KiB");
    let took = seconds(bytes.bytes(1 << 40)).await;
    assert!((10.0..11.1).contains(&took), "{took} s");
    let streams = lifted("streams=1");
    let _held = streams.begin(0).await;
    let took = seconds(async { drop(join_all((0..3).map(|_| streams.begin(0))).await) }).await;
    assert!((10.0..11.1).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn streams_that_began_before_the_hour_count_after_it() {
    let throttle = store("at=18:00-24:00,streams=2", &Virtual::at("2026-07-01T17:59:50Z")).throttle;
    let mut held = join_all((0..3).map(|_| throttle.begin(0))).await;
    sleep(Duration::from_secs(20)).await;
    for _ in 0..2 {
        assert!(timeout(Duration::from_secs(60), throttle.begin(0)).await.is_err(), "{} are under way", held.len());
        held.pop();
    }
    assert!(timeout(Duration::from_secs(1), throttle.begin(0)).await.is_ok());
}
