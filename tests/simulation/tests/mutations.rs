//! Each bug of another product, put back, breaks a rule within a few seeds. `tests/simulation/mutations` says which, and looks further.

use stillpoint_model::Mutation;
use stillpoint_simulation::Simulation;

/// Seeds that are tried for one bug.
const SEEDS: u64 = 40;
/// From which seed on, since this finds it, and the rules that it can break.
const FOUND: [(Mutation, u64, &[&str]); 11] = [
    (Mutation::StaleList, 0, &["I1 nothing needed is deleted", "I6 "]),
    (Mutation::InFlightSwept, 0, &["I6 nothing under way is deleted"]),
    (Mutation::ListErrorEmpty, 0, &["I7 no name is used twice"]),
    (Mutation::CommitUnfenced, 0, &["I8 a stopped job makes no point"]),
    (Mutation::FailedUploadUsed, 0, &["I17 a marker names what is there"]),
    (Mutation::MarkersCounted, 0, &["I15 a completed restore is whole", "I3 "]),
    (Mutation::NameReused, 0, &["I7 no name is used twice"]),
    (Mutation::AgeAlone, 0, &["I6 nothing under way is deleted"]),
    (Mutation::TrackingTrusted, 0, &["I15 a completed restore is whole", "I3 "]),
    (Mutation::ClockBelieved, 0, &["I5 nothing goes before its time"]),
    (Mutation::PartialRestore, 0, &["I15 a completed restore is whole"]),
];

/// The first rule that a bug breaks.
fn broken(mutation: Mutation, first: u64) -> Option<String> {
    let run = |seed| Simulation::new(seed).unwrap().mutated(mutation).run().unwrap().violations.into_iter().next();
    (first..first + SEEDS).find_map(run)
}

#[test]
fn each_bug_is_seen_by_the_rule_that_it_breaks() {
    assert_eq!(FOUND.map(|(mutation, ..)| mutation), Mutation::ALL);
    for (mutation, first, rules) in FOUND {
        let violation = broken(mutation, first).unwrap_or_else(|| panic!("{mutation:?} is not seen from seed {first} on"));
        assert!(rules.iter().any(|rule| violation.contains(rule)), "{mutation:?} breaks {violation}, and none of {rules:?}");
    }
}
