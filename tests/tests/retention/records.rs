//! Machines under a policy and many points of them, in a vault in memory with a clock that is moved at will.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_fleet::Fleet;
use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{ItemName, JobState, PointId, policy::Act};
use stillpoint_testkit::{Disk, World};
use stillpoint_vault::Point;

pub const HOUR_MS: i64 = 3_600_000;
const DISK_BYTES: u64 = 1 << 20;

pub fn name(text: &str) -> ItemName {
    text.parse().expect("a name")
}

/// Which points are meant: machine and id.
pub type Ids = BTreeSet<(ItemName, PointId)>;

/// A vault whose points are mostly records without data: all that retention looks at.
pub struct Estate {
    pub world: World,
    pub machines: Vec<ItemName>,
    pub template: Point,
}

impl Estate {
    /// Machines `vm-00`, `vm-01`, … under the policy `all`, with this retention and these schedules. Beside them, under no policy, is
    /// the machine `donor` with one real backup, whose record the others are like.
    pub async fn new(seed: u64, machines: usize, retention: Value, schedules: Value) -> Self {
        let world = World::new(seed).await.expect("a world");
        let machines: Vec<ItemName> = (0..machines).map(|number| name(&format!("vm-{number:02}"))).collect();
        for machine in &machines {
            world.protect(machine, &["os".parse().expect("a name")]).await.expect("the store answers");
        }
        let donor = name("donor");
        world.platform.put("donor/os", Disk::new(DISK_BYTES));
        world.protect(&donor, &["os".parse().expect("a name")]).await.expect("the store answers");
        assert_eq!(world.backup(&donor).await.expect("a backup").state(), JobState::Completed);
        let template = world.vault().points(&donor).await.expect("points").pop().expect("a point").point.expect("a record");
        let estate = Self { world, machines, template };
        estate.apply(retention, schedules).await;
        estate
    }

    /// The same vault, seen by the next process.
    pub async fn restart(&self) -> Self {
        let world = self.world.restart().await.expect("another process");
        Self { world, machines: self.machines.clone(), template: self.template.clone() }
    }

    /// Writes a version of the policy.
    pub async fn apply(&self, retention: Value, schedules: Value) {
        let policy = json!({
            "name": "all", "applies_to": { "names": self.machines }, "retention": retention, "schedule": schedules,
        });
        self.world.vault().write_policy(&serde_json::from_value(policy).expect("a policy")).await.expect("the store answers");
    }

    pub fn pass(&self, milliseconds: i64) {
        self.world.clock.jump(milliseconds);
    }

    /// Commits a point of this instant; `keep_until` of one on demand.
    pub async fn commit(&self, machine: &ItemName, keep_until: Option<Timestamp>) -> PointId {
        let vault = self.world.vault();
        let id = PointId::new(vault.ulid());
        let instant = vault.clock().now();
        let (item, committed) = (machine.clone(), instant);
        let point = Point { id, item, instant, committed, keep_until, parent: None, ..self.template.clone() };
        vault.commit_point(&point).await.expect("the store answers");
        id
    }

    /// Commits a point of each machine at the beginning and after each further step.
    pub async fn commit_each(&self, step_ms: i64, count: usize) {
        for _ in 0..count {
            for machine in &self.machines {
                self.commit(machine, None).await;
            }
            self.pass(step_ms);
        }
    }

    /// The points on which `prune` would now do this, with why.
    pub async fn judged(&self, act: Act) -> BTreeMap<(ItemName, PointId), String> {
        let vault = self.world.vault();
        let fleet = Fleet::load(vault).await.expect("the store answers");
        let mut entries = vault.all_point_entries().await.expect("the store answers");
        let clock = fleet.clock(vault.clock().now(), &entries);
        let mut judged = BTreeMap::new();
        for machine in &self.machines {
            let own = entries.remove(machine).unwrap_or_default();
            for kept in fleet.keeping(vault, machine, own, &clock).await.expect("the store answers").points {
                if kept.verdict.act == act {
                    judged.insert((machine.clone(), kept.verdict.id), kept.verdict.why());
                }
            }
        }
        judged
    }

    pub async fn preview(&self) -> Ids {
        self.judged(Act::Prune).await.into_keys().collect()
    }

    /// The points that have a tombstone in force.
    pub async fn deleted(&self) -> Ids {
        let entries = self.world.vault().all_point_entries().await.expect("the store answers");
        let deleted = entries.into_iter().flat_map(|(machine, entries)| {
            entries.into_iter().filter(|entry| entry.deleted().is_some()).map(move |entry| (machine.clone(), entry.id))
        });
        deleted.collect()
    }

    /// Prunes, and returns the ended job.
    pub async fn prune(&self) -> Job {
        self.world.task(Operation::Prune).await.expect("the store answers")
    }
}

/// A count of a pruning job.
pub fn count(job: &Job, what: &str) -> u64 {
    assert!(matches!(job.state(), JobState::Completed | JobState::CompletedWithWarnings), "{:?}", job.newest.reason);
    job.newest.outcome.as_ref().expect("an outcome").counts[what]
}
