//! Increments against a plain model: whatever happens to a machine's disks between backups, every point is what the disks were,
//! its manifest counts exactly what its pages hold, and what did not change is shared with the point before.

#[cfg(test)]
#[path = "live_counts/model.rs"]
mod model;

use model::{MIB, assert_counts, installed, live, run, steps};
use proptest::prelude::*;
use stillpoint_model::{Extent, geometry::PAGE_BYTES};
use stillpoint_vault::Name;

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn increments_agree_with_a_plain_model(steps in steps(), seed in any::<u64>()) {
        run(live(steps, seed))?;
    }
}

#[tokio::test]
async fn an_unchanged_machine_stores_no_pack() {
    let mut machine = installed(500).await;
    let outcome = machine.back_up().await;
    assert_eq!((outcome.changed_bytes, outcome.stored_bytes), (0, 0));
    assert_counts(&machine.world, &machine.points[1].2).await.unwrap();
}

#[tokio::test]
async fn a_cloned_machine_refers_to_the_other_ones_packs() {
    let mut machine = installed(600).await;
    let original = machine.item.clone();
    machine.item = model::machine("web-02");
    // The clone has had a short life of its own.
    machine.disks.values_mut().next().unwrap().write_noise(Extent::new(40 * MIB, 100_000), 8);
    let outcome = machine.back_up().await;
    assert!(outcome.stored_bytes < MIB, "the clone stored {} bytes of 28 MiB", outcome.stored_bytes);
    let (_, _, manifest) = machine.points.last().unwrap();
    let owner = |name: &str| match name.parse() {
        Ok(Name::Pack { item, .. }) => item,
        _ => panic!("{name} is no pack"),
    };
    let borrowed = manifest.packs.iter().filter(|used| owner(&used.pack.name) == original);
    assert!(borrowed.map(|used| used.live_bytes).sum::<u64>() > 26 * MIB, "{:?}", manifest.packs);
    assert_counts(&machine.world, manifest).await.unwrap();
    let back = machine.world.read_back(&machine.item, machine.points[1].0).await.unwrap();
    assert!(back == machine.points[1].1);

    // The clone's own parent is the borrowed one from now on: it borrows again and counts right.
    machine.disks.values_mut().next().unwrap().trim(Extent::new(2 * MIB, 10 * MIB));
    let outcome = machine.back_up().await;
    assert!(outcome.stored_bytes < MIB, "{}", outcome.stored_bytes);
    assert_counts(&machine.world, &machine.points[2].2).await.unwrap();
    assert_eq!(machine.world.leftovers().await.unwrap(), [""; 0]);
}

/// The same system, installed anew: the same chunks at other places of the disk.
#[tokio::test]
async fn a_reinstalled_machine_finds_its_chunks_where_they_lie_elsewhere() {
    let mut machine = installed(700).await;
    machine.item = model::machine("web-02");
    let disk = machine.disks.values_mut().next().unwrap();
    disk.trim(Extent::new(0, PAGE_BYTES * 3));
    disk.write_noise(Extent::new(2 * MIB, 12 * MIB), 6);
    disk.write_noise(Extent::new(40 * MIB, 12 * MIB), 5);
    let outcome = machine.back_up().await;
    assert!(outcome.stored_bytes < MIB, "it stored {} bytes of 24 MiB", outcome.stored_bytes);
    assert_counts(&machine.world, &machine.points[1].2).await.unwrap();
    let back = machine.world.read_back(&machine.item, machine.points[1].0).await.unwrap();
    assert!(back == machine.points[1].1);
}
