//! Machines under a policy and many points of them, in a vault in memory with a clock that is moved at will.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_fleet::{Fleet, Keeping};
use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{Extent, ItemName, JobState, MarkKind, PointId, policy::Act};
use stillpoint_testkit::{Disk, World};
use stillpoint_vault::{Item, Mark, Point, Protection};

pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;
const DISK_BYTES: u64 = 1 << 20;

pub fn name(text: &str) -> ItemName {
    text.parse().unwrap()
}

/// Which points are meant: machine and id.
pub type Ids = BTreeSet<(ItemName, PointId)>;

/// A vault whose points are mostly records without data: all that retention looks at.
pub struct Estate {
    pub world: World,
    pub machines: Vec<ItemName>,
    template: Point,
}

impl Estate {
    /// Machines `vm-00`, `vm-01`, … under the policy `all`, with this retention and these schedules; each has one real backup on
    /// demand behind it that is deleted already.
    pub async fn new(seed: u64, machines: usize, retention: Value, schedules: Value) -> Self {
        let world = World::new(seed).await.unwrap();
        let machines: Vec<ItemName> = (0..machines).map(|number| name(&format!("vm-{number:02}"))).collect();
        for machine in &machines {
            let mut disk = Disk::new(DISK_BYTES);
            disk.write_noise(Extent::new(0, 4096), seed);
            world.platform.put(&format!("{machine}/os"), disk);
            world.protect(machine, &["os".parse().unwrap()]).await.unwrap();
        }
        let donor = name("donor");
        world.platform.put("donor/os", Disk::new(DISK_BYTES));
        world.protect(&donor, &["os".parse().unwrap()]).await.unwrap();
        assert_eq!(world.backup(&donor).await.unwrap().state(), JobState::Completed);
        let template = world.vault().points(&donor).await.unwrap().pop().unwrap().point.unwrap();
        let estate = Self { world, machines, template };
        estate.apply(retention, schedules).await;
        estate
    }

    /// The same vault, seen by the next process.
    pub async fn restart(&self) -> Self {
        let world = self.world.restart().await.unwrap();
        Self { world, machines: self.machines.clone(), template: self.template.clone() }
    }

    /// A copy of everything that goes its own way.
    pub async fn fork(&self) -> Self {
        let world = self.world.fork().await.unwrap();
        Self { world, machines: self.machines.clone(), template: self.template.clone() }
    }

    /// Writes a version of the policy.
    pub async fn apply(&self, retention: Value, schedules: Value) {
        let policy = json!({
            "name": "all", "applies_to": { "names": self.machines }, "retention": retention, "schedule": schedules,
        });
        self.world.vault().write_policy(&serde_json::from_value(policy).unwrap()).await.unwrap();
    }

    pub fn pass(&self, milliseconds: i64) {
        self.world.clock.jump(milliseconds);
    }

    /// Commits a point of this instant; `keep_until` of one on demand.
    pub async fn commit(&self, machine: &ItemName, keep_until: Option<Timestamp>) -> PointId {
        let vault = self.world.vault();
        let id = PointId::new(vault.ulid());
        let instant = vault.clock().now();
        let policy = keep_until.is_none().then(|| "all".parse().unwrap());
        let (item, committed) = (machine.clone(), instant);
        let point = Point { id, item, instant, committed, keep_until, policy, parent: None, ..self.template.clone() };
        vault.commit_point(&point).await.unwrap();
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

    /// What becomes of a machine's points, as every preview shows it.
    pub async fn keeping(&self, machine: &ItemName) -> Keeping {
        let vault = self.world.vault();
        let fleet = Fleet::load(vault).await.unwrap();
        let mut entries = vault.all_point_entries().await.unwrap();
        let clock = fleet.clock(vault.clock().now(), &entries);
        fleet.keeping(vault, machine, entries.remove(machine).unwrap_or_default(), &clock).await.unwrap()
    }

    /// The points on which `prune` would now do this, with why.
    pub async fn judged(&self, act: Act) -> BTreeMap<(ItemName, PointId), String> {
        let vault = self.world.vault();
        let fleet = Fleet::load(vault).await.unwrap();
        let mut entries = vault.all_point_entries().await.unwrap();
        let clock = fleet.clock(vault.clock().now(), &entries);
        let mut judged = BTreeMap::new();
        for machine in &self.machines {
            let own = entries.remove(machine).unwrap_or_default();
            for kept in fleet.keeping(vault, machine, own, &clock).await.unwrap().points {
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
        let entries = self.world.vault().all_point_entries().await.unwrap();
        let deleted = entries.into_iter().flat_map(|(machine, entries)| {
            entries.into_iter().filter(|entry| entry.deleted().is_some()).map(move |entry| (machine.clone(), entry.id))
        });
        deleted.collect()
    }

    /// A point's tombstone.
    pub async fn tombstone(&self, machine: &ItemName, id: PointId) -> Mark {
        let vault = self.world.vault();
        let seq = vault.point_entry(machine, id).await.unwrap().deleted().expect("the point is deleted");
        vault.read_mark(machine, id, seq, MarkKind::Deleted).await.unwrap()
    }

    pub async fn mark(&self, machine: &ItemName, id: PointId, mark: MarkKind) {
        let vault = self.world.vault();
        let entry = vault.point_entry(machine, id).await.unwrap();
        vault.mark(machine, &entry, &Mark::new(mark, vault.clock().now(), "operator", "a test")).await.unwrap();
    }

    pub async fn protection(&self, machine: &ItemName, protection: Protection) {
        let item = self.world.vault().item(machine).await.unwrap();
        self.world.vault().write_item(&Item { protection, ..item }, true).await.unwrap();
    }

    /// Prunes, and returns the ended job.
    pub async fn prune(&self) -> Job {
        self.world.task(Operation::Prune).await.unwrap()
    }

    /// Removes what could no longer be undeleted, as far as it takes part in listings.
    pub async fn free(&self) {
        let gone = self.judged(Act::Free).await;
        for (machine, id) in gone.into_keys() {
            let entry = self.world.vault().point_entry(&machine, id).await.unwrap();
            let folder = format!("points/{machine}/{id}");
            for (seq, mark) in entry.marks {
                self.world.content.remove(&format!("{folder}/marks/{seq:06}-{mark}.json")).await.unwrap();
            }
            self.world.content.remove(&format!("{folder}/point.json")).await.unwrap();
        }
    }
}

/// A count of a pruning job.
pub fn count(job: &Job, what: &str) -> u64 {
    assert!(matches!(job.state(), JobState::Completed | JobState::CompletedWithWarnings), "{:?}", job.newest.reason);
    job.newest.outcome.as_ref().unwrap().counts[what]
}

/// The warnings of a job.
pub fn warnings(job: &Job) -> &[String] {
    &job.newest.outcome.as_ref().unwrap_or_else(|| panic!("no outcome: {:?}", job.newest.reason)).warnings
}
