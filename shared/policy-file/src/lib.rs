//! Files that operators write: TOML into [`Policy`](stillpoint_model::policy::Policy) and back, many machines from one file, plans of drills and lists of restores, with
//! the line, the field and the reason of what is wrong.

mod boot;
mod drills;
mod error;
mod machines;
mod place;
mod read;
mod restores;
mod write;

pub use boot::{BootEntry, BootSign};
pub use drills::{DrillCheck, DrillEntry, SCRIPT_TIMEOUT, drills_from_toml};
pub use error::FileError;
pub use machines::{MACHINES_BYTES_MAX, MachineEntry, machines_from_toml};
pub use read::{FILE_BYTES_MAX, from_toml};
pub use restores::{RestoreEntry, RestoreList, StagingTarget, restores_from_toml};
pub use write::to_toml;
