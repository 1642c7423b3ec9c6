use stillpoint_events::{Envelope, SnapshotExpired};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::Engine;
use stillpoint_model::{Error, Result};
use stillpoint_ports::{Ending, Platforms};

use crate::held::Held;

/// Gives a kept snapshot back whose time is over.
pub struct Expire {
    engine: Engine,
    platforms: Platforms,
}

impl Expire {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(engine: Engine, platforms: Platforms) -> Self {
        Self { engine, platforms }
    }
}

impl Handler for Expire {
    type Event = SnapshotExpired;

    async fn handle(&self, event: Envelope<SnapshotExpired>, _invocation: &Invocation) -> Result<Effects> {
        let SnapshotExpired { item, job: id } = event.data;
        let job = self.engine.job(id).await?;
        if job.request.what.item() != Some(&item) {
            return Err(Error::fenced(format!("job {id} took no snapshot of {item}")));
        }
        // One that has not ended still reads it, and looks at the time itself when it ends.
        let listing = if job.state().is_end() { self.engine.kept_snapshot_of(&job).await? } else { None };
        let now = self.engine.vault().clock().now();
        let Some(listing) = listing.filter(|listing| listing.is_over(now)) else { return Ok(Effects::none()) };
        // Names are nobody's word: only the signed record says that the time is over.
        self.engine.read_kept(&listing).await?;
        Held { engine: &self.engine, platforms: &self.platforms, job: &job, ending: Ending::Abandoned }.expire().await?;
        Ok(Effects::none())
    }
}
