//! The function `verify` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Verify, |ports| stillpoint_verify::functions(&ports.wiring))
}
