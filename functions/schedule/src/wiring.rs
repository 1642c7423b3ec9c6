use std::{sync::Arc, time::Duration};

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;
use stillpoint_ports::Backlog;

use crate::Schedule;

/// How long a job shows no progress before its messages are taken to be lost, unless the operator says otherwise: well above
/// what one segment takes.
pub const STALLED_AFTER_DEFAULT: Duration = Duration::from_secs(600);

/// The function over its ports, for the machines and jobs of their place.
#[must_use]
pub fn functions(wiring: &Wiring, backlog: Arc<dyn Backlog>, stalled_after: Duration) -> Functions {
    Functions::default().with(Function::Schedule, Schedule::new(wiring, backlog, stalled_after))
}
