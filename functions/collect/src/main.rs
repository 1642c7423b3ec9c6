//! The function `collect` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Collect, |ports| stillpoint_collect::functions(&ports.wiring))
}
