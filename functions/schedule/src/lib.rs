//! Schedule: what the timer starts. So far: jobs whose messages are gone are driven on from their ledgers.
//!
//! * **Consumes** `timer.ticked`.
//! * **Emits** the next events of stalled jobs: any type that belongs to a job.
//! * **Idempotency key:** none is needed: a tick carries nothing, and everything is read anew. Of ticks at the same moment, the
//!   first to write a job's next ledger record drives it on.
//! * **Permissions:** read jobs, create ledger records and decisions; ask the broker how much waits; no platform, no delete.
//! * **What survives a crash:** a ledger record that counts a try; the next tick finds the job stalled again.

mod redrive;
mod wiring;

pub use redrive::Redrive;
pub use wiring::{STALLED_AFTER_DEFAULT, functions};
