//! The function `commit` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Commit, |ports| stillpoint_commit::functions(&ports.wiring))
}
