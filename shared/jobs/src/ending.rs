use stillpoint_events::{Envelope, JobEnded};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_model::Result;

use crate::{Decision, Engine, Operation};

/// Ends stopped jobs of one operation that hold nothing which would have to be given back.
pub struct Ending {
    engine: Engine,
    is_own: fn(&Operation) -> bool,
}

impl Ending {
    /// The handler for the jobs of which `is_own` holds.
    #[must_use]
    pub const fn new(engine: Engine, is_own: fn(&Operation) -> bool) -> Self {
        Self { engine, is_own }
    }
}

impl Handler for Ending {
    type Event = JobEnded;

    async fn handle(&self, event: Envelope<JobEnded>, _invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if job.state().is_end() || !(self.is_own)(&job.request.what) {
            return Ok(Effects::none());
        }
        if let Some(Decision::Stop { state, reason, .. }) = self.engine.decision(job.id).await? {
            self.engine.end(&job, state, &reason).await?;
        }
        Ok(Effects::none())
    }
}
