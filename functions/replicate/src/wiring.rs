use std::sync::Arc;

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

use crate::{Copy, Finish, Follow, Prepare, source::Source};

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let Wiring { engine, progress, regions, .. } = wiring.clone();
    let source = Arc::new(Source::new(regions));
    Functions::default()
        .with(Function::Replicate, Prepare::new(engine.clone(), Arc::clone(&source), Arc::clone(&progress)))
        .with(Function::Replicate, Copy::new(engine.clone(), Arc::clone(&source), progress))
        .with(Function::Replicate, Finish::new(engine, source))
}

/// What hears of the primary's points, for processes that have its events brought to them.
#[must_use]
pub fn follow(wiring: &Wiring) -> Functions {
    Functions::default().with(Function::Replicate, Follow::new(wiring))
}
