//! Files that operators write: TOML into [`Policy`](stillpoint_model::policy::Policy) and back, and many machines from one file, with
//! the line, the field and the reason of what is wrong.

mod error;
mod machines;
mod place;
mod read;
mod write;

pub use error::FileError;
pub use machines::{MACHINES_BYTES_MAX, MachineEntry, machines_from_toml};
pub use read::{FILE_BYTES_MAX, from_toml};
pub use write::to_toml;
