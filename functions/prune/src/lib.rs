//! Prune: retention becomes tombstones, with the reasons on each.
//!
//! * **Consumes** `prune.requested`, `job.ended`.
//! * **Emits** `alarm.changed`.
//! * **Idempotency key:** the job; a point has one tombstone in force.
//! * **Permissions:** read machines, policies, settings, points; create marks and ledger records; no delete, no data key.
//! * **What survives a crash:** the tombstones written so far; the next run goes on with the rest.

mod wiring;

pub use wiring::functions;
