use std::sync::Arc;

use serde_json::Value;
use stillpoint_commit::Commit;
use stillpoint_events::{
    BackupRequested, Contract, Envelope, JobEnded, RecoveryPointCommitted, RestoreRequested, RestoreSegmentPlanned,
    RestoreSegmentsWritten, SegmentPlanned, SegmentsTransferred,
};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::Engine;
use stillpoint_model::{Error, Result};
use stillpoint_ports::{Cpu, Platforms, Progress, Target};
use stillpoint_restore::{Discard, Finish, Prepare, Write};
use stillpoint_snapshot::{Abandon, Release, Take};
use stillpoint_transfer::Transfer;

/// The ports of all functions.
#[derive(Clone)]
pub struct Wiring {
    /// Jobs and vault.
    pub engine: Engine,
    /// Where machines are read.
    pub platforms: Platforms,
    /// Where restores are written.
    pub target: Arc<dyn Target>,
    /// Where computing is done.
    pub cpu: Arc<dyn Cpu>,
    /// Who is told how far jobs are.
    pub progress: Arc<dyn Progress>,
    /// zstd level of chunk frames.
    pub level: i32,
}

/// All functions of this program, by the event they consume.
pub struct Functions {
    take: Take,
    transfer: Transfer,
    commit: Commit,
    release: Release,
    abandon: Abandon,
    prepare: Prepare,
    write: Write,
    finish: Finish,
    discard: Discard,
}

impl Functions {
    /// Wires every function to its ports.
    #[must_use]
    pub fn new(wiring: &Wiring) -> Self {
        let Wiring { engine, platforms, target, cpu, progress, level } = wiring.clone();
        Self {
            take: Take::new(engine.clone(), platforms.clone(), Arc::clone(&progress)),
            transfer: Transfer::new(engine.clone(), platforms.clone(), Arc::clone(&cpu), Arc::clone(&progress), level),
            commit: Commit::new(engine.clone()),
            release: Release::new(engine.clone(), platforms.clone()),
            abandon: Abandon::new(engine.clone(), platforms),
            prepare: Prepare::new(engine.clone(), Arc::clone(&target), Arc::clone(&progress)),
            write: Write::new(engine.clone(), Arc::clone(&target), cpu, progress),
            finish: Finish::new(engine.clone(), Arc::clone(&target)),
            discard: Discard::new(engine, target),
        }
    }

    /// Hands an event to the functions that consume it.
    ///
    /// # Errors
    /// As the handler; `invalid` for an event that nobody consumes or that does not follow its schema.
    pub async fn handle(&self, envelope: Envelope<Value>, invocation: &Invocation) -> Result<Effects> {
        match envelope.event_type.as_str() {
            BackupRequested::TYPE => call(&self.take, envelope, invocation).await,
            SegmentPlanned::TYPE => call(&self.transfer, envelope, invocation).await,
            SegmentsTransferred::TYPE => call(&self.commit, envelope, invocation).await,
            RecoveryPointCommitted::TYPE => call(&self.release, envelope, invocation).await,
            RestoreRequested::TYPE => call(&self.prepare, envelope, invocation).await,
            RestoreSegmentPlanned::TYPE => call(&self.write, envelope, invocation).await,
            RestoreSegmentsWritten::TYPE => call(&self.finish, envelope, invocation).await,
            JobEnded::TYPE => {
                let mut effects = call(&self.abandon, envelope.clone(), invocation).await?;
                effects.events.extend(call(&self.discard, envelope, invocation).await?.events);
                Ok(effects)
            }
            other => Err(Error::invalid(format!("nobody consumes events of type '{}'", other.escape_debug()))),
        }
    }
}

async fn call<H: Handler>(handler: &H, envelope: Envelope<Value>, invocation: &Invocation) -> Result<Effects> {
    let event = envelope.open().map_err(|error| Error::invalid(error.to_string()))?;
    handler.handle(event, invocation).await
}
