//! Seeds that find the bugs of other products when these are put back. `tests/simulation/mutations` looks for others.

use stillpoint_model::Mutation;
use stillpoint_simulation::Simulation;

/// A seed for each bug, and the rule that it breaks there.
const FOUND: [(Mutation, u64, &str); 11] = [
    (Mutation::StaleList, 0, ""),
    (Mutation::InFlightSwept, 0, ""),
    (Mutation::ListErrorEmpty, 0, ""),
    (Mutation::CommitUnfenced, 0, ""),
    (Mutation::FailedUploadUsed, 0, ""),
    (Mutation::MarkersCounted, 0, ""),
    (Mutation::NameReused, 0, ""),
    (Mutation::AgeAlone, 0, ""),
    (Mutation::TrackingTrusted, 0, ""),
    (Mutation::ClockBelieved, 0, ""),
    (Mutation::PartialRestore, 0, ""),
];

#[test]
fn every_bug_has_its_seed() {
    assert_eq!(FOUND.map(|(mutation, ..)| mutation), Mutation::ALL);
}

#[test]
fn each_bug_breaks_a_rule_that_holds_without_it() {
    for (mutation, seed, rule) in FOUND {
        let report = Simulation::new(seed).unwrap().mutated(mutation).run().unwrap();
        let broken = report.violations.first().map_or("none", String::as_str);
        assert!(broken.contains(rule), "{mutation:?} breaks another rule than {rule}: {report}");
    }
}
