//! The job engine: one way for every operation to be planned, cut into segments, resumed, cancelled and ended.
//!
//! A job is a folder of objects that are each created once: ledger records (history, the state readable from the name), one
//! plan, a marker per finished segment, and one *decision*: whoever creates it first, the sealer or the one who stops the
//! job, has decided how it ends. Nothing is held in memory that the next process could not read there.
//!
//! # Cancellation
//! Every call may be dropped at any await and repeated.

mod backup;
mod decision;
mod derived;
mod engine;
mod expired;
mod in_hand;
mod kept_snapshot;
mod ledger;
mod listing;
mod marker;
mod operation;
mod place;
mod plan;
mod redrive;
mod standing;
mod wiring;

pub use backup::{BackupPlan, Neighbour, PackDelta, PageChange, PagePlace, Samples, Transferred};
pub use decision::Decision;
pub use derived::derived_id;
pub use engine::Engine;
pub use in_hand::{Held, InHand};
pub use kept_snapshot::{KeptListing, KeptSnapshot};
pub use ledger::{Carrier, DiskOutcome, Job, KeptUntil, LedgerRecord, Outcome, Request};
pub use listing::{AllJobs, JobListing};
pub use marker::{Delivery, FanIn, Marker};
pub use operation::{BackupSlot, Operation, OrderId, Rotation};
pub use place::Place;
pub use plan::{Loaded, Plan, Plans, Segment, cut};
pub use wiring::Wiring;
