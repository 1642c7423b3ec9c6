//! Each bug of another product, put back, breaks a rule within a few seeds. `tests/simulation/mutations` says which, and looks further.

use stillpoint_model::Mutation;
use stillpoint_simulation::{PairSimulation, Simulation};

/// Seeds that are tried for one bug.
const SEEDS: u64 = 40;
/// From which seed on, since this finds it, and the rules that it can break.
const FOUND: [(Mutation, u64, &[&str]); 12] = [
    (Mutation::StaleList, 7000, &["I1 nothing needed is deleted", "I6 "]),
    (Mutation::InFlightSwept, 7033, &["I6 nothing under way is deleted"]),
    (Mutation::ListErrorEmpty, 7000, &["I7 no name is used twice", "I11 every job ends"]),
    (Mutation::CommitUnfenced, 7002, &["I8 a stopped job makes no point"]),
    (Mutation::FailedUploadUsed, 7001, &["I17 a marker names what is there"]),
    (Mutation::MarkersCounted, 7000, &["I15 a completed restore is whole", "I3 "]),
    (Mutation::NameReused, 7000, &["I7 no name is used twice"]),
    (Mutation::AgeAlone, 6038, &["I6 nothing under way is deleted"]),
    (Mutation::TrackingTrusted, 7002, &["I15 a completed restore is whole", "I3 "]),
    (Mutation::ClockBelieved, 6008, &["I5 nothing goes before its time"]),
    (Mutation::PartialRestore, 7002, &["I15 a completed restore is whole"]),
    (Mutation::ReplicaEarly, 7000, &["I14 the replica is complete"]),
];

/// The first rule that a bug breaks, and how.
fn broken(mutation: Mutation, first: u64) -> stillpoint_model::Result<Option<String>> {
    for seed in first..first + SEEDS {
        let report = match mutation {
            Mutation::ReplicaEarly => PairSimulation::new(seed)?.mutated(mutation).run()?,
            _ => Simulation::new(seed)?.mutated(mutation).run()?,
        };
        if let Some(violation) = report.violations.into_iter().next() {
            return Ok(Some(violation));
        }
    }
    Ok(None)
}

#[test]
fn each_bug_is_seen_by_the_rule_that_it_breaks() {
    assert_eq!(FOUND.map(|(mutation, ..)| mutation), Mutation::ALL);
    for (mutation, first, rules) in FOUND {
        let violation =
            broken(mutation, first).unwrap().unwrap_or_else(|| panic!("{mutation:?} is not seen from seed {first} on"));
        assert!(rules.iter().any(|rule| violation.contains(rule)), "{mutation:?} breaks {violation}, and none of {rules:?}");
    }
}
