//! Hosts: what runs handlers. So far the in-process host, which is also what the demo and every command use.
//!
//! The host owns what a handler must not know: the queue, retries, concurrency, cancellation, and which jobs of this machine
//! are alive.

mod adopt;
mod host;
mod lock;
mod policy;
mod resources;

pub use adopt::{Adopted, adopt_unfinished, begin_backup, begin_restore};
pub use host::{Ended, Host};
pub use lock::JobLock;
pub use policy::{Reaction, reaction};
pub use resources::{host_name, segments_in_flight};
