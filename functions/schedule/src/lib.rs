//! Schedule: what the timer starts. Slots of policies and daily tasks of the vault become jobs; stalled jobs are driven on from their
//! ledgers; what did not happen raises an alarm. In a replica no slot of a policy is due: its timer has it copy what the primary has.
//!
//! * **Consumes** `timer.ticked`.
//! * **Emits** `backup.requested`, `prune.requested`, `collect.requested`, `verify.requested`, `replicate.requested`; the next events of stalled jobs, of any type
//!   that belongs to a job; `snapshot.expired`; `alarm.changed`.
//! * **Idempotency key:** none is needed: a tick carries nothing, and everything is read anew. Of ticks at the same moment, the
//!   first to create the next `ticks/<seq>.json` decides what starts, and the first to write a job's next ledger record drives it on.
//! * **Permissions:** read machines, policies, settings, slots, jobs, kept snapshots, alarms; create ticks, slots, alarms, ledger records and decisions; ask the
//!   broker how much waits; list the points of the vault that this one is paired with; no platform, no delete.
//! * **What survives a crash:** a tick on record whose starts the next tick carries out; a ledger record that counts a try.

mod alarms;
mod due;
mod outset;
mod pairs;
mod redrive;
mod tasks;
mod tick;
mod view;
mod wiring;

pub use tick::Schedule;
pub use wiring::{STALLED_AFTER_DEFAULT, functions};
