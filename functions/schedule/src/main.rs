//! The function `schedule` on AWS Lambda.

use std::{process::ExitCode, sync::Arc};

use stillpoint_events::Function;
use stillpoint_schedule::STALLED_AFTER_DEFAULT;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Schedule, |ports| {
        stillpoint_schedule::functions(&ports.wiring, Arc::clone(&ports.backlog), STALLED_AFTER_DEFAULT)
    })
}
