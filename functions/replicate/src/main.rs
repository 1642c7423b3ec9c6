//! The function `replicate` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Replicate, |ports| stillpoint_replicate::functions(&ports.wiring))
}
