//! Hosts: what runs handlers. Here the in-process host, which is also what the demo and every command use, and what workers
//! (`broker`) and Lambda functions (`lambda`) have in common.
//!
//! The host owns what a handler must not know: the queue, retries, concurrency, cancellation, and which jobs of this machine
//! are alive.

mod adopt;
mod dispatch;
mod host;
mod lock;
mod policy;
mod reads;
mod resources;

pub use adopt::{Adopted, Begun, adopt_unfinished, begin_backup, begin_job};
pub use dispatch::{Dispatcher, Message, Settled};
pub use host::{Ended, Host, Work};
pub use lock::JobLock;
pub use policy::{Patience, RETRY_PAUSES, Reaction, reaction};
pub use reads::HostReads;
pub use resources::{host_name, segments_in_flight, segments_within};
