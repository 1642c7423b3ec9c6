//! Exit codes: 0 done, 1 failed, 2 usage, 3 done with warnings. Errors are one line on stderr.

use std::process::ExitCode;

use stillpoint_model::Error;

use crate::output;

/// Done, with warnings.
pub const WARNINGS: u8 = 3;
/// Failed; why is on stderr.
pub const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Says what failed.
pub fn failed(error: &Error) -> ExitCode {
    output::complain(&error.one_line());
    ExitCode::from(FAILED)
}

/// Says what was wrong with the command line, in one line.
pub fn usage(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let said = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty());
    let line = said.collect::<Vec<_>>().join(" ");
    output::complain(&format!("{}; see `stillpoint --help`", line.trim_start_matches("error: ")));
    ExitCode::from(USAGE)
}

/// A usage error that clap cannot see.
pub fn misuse(message: &str) -> ExitCode {
    output::complain(&format!("{message}; see `stillpoint --help`"));
    ExitCode::from(USAGE)
}
