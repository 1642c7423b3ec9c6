//! Restore: a recovery point's disks are written to a target, segment by segment, and become visible when all is there.
//!
//! * **Consumes** `restore.requested` ([`Prepare`]), `restore_segment.planned` ([`Write`]), `restore_segments.written`
//!   ([`Finish`]), `job.ended` ([`Discard`]).
//! * **Emits** `restore_segment.planned` for each outstanding segment; `restore_segments.written` when there is none.
//! * **Idempotency key:** job and segment.
//! * **Permissions:** read the vault, create job objects; write the target that the job's signed request names; no delete.
//! * **What survives a crash:** the plan, markers of segments whose bytes are synced, and the target under a temporary name
//!   that carries the job's id. The final name appears with the last byte, or not at all.

mod finish;
mod plan;
mod prepare;
mod write;

use std::sync::Arc;

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

pub use finish::{Discard, Finish};
pub use prepare::Prepare;
pub use write::Write;

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let Wiring { engine, target, cpu, progress, .. } = wiring.clone();
    Functions::default()
        .with(Function::Restore, Prepare::new(engine.clone(), Arc::clone(&target), Arc::clone(&progress)))
        .with(Function::Restore, Write::new(engine.clone(), Arc::clone(&target), cpu, progress))
        .with(Function::Restore, Finish::new(engine.clone(), Arc::clone(&target)))
        .with(Function::Restore, Discard::new(engine, target))
}
