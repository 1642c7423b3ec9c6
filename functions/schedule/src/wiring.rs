use std::{sync::Arc, time::Duration};

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;
use stillpoint_ports::Backlog;

use crate::Redrive;

/// How long a job shows no progress before its messages are taken to be lost, unless the operator says otherwise: well above
/// what one segment takes.
pub const STALLED_AFTER_DEFAULT: Duration = Duration::from_secs(600);

/// The function over its ports, for the jobs of `site` that a broker carries.
#[must_use]
pub fn functions(wiring: &Wiring, backlog: Arc<dyn Backlog>, site: &str, stalled_after: Duration) -> Functions {
    Functions::default().with(Function::Schedule, Redrive::new(wiring.engine.clone(), backlog, site, stalled_after))
}
