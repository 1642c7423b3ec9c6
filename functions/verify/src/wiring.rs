use std::sync::Arc;

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

use crate::{Finish, Prepare, Read};

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let Wiring { engine, cpu, progress, .. } = wiring.clone();
    Functions::default()
        .with(Function::Verify, Prepare::new(engine.clone(), Arc::clone(&progress)))
        .with(Function::Verify, Read::new(engine.clone(), cpu, progress))
        .with(Function::Verify, Finish::new(engine))
}
