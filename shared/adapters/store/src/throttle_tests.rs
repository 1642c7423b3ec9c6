use std::sync::Arc;

use futures_util::future::join_all;
use url::Url;

use super::*;

fn number(value: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(value)
}

async fn seconds(work: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    work.await;
    begun.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits() {
    let throttle = Throttle::new(Limits::default());
    let work = async {
        for _ in 0..1000 {
            drop(throttle.begin(u64::MAX).await);
        }
    };
    assert_eq!(seconds(work).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_after_the_first_second_s_worth() {
    let throttle = Throttle::new(Limits { requests_per_second: number(20), ..Limits::default() });
    assert!(seconds(async { drop(join_all((0..20).map(|_| throttle.begin(0))).await) }).await < 0.01);
    let more = seconds(async { drop(join_all((0..100).map(|_| throttle.begin(0))).await) }).await;
    assert!((4.9..5.2).contains(&more), "100 requests at 20 in a second took {more} s");
}

#[tokio::test(start_paused = true)]
async fn a_body_larger_than_a_second_s_worth_goes_through_at_the_rate() {
    let throttle = Throttle::new(Limits { bytes_per_second: number(1 << 20), ..Limits::default() });
    let took = seconds(async { drop(throttle.begin(64 << 20).await) }).await;
    assert!((62.9..63.2).contains(&took), "64 MiB at 1 MiB in a second, of which the first may pass at once: {took} s");
    let small = seconds(async { drop(throttle.begin(1024).await) }).await;
    assert!(small < 0.2, "a small body waits for its own bytes only: {small} s");
    let slow = Throttle::new(Limits { bytes_per_second: number(1), ..Limits::default() });
    let took = seconds(slow.bytes(5)).await;
    assert!((3.9..4.2).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn so_many_streams_and_no_more() {
    let throttle = Arc::new(Throttle::new(Limits { streams: number(3), ..Limits::default() }));
    let one_second = || async {
        let _stream = throttle.begin(0).await;
        sleep(Duration::from_secs(1)).await;
    };
    let took = seconds(async { drop(join_all((0..9).map(|_| one_second())).await) }).await;
    assert!((2.9..3.2).contains(&took), "9 seconds' work in 3 streams took {took} s");
}

#[test]
fn limits_come_from_the_url_or_the_environment() {
    let take = |query: &str, variables: &[(&str, &str)]| {
        let environment = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut settings = Settings::of(&Url::parse(&format!("memory:///?{query}")).unwrap()).unwrap();
        let limits = Limits::take(&mut settings, &environment);
        settings.finish(&[]).unwrap();
        limits
    };
    assert_eq!(take("", &[]).unwrap(), Limits::default());
    let variables = [("STILLPOINT_STREAMS", "2"), ("STILLPOINT_BYTES_PER_SECOND", "500")];
    let found = take("streams=7&requests_per_second=30", &variables).unwrap();
    assert_eq!(
        found,
        Limits { requests_per_second: number(30), bytes_per_second: number(500), streams: number(7) },
        "the URL comes first"
    );
    for bad in ["streams=0", "streams=-1", "streams=", "bytes_per_second=1M", "requests_per_second=4294967296"] {
        let line = take(bad, &[]).unwrap_err().one_line();
        assert!(line.contains("is a whole number from 1 to 4294967295"), "{line}");
    }
}
