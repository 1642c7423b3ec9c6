//! Replicate: what the primary vault keeps is copied to its replica in the paired region, bytes as stored, so that everything is there
//! when the primary is gone.
//!
//! * **Consumes** `replicate.requested` ([`Prepare`]), `replicate_segment.planned` ([`Copy`]), `replicate_segments.copied` ([`Finish`]); where its
//!   process has it so, `recovery_point.committed` of the primary ([`Follow`]).
//! * **Emits** `replicate_segment.planned` for each outstanding segment; `replicate_segments.copied` when there is none; `replicate.requested` for a
//!   point that was committed.
//! * **Idempotency key:** the job, and its segment's number; a committed point, from which its job's id follows.
//! * **Permissions:** read the primary; in the replica read everything, and create what the primary has, marks of holds and job objects; no delete
//!   anywhere. Needs the signature key; opens no pack.
//! * **What survives a crash:** the plan, the markers of copied segments, and every object that was copied.
//!
//! # Where its jobs lie
//! In the replica: there they are seen by its `collect`, which leaves alone what unfinished jobs may still name, and there they are stopped when
//! it is promoted. The replica asks the primary; nobody needs a right to write in both.
//!
//! # What begins them
//! The timer, which finds by listings what is missing; the command line; and [`Follow`], which hears of a point as the primary commits it. That one is a
//! hint and nothing else: [`functions`] are complete without it, and where it is not heard the timer comes later.
//!
//! # What a job copies
//! What the replica lacks: records of machines, policies and key slots; then points, the newest of each machine first and after
//! these by age, as many as [`plan`](crate::Prepare) takes at a time. A point's packs come first, then its manifest, then its commit object, and that only
//! after a look at what is there: a point that the replica shows is whole. One that cannot be copied does not keep the others from it.

mod copy;
mod finish;
mod follow;
mod plan;
mod prepare;
mod records;
mod source;
mod wiring;

pub use copy::Copy;
pub use finish::Finish;
pub use follow::Follow;
pub use prepare::Prepare;
pub use wiring::{follow, functions};
