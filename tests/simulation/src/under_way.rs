//! What jobs that have not ended may still come to need.

use std::collections::{BTreeMap, BTreeSet};

use stillpoint_jobs::{BackupPlan, Engine, Marker, Transferred};
use stillpoint_model::{ErrorKind, ItemName, JobId, PointId, Result};
use stillpoint_vault::{MARKER, Name};

/// Objects by the backups under way that may name them in their points, or read them on the way there.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(BTreeMap<String, BTreeSet<JobId>>);

impl UnderWay {
    /// A backup has its plan: it may refer to all that its parent and its neighbours need, but for what it avoids.
    pub(crate) async fn planned(
        &mut self,
        engine: &Engine,
        job: JobId,
        needed: &BTreeMap<String, BTreeSet<(ItemName, PointId)>>,
    ) -> Result<()> {
        // Plans of other jobs are none of a backup's.
        let Ok(Some(loaded)) = engine.plan_if_made::<BackupPlan>(job).await else { return Ok(()) };
        let detail = loaded.plan.detail;
        let points: BTreeSet<PointId> =
            detail.parent.into_iter().chain(detail.neighbours.iter().map(|other| other.point)).collect();
        let is_named = |users: &BTreeSet<(ItemName, PointId)>| users.iter().any(|(_, id)| points.contains(id));
        for (name, _) in needed.iter().filter(|(name, users)| !detail.avoid.contains(name) && is_named(users)) {
            self.0.entry(name.clone()).or_default().insert(job);
        }
        Ok(())
    }

    /// A segment of a backup has its marker. Returns packs that this says were written and that are not there.
    pub(crate) async fn marked(&mut self, engine: &Engine, job: JobId, segment: u32) -> Result<Vec<String>> {
        let vault = engine.vault();
        let marker: Marker<Transferred> = match vault.read_record(MARKER, &Name::Marker(job, segment)).await {
            Ok(marker) => marker,
            Err(_) => return Ok(Vec::new()),
        };
        let mut missing = Vec::new();
        for pack in marker.detail.packs.into_iter().filter(|pack| pack.chunks > 0 || pack.pages > 0) {
            match vault.store().size(&pack.name).await {
                Err(error) if error.kind() == ErrorKind::Missing => missing.push(pack.name),
                other => {
                    other?;
                    self.0.entry(pack.name).or_default().insert(job);
                }
            }
        }
        Ok(missing)
    }

    pub(crate) fn ended(&mut self, job: JobId) {
        self.0.retain(|_, jobs| {
            jobs.remove(&job);
            !jobs.is_empty()
        });
    }

    /// A backup under way that may need an object.
    pub(crate) fn user(&self, name: &str) -> Option<JobId> {
        self.0.get(name)?.first().copied()
    }
}
