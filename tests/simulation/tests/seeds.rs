//! Seeds that every change must pass; `--example simulate` runs more.

use stillpoint_simulation::{Report, Simulation};

fn run(seed: u64) -> stillpoint_model::Result<Report> {
    Simulation::new(seed)?.run()
}

#[test]
fn where_nothing_fails_nothing_is_broken_and_every_backup_completes() {
    let report = Simulation::calm(7).unwrap().run().unwrap();
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.tally.faults.is_empty(), "{:?}", report.tally);
    assert!(report.tally.counts["backup completed"] > 20, "{:?}", report.tally);
    assert!(!report.tally.counts.contains_key("backup failed"), "{:?}", report.tally);
}

#[test]
fn the_same_seed_does_the_same() {
    let first = run(3).unwrap();
    assert_eq!(first, run(3).unwrap());
    assert_ne!(first.trace, run(4).unwrap().trace);
}
