//! References never move in a point that is there. What thin packs hold is stored again by later backups, and the packs go when the
//! last point that needs them has gone.

use stillpoint_model::{Extent, PointId};
use stillpoint_testkit::{Disk, TestRandom, World};

use crate::vaults::*;

/// Days for which points are kept here.
const KEPT: usize = 3;

/// A vault after many days of churn: every day 12 of 96 places of a disk are written anew, and points older than three days are
/// deleted and freed. Returns the world and the newest point.
async fn churned(seed: u64, days: u64) -> (World, Vec<PointId>) {
    let world = world(seed).await;
    let mut os = Disk::new(96 * MIB);
    for place in 0..96 {
        os.write_noise(Extent::new(place * MIB, 256 << 10), seed + place);
    }
    world.platform.put("web-01/os", os);
    let random = TestRandom::new(seed);
    let mut ids = Vec::new();
    for day in 0..days {
        pass_days(&world, UNDELETE_DAYS + 1);
        world.platform.change("web-01/os", |os| {
            for write in 0..12 {
                os.write_noise(Extent::new(random.below(96) * MIB, 256 << 10), seed + 1000 * day + write);
            }
        });
        let job = world.backup(&machine()).await.unwrap();
        let outcome = job.newest.outcome.unwrap();
        assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
        assert!(
            outcome.changed_bytes <= 96 * MIB && (day == 0 || outcome.changed_bytes <= 12 << 18),
            "{}",
            outcome.changed_bytes
        );
        ids.push(outcome.point.unwrap());
        let old = ids.len().saturating_sub(KEPT);
        bury(&world, &machine(), &ids[old.saturating_sub(1)..old]).await;
        collect(&world).await;
    }
    for _ in 0..2 {
        pass_days(&world, UNDELETE_DAYS + 1);
        collect(&world).await;
        collect(&world).await;
    }
    (world, ids)
}

/// Bytes of packs, and bytes in them, that the newest point needs.
async fn use_of(world: &World, id: PointId) -> (u64, u64) {
    let vault = world.vault();
    let manifest = vault.manifest(&vault.point(&machine(), id).await.unwrap()).await.unwrap();
    let size = manifest.packs.iter().map(|used| used.size_bytes).sum();
    (size, manifest.packs.iter().map(|used| used.live_bytes).sum())
}

#[tokio::test]
async fn after_weeks_of_churn_the_packs_that_are_left_are_mostly_alive_and_every_point_restores() {
    for seed in [40_000, 41_000] {
        let (world, ids) = churned(seed, 40).await;
        let newest = *ids.last().unwrap();
        let (size, live) = use_of(&world, newest).await;
        assert!(live >= 20 << 20, "{live}");
        assert!(live * 4 >= size, "{live} of {size} bytes are alive");
        let mut all = 0;
        for name in packs(&world).await {
            all += world.content.bytes(&name).await.unwrap().len() as u64;
        }
        assert!(all <= size * 3, "{all} bytes in the vault, {size} of them for the newest point");
        assert_eq!(committed(&world, &machine()).await, ids[ids.len() - KEPT..]);
        assert_clean(&world, "churn").await;
        assert_sound(&world, &[machine()], "churn").await;
    }
}

#[tokio::test]
async fn a_page_that_moves_out_of_a_thin_pack_takes_only_what_was_in_it_along() {
    let world = world(42_000).await;
    let write = |at: u64, seed: u64| world.platform.change("web-01/os", |os| os.write_noise(Extent::new(at, 1 << 20), seed));
    let mut os = Disk::new(64 * MIB);
    os.write_noise(Extent::new(0, 16 * MIB), 1);
    os.write_noise(Extent::new(32 * MIB, 16 * MIB), 2);
    world.platform.put("web-01/os", os);
    let stored = |job: stillpoint_jobs::Job| job.newest.outcome.unwrap().stored_bytes;
    world.backup(&machine()).await.unwrap();
    // One pack with chunks of one map page, and the other map page without any: there was a deletion.
    world.platform.change("web-01/os", |os| os.trim(Extent::new(32 * MIB, 64 << 10)));
    write(0, 4);
    let before = stored(world.backup(&machine()).await.unwrap());
    assert!(before < 2 * MIB, "{before}");
    // All of the first is written anew: the pack is thin, and the other map page lies in it.
    write(0, 5);
    let third = stored(world.backup(&machine()).await.unwrap());
    let fourth = stored(world.backup(&machine()).await.unwrap());
    assert!(third < 2 * MIB && fourth < 256 << 10, "{third}, {fourth}: nothing but what the thin pack held is stored again");
    let ids = committed(&world, &machine()).await;
    let vault = world.vault();
    let manifest = vault.manifest(&vault.point(&machine(), ids[3]).await.unwrap()).await.unwrap();
    let second = vault.point(&machine(), ids[1]).await.unwrap().job;
    assert!(manifest.packs.iter().all(|used| !used.pack.name.contains(&second.to_string())), "the thin pack is left behind");
    assert_sound(&world, &[machine()], "moved").await;
}
