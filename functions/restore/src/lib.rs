//! Restore: a recovery point's disks are written to a target, segment by segment, and become visible when all is there. Their bytes come
//! from the vault or, where the request names the backup, from its kept snapshot: also before that backup has ended.
//!
//! * **Consumes** `restore.requested` ([`Prepare`]), `restore_segment.planned` ([`Write`]), `restore_segments.written`
//!   ([`Finish`]), `job.ended` ([`Discard`]).
//! * **Emits** `restore_segment.planned` for each outstanding segment; `restore_segments.written` when there is none.
//! * **Idempotency key:** job and segment.
//! * **Permissions:** read the vault, create job objects; read snapshots of the platform at its site; write the target that the job's signed
//!   request names; no delete.
//! * **What survives a crash:** the plan, markers of segments whose bytes are synced, and the target under a temporary name
//!   that carries the job's id. The final name appears with the last byte, or not at all.

mod finish;
mod plan;
mod prepare;
mod taken;
mod wiring;
mod write;

pub use finish::{Discard, Finish};
pub use prepare::Prepare;
pub use wiring::functions;
pub use write::Write;
