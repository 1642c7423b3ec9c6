use jiff::SignedDuration;
use stillpoint_model::JobState;
use stillpoint_testkit::Fault;

use crate::fleet::{backups, counts, pass, world};

const CALLS_MAX: usize = 500;

#[tokio::test]
async fn a_timer_that_dies_at_any_call_leaves_each_slot_one_job_that_ends() {
    let base = world(41, 4, "every = \"1h\"", "[limits]\nconcurrent = 3\n").await;
    pass(&base, SignedDuration::from_mins(60));
    for fault in [Fault::KillBefore, Fault::KillAfter] {
        let mut calls = 0;
        for number in 1..CALLS_MAX {
            let first = base.fork().await.unwrap();
            first.store.fault(number, fault);
            let ended = first.store.until_death(first.tick()).await;
            let when = format!("{fault:?} at call {number}");
            let next = first.restart().await.unwrap();
            for _ in 0..4 {
                next.tick().await.unwrap();
                let jobs = backups(&next).await;
                assert!(jobs.iter().filter(|(_, job)| !job.state().is_end()).count() <= 3, "{when}: the limit");
                next.take_on().await.unwrap();
                pass(&next, SignedDuration::from_mins(1));
            }
            let counts = counts(&next).await;
            assert!(counts.len() == 4 && counts.values().all(|count| *count == 1), "{when}: {counts:?}");
            assert!(backups(&next).await.iter().all(|(_, job)| job.state() == JobState::Completed), "{when}");
            if ended.is_some() {
                calls = number - 1;
                break;
            }
        }
        assert!(calls > 15, "{calls} calls");
    }
}
