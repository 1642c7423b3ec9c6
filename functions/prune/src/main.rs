//! The function `prune` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Prune, |ports| stillpoint_prune::functions(&ports.wiring))
}
