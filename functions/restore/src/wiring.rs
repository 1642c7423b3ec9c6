use std::sync::Arc;

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

use crate::{Accept, Discard, Finish, Prepare, Write};

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let Wiring { engine, place, platforms, target, cpu, progress, .. } = wiring.clone();
    Functions::default()
        .with(Function::Restore, Accept::new(engine.clone(), place))
        .with(Function::Restore, Prepare::new(engine.clone(), Arc::clone(&target), Arc::clone(&progress)))
        .with(Function::Restore, Write::new(engine.clone(), platforms, Arc::clone(&target), cpu, progress))
        .with(Function::Restore, Finish::new(engine.clone(), Arc::clone(&target)))
        .with(Function::Restore, Discard::new(engine, target))
}
