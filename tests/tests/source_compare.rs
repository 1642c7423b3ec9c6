//! Platforms that tell what changed are believed for a month: what they forget is found when the disk is read as a whole.

use stillpoint_jobs::Outcome;
use stillpoint_model::{DiskName, Extent, ItemName, geometry::CHUNK_BYTES};
use stillpoint_testkit::{Disk, World};

const DAY_MS: i64 = 24 * 3600 * 1000;
const AT: &str = "web-01/os";

fn chunk(number: u64) -> Extent {
    Extent::new(number * CHUNK_BYTES, CHUNK_BYTES)
}

async fn back_up(world: &World, item: &ItemName) -> Outcome {
    let job = world.backup(item).await.expect("a backup ends");
    job.newest.outcome.expect("a backup has an outcome")
}

#[tokio::test]
async fn forgotten_changes_are_found_within_a_month_and_named() {
    let world = World::new(1).await.expect("a world");
    let (item, disk): (ItemName, DiskName) = ("web-01".parse().expect("a name"), "os".parse().expect("a name"));
    world.platform.track();
    world.platform.put(AT, Disk::filled(1000 * CHUNK_BYTES, 3));
    world.protect(&item, std::slice::from_ref(&disk)).await.expect("a machine can be protected");
    back_up(&world, &item).await;
    world.platform.forget(1);
    world.platform.change(AT, |disk| disk.write_noise(chunk(700), 1));
    world.platform.forget(0);
    world.platform.change(AT, |disk| disk.write_noise(chunk(5), 2));
    let short = back_up(&world, &item).await;
    assert_eq!((short.read_bytes, short.warnings.len()), (CHUNK_BYTES, 0), "nobody can know yet");
    let is_right = async |outcome: &Outcome| {
        let point = outcome.point.expect("a point");
        world.read_back(&item, point).await.expect("a point can be read")[&disk]
            .difference(&world.platform.disk(AT).expect("a disk"))
            .is_none()
    };
    assert!(!is_right(&short).await);

    world.clock.jump(31 * DAY_MS);
    world.platform.change(AT, |disk| disk.write_noise(chunk(6), 3));
    let whole = back_up(&world, &item).await;
    assert_eq!((whole.read_bytes, whole.changed_bytes), (1000 * CHUNK_BYTES, 2 * CHUNK_BYTES));
    assert!(whole.warnings.iter().any(|line| line.contains("forgot 1 changed chunks of disk os")), "{:?}", whole.warnings);
    assert!(is_right(&whole).await);

    world.platform.change(AT, |disk| disk.write_noise(chunk(9), 4));
    let next = back_up(&world, &item).await;
    assert_eq!((next.read_bytes, next.warnings.len()), (CHUNK_BYTES, 0), "changes are counted again from there");
    assert!(is_right(&next).await);
}
