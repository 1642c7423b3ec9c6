use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

use crate::{Abandon, Expire, Release, Take};

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let Wiring { engine, platforms, progress, .. } = wiring.clone();
    Functions::default()
        .with(Function::Snapshot, Take::new(engine.clone(), platforms.clone(), progress))
        .with(Function::Snapshot, Release::new(engine.clone(), platforms.clone()))
        .with(Function::Snapshot, Abandon::new(engine.clone(), platforms.clone()))
        .with(Function::Snapshot, Expire::new(engine, platforms))
}
