use std::collections::BTreeMap;

use stillpoint_events::{AlarmChanged, Envelope, Outgoing, VerifySegmentsRead};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Job, Marker, Outcome, Plan};
use stillpoint_model::Result;

use crate::{
    alarm,
    plan::{SegmentRead, VerifyPlan},
    toll::Toll,
};

/// Findings that a job's end lists.
const LINES_MAX: usize = 100;

/// Marks the points that are hurt, raises and resolves alarms, and completes the job.
pub struct Finish {
    engine: Engine,
}

impl Finish {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    async fn finish(&self, job: &Job, plan: &Plan<VerifyPlan>, markers: &[Marker<SegmentRead>]) -> Result<Vec<AlarmChanged>> {
        let vault = self.engine.vault().metered().afresh();
        let lost = plan.detail.lost.iter().chain(markers.iter().flat_map(|marker| &marker.detail.lost)).cloned().collect();
        let mut toll = Toll::of(&vault, &plan.detail, lost).await?;
        toll.take(plan.detail.item.as_ref()).await?;
        let changed = alarm::settle(&vault, job.id, plan.detail.item.as_ref(), &toll.items).await?;
        let sum = |pick: fn(&SegmentRead) -> u64| markers.iter().map(|marker| pick(&marker.detail)).fold(0, u64::saturating_add);
        let counts = [
            ("points", plan.detail.points),
            ("objects", plan.detail.objects),
            ("packs", plan.detail.packs.len() as u64),
            ("packs_read", sum(|read| read.packs)),
            ("read_bytes", sum(|read| read.bytes)),
            ("findings", toll.findings()),
            ("points_damaged", toll.damaged),
        ];
        let made = markers.iter().fold(plan.requests, |sum, marker| sum + marker.requests);
        let outcome = Outcome {
            warnings: plan.detail.warnings.iter().cloned().chain(toll.lines(LINES_MAX)).collect(),
            requests: made + vault.store().requests(),
            counts: BTreeMap::from(counts.map(|(name, count)| (name.to_owned(), count))),
            ..Outcome::default()
        };
        self.engine.complete(job, outcome).await?;
        Ok(changed)
    }
}

impl Handler for Finish {
    type Event = VerifySegmentsRead;

    async fn handle(&self, event: Envelope<VerifySegmentsRead>, invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let loaded = match self.engine.plan::<VerifyPlan>(job.id).await {
            Err(error) => return Err(self.engine.unless_stray(job.id, "verify", error).await),
            Ok(loaded) => loaded,
        };
        let segments = u32::try_from(loaded.plan.segments.len()).unwrap_or(u32::MAX);
        let markers = self.engine.markers(job.id, &loaded.hash, segments).await?;
        // A job that was stopped marks nothing.
        let job = self.engine.seal(&job, invocation.attempt).await?;
        let changed = self.finish(&job, &loaded.plan, &markers).await?;
        // Whose events are lost is found by the timer: nobody was told of the alarm yet.
        Ok(Effects { events: changed.iter().map(Outgoing::new).collect() })
    }
}
