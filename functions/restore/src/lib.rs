//! Restore: a recovery point's disks are written to a target, segment by segment, and become visible when all is there. Their bytes come
//! from the vault or, where the request names the backup, from its kept snapshot: also before that backup has ended.
//!
//! Other systems order restores with tokens that they sign; what one may order, and whether it may at all, says a record of the vault.
//!
//! * **Consumes** `restore.ordered` ([`Accept`]), `restore.requested` ([`Prepare`]), `restore_segment.planned` ([`Write`]), `restore_segments.written`
//!   ([`Finish`]), `job.ended` ([`Discard`]).
//! * **Emits** `restore.requested` for an order; `restore_segment.planned` for each outstanding segment; `restore_segments.written` when there is none.
//! * **Idempotency key:** job and segment; of an order its job's id, which follows from who signed it, when, and what they call it.
//! * **Permissions:** read the vault, create job objects; read snapshots of the platform at its site; write the target that the job's signed
//!   request names; no delete.
//! * **What survives a crash:** the plan, markers of segments whose bytes are synced, and the target under a temporary name
//!   that carries the job's id. The final name appears with the last byte, or not at all.

mod accept;
mod finish;
mod order;
mod plan;
mod prepare;
mod source;
mod taken;
mod wanted;
mod wiring;
mod write;

pub use accept::{Accept, accept};
pub use finish::{Discard, Finish};
pub use order::{DiskFormat, LIFETIME_MAX, ORDER_BYTES_MAX, Order};
pub use prepare::Prepare;
pub use source::SourceDisk;
pub use wanted::{SKEW, parse_time, resolve};
pub use wiring::functions;
pub use write::Write;
