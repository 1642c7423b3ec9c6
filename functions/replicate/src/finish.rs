use std::{collections::BTreeMap, sync::Arc};

use stillpoint_events::{Envelope, ReplicateSegmentsCopied};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Job, Marker, Outcome, Plan};
use stillpoint_model::{Error, ErrorKind, ItemName, PointId, Result};
use stillpoint_vault::{Name, Shelves, Vault, put};

use crate::{
    plan::{ReplicatePlan, SegmentCopied},
    source::Source,
};

/// Objects that a job's end lists as lost.
const LOST_MAX: usize = 100;

/// Makes the copied points visible in the replica, and completes the job.
pub struct Finish {
    engine: Engine,
    source: Arc<Source>,
}

impl Finish {
    /// The handler over its ports.
    #[must_use]
    pub(crate) const fn new(engine: Engine, source: Arc<Source>) -> Self {
        Self { engine, source }
    }

    async fn finish(&self, job: &Job, plan: &Plan<ReplicatePlan>, markers: &[Marker<SegmentCopied>]) -> Result<()> {
        let replica = self.engine.vault().metered();
        let mut warnings = plan.detail.warnings.clone();
        let lost = markers.iter().flat_map(|marker| &marker.detail.lost);
        warnings.extend(lost.take(LOST_MAX).map(|(name, why)| format!("the primary does not have {name}: {why}")));
        let (mut shelves, mut points, mut requests) = (Shelves::default(), 0_u64, plan.requests);
        if !plan.detail.points.is_empty() {
            let primary = self.source.primary(&replica).await?.metered();
            for (item, id) in &plan.detail.points {
                match show(&primary, &replica, item, *id, &mut shelves).await {
                    Ok(()) => points += 1,
                    Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Conflict) => {
                        warnings.push(format!("point {id} of {item} is not copied: {}", error.one_line()));
                    }
                    Err(error) => return Err(error),
                }
            }
            requests += primary.store().requests();
        }
        let sum =
            |pick: fn(&SegmentCopied) -> u64| markers.iter().map(|marker| pick(&marker.detail)).fold(0, u64::saturating_add);
        let counts = [
            ("points", points),
            ("points_left", plan.detail.left),
            ("records", plan.detail.records),
            ("packs", sum(|copied| copied.packs)),
            ("moved_bytes", sum(|copied| copied.bytes)),
        ];
        let outcome = Outcome {
            warnings,
            stored_bytes: sum(|copied| copied.bytes),
            requests: markers.iter().fold(requests, |sum, marker| sum + marker.requests) + replica.store().requests(),
            counts: BTreeMap::from(counts.map(|(name, count)| (name.to_owned(), count))),
            ..Outcome::default()
        };
        self.engine.complete(job, outcome).await.map(drop)
    }
}

/// Makes one point visible, if all that it needs is in the replica.
async fn show(primary: &Vault, replica: &Vault, item: &ItemName, id: PointId, shelves: &mut Shelves) -> Result<()> {
    let (point, commit) = primary.point_bytes(item, id).await?;
    let (manifest, bytes) = primary.manifest_bytes(&point).await?;
    for used in &manifest.packs {
        if let Some(problem) = shelves.problem(replica, used).await? {
            return Err(Error::missing(format!("{} in the replica: {problem}", used.pack.name)));
        }
    }
    put(replica, &point.manifest.name, bytes).await?;
    put(replica, &Name::Point(item.clone(), id).to_string(), commit).await.map(drop)
}

impl Handler for Finish {
    type Event = ReplicateSegmentsCopied;

    async fn handle(&self, event: Envelope<ReplicateSegmentsCopied>, invocation: &Invocation) -> Result<Effects> {
        let id = event.data.job;
        let job = if invocation.redelivered { self.engine.job(id).await? } else { self.engine.job_as_seen(id).await? };
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let loaded = match self.engine.plan::<ReplicatePlan>(job.id).await {
            Err(error) => return Err(self.engine.unless_stray(job.id, "replicate", error).await),
            Ok(loaded) => loaded,
        };
        let segments = u32::try_from(loaded.plan.segments.len()).unwrap_or(u32::MAX);
        let markers = self.engine.markers(job.id, &loaded.hash, segments).await?;
        // A job that was stopped, as by a promotion, makes nothing visible.
        let job = self.engine.seal(&job, invocation.attempt).await?;
        self.finish(&job, &loaded.plan, &markers).await?;
        Ok(Effects::none())
    }
}
