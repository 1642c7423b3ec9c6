//! More that tests do to an estate and ask of it.

use stillpoint_fleet::{Fleet, Keeping};
use stillpoint_jobs::Job;
use stillpoint_model::{ItemName, MarkKind, PointId, policy::Act};
use stillpoint_vault::{Item, Mark, Protection};

pub use crate::records::{Estate, HOUR_MS, Ids, count, name};

pub const DAY_MS: i64 = 24 * HOUR_MS;

impl Estate {
    /// A copy of everything that goes its own way.
    pub async fn fork(&self) -> Self {
        let world = self.world.fork().await.unwrap();
        Self { world, machines: self.machines.clone(), template: self.template.clone() }
    }

    /// What becomes of a machine's points, as every preview shows it.
    pub async fn keeping(&self, machine: &ItemName) -> Keeping {
        let vault = self.world.vault();
        let fleet = Fleet::load(vault).await.unwrap();
        let mut entries = vault.all_point_entries().await.unwrap();
        let clock = fleet.clock(vault.clock().now(), &entries);
        fleet.keeping(vault, machine, entries.remove(machine).unwrap_or_default(), &clock).await.unwrap()
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

/// The warnings of a job.
pub fn warnings(job: &Job) -> &[String] {
    &job.newest.outcome.as_ref().unwrap_or_else(|| panic!("no outcome: {:?}", job.newest.reason)).warnings
}
