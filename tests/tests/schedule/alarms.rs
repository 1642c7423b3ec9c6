use jiff::SignedDuration;
use stillpoint_fleet::{SettledSlot, Settlement};
use stillpoint_model::{AlarmKey, AlarmState, Subject};
use stillpoint_testkit::World;

use crate::fleet::{backups, counts, machine, pass, set, world};

async fn open(world: &World) -> Vec<String> {
    world.vault().alarms().await.unwrap().open().map(|(alarm, _)| alarm.to_string()).collect()
}

#[tokio::test]
async fn what_an_outage_swallowed_is_one_alarm_and_the_open_slot_is_caught_up() {
    let world = world(21, 2, "daily = \"07:00\"\nwindow = \"2h\"", "").await;
    world.minutes(2 * 60).await.unwrap();
    assert_eq!(open(&world).await, [""; 0]);
    assert_eq!(counts(&world).await.values().collect::<Vec<_>>(), [&1, &1]);
    // Nothing runs until the fourth day, an hour into its window: two days are missed, the fourth is caught up.
    set(&world, "2026-01-04T08:30:00Z");
    let events = world.tick().await.unwrap();
    assert_eq!(open(&world).await, ["slot-missed/m-0000", "slot-missed/m-0001"]);
    assert_eq!(events.iter().filter(|event| event.event_type.contains("alarm.changed")).count(), 2);
    let due = "2026-01-03T07:00:00Z".parse().unwrap();
    let slot = SettledSlot::read(world.vault(), due, &Subject::Item(machine(0))).await.unwrap();
    assert_eq!(slot.settlement, Settlement::Missed { slots: 2, since: "2026-01-02T07:00:00Z".parse().unwrap() });
    assert_eq!(counts(&world).await.values().collect::<Vec<_>>(), [&2, &2]);
    // Only a point settles it.
    world.take_on().await.unwrap();
    world.turn().await.unwrap();
    assert_eq!(open(&world).await, [""; 0]);
    let later = world.tick().await.unwrap();
    assert!(later.iter().all(|event| event.data["state"] != "raised"), "{later:?}");
}

#[tokio::test]
async fn a_slot_of_another_site_whose_timer_stopped_is_missed_by_the_others() {
    let world = world(22, 1, "every = \"1h\"\nwindow = \"30m\"", "").await;
    crate::fleet::add_at(&world, 1, "all", "elsewhere").await;
    world.tick().await.unwrap();
    pass(&world, SignedDuration::from_mins(61));
    world.turn().await.unwrap();
    assert_eq!(open(&world).await, [""; 0], "its window is open");
    pass(&world, SignedDuration::from_mins(30));
    world.turn().await.unwrap();
    assert_eq!(open(&world).await, ["slot-missed/m-0001"]);
}

#[tokio::test]
async fn a_failed_backup_raises_an_alarm_with_its_reason_and_the_next_success_resolves_it() {
    let world = world(23, 1, "every = \"1h\"", "[consistency]\nwanted = \"application\"\nfallback = false\n").await;
    pass(&world, SignedDuration::from_mins(60));
    world.turn().await.unwrap();
    pass(&world, SignedDuration::from_mins(1));
    world.turn().await.unwrap();
    assert_eq!(open(&world).await, ["job-failed/m-0000"]);
    let key: AlarmKey = "job-failed/m-0000".parse().unwrap();
    let alarm = world.vault().alarm(&key, 1, AlarmState::Raised).await.unwrap();
    let (_, job) = backups(&world).await.remove(0);
    assert_eq!(alarm.job, Some(job.id));
    assert!(alarm.text.contains("crash consistent only") && alarm.text.contains("application or none"), "{}", alarm.text);
    assert_eq!(world.leftovers().await.unwrap(), [""; 0], "the snapshot was given back");
    world.backup(&machine(0)).await.unwrap();
    world.turn().await.unwrap();
    assert_eq!(open(&world).await, [""; 0]);
    // The old failure does not raise it again.
    pass(&world, SignedDuration::from_mins(5));
    world.tick().await.unwrap();
    assert_eq!(open(&world).await, [""; 0]);
}

#[tokio::test]
async fn an_alarm_that_nobody_was_told_of_comes_again() {
    let world = world(24, 1, "every = \"1h\"\nwindow = \"10m\"", "").await;
    world.tick().await.unwrap();
    pass(&world, SignedDuration::from_mins(80));
    let count = |events: &[stillpoint_events::Outgoing]| {
        events.iter().filter(|event| event.event_type == "io.stillpoint.alarm.changed.v1").count()
    };
    assert_eq!(count(&world.tick().await.unwrap()), 1);
    let again = world.tick().await.unwrap();
    assert_eq!(count(&again), 1, "the first message was lost");
    let alarms = world.vault().alarms().await.unwrap();
    world.vault().told(&alarms, &"slot-missed/m-0000".parse().unwrap()).await.unwrap();
    assert_eq!(count(&world.tick().await.unwrap()), 0);
}
