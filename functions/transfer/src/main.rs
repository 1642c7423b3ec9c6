//! The function `transfer` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Transfer, |ports| stillpoint_transfer::functions(&ports.wiring))
}
