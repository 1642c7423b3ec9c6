//! The function `schedule` on AWS Lambda.

use std::{process::ExitCode, sync::Arc};

use stillpoint_events::Function;
use stillpoint_schedule::{Place, STALLED_AFTER_DEFAULT};

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Schedule, |ports| {
        stillpoint_schedule::functions(
            &ports.wiring,
            Arc::clone(&ports.backlog),
            Place::of_site(&ports.site),
            STALLED_AFTER_DEFAULT,
        )
    })
}
