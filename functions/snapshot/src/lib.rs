//! Snapshots: phase 1 of a backup, and giving the snapshot back when the job is over.
//!
//! * **Consumes** `backup.requested` ([`Take`]); `recovery_point.committed` and `job.ended` ([`Release`], [`Abandon`]);
//!   `snapshot.expired` ([`Expire`]).
//! * **Emits** `segment.planned` for each outstanding segment, or `segments.transferred` when there is none.
//! * **Idempotency key:** the job. A plan that exists is never made again; release and abandon may be repeated.
//! * **Permissions:** the platform of its site; create and read in the vault; no delete.
//! * **What survives a crash:** the plan, or nothing but the platform's snapshot, which carries the job's id and is removed
//!   by the next try or by release. A job ends in its ledger only after its snapshot was given back, or while a record says until
//!   when it is kept; the timer asks for that one when its time is over, for as long as it was not given back.

mod basis;
mod expire;
mod held;
mod release;
mod repack;
mod take;
mod wiring;

pub use expire::Expire;
pub use release::{Abandon, Release};
pub use take::Take;
pub use wiring::functions;
