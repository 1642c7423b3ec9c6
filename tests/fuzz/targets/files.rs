//! Files that operators write.

use jiff::Timestamp;
use stillpoint_model::{
    Error, PointId,
    policy::{Clock, PointFacts, Policy, Regime, Share, Timetable, plan},
};
use stillpoint_policy_file::{FileError, from_toml, machines_from_toml, to_toml};
use ulid::Ulid;

use super::{Memory, Target, text};
use crate::{
    attempt::{Outcome, unprintable},
    corpus,
};

pub const POLICY: Target = Target {
    name: "policy_file",
    is_text: true,
    bytes_max: 16 * 1024,
    inputs: 1_500,
    memory: Memory::Fixed(16 << 20),
    seeds: || examples(|name| name != "machines.toml"),
    check: policy,
};

pub const MACHINES: Target = Target {
    name: "machines_file",
    is_text: true,
    bytes_max: 16 * 1024,
    inputs: 3_000,
    memory: Memory::Fixed(16 << 20),
    seeds: || examples(|name| name == "machines.toml"),
    check: |input| {
        let entries = machines_from_toml(text(input)?).map_err(refused)?;
        assert!(entries.iter().all(|entry| !entry.disks.is_empty()));
        Ok(format!("{} machines", entries.len().min(3)))
    },
};

/// Files of the repository, and the blocks of TOML in the README.
fn examples(wanted: fn(&str) -> bool) -> Vec<Vec<u8>> {
    let files = corpus::tree("infra/examples").into_iter().filter(|(name, _)| wanted(name)).map(|(_, bytes)| bytes);
    let readme = std::fs::read_to_string(corpus::repository().join("README.md")).expect("there is a README");
    let blocks: Vec<Vec<u8>> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block.as_bytes().to_vec())
        .collect();
    files.chain(blocks).collect()
}

/// The reason alone: lines and fields are without number.
fn refused(error: FileError) -> String {
    let reason = error.reason.escape_debug().to_string();
    let fault = unprintable(&Error::from(error).one_line());
    assert!(fault.is_none(), "{fault:?}");
    reason
}

fn policy(input: &[u8]) -> Outcome {
    let policy = from_toml(text(input)?).map_err(refused)?;
    let written = to_toml(&policy).expect("what was read can be written");
    assert_eq!(from_toml(&written).as_ref(), Ok(&policy), "{written}");
    Ok(follow(&policy))
}

/// What a policy that passed all checks leads to, at ordinary and at impossible times.
pub fn follow(policy: &Policy) -> String {
    let at = |second| Timestamp::from_second(second).expect("an instant");
    let timetable = Timetable::new(policy).expect("a checked policy's zone is known");
    let zone = policy.zone().expect("a checked policy's zone is known");
    let mut slots = 0;
    // Before a change of clocks, at the beginning of counting, and days before the end of time.
    for now in [at(1_774_742_400), at(0), at(253_402_000_000), Timestamp::MIN, Timestamp::MAX] {
        let runs: Vec<_> = timetable.next_runs(Share::FIRST, now).take(20).collect();
        assert!(runs.windows(2).all(|pair| pair[0].due < pair[1].due), "slots rise");
        assert!(runs.iter().all(|slot| slot.due > now && slot.closes >= slot.due && slot.start >= slot.due));
        slots = slots.max(runs.len());
        if let Some(pace) = policy.pace() {
            assert_ne!(pace.at(now), Some(0), "a pace of nothing never ends");
        }
        let fact = |n: u32| PointFacts {
            id: PointId::new(Ulid::from_parts(n.into(), 1)),
            instant: now.checked_sub(jiff::SignedDuration::from_hours(i64::from(n) * 30)).unwrap_or(Timestamp::MIN),
            good: n % 4 != 1,
            on_demand: (n % 5 == 2).then_some(now),
            hold: n == 3,
            undelete_until: (n == 4).then_some(Timestamp::MAX),
        };
        let facts: Vec<PointFacts> = (0..12).map(fact).collect();
        let verdicts = plan(&facts, Regime::Policy(&policy.retention), &Clock::confirmed(now), &zone);
        assert_eq!(verdicts.len(), facts.len());
        assert!(verdicts.iter().all(|verdict| !verdict.why().contains('\n')));
    }
    format!("{} slots of {} schedules", slots.min(2), policy.schedules.len().min(3))
}
