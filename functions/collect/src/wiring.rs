use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

use crate::Collect;

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    Functions::default().with(Function::Collect, Collect::new(wiring))
}
