use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::{Ending, Operation, Wiring};

use crate::Collect;

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let engine = || wiring.engine.clone();
    Functions::default()
        .with(Function::Collect, Collect::new(engine()))
        .with(Function::Collect, Ending::new(engine(), |operation| matches!(operation, Operation::Collect)))
}
