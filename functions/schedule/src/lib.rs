//! Schedule: what the timer starts. So far: jobs whose messages are gone are driven on from their ledgers.
//!
//! * **Consumes** `timer.ticked`.
//! * **Emits** the next events of stalled jobs: any type that belongs to a job.
//! * **Idempotency key:** none is needed: a tick carries nothing, and everything is read anew. Of ticks at the same moment, the
//!   first to write a job's next ledger record drives it on.
//! * **Permissions:** read jobs, create ledger records and decisions; ask the broker how much waits; no platform, no delete.
//! * **What survives a crash:** a ledger record that counts a try; the next tick finds the job stalled again.

mod redrive;

use std::{sync::Arc, time::Duration};

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;
use stillpoint_ports::Backlog;

pub use redrive::Redrive;

/// How long a job shows no progress before its messages are taken to be lost, unless the operator says otherwise: well above
/// what one segment takes.
pub const STALLED_AFTER_DEFAULT: Duration = Duration::from_secs(600);

/// The function over its ports, for the jobs of `site` that a broker carries.
#[must_use]
pub fn functions(wiring: &Wiring, backlog: Arc<dyn Backlog>, site: &str, stalled_after: Duration) -> Functions {
    Functions::default().with(Function::Schedule, Redrive::new(wiring.engine.clone(), backlog, site, stalled_after))
}
