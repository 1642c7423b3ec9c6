//! The function `restore` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Restore, |ports| stillpoint_restore::functions(&ports.wiring))
}
