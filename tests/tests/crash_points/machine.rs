//! The machine that is backed up under adverse circumstances.

use stillpoint_model::{Extent, ItemName, JobState};
use stillpoint_testkit::{Disk, World};

pub const MIB: u64 = 1 << 20;

pub fn machine() -> ItemName {
    "web-01".parse().unwrap()
}

/// A world with an empty vault and one machine: three disks, four segments, six map pages.
///
/// The first disk is larger than a segment, and most of it is zeros that were written; the ends of the others lie within a
/// chunk.
pub async fn world(seed: u64) -> World {
    let world = World::new(seed).await.unwrap();
    let mut os = Disk::new(80 * MIB);
    os.write_zeros(Extent::new(0, 80 * MIB));
    for (number, at) in (0..).zip([0, 5 * MIB + 4096, 33 * MIB, 63 * MIB + 512, 70 * MIB]) {
        os.write_noise(Extent::new(at, 200_000), seed + number);
    }
    let mut data = Disk::new(40 * MIB + 512);
    data.write_noise(Extent::new(MIB, MIB), seed + 10);
    data.write_noise(Extent::new(40 * MIB - 70_000, 70_512), seed + 11);
    let mut log = Disk::new(MIB + 1024);
    log.write(4096, "the same line again and again\n".repeat(20_000).as_bytes());
    for (name, disk) in [("os", os), ("data", data), ("log", log)] {
        world.platform.put(&format!("{}/{name}", machine()), disk);
    }
    world.protect(&machine(), &["os", "data", "log"].map(|name| name.parse().unwrap())).await.unwrap();
    world
}

/// What the guest does in a day: some writes, some deletions, a disk that grows and one that shrinks.
pub fn a_day_passes(world: &World, seed: u64) {
    let change = |name: &str, change: &dyn Fn(&mut Disk)| world.platform.change(&format!("{}/{name}", machine()), change);
    change("os", &|os| {
        os.write_noise(Extent::new(5 * MIB, 100_000), seed);
        os.write_noise(Extent::new(72 * MIB, 150_000), seed + 1);
        os.trim(Extent::new(32 * MIB, 8 * MIB));
    });
    change("data", &|data| {
        data.trim(Extent::new(MIB + 300_000, 400_000));
        data.resize(39 * MIB + 512 * (seed % 2));
    });
    change("log", &|log| {
        log.resize(MIB + 1024 + 512 * (seed % 7));
        log.write_noise(Extent::new(MIB, 300), seed);
    });
}

/// The same with a point of the day before.
pub async fn world_with_a_point(seed: u64) -> World {
    let world = world(seed).await;
    assert_eq!(world.backup(&machine()).await.unwrap().state(), JobState::Completed);
    a_day_passes(&world, seed + 100);
    world.restart().await.unwrap()
}

/// Asserts that nothing is under way and every committed point is what its snapshot was.
pub async fn assert_sound(world: &World, when: &str) {
    assert_eq!(world.leftovers().await.unwrap(), [""; 0], "{when}");
    assert_eq!(world.wrong_points(&machine()).await.unwrap(), [""; 0], "{when}");
}
