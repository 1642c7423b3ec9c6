//! The vault: what objects there are, what they are called, and how they are written, found and checked.
//!
//! # Consistency
//! Every object is created once and never changed; creating `point.json` is the commit of a recovery point, and until then no
//! reader sees anything of it. What changes over time (a machine's record, a job's state) is a sequence of objects of which
//! the highest number counts.
//!
//! # Crash consistency
//! A writer that dies leaves whole objects that nothing refers to. They cost space until `collect` finds them, and nothing
//! else.
//!
#![doc = include_str!("concurrency.md")]

mod alarms;
mod audit;
mod chunks;
mod collection;
mod description;
mod firmware;
mod item;
mod kept;
mod layout;
mod marks;
mod open;
mod pages;
mod pairing;
mod point;
mod policies;
mod record;
mod requesters;
mod sequence;
mod service;
mod settings;

pub use alarms::{Alarm, Alarms, Occurrence, Standing};
pub use audit::{Finding, Needs, Report, Shelves};
pub use chunks::{ChunkRead, FramePool};
pub use collection::{CollectNames, Collection, Condemned, Waits};
pub use description::Description;
pub use item::{Item, Protection};
pub use layout::{GROUP_SEGMENTS, Name, SEQ_MAX};
pub use marks::{Mark, PointEntries, PointEntry};
pub use open::{Draft, Identity, SlotSummary, Vault};
pub use pairing::{Both, ByUrl, Pair, Pairing, Regions, Role, Wanted, copy, put};
pub use point::{ManifestObject, Point, PointDisk, PointListing};
pub use policies::PolicyRecord;
pub use record::{Kind, MARKER, PLAN};
pub use requesters::Requester;
pub use service::Opener;
pub use settings::Settings;
