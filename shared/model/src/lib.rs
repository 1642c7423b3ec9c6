//! The words of Stillpoint and the rules that need no effects: names, ids, extents, the geometry of a disk, request
//! counts, policies with what follows from them, and the one error type whose kind tells a host what to do.

mod alarm;
mod consistency;
mod error;
mod extent;
pub mod geometry;
mod id;
mod kebab;
mod mark;
mod mutation;
mod name;
pub mod policy;
mod requests;
mod state;
mod subject;

pub use alarm::{AlarmKey, AlarmKind, AlarmState};
pub use consistency::{Consistency, Obtained};
pub use error::{Error, ErrorKind, Result};
pub use extent::{EXTENTS_MAX, Extent, ExtentList, merge};
pub use id::{AttemptId, JobId, PointId, VaultId};
pub use mark::{Immutability, MarkKind};
pub use mutation::Mutation;
pub use name::{DiskName, DrillName, ItemName, NAME_BYTES_MAX, PolicyName, RequesterName};
pub use requests::Requests;
pub use state::JobState;
pub use subject::{Subject, Task};
