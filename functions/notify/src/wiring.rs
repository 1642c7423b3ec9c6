use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

use crate::{Tell, Telling};

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring, telling: Telling) -> Functions {
    Functions::default().with(Function::Notify, Tell::new(wiring.engine.vault().clone(), telling))
}
