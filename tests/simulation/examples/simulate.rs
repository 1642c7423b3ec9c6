//! Runs seeds on all processors and prints what came of them: `--seeds N` from `--seed S` on. One seed with `--log` prints all that happens;
//! `--pairs` runs seeds of two vaults in two regions.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use stillpoint_simulation::{Campaign, Simulation};

/// The number behind a flag.
fn number(arguments: &[String], flag: &str) -> Option<u64> {
    let place = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(place + 1)?.parse().ok()
}

fn say(what: &dyn std::fmt::Display) {
    // A reader that has seen enough closes the pipe.
    drop(writeln!(stdout().lock(), "{what}"));
}

fn one(seed: u64) -> ExitCode {
    match Simulation::new(seed).and_then(|simulation| simulation.logged().run()) {
        Ok(report) => {
            say(&report);
            if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&format_args!("seed {seed}: the simulation itself failed: {}", error.one_line()));
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let first = number(&arguments, "--seed").unwrap_or(0);
    if arguments.iter().any(|argument| argument == "--log") {
        return one(first);
    }
    let seeds = number(&arguments, "--seeds").unwrap_or(1);
    let run = if arguments.iter().any(|argument| argument == "--pairs") { Campaign::of_pairs } else { Campaign::run };
    let campaign = run(first, seeds, &|bad| say(&bad));
    say(&campaign);
    if campaign.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
