//! Runs seeds and prints what came of them: `--seeds N` from `--seed S` on; one seed with `--log` prints all that happens.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use stillpoint_simulation::{Report, Simulation, Tally};

/// The number behind a flag.
fn number(arguments: &[String], flag: &str) -> Option<u64> {
    let place = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(place + 1)?.parse().ok()
}

fn say(what: &dyn std::fmt::Display) {
    // A reader that has seen enough closes the pipe.
    drop(writeln!(stdout().lock(), "{what}"));
}

fn run(seed: u64, log: bool) -> stillpoint_model::Result<Report> {
    let simulation = Simulation::new(seed)?;
    if log { simulation.logged().run() } else { simulation.run() }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let first = number(&arguments, "--seed").unwrap_or(0);
    let log = arguments.iter().any(|argument| argument == "--log");
    let seeds = number(&arguments, "--seeds").unwrap_or(1);
    let (mut tally, mut days, mut steps, mut bad) = (Tally::default(), 0, 0, 0_u64);
    for seed in first..first + seeds {
        match run(seed, log) {
            Ok(report) => {
                if seeds == 1 || !report.violations.is_empty() {
                    say(&report);
                }
                tally.add(&report.tally);
                days += report.simulated_ms / 86_400_000;
                steps += report.steps;
                bad += u64::from(!report.violations.is_empty());
            }
            Err(error) => {
                say(&format_args!("seed {seed}: the simulation itself failed: {}", error.one_line()));
                bad += 1;
            }
        }
    }
    say(&format_args!("{seeds} seeds, {days} simulated days, {steps} steps"));
    for (what, count) in tally.counts.iter().chain(&tally.faults) {
        say(&format_args!("{count:>12}  {what}"));
    }
    say(&format_args!("{bad:>12}  seeds that broke a rule"));
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
