use futures_util::future::join_all;
use jiff::SignedDuration;
use stillpoint_jobs::Operation;
use stillpoint_testkit::World;

use crate::fleet::{add, backups, counts, pass, policy, world};

/// Backups that have not ended, by group.
async fn under_way(world: &World) -> usize {
    backups(world).await.iter().filter(|(_, job)| !job.state().is_end()).count()
}

/// Lets ten timers tick at once, over and over, while jobs end now and then; returns the most that were ever under way.
async fn race(world: &World, minutes: usize) -> usize {
    let workers: Vec<World> = join_all((0..10).map(|_| async { world.restart().await.unwrap() })).await;
    let mut most = 0;
    for minute in 0..minutes {
        for ticked in join_all(workers.iter().map(World::tick)).await {
            ticked.unwrap();
        }
        most = most.max(under_way(world).await);
        if minute % 3 == 2 {
            world.take_on().await.unwrap();
        }
        pass(world, SignedDuration::from_mins(1));
    }
    most
}

#[tokio::test]
async fn a_policy_s_limit_holds_exactly_however_many_timers_tick() {
    let world = world(11, 20, "every = \"4h\"", "[limits]\nconcurrent = 3\n").await;
    pass(&world, SignedDuration::from_mins(2 * 60));
    assert_eq!(race(&world, 50).await, 3);
    let counts = counts(&world).await;
    assert!(counts.len() == 20 && counts.values().all(|count| *count == 1), "all had their turn: {counts:?}");
}

#[tokio::test]
async fn limits_of_the_vault_and_of_a_site_hold_across_policies() {
    for (vault_wide, of_site, expected) in [(Some(4), None, 4), (None, Some(2), 2), (Some(3), Some(5), 3)] {
        let world = world(12, 6, "every = \"4h\"", "").await;
        world.vault().write_policy(&policy("more", "every = \"4h\"", "")).await.unwrap();
        for number in 6..12 {
            add(&world, number, "more").await;
        }
        let change = |settings: &mut stillpoint_vault::Settings| {
            settings.concurrent = vault_wide;
            settings.sites.extend(of_site.map(|limit| ("here".to_owned(), limit)));
        };
        world.vault().change_settings(change).await.unwrap();
        pass(&world, SignedDuration::from_mins(2 * 60));
        assert_eq!(race(&world, 50).await, expected);
    }
}

#[tokio::test]
async fn a_backup_on_demand_takes_room_and_is_not_refused() {
    let world = world(13, 2, "every = \"1h\"", "[limits]\nconcurrent = 1\n").await;
    let what = Operation::Backup {
        item: crate::fleet::machine(0),
        wanted: stillpoint_model::Consistency::Crash,
        keep_until: None,
        slot: None,
        instant_restore_seconds: 0,
        snapshot_only: false,
    };
    let settings = world.vault().change_settings(|settings| settings.concurrent = Some(1)).await.unwrap();
    assert_eq!(settings.concurrent, Some(1));
    let request = stillpoint_jobs::Request { what, host: "testhost".to_owned(), carrier: stillpoint_jobs::Carrier::Process };
    let begun = stillpoint_runtime::begin_backup(&world.engine, request).await.unwrap();
    pass(&world, SignedDuration::from_mins(60));
    world.tick().await.unwrap();
    assert_eq!(backups(&world).await.len(), 1, "the vault is full");
    world.run(&[begun.job.id], begun.events, begun.lock.into_iter().collect()).await.unwrap();
    world.tick().await.unwrap();
    assert_eq!(backups(&world).await.len(), 2);
}
