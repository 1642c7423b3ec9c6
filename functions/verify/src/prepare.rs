use std::sync::Arc;

use stillpoint_events::{Envelope, VerifyRequested};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Job, Loaded, Operation, Plan, cut};
use stillpoint_model::{Error, Requests, Result};
use stillpoint_ports::Progress;

use crate::{plan::VerifyPlan, survey::Survey};

/// Audits what exists, and writes the plan of what is read.
pub struct Prepare {
    engine: Engine,
    progress: Arc<dyn Progress>,
}

impl Prepare {
    /// The handler over its ports.
    #[must_use]
    pub fn new(engine: Engine, progress: Arc<dyn Progress>) -> Self {
        Self { engine, progress }
    }

    async fn plan(&self, job: &Job) -> Result<Loaded<VerifyPlan>> {
        if let Some(made) = self.engine.plan_if_made(job.id).await? {
            return Ok(made);
        }
        let Operation::Verify { item, read } = &job.request.what else {
            return Err(Error::internal(format!("job {} is no verification", job.id)));
        };
        let engine = self.engine.metered();
        let detail = Survey::new(&engine, item.as_ref(), *read).plan(job.id).await?;
        let packs: Vec<(u16, u32, u64)> =
            (0_u32..).zip(&detail.packs).map(|(number, pack)| (0, number, pack.size_bytes)).collect();
        let requests = engine.vault().store().requests() + Requests { put: 1, ..Requests::default() };
        engine.save_plan(Plan { job: job.id, segments: cut(&packs), requests, detail }).await
    }
}

impl Handler for Prepare {
    type Event = VerifyRequested;

    async fn handle(&self, event: Envelope<VerifyRequested>, _invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        if !matches!(job.request.what, Operation::Verify { .. }) {
            return Err(Error::fenced(format!("job {} is no verification", job.id)));
        }
        let loaded = self.plan(&job).await?;
        let job = self.engine.begin_transfer(&job, loaded.plan.segments.len()).await?;
        let total = loaded.plan.segments.iter().map(|segment| segment.bytes).fold(0, u64::saturating_add);
        self.progress.planned(job.id, total, 0);
        Ok(Effects { events: self.engine.redrive(&job).await? })
    }
}
