use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use stillpoint_events::{Envelope, ReplicateRequested};
use stillpoint_format::PackUse;
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Job, Loaded, Operation, Plan, cut};
use stillpoint_model::{Error, ErrorKind, ItemName, Mutation, PointId, Requests, Result};
use stillpoint_ports::Progress;
use stillpoint_vault::{Condemned, Name, Pair, Shelves, put};

use crate::{
    plan::{PackToCopy, ReplicatePlan},
    records::{align_holds, copy_records},
    source::Source,
};

/// Points that one job copies at most.
const POINTS_MAX: usize = 256;
/// Bytes of packs after which a job takes no further point: points become visible at the end of their job, so it must not take days.
const BYTES_ENOUGH: u64 = 16 << 30;

/// Looks what the replica lacks, and writes the plan of what is copied.
pub struct Prepare {
    engine: Engine,
    source: Arc<Source>,
    progress: Arc<dyn Progress>,
}

impl Prepare {
    /// The handler over its ports.
    #[must_use]
    pub(crate) fn new(engine: Engine, source: Arc<Source>, progress: Arc<dyn Progress>) -> Self {
        Self { engine, source, progress }
    }

    async fn plan(&self, job: &Job, repeated: bool) -> Result<Loaded<ReplicatePlan>> {
        if repeated && let Some(made) = self.engine.plan_if_made(job.id).await? {
            return Ok(made);
        }
        let Operation::Replicate { item, records } = &job.request.what else {
            return Err(Error::internal(format!("job {} replicates nothing", job.id)));
        };
        let engine = self.engine.metered();
        let pair = self.source.pair(&engine.vault().afresh()).await?;
        let pair = Pair { primary: pair.primary.metered(), ..pair };
        let detail = survey(&pair, item.as_ref(), *records).await?;
        if Mutation::ReplicaEarly.is_active() {
            for (item, id) in &detail.points {
                let (point, commit) = pair.primary.point_bytes(item, *id).await?;
                let (_, manifest) = pair.primary.manifest_bytes(&point).await?;
                put(&pair.replica, &point.manifest.name, manifest).await?;
                put(&pair.replica, &Name::Point(item.clone(), *id).to_string(), commit).await?;
            }
        }
        let packs: Vec<(u16, u32, u64)> =
            (0_u32..).zip(&detail.packs).map(|(number, pack)| (0, number, pack.size_bytes)).collect();
        let requests =
            engine.vault().store().requests() + pair.primary.store().requests() + Requests { put: 1, ..Requests::default() };
        engine.save_plan(Plan { job: job.id, segments: cut(&packs), requests, detail }).await
    }
}

/// The newest missing point of each machine, then the others; newest first.
fn in_order(missing: Vec<(ItemName, PointId)>) -> Vec<(ItemName, PointId)> {
    let mut seen = BTreeSet::new();
    let (mut first, others): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(item, _)| seen.insert(item.clone()));
    first.extend(others);
    first
}

/// What is to be copied now. The job's ledger is there: what the replica has not condemned by now stays until the job has ended.
async fn survey(pair: &Pair, item: Option<&ItemName>, records: bool) -> Result<ReplicatePlan> {
    let mut plan = ReplicatePlan::default();
    let both = pair.both(item).await?;
    align_holds(pair, &both).await?;
    let missing = in_order(both.missing());
    let is_new = |(item, _): &(ItemName, PointId)| both.replica.get(item).is_none_or(Vec::is_empty);
    if records || missing.iter().any(is_new) {
        plan.records = copy_records(pair).await?;
    }
    plan.left = missing.len() as u64;
    if missing.is_empty() {
        return Ok(plan);
    }
    let condemned = pair.replica.condemned().await?;
    let (mut shelves, mut taken, mut bytes) = (Shelves::default(), HashSet::new(), 0);
    for (item, id) in missing {
        if plan.points.len() >= POINTS_MAX || bytes >= BYTES_ENOUGH {
            break;
        }
        plan.left -= 1;
        match lacking(pair, &item, id, &condemned, &mut shelves).await {
            Ok(packs) => {
                let new = packs.into_iter().filter(|used| taken.insert(Arc::clone(&used.pack.name)));
                for used in new {
                    bytes += used.size_bytes;
                    plan.packs.push(PackToCopy { name: used.pack.name.to_string(), size_bytes: used.size_bytes });
                }
                plan.points.push((item, id));
            }
            // Of this point alone something is wrong.
            Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Conflict) => {
                plan.warnings.push(format!("point {id} of {item} is not copied: {}", error.one_line()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(plan)
}

/// Packs of a point that the replica lacks.
async fn lacking(
    pair: &Pair,
    item: &ItemName,
    id: PointId,
    condemned: &Condemned,
    shelves: &mut Shelves,
) -> Result<Vec<PackUse>> {
    let point = pair.primary.point(item, id).await?;
    let is_condemned = |name: &str| condemned.objects.contains(name);
    let doomed = |name: &str| Error::conflict(format!("{name} is about to be deleted in the replica"));
    if is_condemned(&point.manifest.name) {
        return Err(doomed(&point.manifest.name));
    }
    let mut lacking = Vec::new();
    for used in pair.primary.manifest(&point).await?.packs {
        if is_condemned(&used.pack.name) {
            return Err(doomed(&used.pack.name));
        }
        if shelves.problem(&pair.replica, &used).await?.is_some() {
            lacking.push(used);
        }
    }
    Ok(lacking)
}

impl Handler for Prepare {
    type Event = ReplicateRequested;

    async fn handle(&self, event: Envelope<ReplicateRequested>, invocation: &Invocation) -> Result<Effects> {
        let id = event.data.job;
        let job = if invocation.redelivered { self.engine.job(id).await? } else { self.engine.job_as_seen(id).await? };
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        if !matches!(job.request.what, Operation::Replicate { .. }) {
            return Err(Error::fenced(format!("job {} replicates nothing", job.id)));
        }
        let repeated = invocation.redelivered || job.seq > 1;
        let loaded = self.plan(&job, repeated).await?;
        let job = self.engine.begin_transfer(&job, loaded.plan.segments.len()).await?;
        let total = loaded.plan.segments.iter().map(|segment| segment.bytes).fold(0, u64::saturating_add);
        self.progress.planned(job.id, total, 0);
        if repeated || !loaded.own {
            return Ok(Effects { events: self.engine.redrive(&job).await? });
        }
        let segments = u32::try_from(loaded.plan.segments.len()).unwrap_or(u32::MAX);
        let planned = (0..segments).map(|segment| job.segment_planned(segment));
        Ok(Effects { events: if segments == 0 { vec![job.segments_done()] } else { planned.collect() } })
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::PointId;
    use ulid::Ulid;

    use super::*;

    #[test]
    fn the_newest_of_each_machine_goes_first() {
        let point = |name: &str, ms: u64| (name.parse::<ItemName>().unwrap(), PointId::new(Ulid::from_parts(ms, 0)));
        let missing = vec![point("a", 9), point("a", 8), point("b", 7), point("a", 6), point("b", 5)];
        let expected = vec![point("a", 9), point("b", 7), point("a", 8), point("a", 6), point("b", 5)];
        assert_eq!(in_order(missing), expected);
    }
}
