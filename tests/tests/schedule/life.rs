//! Weeks of a vault that looks after itself: everything by the timer, nobody else does anything.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stillpoint_model::{Extent, JobState};
use stillpoint_ports::Clock;
use stillpoint_testkit::World;

use crate::fleet::{machine, world};

const MACHINES: usize = 3;

/// One day, looked at every half hour; the guests write something before each look.
async fn a_day_passes(world: &World, seed: &mut u64) {
    for _ in 0..48 {
        let next = world.clock.now().as_millisecond().div_euclid(1_800_000) * 1_800_000 + 1_830_000;
        world.clock.jump(next - world.clock.now().as_millisecond());
        for number in 0..MACHINES {
            *seed += 1;
            let at = (*seed % 14) * 65_536;
            world.platform.change(&format!("{}/os", machine(number)), |os| os.write_noise(Extent::new(at, 9_000), *seed));
        }
        world.turn().await.unwrap();
    }
}

/// Objects by their first folder.
async fn objects(world: &World) -> BTreeMap<String, usize> {
    let mut folders = BTreeMap::new();
    for name in world.content.names().await.unwrap() {
        *folders.entry(name.split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    folders
}

#[tokio::test]
async fn points_come_and_go_by_rule_for_weeks_and_nothing_piles_up() {
    let world = world(81, MACHINES, "every = \"4h\"", "keep_last = 2\n").await;
    world.vault().change_settings(|settings| settings.verify_days = 3).await.unwrap();
    let mut seed = 0;
    let mut packs = Vec::new();
    for day in 0..50 {
        a_day_passes(&world, &mut seed).await;
        packs.push(objects(&world).await["packs"]);
        if day % 10 == 9 {
            for number in 0..MACHINES {
                assert_eq!(world.wrong_points(&machine(number)).await.unwrap(), [""; 0], "day {day}");
            }
        }
    }
    // Six a day. Of these seven days' first and the last two are kept, and all can be undeleted for fourteen days; freeing takes two runs.
    for number in 0..MACHINES {
        let points = world.vault().points(&machine(number)).await.unwrap();
        let live = points.iter().filter(|point| point.entry.deleted().is_none()).count();
        assert!((7..=7 + 2 + 6).contains(&live), "{live} live points");
        assert!(points.len() <= 6 * 18 + 9, "{} points", points.len());
        let newest: Timestamp = points.last().unwrap().point.as_ref().unwrap().instant;
        assert!(world.clock.now().duration_since(newest) < SignedDuration::from_hours(5));
    }
    let (middle, end) = (packs[25], packs[49]);
    assert!(end <= middle + middle / 5, "packs pile up: {packs:?}");
    assert_eq!(world.leftovers().await.unwrap(), [""; 0]);
    let open: Vec<String> = world.vault().alarms().await.unwrap().open().map(|(alarm, _)| alarm.to_string()).collect();
    assert_eq!(open, [""; 0]);
    for listing in world.engine.jobs().await.unwrap() {
        assert_eq!(listing.state, JobState::Completed, "{:?}", world.engine.job(listing.id).await.unwrap().newest);
    }
    println!("{:?}; packs by day: {packs:?}", objects(&world).await);
}
