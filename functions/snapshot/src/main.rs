//! The function `snapshot` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;

fn main() -> ExitCode {
    stillpoint_lambda::run(Function::Snapshot, |ports| stillpoint_snapshot::functions(&ports.wiring))
}
