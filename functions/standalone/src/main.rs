//! The `stillpoint` binary: every function in one process, and the operator's commands.
//!
//! * **Consumes** and **emits** what the functions do, through the in-process host.
//! * **Idempotency key:** theirs. **Permissions:** theirs, and the key file, or `kms:Decrypt` with the key of a KMS slot. **What survives a crash:** jobs, which the next
//!   command takes on.

mod args;
mod commands;
mod disks;
mod failure;
mod folders;
mod input;
mod interrupt;
mod key;
mod keyfile;
mod output;
mod priority;
mod progress;
mod remote;
mod runs;
mod session;
mod start;
mod telling;
mod when;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

/// How long file operations that nobody waits for any more may take to end, at the end of a command.
const LAST_WORK: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            output::text(&error.to_string());
            return ExitCode::SUCCESS;
        }
        Err(error) => return failure::usage(&error),
    };
    output::logs(matches!(
        cli.command,
        args::Command::Worker { .. } | args::Command::Serve { .. } | args::Command::ServePoint(_)
    ));
    if matches!(cli.command, args::Command::Backup { .. } | args::Command::Worker { .. } | args::Command::Serve { .. }) {
        priority::give_way();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(commands::run(cli));
            // Work on other threads belongs to futures that were dropped. It removes what it made, if it gets to its end.
            runtime.shutdown_timeout(LAST_WORK);
            outcome
        }
        Err(error) => Err(stillpoint_model::Error::from(error)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => failure::failed(&error),
    }
}
