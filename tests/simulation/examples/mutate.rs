//! Puts each bug of the mutation suite back and says which seed, from `--seed S` on, and at most `--seeds N` of them, finds it; `--only`
//! does it for one, by its name.

use std::{
    io::{Write, stdout},
    process::ExitCode,
    time::Instant,
};

use stillpoint_model::Mutation;
use stillpoint_simulation::{PairSimulation, Simulation};

fn value<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(place + 1).map(String::as_str)
}

fn say(what: &dyn std::fmt::Display) {
    // A reader that has seen enough closes the pipe.
    drop(writeln!(stdout().lock(), "{what}"));
}

/// The rule that a seed breaks, and how, if it breaks one.
fn broken(mutation: Mutation, seed: u64, log: bool) -> stillpoint_model::Result<Option<String>> {
    let report = if mutation == Mutation::ReplicaEarly {
        PairSimulation::new(seed)?.mutated(mutation).run()?
    } else {
        let simulation = Simulation::new(seed)?.mutated(mutation);
        if log { simulation.logged().run() } else { simulation.run() }?
    };
    Ok(report.violations.into_iter().next())
}

/// Looks for the first seed that finds a bug; whether one does.
fn hunt(mutation: Mutation, first: u64, seeds: u64, log: bool) -> bool {
    let begun = Instant::now();
    for seed in first..first + seeds {
        let found = match broken(mutation, seed, log) {
            Ok(None) => continue,
            Ok(Some(violation)) => violation,
            Err(error) => format!("the simulation itself failed: {}", error.one_line()),
        };
        let rate = (seed - first + 1) as f64 / begun.elapsed().as_secs_f64();
        say(&format_args!("{:<18} {seed:>5} {rate:>8.1}  {found}", format!("{mutation:?}")));
        return true;
    }
    let rate = seeds as f64 / begun.elapsed().as_secs_f64();
    say(&format_args!("{:<18} {:>5} {rate:>8.1}  not found", format!("{mutation:?}"), "-"));
    false
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |flag| value(&arguments, flag).and_then(|text| text.parse::<u64>().ok());
    let (first, seeds) = (number("--seed").unwrap_or(0), number("--seeds").unwrap_or(1000));
    let log = arguments.iter().any(|argument| argument == "--log");
    let only = value(&arguments, "--only");
    say(&format_args!("{:<18} {:>5} {:>8}  {}", "bug", "seed", "seeds/s", "when, and which rule it broke"));
    let mut all_found = true;
    for mutation in Mutation::ALL.into_iter().filter(|mutation| only.is_none_or(|only| format!("{mutation:?}") == only)) {
        all_found &= hunt(mutation, first, seeds, log);
    }
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
