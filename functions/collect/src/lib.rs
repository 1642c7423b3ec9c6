//! Collect: the only code that deletes vault objects.
//!
//! * **Consumes** `collect.requested`, `job.ended`.
//! * **Emits** `job.ended`.
//! * **Idempotency key:** the job; of runs at the same moment one creates the next `collect/<seq>.json`.
//! * **Permissions:** list and read everything but packs' content, create records of collect, marks and ledger records; **delete**.
//! * **What survives a crash:** what was condemned; the next run settles it.

mod wiring;

pub use wiring::functions;
