//! Verify: what is kept is there, authenticates and decodes.
//!
//! * **Consumes** `verify.requested` ([`Prepare`]), `verify_segment.planned` ([`Read`]), `verify_segments.read` ([`Finish`]).
//! * **Emits** `verify_segment.planned` for each outstanding segment; `verify_segments.read` when there is none; `alarm.changed`.
//! * **Idempotency key:** the job, and its segment's number.
//! * **Permissions:** read everything; create plans, markers, marks, alarms and ledger records; no delete.
//! * **What survives a crash:** the plan, and the markers of the segments that were read.
//!
//! # What is checked, and when
//! Every job looks whether every pack that every point needs is there in its size, by listing, and reads every point's record and the
//! pack list of its manifest. With a rotation it also reads every byte of its part: packs and manifests whose names hash to it. A
//! pack is opened frame by frame: each authenticates and decompresses, pages parse, and chunks in them are what the pack's own pages
//! say. What was found damaged before is read again each time, so that a point is called sound only after all of that was
//! read. What looks wrong is read three times before it counts, and looked at once more at the end. A pack that the store does not
//! give back counts as lost while others can be read; where none can, the job fails instead.
//!
//! # The source
//! Machines whose disks are read whole at every backup (platform `image`) are compared with their source each time: a chunk is
//! left out only when the bytes just read have the id of the parent's chunk at that place. There is nothing left for a rotation. A
//! platform that tracks changes will need one, so that what its tracking missed is found; none exists yet.

mod alarm;
mod finish;
mod pack;
mod plan;
mod prepare;
mod read;
mod survey;
mod toll;
mod wiring;

pub use finish::Finish;
pub use prepare::Prepare;
pub use read::Read;
pub use wiring::functions;
