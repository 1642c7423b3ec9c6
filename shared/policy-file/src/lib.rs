//! Policy files: TOML into [`Policy`](stillpoint_model::policy::Policy), with the line, the field and the reason of what is wrong.

mod error;
mod place;
mod read;

pub use error::FileError;
pub use read::{FILE_BYTES_MAX, from_toml};
