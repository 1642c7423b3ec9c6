//! Prune: retention becomes tombstones, with the reasons on each.
//!
//! * **Consumes** `prune.requested`.
//! * **Emits** `alarm.changed`.
//! * **Idempotency key:** the job; a point has one tombstone in force.
//! * **Permissions:** read machines, policies, settings, points; create marks, alarms and ledger records; no delete, no data key.
//! * **What survives a crash:** the tombstones and alarms written so far; the next delivery goes on with the rest.

mod alarms;
mod prune;
mod tombstones;
mod wiring;

pub use prune::Prune;
pub use wiring::functions;
