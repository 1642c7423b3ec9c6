//! Verify: what is kept is there, authenticates and decodes.
//!
//! * **Consumes** `verify.requested`, `verify_segment.planned`, `verify_segments.read`, `job.ended`.
//! * **Emits** `verify_segment.planned`, `verify_segments.read`, `alarm.changed`.
//! * **Idempotency key:** the job, and its segment's number.
//! * **Permissions:** read everything; create plans, markers, marks, alarms and ledger records; no delete.
//! * **What survives a crash:** the plan, and the markers of the segments that were read.

mod wiring;

pub use wiring::functions;
