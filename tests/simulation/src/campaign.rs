//! Many seeds, one after the other on each processor.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::{Report, Simulation, Tally};

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Seeds that were run.
    pub seeds: u64,
    /// Virtual milliseconds of all of them.
    pub simulated_ms: u64,
    /// Steps of all of them.
    pub steps: u64,
    /// Faults and other things of all of them.
    pub tally: Tally,
    /// Seeds that broke a rule, or whose simulation itself failed, and how; in order.
    pub bad: Vec<(u64, String)>,
}

impl Campaign {
    /// Runs `seeds` seeds from `first` on. The result does not depend on how many processors there are.
    #[must_use]
    pub fn run(first: u64, seeds: u64) -> Self {
        let (next, all) = (AtomicU64::new(0), Mutex::new(Self::default()));
        let work = || {
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= seeds {
                    return;
                }
                let outcome = Simulation::new(first + seed).and_then(Simulation::run);
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(report) => all.add(report),
                    Err(error) => {
                        all.seeds += 1;
                        all.bad.push((
                            first + seed,
                            format!("seed {}: the simulation itself failed: {}", first + seed, error.one_line()),
                        ));
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
                scope.spawn(work);
            }
        });
        let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.bad.sort();
        all
    }

    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.simulated_ms += report.simulated_ms;
        self.steps += report.steps;
        self.tally.add(&report.tally);
        if !report.violations.is_empty() {
            self.bad.push((report.seed, report.to_string()));
        }
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, how) in &self.bad {
            writeln!(f, "{how}")?;
        }
        writeln!(f, "{} seeds, {} simulated days, {} steps", self.seeds, self.simulated_ms / 86_400_000, self.steps)?;
        for (title, numbers) in [("what happened", &self.tally.counts), ("faults", &self.tally.faults)] {
            writeln!(f, "{title}:")?;
            for (what, count) in numbers {
                writeln!(f, "{count:>12}  {what}")?;
            }
        }
        write!(f, "{:>12}  seeds that broke a rule", self.bad.len())
    }
}
