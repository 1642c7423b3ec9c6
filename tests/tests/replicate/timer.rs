//! What the timer of a replica does, and what it says.

use stillpoint_model::{AlarmState, JobState};
use stillpoint_testkit::World;

use crate::{machine::assert_sound, pairs::*};

async fn alarms(world: &World) -> Vec<String> {
    let alarms = world.vault().alarms().await.unwrap();
    alarms.open().map(|(alarm, _)| alarm.to_string()).collect()
}

#[tokio::test]
async fn the_timer_copies_what_is_new() {
    let (primary, replica) = pair(54_000, 2).await;
    replica.turn().await.unwrap();
    assert_eq!(points(&replica).await, points(&primary).await);
    next_day(&primary, 54_090).await;
    replica.minutes(3).await.unwrap();
    assert_eq!(points(&replica).await, points(&primary).await);
    assert_sound(&replica, "by the timer").await;
    let jobs = replica.engine.jobs().await.unwrap();
    assert!(jobs.iter().all(|job| job.state == JobState::Completed));
    assert_eq!(alarms(&replica).await, [""; 0]);
}

#[tokio::test]
async fn a_point_that_is_late_raises_an_alarm_in_both_and_its_copy_resolves_it() {
    let (primary, replica) = pair(54_100, 1).await;
    primary.clock.jump(2 * 3_600_000);
    primary.turn().await.unwrap();
    assert_eq!(alarms(&primary).await, ["replica-lags/web-01"]);
    // The replica raises it as well, and its copy comes with the same tick.
    replica.tick().await.unwrap();
    assert_eq!(alarms(&replica).await, ["replica-lags/web-01"]);
    replicate_all(&replica).await;
    for world in [&primary, &replica] {
        world.turn().await.unwrap();
        assert_eq!(alarms(world).await, [""; 0]);
        let last = world.vault().alarm_records().await.unwrap().pop().unwrap();
        assert!(matches!(last.2, AlarmState::Resolved | AlarmState::Told), "{last:?}");
    }
}
