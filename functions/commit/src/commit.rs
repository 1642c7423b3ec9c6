use stillpoint_events::{Envelope, RecoveryPointCommitted, SegmentsTransferred};
use stillpoint_format::Manifest;
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{BackupPlan, Engine, Job, Loaded, Marker, Operation, Plan, Transferred};
use stillpoint_model::{Error, ErrorKind, ItemName, Mutation, Obtained, PointId, Requests, Result};
use stillpoint_vault::{ManifestObject, Name, Point, PointDisk, Vault};

use crate::build::{Builder, dropped};

/// Pages read at once when a disk was removed or shrunk.
const PAGES_AT_ONCE: usize = 256;

/// Validates and seals the point.
pub struct Commit {
    engine: Engine,
}

impl Commit {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    async fn commit(&self, job: &Job, loaded: &Loaded<BackupPlan>, invocation: &Invocation) -> Result<()> {
        let Loaded { plan, hash, .. } = loaded;
        let engine = self.engine.metered();
        let vault = engine.vault();
        let segments = u32::try_from(plan.segments.len()).unwrap_or(u32::MAX);
        let markers: Vec<Marker<Transferred>> = engine.markers(job.id, hash, segments).await?;
        let manifest = self.manifest(vault, plan, &markers).await?;
        if let Some((name, problem)) = vault.absent_packs(&manifest.packs).await?.first() {
            return Err(Error::corrupt(format!("the point needs {name}, which is {problem}")));
        }
        if !Mutation::CommitUnfenced.is_active() {
            engine.seal(job, invocation.attempt).await?;
        }
        let detail = &plan.detail;
        let name = Name::Manifest(detail.item.clone(), detail.point, invocation.attempt);
        let object = vault.write_manifest(&name, manifest.encode()?).await?;
        let earlier: Requests = markers.iter().fold(plan.requests, |sum, marker| sum + marker.requests);
        // The look at the markers that led here, and the commit's own create.
        let requests = earlier + vault.store().requests() + Requests { put: 1, list: 1, ..Requests::default() };
        let point = point(plan, &markers, object, requests, vault);
        match vault.commit_point(&point).await {
            Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
            // Another attempt of this job has committed the same plan.
            _ => Ok(()),
        }
    }

    async fn is_committed(&self, item: &ItemName, point: PointId) -> Result<bool> {
        match self.engine.vault().point(item, point).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn manifest(&self, vault: &Vault, plan: &Plan<BackupPlan>, markers: &[Marker<Transferred>]) -> Result<Manifest> {
        let parent = match plan.detail.parent {
            Some(id) => Some(vault.manifest(&vault.point(&plan.detail.item, id).await?).await?),
            None => None,
        };
        let mut builder = Builder::new(plan, parent.as_ref());
        if let Some(parent) = &parent {
            for refs in dropped(plan, parent).chunks(PAGES_AT_ONCE) {
                // A page that cannot be read stays counted: its packs are kept for longer than needed, nothing is lost.
                vault.pages(&parent.packs, refs).await.into_iter().flatten().for_each(|page| builder.drop_page(&page));
            }
        }
        builder.apply(plan, markers)?;
        builder.finish(&plan.detail.avoid)
    }
}

impl Handler for Commit {
    type Event = SegmentsTransferred;

    async fn handle(&self, event: Envelope<SegmentsTransferred>, invocation: &Invocation) -> Result<Effects> {
        let id = event.data.job;
        let job = if invocation.redelivered { self.engine.job(id).await? } else { self.engine.job_as_seen(id).await? };
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        // Nothing of it was transferred: what its plan would make is no point.
        if matches!(job.request.what, Operation::Backup { snapshot_only: true, .. }) {
            return Err(Error::fenced(format!("job {id} makes no point")));
        }
        let loaded = match self.engine.plan::<BackupPlan>(job.id).await {
            Err(error) => return Err(self.engine.unless_stray(job.id, "backup", error).await),
            Ok(loaded) => loaded,
        };
        let BackupPlan { item, point, .. } = &loaded.plan.detail;
        // The first delivery need not look: should the point be there all the same, creating it again says so.
        if !(invocation.redelivered && self.is_committed(item, *point).await?) {
            self.commit(&job, &loaded, invocation).await?;
        }
        Ok(Effects::publish(&RecoveryPointCommitted { item: item.clone(), point: *point, job: job.id }))
    }
}

fn point(
    plan: &Plan<BackupPlan>,
    markers: &[Marker<Transferred>],
    manifest: ManifestObject,
    requests: Requests,
    vault: &Vault,
) -> Point {
    let detail = &plan.detail;
    let sum = |pick: fn(&Transferred) -> u64| markers.iter().map(|marker| pick(&marker.detail)).fold(0, u64::saturating_add);
    let disk = |disk: &stillpoint_ports::DiskSnapshot| PointDisk { name: disk.name.clone(), size_bytes: disk.size_bytes };
    Point {
        id: detail.point,
        item: detail.item.clone(),
        job: plan.job,
        instant: detail.snapshot.instant,
        committed: vault.clock().now(),
        parent: detail.parent,
        consistency: Obtained { wanted: detail.wanted, obtained: detail.snapshot.obtained },
        warnings: detail.warnings.iter().chain(markers.iter().flat_map(|marker| &marker.detail.warnings)).cloned().collect(),
        keep_until: detail.keep_until,
        disks: detail.snapshot.disks.iter().map(disk).collect(),
        read_bytes: sum(|detail| detail.read_bytes),
        changed_bytes: sum(|detail| detail.changed_bytes),
        stored_bytes: sum(|detail| detail.stored_bytes),
        requests,
        frozen_ms: detail.snapshot.frozen_ms,
        source_compared: detail.source_compared,
        tracking_resets: detail.snapshot.tracking_resets.clone(),
        configuration: detail.configuration.clone(),
        firmware_variables: detail.firmware_variables.clone(),
        manifest,
    }
}
