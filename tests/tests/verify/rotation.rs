//! Every byte is read within the period, each once, one pack at a time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stillpoint_jobs::Rotation;
use stillpoint_model::{Extent, JobState};
use stillpoint_testkit::{Disk, World};

use crate::scene::*;

#[tokio::test]
async fn all_parts_together_read_every_pack_once() {
    let (world, points) = world(21_000).await;
    let needed = packs(&world, &points).await;
    for days in [1_u32, 3, 7] {
        let mut read = BTreeMap::<String, u32>::new();
        let start: Timestamp = "2026-03-23T05:00:00Z".parse().unwrap();
        for day in 0..days {
            world.store.reset();
            let rotation = Rotation::on_day(start + SignedDuration::from_hours(24 * i64::from(day)), days);
            let job = verify(&world, None, Some(rotation)).await;
            assert_eq!(job.state(), JobState::Completed);
            assert_eq!(count(&job, "packs_read"), packs_read(&world).len() as u64);
            packs_read(&world).into_iter().for_each(|pack| *read.entry(pack).or_default() += 1);
        }
        let once: BTreeMap<String, u32> = needed.keys().map(|pack| (pack.clone(), 1)).collect();
        assert_eq!(read, once, "{days} days");
    }
}

#[tokio::test]
async fn a_corrupt_pack_is_found_by_its_part_and_by_no_other() {
    let (base, points) = world(22_000).await;
    let of = 5;
    for pack in packs(&base, &points).await.into_keys() {
        let world = base.fork().await.unwrap();
        Damage::Flipped(70).befalls(&world, &pack).await;
        let mut found = 0;
        for part in 0..of {
            let rotation = Rotation { part, of };
            let fork = world.fork().await.unwrap();
            let findings = count(&verify(&fork, None, Some(rotation)).await, "findings");
            assert_eq!(findings, u64::from(rotation.holds(&pack)), "{pack} in part {part}");
            found += findings;
        }
        assert_eq!(found, 1);
    }
}

/// A large share is read in segments, and each pack is one object of at most 64 MiB, read with one request.
#[tokio::test]
async fn a_large_share_is_read_in_several_segments() {
    let world = World::new(23_000).await.unwrap();
    let mut os = Disk::new(256 * MIB);
    os.write_noise(Extent::new(0, 256 * MIB), 23_000);
    world.platform.put(&format!("{}/os", web()), os);
    world.protect(&web(), &["os".parse().unwrap()]).await.unwrap();
    let point = (web(), backup(&world, &web()).await);
    let needed = packs(&world, std::slice::from_ref(&point)).await;
    world.store.reset();
    let job = verify_all(&world).await;
    assert_eq!(job.state(), JobState::Completed);
    assert!(job.newest.segments.unwrap() > 3, "{:?}", job.newest.segments);
    let mut read = packs_read(&world);
    read.sort_unstable();
    assert_eq!(read, needed.into_keys().collect::<Vec<_>>());
    assert!(count(&job, "read_bytes") > 256 * MIB);
}
