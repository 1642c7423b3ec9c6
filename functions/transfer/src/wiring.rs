use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

use crate::Transfer;

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let Wiring { engine, platforms, cpu, progress, level, .. } = wiring.clone();
    Functions::default().with(Function::Transfer, Transfer::new(engine, platforms, cpu, progress, level))
}
