//! Collect: the only code that deletes vault objects.
//!
//! * **Consumes** `collect.requested`.
//! * **Emits** nothing.
//! * **Idempotency key:** the job; of runs at the same moment one creates the next `collect/<seq>.json`.
//! * **Permissions:** in a replica, list the primary; list everything, read all but packs and slots, create records of collect, marks and ledger records; **delete**
//!   packs, points, its own records, slots, ticks, plans and markers. No data key.
//! * **What survives a crash:** what was condemned; the next run settles it.
#![doc = include_str!("protocol.md")]

mod census;
mod collect;
mod deletion;
mod fates;
mod intent;
mod look;
mod margins;
mod primary;
mod records;
mod references;
mod run;
mod sweep;
mod wiring;

pub use collect::Collect;
pub use margins::Margins;
pub use run::{Findings, preview};
pub use wiring::functions;
