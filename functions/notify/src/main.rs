//! The function `notify` on AWS Lambda.

use std::process::ExitCode;

use stillpoint_events::Function;
use stillpoint_notify::Telling;

fn main() -> ExitCode {
    // What a function logs is kept and read.
    stillpoint_lambda::run(Function::Notify, |ports| {
        stillpoint_notify::functions(&ports.wiring, ports.messenger.clone().map_or(Telling::Log, Telling::Receiver))
    })
}
