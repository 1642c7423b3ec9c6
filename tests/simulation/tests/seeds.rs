//! Seeds that every change must pass. `tests/simulation/run` runs more.

use stillpoint_simulation::{Campaign, Report, Simulation};

/// So many take about four minutes on two processors.
const SEEDS: u64 = 1_000;
/// Seeds that broke a rule when they were first run, each with what was wrong. What a seed does changes with the simulator; they stay as they
/// are, for what they found is also tested by itself.
const FOUND: [(u64, &str); 7] = [
    (5, "a snapshot taken by a process that woke up after its job had ended"),
    (28, "a disk prepared by a process that woke up after its job had ended"),
    (29, "the end of a job written over by a late copy"),
    (26, "a machine written by a clock ten years ahead was not backed up for ten years"),
    (150, "an alarm raised for a job of a clock ten years ahead was not resolved for ten years"),
    (173, "a job made by a clock a year behind was taken on by nobody"),
    (197, "a job that was completed with warnings was completed without, after a late copy woke up"),
];

fn run(seed: u64) -> stillpoint_model::Result<Report> {
    Simulation::new(seed)?.run()
}

#[test]
fn where_nothing_fails_nothing_is_broken_and_every_backup_completes() {
    let report = Simulation::calm(7).unwrap().run().unwrap();
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.tally.faults.is_empty(), "{:?}", report.tally);
    assert!(report.tally.counts["backup completed"] > 5, "{:?}", report.tally);
    assert!(!report.tally.counts.contains_key("backup failed"), "{:?}", report.tally);
}

#[test]
fn the_same_seed_does_the_same() {
    let first = run(3).unwrap();
    assert_eq!(first, run(3).unwrap());
    assert_ne!(first.trace, run(4).unwrap().trace);
}

#[test]
fn seeds_that_found_something_find_nothing_more() {
    for (seed, what) in FOUND {
        let report = run(seed).unwrap();
        assert!(report.violations.is_empty(), "{what}: {report}");
        assert!(!report.tally.counts.contains_key("left over of ended jobs"), "{what}: {report}");
    }
}

#[test]
fn whatever_fails_no_rule_is_broken() {
    let campaign = Campaign::run(0, SEEDS, &|bad| println!("{bad}"));
    println!("{campaign}");
    assert!(campaign.bad.is_empty(), "{:?}", campaign.bad);
    for fault in [
        "message lost",
        "message duplicated",
        "message forged",
        "old message replayed",
        "all queues lost",
        "broker out for half an hour",
        "handler dropped",
        "handler frozen",
        "handler's time limited",
        "process killed",
        "clock jumps a year back",
        "clock jumps ten years ahead",
        "store full for an hour",
        "store: ErrorBefore",
        "store: ErrorAfter",
        "store: MetItself",
        "store: ShortRead",
        "store: FlippedRead",
        "store: ShortList",
        "store: RepeatedList",
        "store: WrongModified",
        "store: Denied",
        "snapshot gone",
        "snapshot unreported",
        "disk read failed",
        "damaged: removed",
        "damaged: truncated",
        "damaged: flipped",
        "damaged: swapped",
        "damaged: replayed",
    ] {
        assert!(campaign.tally.faults.contains_key(fault), "no {fault} in {campaign}");
    }
    for work in [
        "restore completed",
        "collect completed",
        "verify completed",
        "points deleted",
        "points freed",
        "points damaged",
        "points sound",
    ] {
        assert!(campaign.tally.counts.contains_key(work), "no {work} in {campaign}");
    }
}
