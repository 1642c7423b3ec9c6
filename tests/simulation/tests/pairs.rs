//! Seeds of two vaults in two regions that every change must pass. `tests/simulation/run --pairs` runs more.

use stillpoint_simulation::{Campaign, PairSimulation};

/// So many take about half a minute on two processors.
const SEEDS: u64 = 100;

#[test]
fn the_replica_is_complete_and_keeps_what_it_keeps_whatever_fails() {
    let campaign = Campaign::of_pairs(0, SEEDS, &|bad| println!("{bad}"));
    println!("{campaign}");
    assert!(campaign.bad.is_empty(), "{:?}", campaign.bad);
    for fault in [
        "regions apart",
        "replication dies, KillBefore",
        "replication dies, KillAfter",
        "following dies, KillBefore",
        "following dies, KillAfter",
        "replication meets ErrorBefore",
        "replication meets ErrorAfter",
        "replication meets ShortRead",
        "replication meets Denied",
    ] {
        assert!(campaign.tally.faults.contains_key(fault), "no {fault} in {campaign}");
    }
    for work in [
        "heard of a point",
        "replicate completed",
        "collect completed",
        "objects deleted",
        "deleted in the primary",
        "deleted in the replica",
        "promoted",
    ] {
        assert!(campaign.tally.counts.contains_key(work), "no {work} in {campaign}");
    }
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| PairSimulation::new(seed).unwrap().run().unwrap();
    let first = run(900_001);
    assert_eq!(first, run(900_001));
    assert_ne!(first.trace, run(900_002).trace);
}
