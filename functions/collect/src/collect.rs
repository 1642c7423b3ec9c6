use std::sync::Arc;

use stillpoint_events::{CollectRequested, Envelope};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Operation, Outcome, Wiring};
use stillpoint_model::{Error, Requests, Result};
use stillpoint_vault::Regions;

use crate::{Margins, run::run};

/// Requests that follow the count: the decision, its record and the end's.
const LAST_PUTS: u64 = 3;

/// Deletes what nothing needs.
pub struct Collect {
    engine: Engine,
    regions: Arc<dyn Regions>,
    margins: Margins,
}

impl Collect {
    /// The handler over its ports.
    #[must_use]
    pub fn new(wiring: &Wiring) -> Self {
        Self { engine: wiring.engine.clone(), regions: Arc::clone(&wiring.regions), margins: Margins::DEFAULT }
    }
}

impl Handler for Collect {
    type Event = CollectRequested;

    async fn handle(&self, event: Envelope<CollectRequested>, invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        if !matches!(job.request.what, Operation::Collect) {
            return Err(Error::fenced(format!("job {} does not collect", job.id)));
        }
        let engine = self.engine.metered();
        let findings = run(&engine, &*self.regions, job.id, &self.margins).await?;
        let requests = engine.vault().store().requests() + Requests { put: LAST_PUTS, ..Requests::default() };
        let job = self.engine.seal(&job, invocation.attempt).await?;
        let outcome = Outcome { counts: findings.counts, warnings: findings.warnings, requests, ..Outcome::default() };
        self.engine.complete(&job, outcome).await?;
        Ok(Effects::none())
    }
}
